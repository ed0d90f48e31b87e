//! Wiping removes what it names, all of it, and nothing else.

use std::fs::{self, File};

use nonos_storage::{
    EpochNumber, ErrorCode, NodeId, NodeStorage, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo, TreeId, TreeSizes,
};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::contents::code;
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

const DATA: [TreeId; 5] = [
    TreeId::Peers,
    TreeId::Metrics,
    TreeId::Epochs,
    TreeId::Config,
    TreeId::Claims,
];
const SAMPLES: usize = 2500;

fn peer(id: &str) -> StoredPeerInfo {
    StoredPeerInfo {
        peer_id: id.to_owned(),
        ..Default::default()
    }
}

fn filled(storage: &NodeStorage) -> TestResult {
    storage.keep_identity(&NodeId([7; 32]), b"the key of the node")?;
    storage.keep_secret("wallet", b"what the wallet holds")?;
    storage.keep_secret("token", b"what the token holds")?;
    let time = |n| Ok::<_, std::num::TryFromIntError>(1_700_000_000 + i64::try_from(n)?);
    let samples: Result<Vec<_>, _> = (0..SAMPLES)
        .map(|n| time(n).map(|at| (at, StoredMetrics::default())))
        .collect();
    storage.store_metrics_batch(&samples?)?;
    for n in 0..5_u64 {
        storage.store_peer(&format!("peer-{n}"), &peer(&format!("peer-{n}")))?;
        let epoch = EpochNumber(n);
        storage.store_epoch(
            epoch,
            &StoredEpochSummary {
                epoch: n,
                ..Default::default()
            },
        )?;
        storage.store_claim(
            epoch,
            &StoredClaim {
                epoch: n,
                ..Default::default()
            },
        )?;
        storage.store_config(&format!("key-{n}"), &n)?;
    }
    Ok(())
}

/// How many records there are of what a wipe takes unless something is named.
fn data(sizes: &TreeSizes) -> usize {
    sizes.peers + sizes.metrics + sizes.epochs + sizes.config + sizes.claims
}

fn is_whole(storage: &NodeStorage) -> TestResult<bool> {
    let found = storage.verify_integrity_with(None, 10, true)?;
    Ok(found.errors == 0 && found.warnings == 0)
}

#[test]
fn the_data_goes_and_who_the_node_is_stays() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    filled(&storage)?;
    let removed = storage.wipe(&DATA)?;
    let count = |tree| removed.iter().find(|(of, _)| *of == tree).map(|(_, n)| *n);
    assert_eq!(count(TreeId::Metrics), Some(u64::try_from(SAMPLES)?));
    assert_eq!(count(TreeId::Claims), Some(5));
    assert_eq!(count(TreeId::Identity), None);
    let storage = disk.reopen(storage)?;
    assert_eq!(data(&storage.tree_sizes()?), 0);
    assert_eq!(storage.load_node_id()?, Some(NodeId([7; 32])));
    assert_eq!(
        storage.load_secret("wallet")?.as_deref(),
        Some(&b"what the wallet holds"[..])
    );
    let log = storage.load_audit_log(100)?;
    for tree in DATA {
        let told = log
            .iter()
            .filter(|of| of.operation == "wipe" && of.tree == tree.name());
        assert_eq!(told.count(), 1, "{tree:?}");
    }
    assert!(is_whole(&storage)?);
    // There is nothing left, and that is not told again.
    assert!(storage.wipe(&DATA)?.iter().all(|(_, n)| *n == 0));
    assert_eq!(storage.load_audit_log(100)?.len(), log.len());
    storage.store_peer("again", &peer("again"))?;
    Ok(())
}

#[test]
fn identity_and_secrets_go_where_they_are_named() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    filled(&storage)?;
    let removed = storage.wipe(&[TreeId::Identity, TreeId::Secrets])?;
    assert_eq!(removed, [(TreeId::Secrets, 2), (TreeId::Identity, 1)]);
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_node_id()?, None);
    assert_eq!(storage.load_encrypted_key()?, None);
    assert!(storage.list_secrets()?.is_empty());
    assert_eq!(data(&storage.tree_sizes()?), SAMPLES + 20);
    let log = storage.load_audit_log(100)?;
    let removals: Vec<_> = log.iter().filter(|of| of.operation == "delete").collect();
    assert_eq!(removals.len(), 3);
    Ok(())
}

#[test]
fn what_is_kept_for_ever_is_refused_before_anything_goes() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    filled(&storage)?;
    for tree in [TreeId::Schema, TreeId::AuditLog] {
        let refused = storage.wipe(&[TreeId::Peers, TreeId::Secrets, tree]);
        assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{tree:?}");
    }
    assert_eq!(storage.count_peers()?, 5);
    assert_eq!(storage.list_secrets()?.len(), 2);
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn sealed_records_go_with_their_keys_only() -> TestResult {
    use crate::sealed_disk::full;

    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    filled(&storage)?;
    let storage = disk.reopen(storage)?;
    let everything: Vec<TreeId> = [&DATA[..], &[TreeId::Secrets, TreeId::Identity]].concat();
    let refused = storage.wipe(&everything);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(data(&storage.tree_sizes()?), SAMPLES + 20);
    assert_eq!(storage.list_secrets()?.len(), 2);
    storage.set_encryption_keys(full(1))?;
    storage.wipe(&everything)?;
    // What the manifest says is true of nothing as well.
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert!(storage.list_secrets()?.is_empty());
    storage.keep_identity(&NodeId([8; 32]), b"the key of another node")?;
    storage.keep_secret("wallet", b"of another node")?;
    assert!(is_whole(&storage)?);
    Ok(())
}

/// The journal cut off at any place, and no index: what a crash leaves there.
#[test]
fn a_wipe_cut_off_anywhere_leaves_whole_commits_and_can_be_run_again() -> TestResult {
    let made = OnDisk::new()?;
    let storage = made.open()?;
    filled(&storage)?;
    storage.flush()?;
    let journal = made.directory.root().join("data.sled.journal");
    let mut segments = Vec::new();
    for entry in fs::read_dir(&journal)? {
        segments.push(entry?.path());
    }
    segments.retain(|path| path.extension().is_some_and(|of| of == "log"));
    segments.sort();
    let segment = segments.pop().ok_or("no segment")?;
    let before = fs::metadata(&segment)?.len();
    storage.wipe(&[&DATA[..], &[TreeId::Secrets, TreeId::Identity]].concat())?;
    let after = fs::metadata(&segment)?.len();
    let kept = OnDisk::new()?;
    copy(made.directory.root(), kept.directory.root())?;
    fs::remove_dir_all(kept.directory.database())?;
    let segment = segment.strip_prefix(made.directory.root())?;
    let mut states = std::collections::BTreeSet::new();
    for part in 0..=60 {
        let at = before + (after - before) * part / 60;
        let disk = OnDisk::new()?;
        copy(kept.directory.root(), disk.directory.root())?;
        let file = File::options()
            .write(true)
            .open(disk.directory.root().join(segment))?;
        file.set_len(at)?;
        let storage = disk.open()?;
        let sizes = storage.tree_sizes()?;
        // Who the node is goes in one commit, before anything else.
        assert_eq!(
            sizes.identity == 2,
            sizes.secrets == 2,
            "at {at}: {sizes:?}"
        );
        if sizes.identity == 2 {
            assert_eq!(data(&sizes), SAMPLES + 20, "at {at}: {sizes:?}");
        }
        // Of a tree the beginning goes, a thousand at a time.
        assert!(
            [0, 500, 1500, 2500].contains(&sizes.metrics),
            "at {at}: {sizes:?}"
        );
        for few in [sizes.peers, sizes.epochs, sizes.config, sizes.claims] {
            assert!([0, 5].contains(&few), "at {at}: {sizes:?}");
        }
        assert!(is_whole(&storage)?, "at {at}");
        storage.wipe(&[&DATA[..], &[TreeId::Secrets, TreeId::Identity]].concat())?;
        assert_eq!(data(&storage.tree_sizes()?), 0, "at {at}");
        states.insert((sizes.identity, data(&sizes)));
    }
    assert!(states.len() > 5, "{states:?}");
    Ok(())
}
