//! Verification: everything that is not as it was written is found, and nothing else.

use std::collections::BTreeSet;

use nonos_storage::{
    AuditLogEntry, EpochNumber, Finding, FindingCode, NodeId, NodeStorage, Severity, StoredClaim,
    StoredEpochSummary, StoredMetrics, StoredPeerInfo, TreeId,
};
use serde::Serialize;
use storage_core::Encoding;

use crate::TestResult;
use crate::contents::populate;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{edit, put};
use crate::watched::Watched as _;

#[test]
fn a_healthy_store_has_nine_trees_and_no_findings() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    for storage in [disk.reopen(storage)?, {
        let memory = NodeStorage::in_memory()?;
        populate(&memory)?;
        memory
    }] {
        let report = storage.verify_integrity()?;
        assert_eq!(report.tree_reports.len(), 9);
        let entries: usize = report.tree_reports.iter().map(|tree| tree.entries).sum();
        assert_eq!(
            (report.total_entries, report.corrupted_entries),
            (entries, 0)
        );
        assert_eq!(report.valid_entries, entries);
        let sizes = storage.tree_sizes()?;
        let peers = report.tree_reports.iter().find(|tree| tree.name == "peers");
        assert_eq!(peers.map(|tree| tree.entries), Some(sizes.peers));
        let found = storage.verify_integrity_with(None, 10, true)?;
        assert_eq!(found.findings, []);
        storage.close()?;
    }
    Ok(())
}

type Violation = (TreeId, Vec<u8>, Encoding, Vec<u8>, FindingCode);

fn record<T: Serialize>(
    tree: TreeId,
    key: impl AsRef<[u8]>,
    record: &T,
    code: FindingCode,
) -> Result<Violation, postcard::Error> {
    let body = postcard::to_allocvec(record)?;
    Ok((tree, key.as_ref().to_vec(), Encoding::Postcard, body, code))
}

fn raw(tree: TreeId, key: &[u8], body: &[u8], code: FindingCode) -> Violation {
    (tree, key.to_vec(), Encoding::Raw, body.to_vec(), code)
}

/// One of each kind that a record can have by itself.
#[expect(clippy::too_many_lines, reason = "a list")]
fn violations() -> Result<Vec<Violation>, postcard::Error> {
    use FindingCode as Code;
    let peer = |id: &str| StoredPeerInfo {
        peer_id: id.to_owned(),
        ..Default::default()
    };
    let epoch = |epoch| StoredEpochSummary {
        epoch,
        quality_score: 0.5,
        ..Default::default()
    };
    let entry = AuditLogEntry {
        timestamp: 5,
        tree: "claims".to_owned(),
        operation: "store".to_owned(),
        details: None,
    };
    Ok(vec![
        record(TreeId::Peers, "a", &peer("b"), Code::PeerId)?,
        record(
            TreeId::Peers,
            "c",
            &StoredPeerInfo {
                reputation: 101,
                ..peer("c")
            },
            Code::Reputation,
        )?,
        record(
            TreeId::Peers,
            "d",
            &StoredPeerInfo {
                first_seen: Some(2),
                last_seen: 1,
                ..peer("d")
            },
            Code::SeenOrder,
        )?,
        record(TreeId::Peers, "", &peer(""), Code::Key)?,
        raw(TreeId::Peers, b"e", b"not a peer", Code::Frame),
        (
            TreeId::Peers,
            b"f".to_vec(),
            Encoding::Postcard,
            vec![0xff; 3],
            Code::Decode,
        ),
        record(
            TreeId::Metrics,
            7_i64.to_be_bytes(),
            &StoredMetrics {
                cpu_usage: Some(f32::NAN),
                ..Default::default()
            },
            Code::NotFinite,
        )?,
        record(
            TreeId::Metrics,
            8_i64.to_be_bytes(),
            &StoredMetrics {
                quality_score: 1.5,
                ..Default::default()
            },
            Code::ScoreRange,
        )?,
        record(
            TreeId::Epochs,
            1_u64.to_be_bytes(),
            &epoch(2),
            Code::EpochKey,
        )?,
        record(
            TreeId::Epochs,
            3_u64.to_be_bytes(),
            &StoredEpochSummary {
                start_time: 2,
                end_time: 1,
                ..epoch(3)
            },
            Code::EpochOrder,
        )?,
        record(
            TreeId::Claims,
            4_u64.to_be_bytes(),
            &StoredClaim {
                epoch: 5,
                ..Default::default()
            },
            Code::ClaimKey,
        )?,
        (
            TreeId::Config,
            b"x".to_vec(),
            Encoding::Cbor,
            vec![0x82, 1],
            Code::Decode,
        ),
        raw(TreeId::Identity, b"node_id", b"short", Code::NodeId),
        raw(TreeId::Identity, b"other", b"x", Code::UnknownKey),
        raw(TreeId::Schema, b"other", b"x", Code::UnknownKey),
        record(
            TreeId::AuditLog,
            6_i64.to_be_bytes(),
            &entry,
            Code::AuditTime,
        )?,
        (
            TreeId::Secrets,
            b"sealed".to_vec(),
            Encoding::Sealed,
            b"NSEC?".to_vec(),
            Code::SecretEnvelope,
        ),
    ])
}

#[test]
fn every_invariant_is_found_where_it_is_violated_and_nowhere_else() -> TestResult {
    let mut seen = BTreeSet::new();
    for (tree, key, encoding, body, code) in violations()? {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        storage.store_peer(
            "healthy",
            &StoredPeerInfo {
                peer_id: "healthy".to_owned(),
                ..Default::default()
            },
        )?;
        storage.close()?;
        edit(&disk, |_, commit| put(commit, tree, &key, encoding, &body))?;
        let storage = disk.open()?;
        let found = storage.verify_integrity_with(None, 10, true)?;
        let codes = |finding: &Finding| (finding.tree, finding.code);
        let codes: Vec<_> = found.findings.iter().map(codes).collect();
        assert!(codes.contains(&(Some(tree), code)), "{code:?}: {found:?}");
        assert!(
            codes.iter().all(|(found, _)| *found == Some(tree)),
            "{code:?}: {found:?}"
        );
        let is_error = code.severity() == Severity::Error;
        assert_eq!(found.errors > 0, is_error, "{code:?}: {found:?}");
        let report = storage.verify_integrity()?;
        // Beside what is wrong with the one, the other half may be missing.
        let is_half = code != FindingCode::IdentityPair
            && codes.contains(&(Some(tree), FindingCode::IdentityPair));
        let expected = usize::from(is_error) + usize::from(is_half);
        assert_eq!(report.corrupted_entries, expected, "{code:?}: {found:?}");
        seen.insert(code);
    }
    assert!(seen.len() >= 14, "{seen:?}");
    Ok(())
}

#[test]
fn half_an_identity_and_a_log_with_a_gap_are_found() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_identity(&NodeId([1; 32]), b"key")?;
    for epoch in 1..5 {
        storage.store_claim(
            EpochNumber(epoch),
            &StoredClaim {
                epoch,
                ..Default::default()
            },
        )?;
    }
    let third = storage.load_audit_log(3)?.pop().ok_or("no entry")?;
    storage.close()?;
    edit(&disk, |_, commit| {
        commit.delete(TreeId::Identity, b"encrypted_key".to_vec());
        commit.delete(TreeId::AuditLog, third.timestamp.to_be_bytes().to_vec());
        Ok(())
    })?;
    let storage = disk.open()?;
    let found = storage.verify_integrity_with(None, 10, true)?;
    let codes: Vec<_> = found.findings.iter().map(|found| found.code).collect();
    assert_eq!(
        codes,
        [FindingCode::IdentityPair, FindingCode::AuditGap],
        "{found:?}"
    );
    Ok(())
}

/// What a record may be, by a generator of its own.
fn random_store(seed: u64) -> TestResult<NodeStorage> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let storage = NodeStorage::in_memory()?;
    for _ in 0..next(12) {
        let n = next(1000);
        let seconds = i64::try_from(n)?;
        match next(8) {
            0 => {
                let id = format!("peer-{n}");
                let info = StoredPeerInfo {
                    peer_id: id.clone(),
                    reputation: u8::try_from(n % 101)?,
                    first_seen: Some(seconds),
                    last_seen: seconds + 1,
                    ..Default::default()
                };
                storage.store_peer(&id, &info)?;
            }
            1 => {
                let sample = StoredMetrics {
                    total_requests: n,
                    quality_score: 0.25,
                    cpu_usage: Some(12.5),
                    ..Default::default()
                };
                storage.store_metrics(seconds, &sample)?;
            }
            2 => {
                let summary = StoredEpochSummary {
                    epoch: n,
                    start_time: seconds,
                    end_time: seconds,
                    quality_score: 1.0,
                    ..Default::default()
                };
                storage.store_epoch(EpochNumber(n), &summary)?;
            }
            3 => {
                let claim = StoredClaim {
                    epoch: n,
                    amount: u128::from(n),
                    ..Default::default()
                };
                storage.store_claim(EpochNumber(n), &claim)?;
            }
            4 => storage.store_config(&format!("key-{n}"), &(n, "text", [1.5, 2.5]))?,
            5 => storage.keep_secret(&format!("secret-{n}"), &n.to_be_bytes())?,
            6 => storage.keep_identity(&NodeId([7; 32]), &n.to_be_bytes())?,
            _ => {
                storage.delete_secret(&format!("secret-{n}"))?;
            }
        }
    }
    Ok(storage)
}

#[test]
fn ten_thousand_random_healthy_databases_have_no_findings() -> TestResult {
    let mut entries = 0;
    for seed in 1..=10_000 {
        let storage = random_store(seed)?;
        let found = storage.verify_integrity_with(None, 10, true)?;
        assert_eq!((found.errors, found.warnings), (0, 0), "{seed}: {found:?}");
        entries += found.trees.iter().map(|tree| tree.entries).sum::<usize>();
    }
    assert!(entries > 50_000, "{entries}");
    Ok(())
}
