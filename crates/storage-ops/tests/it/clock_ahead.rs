//! A clock that was ahead when backups were made, and is right again when they are restored.

use std::sync::atomic::{AtomicI64, Ordering};

use storage_core::{Db, DbOptions};
use storage_ops::{Create, Directory, Wanted, create, list, newest, restore_from};
use storage_testkit::LAYOUT;

use crate::workload::{Random, TestResult, change, contents};

static NOW_MS: AtomicI64 = AtomicI64::new(4_070_908_800_000);

fn options(path: &std::path::Path) -> DbOptions {
    DbOptions::new(path.to_owned(), 2, || NOW_MS.load(Ordering::Relaxed))
}

#[test]
fn what_was_restored_is_newer_than_what_it_was_restored_from() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(&root.path().join("backups"))?;
    let how = || {
        let now = NOW_MS.load(Ordering::Relaxed).div_euclid(1000);
        Create::new(root.path().to_owned(), now)
    };
    let mut random = Random(3);
    let db = Db::open(&options(&root.path().join("data.sled")), &|_| Ok(LAYOUT))?;
    change(&db, &mut random)?;
    create(&db, &target, &how())?;
    db.shutdown()?;

    NOW_MS.store(1_770_000_000_000, Ordering::Relaxed);
    for name in ["first.sled", "second.sled"] {
        let options = options(&root.path().join(name));
        restore_from(&target, (None, &Wanted::Newest), &options, root.path())?;
        let db = Db::open(&options, &|_| Ok(LAYOUT))?;
        change(&db, &mut random)?;
        let made = create(&db, &target, &how())?.pop().ok_or("one is made")?;
        assert_eq!(newest(&list(&target)?)?.name(), made.name(), "{name}");
        let state = contents(&db)?;
        db.shutdown()?;

        let again = root.path().join(format!("again-{name}"));
        let options = self::options(&again);
        restore_from(&target, (None, &Wanted::Newest), &options, root.path())?;
        let again = Db::open(&options, &|_| Ok(LAYOUT))?;
        assert_eq!(contents(&again)?, state, "{name}");
        again.shutdown()?;
    }
    Ok(())
}
