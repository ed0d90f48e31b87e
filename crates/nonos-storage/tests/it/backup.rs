//! Backups exact at one commit, verified, restored; compaction.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nonos_storage::{ErrorCode, NodeStorage, NonosError};

use crate::TestResult;
use crate::child::rounds_of;
use crate::contents::{Contents, code, noise, peer, populate, sample};
use crate::on_disk::OnDisk;

#[test]
fn a_backup_restores_to_the_same_contents() -> TestResult {
    for in_memory in [false, true] {
        let disk = OnDisk::new()?;
        let storage = if in_memory {
            NodeStorage::in_memory()?
        } else {
            disk.open()?
        };
        populate(&storage)?;
        storage.store_config("large", &noise(100_000).as_slice())?;
        storage.delete_config("large")?;
        let contents = Contents::of(&storage)?;
        let file = disk.directory.root().join("backup.nonos");
        let bytes = storage.export_backup(&file)?;
        assert_eq!(bytes, fs::metadata(&file)?.len());
        let info = NodeStorage::verify_backup(&file)?;
        assert_eq!(
            (info.bytes, info.trees, info.schema_version),
            (bytes, contents.sizes, 2)
        );
        assert_eq!(info.program_version, "nonos 0.1.0");

        let restored = OnDisk::new()?;
        let report = NodeStorage::restore_backup(&file, restored.config.clone())?;
        assert_eq!(
            (report.entries, report.bytes, report.migrated_from),
            (info.entries, bytes, None)
        );
        let again = restored.open()?;
        assert_eq!(Contents::of(&again)?, contents, "in memory: {in_memory}");
        assert!(again.opening_report().clean, "{:?}", again.opening_report());
        again.store_peer("after", &peer("after"))?;
        let again = restored.reopen(again)?;
        assert_eq!(again.load_peer("after")?, Some(peer("after")));
    }
    Ok(())
}

#[test]
fn restoring_over_a_database_is_refused() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let file = disk.directory.root().join("backup.nonos");
    storage.export_backup(&file)?;
    let contents = Contents::of(&storage)?;
    let restore = || code(NodeStorage::restore_backup(&file, disk.config.clone()));
    assert_eq!(
        restore(),
        Ok(ErrorCode::InvalidArgument),
        "while it is open"
    );
    let storage = disk.reopen(storage)?;
    assert_eq!(Contents::of(&storage)?, contents);
    storage.close()?;
    assert_eq!(
        restore(),
        Ok(ErrorCode::InvalidArgument),
        "while it is closed"
    );
    assert_eq!(Contents::of(&disk.open()?)?, contents);
    Ok(())
}

#[test]
fn every_flipped_bit_and_truncation_of_a_backup_is_found() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::in_memory()?;
    storage.store_peer("a", &peer("a"))?;
    let file = disk.directory.root().join("backup.nonos");
    storage.export_backup(&file)?;
    let whole = fs::read(&file)?;
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped)?;
        let found = code(NodeStorage::verify_backup(&file));
        assert_eq!(found, Ok(ErrorCode::BackupInvalid), "bit {bit}");
    }
    for len in 0..whole.len() {
        fs::write(&file, &whole[..len])?;
        let found = code(NodeStorage::verify_backup(&file));
        assert_eq!(found, Ok(ErrorCode::BackupInvalid), "cut to {len}");
        let restored = NodeStorage::restore_backup(&file, disk.config.clone());
        assert_eq!(code(restored), Ok(ErrorCode::BackupInvalid), "cut to {len}");
    }
    let missing = NodeStorage::verify_backup(disk.directory.root().join("none"));
    assert_eq!(code(missing), Ok(ErrorCode::Io));
    Ok(())
}

#[test]
fn backups_under_full_write_load_are_each_exact_at_one_commit() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_peer("round", &rounds_of("round", 0))?;
    storage.store_metrics(0, &sample(0))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> TestResult {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                storage.update(false, |update| {
                    update.store_metrics(0, &sample(round))?;
                    update.store_peer("round", &rounds_of("round", round))
                })?;
            }
            Ok::<_, NonosError>(())
        });
        let result = (0..50).try_for_each(|number| -> TestResult {
            let file = disk.directory.root().join(format!("backup-{number}.nonos"));
            storage.export_backup(&file)?;
            let restored = OnDisk::new()?;
            NodeStorage::restore_backup(&file, restored.config.clone())?;
            let restored = NodeStorage::open_readonly(restored.config.clone())?;
            let metrics = restored
                .load_metrics_range(0, 0)?
                .pop()
                .map(|(_, m)| m.total_requests);
            let peer = restored
                .load_peer("round")?
                .map(|peer| u64::from(peer.connection_count));
            assert_eq!(metrics, peer, "backup {number}");
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        writer.join().map_err(|_panic| "the writer panicked")??;
        result
    })
}

#[test]
fn compaction_returns_space_and_changes_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let peers: Vec<_> = (0..5000)
        .map(|n| (format!("peer-{n}"), peer(&format!("peer-{n}"))))
        .collect();
    for _ in 0..20 {
        storage.store_peers_batch(&peers)?;
        // What is replaced before it comes to the index takes no space there.
        storage.flush()?;
    }
    for (id, _) in peers.iter().skip(50) {
        storage.remove_peer(id)?;
    }
    storage.flush()?;
    let contents = Contents::of(&storage)?;
    let report = storage.compact()?;
    assert!(report.bytes_after < report.bytes_before, "{report:?}");
    assert_eq!(Contents::of(&storage)?, contents, "the live handle");
    storage.store_peer("after", &peer("after"))?;
    let storage = disk.reopen(storage)?;
    assert!(
        storage.opening_report().clean,
        "{:?}",
        storage.opening_report()
    );
    assert_eq!(storage.load_peer("after")?, Some(peer("after")));
    // What a fresh database with the same records takes is what could be returned at most.
    let file = disk.directory.root().join("backup.nonos");
    storage.remove_peer("after")?;
    storage.export_backup(&file)?;
    let fresh = OnDisk::new()?;
    NodeStorage::restore_backup(&file, fresh.config.clone())?;
    let least = fs::metadata(fresh.config.path.join("db"))?.len();
    let reclaimable = report.bytes_before - least.min(report.bytes_before);
    let returned = report.bytes_before - report.bytes_after;
    assert!(
        returned * 10 >= reclaimable * 9,
        "{returned} of {reclaimable}: {report:?}"
    );
    Ok(())
}
