//! Closing a database, and what is left of its handle.

use std::sync::Arc;

use nonos_storage::{EpochNumber, ErrorCode, NodeId, NodeStorage, NonosResult};

use crate::TestResult;
use crate::contents::{claim, code, peer, populate, sample, summary};
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

/// A method with its arguments.
type Call = fn(&NodeStorage) -> NonosResult<()>;

#[test]
fn shutdown_is_idempotent_and_every_later_call_is_poisoned() -> TestResult {
    let disk = OnDisk::new()?;
    for (mode, storage) in [
        ("memory", NodeStorage::in_memory()?),
        ("disk", disk.open()?),
    ] {
        let storage = Arc::new(storage);
        populate(&storage)?;
        let shared = Arc::clone(&storage);
        shared.shutdown()?;
        storage.shutdown()?;
        let calls: [(&str, Call); 36] = [
            ("update", |s| s.update(false, |_| Ok(())).map(drop)),
            ("store_identity", |s| s.keep_identity(&NodeId([1; 32]), b"")),
            ("load_node_id", |s| s.load_node_id().map(drop)),
            ("load_encrypted_key", |s| s.load_encrypted_key().map(drop)),
            ("store_peer", |s| s.store_peer("a", &peer("a"))),
            ("load_peer", |s| s.load_peer("alpha").map(drop)),
            ("remove_peer", |s| s.remove_peer("alpha").map(drop)),
            ("store_peers_batch", |s| {
                let batch = [("a".to_owned(), peer("a"))];
                s.store_peers_batch(&batch).map(drop)
            }),
            ("list_peers", |s| s.list_peers().map(drop)),
            ("iter_peers", |s| {
                s.iter_peers().try_for_each(|p| p.map(drop))
            }),
            ("count_peers", |s| s.count_peers().map(drop)),
            ("store_metrics", |s| s.store_metrics(1, &sample(1))),
            ("store_metrics_batch", |s| {
                s.store_metrics_batch(&[(1, sample(1))]).map(drop)
            }),
            ("load_metrics_range", |s| {
                s.load_metrics_range(0, 99).map(drop)
            }),
            ("iter_metrics", |s| {
                s.iter_metrics(0, 99).try_for_each(|m| m.map(drop))
            }),
            ("load_latest_metrics", |s| {
                s.load_latest_metrics(1).map(drop)
            }),
            ("prune_metrics", |s| s.prune_metrics(99).map(drop)),
            ("store_epoch", |s| {
                s.store_epoch(EpochNumber(1), &summary(1))
            }),
            ("load_epoch", |s| s.load_epoch(EpochNumber(1)).map(drop)),
            ("latest_epoch", |s| s.latest_epoch().map(drop)),
            ("load_epoch_range", |s| {
                s.load_epoch_range(EpochNumber(0), EpochNumber(9)).map(drop)
            }),
            ("store_claim", |s| s.store_claim(EpochNumber(1), &claim(1))),
            ("load_claim", |s| s.load_claim(EpochNumber(1)).map(drop)),
            ("load_claims", |s| s.load_claims().map(drop)),
            ("store_config", |s| s.store_config("name", &1)),
            ("load_config", |s| s.load_config::<String>("name").map(drop)),
            ("delete_config", |s| s.delete_config("name").map(drop)),
            ("list_config_keys", |s| s.list_config_keys().map(drop)),
            ("store_secret", |s| s.keep_secret("wallet", b"")),
            ("load_secret", |s| s.load_secret("wallet").map(drop)),
            ("delete_secret", |s| s.delete_secret("wallet").map(drop)),
            ("list_secrets", |s| s.list_secrets().map(drop)),
            ("load_audit_log", |s| s.load_audit_log(1).map(drop)),
            ("flush", NodeStorage::flush),
            ("tree_sizes", |s| s.tree_sizes().map(drop)),
            ("size_on_disk", |s| s.size_on_disk().map(drop)),
        ];
        for (method, call) in calls {
            let found = code(call(&storage));
            assert_eq!(found, Ok(ErrorCode::Poisoned), "{method}, {mode}");
        }
        storage.shutdown()?;
    }
    let storage = disk.open()?;
    assert_eq!(storage.count_peers()?, 2, "nothing was written or lost");
    Ok(())
}

#[test]
fn after_shutdown_the_schema_is_poisoned_as_well() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    storage.shutdown()?;
    let version = code(storage.schema_version());
    assert_eq!(version, Ok(ErrorCode::Poisoned), "schema_version");
    assert_eq!(code(storage.schema_info()), Ok(ErrorCode::Poisoned));
    Ok(())
}

#[test]
fn after_shutdown_calls_that_need_no_record_are_poisoned_as_well() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    storage.shutdown()?;
    let mut answered = Vec::new();
    for (call, result) in [
        ("no peers", storage.store_peers_batch(&[]).map(drop)),
        ("no samples", storage.store_metrics_batch(&[]).map(drop)),
        (
            "a range before 1970",
            storage.load_metrics_range(-2, -1).map(drop),
        ),
        (
            "the newest 0 samples",
            storage.load_latest_metrics(0).map(drop),
        ),
        ("the newest 0 entries", storage.load_audit_log(0).map(drop)),
    ] {
        if code(result) != Ok(ErrorCode::Poisoned) {
            answered.push(call);
        }
    }
    assert_eq!(answered, [""; 0], "answered by a closed handle");
    Ok(())
}

#[test]
fn shutdown_releases_the_database_while_the_handle_lives() -> TestResult {
    let disk = OnDisk::new()?;
    let first = disk.open()?;
    populate(&first)?;
    first.shutdown()?;
    let second = disk.open()?;
    assert_eq!(second.count_peers()?, 2);
    drop(first);
    second.store_peer("gamma", &peer("gamma"))?;
    assert_eq!(code(disk.open()), Ok(ErrorCode::Locked), "still held");
    Ok(())
}

/// More than closing takes for a reason to write a checkpoint, and most of it held back from the index: both are written at
/// once.
#[test]
fn closing_writes_a_checkpoint_beside_what_is_held_back() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let name = |number: usize| format!("{number:0>64}");
    let peers: Vec<_> = (0..16_000)
        .map(|number| (name(number), peer(&name(number))))
        .collect();
    storage.store_peers_batch(&peers)?;
    // What is not the first put of its key is counted when it is written.
    storage.store_peers_batch(peers.get(..3_000).unwrap_or_default())?;
    storage.close()?;
    let journal = disk.directory.root().join("data.sled.journal");
    let names = std::fs::read_dir(journal)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    let is_checkpoint =
        |name: &std::ffi::OsString| name.to_string_lossy().starts_with("checkpoint-");
    assert!(names.iter().any(is_checkpoint), "{names:?}");
    let storage = disk.open()?;
    assert!(
        storage.opening_report().clean,
        "{:?}",
        storage.opening_report()
    );
    assert_eq!(storage.count_peers()?, peers.len());
    assert!(storage.list_peers()? == peers);
    Ok(())
}
