//! Damage to the files of a database on a real disk.

use std::fs;
use std::path::{Path, PathBuf};

use nonos_storage::NodeStorage;
use storage_testkit::Directory;

use crate::TestResult;
use crate::contents::{Contents, noise, peer, populate};
use crate::on_disk::OnDisk;

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

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

fn files(directory: &Directory) -> Result<Vec<PathBuf>, std::io::Error> {
    let lock = Path::new("data.sled.lock");
    let is_file = |file: &PathBuf| directory.root().join(file).is_file();
    Ok(directory
        .files()?
        .into_iter()
        .filter(|file| file != lock && is_file(file))
        .collect())
}

/// Each trial damages one place of one file; both copies held everything, so nothing may be lost.
#[test]
fn damage_to_any_file_of_either_copy_loses_nothing() -> TestResult {
    let mut random = 1_u64;
    let mut below = |end: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap_or(0) % end.max(1)
    };
    let mut trials = 0;
    for clean in [false, true] {
        let (original, contents) = database(clean)?;
        let names = files(&original.directory)?;
        for (number, name) in (0..50).zip(names.iter().cycle()) {
            let disk = OnDisk::new()?;
            copy(original.directory.root(), disk.directory.root())?;
            let path = disk.directory.root().join(name);
            let mut bytes = fs::read(&path)?;
            let at = below(bytes.len());
            let kind = number / names.len() % 4;
            match kind {
                0 => bytes[at..]
                    .iter_mut()
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << (number % 8)),
                1 => bytes[at / 4096 * 4096..]
                    .iter_mut()
                    .take(4096)
                    .for_each(|byte| *byte = 0),
                2 => bytes.truncate(at),
                _ => {}
            }
            fs::write(&path, bytes)?;
            if kind == 3 {
                fs::remove_file(&path)?;
            }
            let case = format!("clean {clean}, {}, kind {kind} at {at}", name.display());
            let storage =
                NodeStorage::open(disk.config.clone()).map_err(|e| format!("{case}: {e}"))?;
            let found = Contents::of(&storage).map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(found, contents, "{case}: {:?}", storage.opening_report());
            storage.close().map_err(|e| format!("{case}: {e}"))?;
            let again = NodeStorage::open(disk.config.clone())
                .map_err(|e| format!("{case}, again: {e}"))?;
            assert_eq!(Contents::of(&again)?, contents, "{case}, again");
            trials += 1;
        }
    }
    assert_eq!(trials, 100);
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
