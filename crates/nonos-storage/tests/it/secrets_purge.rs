//! What a purge reaches, how it removes it, and who may work meanwhile.

use std::fs;
use std::path::Path;

use nonos_storage::NodeStorage;

use crate::TestResult;
use crate::canaries::{Canaries, files};
use crate::on_disk::OnDisk;
use crate::sealed_disk::{full, outcome};
use crate::secrets_disk::{found, hunt, sealed};

/// Keeps a second name of every file, outside of the database.
fn link_all(disk: &OnDisk, to: &Path) -> TestResult {
    for (number, path) in (0..).zip(files(disk.directory.root())?) {
        fs::hard_link(
            &path,
            to.join(format!(
                "{number}-{}",
                path.file_name().unwrap_or_default().display()
            )),
        )?;
    }
    Ok(())
}

#[test]
fn a_purge_reaches_what_was_kept_and_what_was_moved_aside() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_secret("gone", &gone)?;
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

/// Of a file that is removed a second name, or an open handle, sees only zeros.
#[test]
fn what_a_purge_removes_it_overwrites_before() -> TestResult {
    let canaries = Canaries::new();
    let gone = canaries.get(1);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_secret("gone", &gone)?;
    storage.flush()?;
    let aside = disk.directory.root().join("data.sled.damaged-1700000000");
    storage_testkit::damage::copy(&disk.config.path, &aside)?;
    storage.delete_secret("gone")?;
    let links = OnDisk::new()?;
    link_all(&disk, links.directory.root())?;
    let gone = hunt([("gone", gone.as_slice())]);
    assert!(
        found(&gone, &links)?.len() >= 3,
        "index, journal, and what was moved aside"
    );
    storage.purge()?;
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    assert_eq!(
        found(&gone, &links)?,
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
    storage.store_secret("gone", &gone)?;
    storage.flush()?;
    storage.delete_secret("gone")?;
    let root = disk.directory.root();
    for left in ["data.sled.old", "data.sled.new", "data.sled.copy"] {
        storage_testkit::damage::copy(&disk.config.path, &root.join(left))?;
    }
    let links = OnDisk::new()?;
    link_all(&disk, links.directory.root())?;
    storage.purge()?;
    let gone = hunt([("gone", gone.as_slice())]);
    assert_eq!(found(&gone, &disk)?, Vec::<String>::new());
    assert_eq!(
        found(&gone, &links)?,
        Vec::<String>::new(),
        "removed, and not overwritten"
    );
    Ok(())
}

#[test]
fn a_purge_beside_writers_keeps_what_they_write() -> TestResult {
    let canaries = Canaries::new();
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let gone: Vec<Vec<u8>> = {
        storage.store_secret("gone", b"sealed")?;
        sealed(&disk, &["gone"])?
    };
    storage.delete_secret("gone")?;
    std::thread::scope(|scope| -> TestResult {
        let storage = &storage;
        let writer = scope.spawn(move || {
            (0..150).try_for_each(|number| {
                storage.store_secret(&format!("s{number}"), &canaries.get(number))
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
    storage.store_secret("a", b"1")?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    view.set_encryption_keys(full(1))?;
    storage.store_secret("a", b"2")?;
    storage.purge()?;
    match view.load_secret("a") {
        Ok(found) => assert_eq!(found.as_deref(), Some(&b"1"[..])),
        refused => assert_eq!(outcome(&refused), "CORRUPT"),
    }
    view.refresh()?;
    assert_eq!(view.load_secret("a")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}
