//! Pruning removes the oldest, no more than it said, and leaves everything else whole.

use nonos_storage::{
    EpochNumber, ErrorCode, NodeStorage, Retention, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo, TreeId,
};

use crate::TestResult;
use crate::contents::code;
use crate::on_disk::OnDisk;

const TREES: [TreeId; 4] = [
    TreeId::Metrics,
    TreeId::Epochs,
    TreeId::Peers,
    TreeId::AuditLog,
];

/// 300 records in each tree, a minute apart, and no two peers in the order of their names.
fn filled(storage: &NodeStorage, first: i64) -> TestResult {
    for n in 0..300_u64 {
        let time = first + 60 * i64::try_from(n)?;
        storage.store_metrics(time, &StoredMetrics::default())?;
        let summary = StoredEpochSummary {
            epoch: n,
            start_time: time,
            end_time: time,
            ..Default::default()
        };
        storage.store_epoch(EpochNumber(n), &summary)?;
        let id = format!("peer-{:03}", n * 7 % 300);
        let info = StoredPeerInfo {
            peer_id: id.clone(),
            last_seen: time,
            is_bootstrap: n == 0,
            ..Default::default()
        };
        storage.store_peer(&id, &info)?;
        let claim = StoredClaim {
            epoch: n,
            ..Default::default()
        };
        // Its audit entry is what counts here.
        storage.update(false, |update| update.store_claim(EpochNumber(n), &claim))?;
    }
    Ok(())
}

fn len(storage: &NodeStorage, tree: TreeId) -> TestResult<u64> {
    let sizes = storage.tree_sizes()?;
    Ok(u64::try_from(match tree {
        TreeId::Metrics => sizes.metrics,
        TreeId::Epochs => sizes.epochs,
        TreeId::Peers => sizes.peers,
        _ => sizes.audit_log,
    })?)
}

#[test]
fn a_dry_run_says_what_pruning_then_does_by_each_limit() -> TestResult {
    let first = 1_700_000_000;
    let limits = [
        Retention::default().older_than(first + 60 * 100),
        Retention::default().keep_last(120),
        Retention::default().max_bytes(5_000),
        Retention::default()
            .older_than(first + 60 * 10)
            .keep_last(250),
        Retention::default().keep_last(0),
        Retention::default(),
    ];
    for tree in TREES {
        for limit in limits {
            let disk = OnDisk::new()?;
            let storage = disk.open()?;
            filled(&storage, first)?;
            let before = len(&storage, tree)?;
            let foreseen = storage.prune(tree, &limit, true)?;
            assert_eq!(len(&storage, tree)?, before, "{tree:?} {limit:?}");
            let done = storage.prune(tree, &limit, false)?;
            assert_eq!(done, foreseen, "{tree:?} {limit:?}");
            // Pruning the log adds to it.
            let more = u64::from(tree == TreeId::AuditLog && done.records > 0);
            assert_eq!(len(&storage, tree)?, before - done.records + more);
            // The times of audit entries are those of now.
            if tree != TreeId::AuditLog {
                // The bootstrap peer stays, and is the oldest.
                let stays = u64::from(tree == TreeId::Peers);
                let expected = match (limit.older_than, limit.keep_last, limit.max_bytes) {
                    (Some(_), None, _) => 100 - stays,
                    (None, Some(120), _) => 180,
                    (Some(_), Some(_), _) => 50,
                    (None, Some(0), _) => 300 - stays,
                    (None, None, Some(_)) => done.records,
                    _ => 0,
                };
                assert_eq!(done.records, expected, "{tree:?} {limit:?}");
            }
            let again = storage.prune(tree, &limit, false)?;
            if more == 0 {
                assert_eq!(again.records, 0, "{tree:?} {limit:?}");
            }
            let storage = disk.reopen(storage)?;
            let found = storage.verify_integrity_with(None, 10, true)?;
            assert_eq!(found.findings, [], "{tree:?} {limit:?}");
            assert_eq!(
                len(&storage, TreeId::Metrics)? > 0,
                tree != TreeId::Metrics || done.records < 300
            );
        }
    }
    Ok(())
}

#[test]
fn the_newest_stay() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    filled(&storage, 1_700_000_000)?;
    for tree in TREES {
        storage.prune(tree, &Retention::default().keep_last(2), false)?;
    }
    let newest = 1_700_000_000 + 60 * 299;
    let metrics = storage.load_latest_metrics(10)?;
    let times: Vec<i64> = metrics.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [newest - 60, newest]);
    assert_eq!(storage.latest_epoch()?, Some(EpochNumber(299)));
    let peers = storage.list_peers()?;
    let mut seen: Vec<i64> = peers.iter().map(|(_, peer)| peer.last_seen).collect();
    seen.sort_unstable();
    // The one that others join through, and the newest.
    assert_eq!(seen, [1_700_000_000, newest]);
    let audited = storage.load_audit_log(10)?;
    let operations: Vec<&str> = audited
        .iter()
        .map(|entry| entry.operation.as_str())
        .collect();
    assert_eq!(operations, ["prune", "store", "store"]);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

#[test]
fn a_jump_of_the_clock_prunes_nothing() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    // As far as this machine's clock is concerned, all of it is years old.
    let first = 1_600_000_000;
    filled(&storage, first)?;
    let week = 7 * 24 * 3600;
    for tree in [TreeId::Metrics, TreeId::Epochs, TreeId::Peers] {
        let cutoff = storage.retention_cutoff(tree, week)?.ok_or("no cutoff")?;
        let foreseen = storage.prune(tree, &Retention::default().older_than(cutoff), true)?;
        assert_eq!(foreseen.records, 0, "{tree:?}");
    }
    // Some samples of a clock that is ahead: not enough to be believed.
    for n in 0..59 {
        storage.store_metrics(4_000_000_000 + n, &StoredMetrics::default())?;
    }
    let cutoff = storage.retention_cutoff(TreeId::Metrics, week)?;
    let foreseen = cutoff.map(|cutoff| {
        storage.prune(
            TreeId::Metrics,
            &Retention::default().older_than(cutoff),
            true,
        )
    });
    assert_eq!(foreseen.transpose()?.map(|going| going.records), Some(0));
    Ok(())
}

#[test]
fn what_is_kept_for_ever_and_times_before_1970_are_refused() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    filled(&storage, 1_700_000_000)?;
    let everything = Retention::default().keep_last(0);
    let kept = [
        TreeId::Schema,
        TreeId::Identity,
        TreeId::Config,
        TreeId::Claims,
        TreeId::Secrets,
    ];
    for tree in kept {
        let refused = code(storage.prune(tree, &everything, false));
        assert_eq!(refused, Ok(ErrorCode::InvalidArgument), "{tree:?}");
    }
    let before = Retention::default().older_than(-1);
    let refused = code(storage.prune(TreeId::Metrics, &before, false));
    assert_eq!(refused, Ok(ErrorCode::InvalidArgument));
    assert_eq!(storage.tree_sizes()?.claims, 300);
    Ok(())
}
