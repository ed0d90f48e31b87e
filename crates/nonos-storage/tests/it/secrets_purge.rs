//! What a purge reaches, how it removes it, and who may work meanwhile.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::PathBuf;

use nonos_storage::NodeStorage;

use crate::TestResult;
use crate::canaries::{Canaries, Hunt, files};
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, full, outcome};
use crate::secrets_disk::{found, hunt, sealed};
use crate::watched::Watched as _;

/// Every file, held open: what is in it is seen when its name is gone.
struct Open(Vec<(PathBuf, File)>);

impl Open {
    fn all(disk: &OnDisk) -> Fallible<Self> {
        let mut open = Vec::new();
        for path in files(disk.directory.root())? {
            let file = File::open(&path)?;
            open.push((path, file));
        }
        Ok(Self(open))
    }

    /// What is in those files now.
    fn found(&self, hunt: &Hunt) -> Fallible<Vec<String>> {
        let mut found = Vec::new();
        for (path, mut file) in self.0.iter().map(|(path, file)| (path, file)) {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            found.extend(hunt.found_in(&bytes, path));
        }
        Ok(found)
    }
}

#[test]
fn a_purge_reaches_what_was_kept_and_what_was_moved_aside() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("gone", &gone)?;
    storage.close()?;
    let db = disk.directory.open_core()?;
    db.keep_checkpoint("before-something.nonos")?;
    db.checkpoint()?;
    db.shutdown()?;
    drop(db);
    // What damage, and a compaction that was killed, leave behind.
    let root = disk.directory.root();
    for aside in [
        "data.sled.damaged-1700000000",
        "data.sled.damaged-1700000000-1",
    ] {
        storage_testkit::damage::copy(&disk.config.path, &root.join(aside))?;
    }
    let journal = root.join("data.sled.journal");
    for path in files(&journal)? {
        let mut aside = path.clone().into_os_string();
        aside.push(".damaged");
        if path.extension().is_some_and(|extension| extension == "log") {
            fs::copy(&path, aside)?;
        }
    }
    let storage = disk.open()?;
    storage.delete_secret("gone")?;
    let gone = hunt([("gone", gone.as_slice())]);
    let before = found(&gone, &disk)?;
    for place in [
        "before-something",
        "damaged-1700000000/",
        "damaged-1700000000-1/",
        ".log.damaged",
    ] {
        assert!(
            before.iter().any(|found| found.contains(place)),
            "{place}: {before:?}"
        );
    }
    storage.purge()?;
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    Ok(())
}

/// Of a file that is removed, who has it open sees only zeros.
#[test]
fn what_a_purge_removes_it_overwrites_before() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("gone", &gone)?;
    storage.flush()?;
    let aside = disk.directory.root().join("data.sled.damaged-1700000000");
    storage_testkit::damage::copy(&disk.config.path, &aside)?;
    storage.delete_secret("gone")?;
    let open = Open::all(&disk)?;
    let gone = hunt([("gone", gone.as_slice())]);
    assert!(
        open.found(&gone)?.len() >= 3,
        "index, journal, and what was moved aside"
    );
    storage.purge()?;
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    assert_eq!(
        open.found(&gone)?,
        Vec::<String>::new(),
        "removed, and not overwritten"
    );
    Ok(())
}

/// The same for what one left that did not end: an old index that is not in use any more.
#[test]
fn what_a_purge_that_failed_left_is_overwritten_by_the_next_one() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("gone", &gone)?;
    storage.flush()?;
    storage.delete_secret("gone")?;
    let root = disk.directory.root();
    for left in ["data.sled.old", "data.sled.new", "data.sled.copy"] {
        storage_testkit::damage::copy(&disk.config.path, &root.join(left))?;
    }
    let open = Open::all(&disk)?;
    storage.purge()?;
    let gone = hunt([("gone", gone.as_slice())]);
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    assert_eq!(
        open.found(&gone)?,
        Vec::<String>::new(),
        "removed, and not overwritten"
    );
    Ok(())
}

/// A file that has another name elsewhere is somebody else's as well: a copy of theirs is not destroyed.
#[test]
fn what_is_linked_to_elsewhere_is_removed_and_not_overwritten() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("gone", &gone)?;
    storage.flush()?;
    storage.delete_secret("gone")?;
    let elsewhere = OnDisk::new()?;
    for (number, path) in (0..).zip(files(disk.directory.root())?) {
        fs::hard_link(&path, elsewhere.directory.root().join(format!("{number}")))?;
    }
    let gone = hunt([("gone", gone.as_slice())]);
    let before = found(&gone, &elsewhere)?;
    storage.purge()?;
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    assert_eq!(found(&gone, &elsewhere)?, before);
    Ok(())
}

#[test]
fn a_purge_beside_writers_keeps_what_they_write() -> TestResult {
    let canaries = Canaries::new();
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let gone: Vec<Vec<u8>> = {
        storage.keep_secret("gone", b"sealed")?;
        sealed(&disk, &["gone"])?
    };
    storage.delete_secret("gone")?;
    std::thread::scope(|scope| -> TestResult {
        let storage = &storage;
        let writer = scope.spawn(move || {
            (0..150).try_for_each(|number| {
                storage.keep_secret(&format!("s{number}"), &canaries.get(number))
            })
        });
        for _ in 0..3 {
            storage.purge()?;
        }
        Ok(writer.join().map_err(|_panic| "the writer panicked")??)
    })?;
    storage.purge()?;
    let gone = hunt([("gone", gone.concat().as_slice())]);
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    for number in 0..150 {
        assert_eq!(
            storage.load_secret(&format!("s{number}"))?,
            Some(canaries.get(number))
        );
    }
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

/// A view on the files before: it goes on once it is refreshed, and never shows anything else.
#[test]
fn a_handle_for_reading_is_refreshed_after_a_purge() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    view.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"2")?;
    storage.purge()?;
    match view.load_secret("a") {
        Ok(found) => assert_eq!(found.as_deref(), Some(&b"1"[..])),
        refused => assert_eq!(outcome(&refused), "CORRUPT"),
    }
    view.refresh()?;
    assert_eq!(view.load_secret("a")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}
