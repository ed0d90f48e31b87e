//! The read-only view: no lock, no write, whole commits, beside a writer.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nonos_storage::{EpochNumber, ErrorCode, NodeId, NodeStorage, StorageConfig};

use crate::TestResult;
use crate::contents::{Contents, claim, code, peer, populate, sample, summary};
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

#[test]
fn it_shows_everything_and_changes_no_byte() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let contents = Contents::of(&storage)?;
    storage.close()?;
    let bytes = || -> Result<Vec<(std::path::PathBuf, Vec<u8>)>, std::io::Error> {
        let files = disk.directory.files()?.into_iter();
        let is_file = |file: &std::path::PathBuf| disk.directory.root().join(file).is_file();
        files
            .filter(is_file)
            .map(|file| Ok((file.clone(), fs::read(disk.directory.root().join(file))?)))
            .collect()
    };
    let before = bytes()?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    assert!(view.is_read_only());
    assert_eq!(Contents::of(&view)?, contents);
    assert_eq!(view.load_peer("alpha")?, Some(peer("alpha")));
    assert_eq!(view.load_latest_metrics(1)?, [(30, sample(30))]);
    assert_eq!(view.latest_epoch()?, Some(EpochNumber(2)));
    assert_eq!(view.iter_peers().count(), 2);
    assert_eq!(view.schema_version()?, 2);
    assert!(view.size_on_disk()? > 0);
    view.close()?;
    assert_eq!(bytes()?, before);
    Ok(())
}

/// The files that it reads are overwritten: what it still makes of them is whole, or an error.
#[test]
fn a_backup_of_a_view_beside_a_purge_is_whole_or_refused() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let contents = Contents::of(&storage)?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    let file = disk.directory.root().join("of-a-view.nonos");
    view.export_backup(&file)?;
    fs::remove_file(&file)?;
    storage.purge()?;
    let exported = view.export_backup(&file);
    assert_eq!(exported.is_ok(), file.exists());
    if let Err(error) = exported {
        assert_eq!(code(Err::<(), _>(error)), Ok(ErrorCode::Corrupt));
        view.refresh()?;
        view.export_backup(&file)?;
    }
    let restored = StorageConfig {
        path: disk.directory.root().join("restored.sled"),
        ..disk.config.clone()
    };
    NodeStorage::restore_backup(&file, restored.clone())?;
    let restored = NodeStorage::open(restored)?;
    let mut found = Contents::of(&restored)?;
    // The purge is audited.
    found.audit.retain(|entry| contents.audit.contains(entry));
    found.sizes = contents.sizes;
    assert_eq!(found, contents);
    Ok(())
}

#[test]
fn every_method_that_writes_is_refused() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    storage.close()?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    let refused = [
        code(view.keep_identity(&NodeId([1; 32]), b"key")),
        code(view.store_peer("a", &peer("a"))),
        code(view.remove_peer("alpha").map(drop)),
        code(view.store_peers_batch(&[("a".into(), peer("a"))]).map(drop)),
        code(view.store_metrics(1, &sample(1))),
        code(view.store_metrics_batch(&[(1, sample(1))]).map(drop)),
        code(view.prune_metrics(20).map(drop)),
        code(view.store_epoch(EpochNumber(1), &summary(1))),
        code(view.store_claim(EpochNumber(1), &claim(1))),
        code(view.store_config("a", "b")),
        code(view.delete_config("name").map(drop)),
        code(view.keep_secret("a", b"b")),
        code(view.delete_secret("wallet").map(drop)),
        code(
            view.update(true, |update| update.store_peer("a", &peer("a")))
                .map(drop),
        ),
        code(view.flush()),
        code(view.compact().map(drop)),
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused, Ok(ErrorCode::ReadOnly), "call {number}");
    }
    Ok(())
}

#[test]
fn where_there_is_no_database_it_says_so_and_makes_none() -> TestResult {
    let disk = OnDisk::new()?;
    let opened = NodeStorage::open_readonly(disk.config.clone());
    assert_eq!(code(opened), Ok(ErrorCode::NotFound));
    assert!(disk.directory.files()?.is_empty());
    Ok(())
}

#[test]
fn beside_a_writer_it_shows_one_commit_and_goes_on_when_asked() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_peer("a", &peer("a"))?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    storage.store_peer("b", &peer("b"))?;
    assert_eq!((view.count_peers()?, view.load_peer("b")?), (1, None));
    view.refresh()?;
    assert_eq!(
        (view.count_peers()?, view.load_peer("b")?),
        (2, Some(peer("b")))
    );
    storage.remove_peer("a")?;
    assert_eq!(
        view.load_peer("a")?,
        Some(peer("a")),
        "still the old commit"
    );
    view.refresh()?;
    assert_eq!(view.load_peer("a")?, None, "the cache goes on as well");
    Ok(())
}

/// Each round writes the same number into two trees; checkpoints rotate meanwhile.
#[test]
fn beside_a_busy_writer_every_opening_holds_whole_commits() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::open(StorageConfig {
        flush_every_ms: Some(5),
        compression_enabled: false,
        ..disk.config.clone()
    })?;
    storage.store_config("noise", &vec![0_u8; 1])?;
    let done = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(10);
    let openings = thread::scope(|scope| -> Result<usize, Box<dyn std::error::Error>> {
        let writer = scope.spawn(|| -> Result<u64, nonos_storage::NonosError> {
            let mut round = 0;
            let noise = "x".repeat(20_000);
            while !done.load(Ordering::Relaxed) {
                round += 1;
                storage.update(false, |update| {
                    update.store_metrics(0, &sample(round))?;
                    update.store_config("noise", &noise)?;
                    update.store_epoch(EpochNumber(round % 50), &summary(round % 50))?;
                    update.store_peer("round", &crate::child::rounds_of("round", round))
                })?;
            }
            Ok(round)
        });
        let mut openings = 0;
        let result = (|| {
            while Instant::now() < until {
                let view = NodeStorage::open_readonly(disk.config.clone())?;
                let metrics = view
                    .load_metrics_range(0, 0)?
                    .pop()
                    .map(|(_, m)| m.total_requests);
                let peer = view
                    .load_peer("round")?
                    .map(|peer| u64::from(peer.connection_count));
                assert_eq!(metrics, peer, "opening {openings}");
                openings += 1;
            }
            Ok::<_, nonos_storage::NonosError>(())
        })();
        done.store(true, Ordering::Relaxed);
        let rounds = writer.join().map_err(|_panic| "the writer panicked")??;
        result?;
        assert!(rounds > 100, "{rounds} rounds");
        Ok(openings)
    })?;
    assert!(openings > 10, "{openings} openings");
    let names = fs::read_dir(disk.directory.root().join("data.sled.journal"))?;
    let names: Vec<String> = names
        .map(|name| Ok(name?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    assert!(
        names.iter().any(|name| name.starts_with("checkpoint-")),
        "no checkpoint: {names:?}"
    );
    Ok(())
}
