//! Damage to the files of a database on a real disk.

use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use nonos_storage::{ErrorCode, OpenOptions};
use storage_testkit::damage::{self, copy};

use crate::TestResult;
use crate::child::{DAMAGED, Running};
use crate::contents::{Contents, code, noise, peer, populate};
use crate::on_disk::OnDisk;

/// A database with a history, as a clean close left it or as a killed process did.
fn database(clean: bool) -> Result<(OnDisk, Contents), Box<dyn std::error::Error>> {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let peers: Vec<_> = (0..300)
        .map(|n| (format!("peer-{n}"), peer(&format!("peer-{n}"))))
        .collect();
    storage.store_peers_batch(&peers)?;
    storage.store_config("large", &noise(20_000).as_slice())?;
    storage.delete_config("limits")?;
    storage.flush()?;
    let contents = Contents::of(&storage)?;
    let taken = OnDisk::new()?;
    if clean {
        storage.close()?;
        copy(disk.directory.root(), taken.directory.root())?;
    } else {
        // After a flush the files are those that a killed process leaves.
        copy(disk.directory.root(), taken.directory.root())?;
        storage.close()?;
    }
    Ok((taken, contents))
}

/// The same as `cargo xtask damage`, which makes a thousand trials.
#[test]
fn damage_to_any_file_of_either_copy_loses_nothing_silently() -> TestResult {
    let table = damage::run(100, |ended, path| {
        let mut child = Running::start(&format!("{DAMAGED}{}", ended.name()), path)?;
        child.hear()?;
        // Dead or done, it has no handle any more.
        child.kill().map(drop)
    })?;
    assert_eq!(table.faults, Vec::<String>::new(), "{table}");
    assert_eq!(table.trials(), 100);
    Ok(())
}

#[test]
fn an_index_without_journal_is_adopted() -> TestResult {
    for clean in [false, true] {
        let (disk, contents) = database(clean)?;
        fs::remove_dir_all(disk.directory.root().join("data.sled.journal"))?;
        let storage = disk.open()?;
        assert!(
            storage.opening_report().adopted,
            "{:?}",
            storage.opening_report()
        );
        assert_eq!(Contents::of(&storage)?, contents, "clean {clean}");
        let storage = disk.reopen(storage)?;
        assert!(storage.opening_report().clean);
        assert_eq!(Contents::of(&storage)?, contents);
    }
    Ok(())
}

#[test]
fn a_journal_without_index_is_rebuilt_and_one_of_another_store_moved_aside() -> TestResult {
    let (disk, contents) = database(true)?;
    fs::remove_dir_all(&disk.config.path)?;
    let storage = disk.open()?;
    assert_eq!(Contents::of(&storage)?, contents);
    storage.close()?;

    let (other, _) = database(true)?;
    fs::remove_dir_all(&disk.config.path)?;
    copy(&other.config.path, &disk.config.path)?;
    let storage = disk.open()?;
    assert_eq!(Contents::of(&storage)?, contents);
    let aside = &storage.opening_report().moved_aside;
    assert!(
        aside.len() == 1 && aside[0].exists(),
        "{:?}",
        storage.opening_report()
    );
    Ok(())
}

#[test]
fn a_long_opening_tells_its_progress_and_can_be_cancelled() -> TestResult {
    let (disk, contents) = database(true)?;
    fs::remove_dir_all(&disk.config.path)?;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listening = Arc::clone(&told);
    let cancelled = OpenOptions::new(disk.config.clone())
        .on_progress(move |progress| {
            listening
                .lock()
                .unwrap()
                .push((progress.operation, progress.done, progress.total));
            ControlFlow::Break(())
        })
        .open();
    assert_eq!(code(cancelled.map(drop))?, ErrorCode::Cancelled);
    let told = told.lock().unwrap().clone();
    let expected = u64::try_from(contents.peers.len())?;
    let is_rebuilding = |(operation, done, total): &(&str, u64, u64)| {
        *operation == "rebuild the index" && *done > 0 && *total >= expected
    };
    assert!(told.iter().any(is_rebuilding), "{told:?}");

    let storage = disk.open()?;
    assert_eq!(Contents::of(&storage)?, contents);
    assert!(storage.opening_report().moved_aside.is_empty());
    Ok(())
}
