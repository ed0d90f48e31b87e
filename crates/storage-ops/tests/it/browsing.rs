//! Records as they are shown: decoded, in any order, of any keys, without what is secret.

use std::ops::Bound;

use crate::workload::{TestResult, now_ms, options};
use serde_json::json;
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::trees::{claims, config, epochs, identity, metrics, peers, secrets};
use storage_core::{CoreError, Db, Durability, EpochNumber, Order, TreeId};
use storage_ops::{
    Record, Selection, browse, content_hash, encode_key, note_upkeep, record, tree_bytes,
    tree_sizes, upkeep,
};

/// More samples than are read at once.
const SAMPLES: i64 = 1300;
const SECRET: &[u8] = b"what nobody is shown";

fn filled(compression: bool) -> Result<Db, CoreError> {
    let mut options = options(std::path::Path::new("in memory"));
    options.compression = compression;
    let db = Db::in_memory(&options)?;
    db.update(Durability::Buffered, |view, commit| {
        for id in ["a", "ab", "abc", "b"] {
            let peer = StoredPeerInfo {
                peer_id: id.to_owned(),
                addresses: vec!["192.0.2.1:9000".to_owned(); 20],
                ..Default::default()
            };
            peers::store(commit, id, &peer)?;
        }
        for time in 0..SAMPLES {
            let sample = StoredMetrics {
                total_requests: time.unsigned_abs(),
                ..Default::default()
            };
            metrics::store(commit, time, &sample)?;
        }
        let epoch = StoredEpochSummary {
            epoch: 7,
            total_emission: u128::MAX,
            ..Default::default()
        };
        epochs::store(commit, EpochNumber(7), &epoch)?;
        let claim = StoredClaim {
            epoch: 7,
            amount: u128::MAX,
            ..Default::default()
        };
        claims::store(view, commit, now_ms(), EpochNumber(7), &claim)?;
        config::store(commit, "nodes", &vec!["a", "b"])?;
        secrets::store(
            view,
            commit,
            now_ms(),
            ("store", "wallet"),
            secrets::Stored::Plain(SECRET),
        )?;
        Ok::<_, CoreError>(())
    })?;
    Ok(db)
}

fn shown(db: &Db, tree: TreeId, which: &Selection) -> Result<Vec<Record>, CoreError> {
    let mut found = Vec::new();
    browse(&db.view(), tree, which, &mut |key, stored| {
        found.push(record(tree, key, stored)?);
        Ok::<_, CoreError>(true)
    })?;
    Ok(found)
}

fn all(db: &Db, tree: TreeId) -> Result<Vec<Record>, CoreError> {
    shown(db, tree, &Selection::default())
}

#[test]
fn every_tree_is_shown_decoded_and_no_secret_is() -> TestResult {
    let db = filled(true)?;
    let epoch = all(&db, TreeId::Epochs)?;
    assert_eq!(epoch[0].key, json!(7));
    assert_eq!(
        epoch[0].value["total_emission"],
        json!(u128::MAX.to_string())
    );
    let claim = all(&db, TreeId::Claims)?;
    assert_eq!(claim[0].value["amount"], json!(u128::MAX.to_string()));
    let setting = all(&db, TreeId::Config)?;
    assert_eq!(
        (&setting[0].key, &setting[0].value),
        (&json!("nodes"), &json!(["a", "b"]))
    );
    let secret = all(&db, TreeId::Secrets)?;
    let kept = json!({ "sealed": false, "stored_bytes": SECRET.len() });
    assert_eq!(
        (&secret[0].key, &secret[0].value),
        (&json!("wallet"), &kept)
    );
    let log = all(&db, TreeId::AuditLog)?;
    assert_eq!(log.len(), 2, "a claim and a secret");
    let text = serde_json::to_string(&[epoch, claim, setting, secret, log].concat())?;
    assert!(!text.contains(str::from_utf8(SECRET)?), "{text}");
    let peer = all(&db, TreeId::Peers)?;
    assert_eq!(peer[1].value["peer_id"], json!("ab"));
    assert_eq!(
        peer[1].bytes,
        peer[1].stored_key.len() + peer[1].stored.len()
    );
    Ok(())
}

#[test]
fn records_are_selected_by_range_prefix_and_order() -> TestResult {
    let db = filled(true)?;
    let times = |which: &Selection| -> TestResult<Vec<i64>> {
        let found = shown(&db, TreeId::Metrics, which)?;
        Ok(found
            .iter()
            .filter_map(|record| record.key.as_i64())
            .collect())
    };
    let mut which = Selection::default();
    assert_eq!(times(&which)?, (0..SAMPLES).collect::<Vec<_>>());
    which.order = Order::Descending;
    assert_eq!(times(&which)?, (0..SAMPLES).rev().collect::<Vec<_>>());
    which.keys = (
        Bound::Excluded(encode_key(TreeId::Metrics, "9")?),
        Bound::Included(encode_key(TreeId::Metrics, "1200")?),
    );
    assert_eq!(times(&which)?, (10..=1200).rev().collect::<Vec<_>>());

    let names = |keys, prefix: &[u8]| -> TestResult<Vec<String>> {
        let which = Selection {
            keys,
            prefix: prefix.to_vec(),
            order: Order::Ascending,
        };
        let found = shown(&db, TreeId::Peers, &which)?;
        Ok(found.iter().map(|record| record.key.to_string()).collect())
    };
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let behind = (Bound::Excluded(b"ab".to_vec()), Bound::Unbounded);
    let before = (Bound::Unbounded, Bound::Excluded(b"abc".to_vec()));
    assert_eq!(names(everything.clone(), b"ab")?, [r#""ab""#, r#""abc""#]);
    assert_eq!(names(behind, b"ab")?, [r#""abc""#]);
    assert_eq!(names(before, b"ab")?, [r#""ab""#]);
    assert_eq!(names(everything.clone(), b"zz")?, [""; 0]);
    assert_eq!(
        names(everything, &[0xff, 0xff])?,
        [""; 0],
        "nothing is behind it"
    );
    for (tree, key) in [
        (TreeId::Metrics, "x"),
        (TreeId::Epochs, "-1"),
        (TreeId::Peers, ""),
    ] {
        let refused = encode_key(tree, key);
        assert!(
            matches!(refused, Err(CoreError::Key { .. })),
            "{key:?}: {refused:?}"
        );
    }
    Ok(())
}

/// The hash is of what records are, not of how they are stored.
#[test]
fn the_same_content_has_the_same_hash_however_it_is_compressed() -> TestResult {
    let (one, other) = (filled(true)?, filled(false)?);
    let trees = [
        TreeId::Peers,
        TreeId::Metrics,
        TreeId::Epochs,
        TreeId::Config,
    ];
    let hash = content_hash(&one.view(), &trees)?;
    assert_eq!(hash, content_hash(&other.view(), &trees)?);
    let bytes = |db: &Db| Ok::<u64, CoreError>(tree_bytes(&db.view())?.iter().sum());
    assert!(bytes(&one)? < bytes(&other)?, "nothing was compressed");
    other.update(Durability::Buffered, |_, commit| {
        config::store(commit, "nodes", &vec!["a", "c"])
    })?;
    assert_ne!(hash, content_hash(&other.view(), &trees)?);
    let sizes = tree_sizes(&one)?;
    assert_eq!((sizes.peers, sizes.metrics), (4, 1300));
    assert_eq!(sizes.total(), 4 + 1300 + 1 + 1 + 1 + 1 + 2);
    Ok(())
}

#[test]
fn upkeep_is_noted_beside_what_was_noted_before() -> TestResult {
    let db = filled(true)?;
    assert_eq!(upkeep(&db.view())?.scrubbed_at, None);
    for (scrubbed, drilled) in [(Some(5), None), (None, Some(6))] {
        db.update(Durability::Buffered, |view, commit| {
            note_upkeep(view, commit, |upkeep| {
                upkeep.scrubbed_at = scrubbed.or(upkeep.scrubbed_at);
                upkeep.drilled_at = drilled.or(upkeep.drilled_at);
            })
        })?;
    }
    let noted = upkeep(&db.view())?;
    assert_eq!((noted.scrubbed_at, noted.drilled_at), (Some(5), Some(6)));
    let key = b"__upkeep__";
    let stored = storage_core::Read::get(&db.view(), TreeId::Schema, key)?;
    let record = record(TreeId::Schema, key, &stored.ok_or("nothing was noted")?)?;
    assert_eq!(record.value["drilled_at"], json!(6));
    Ok(())
}

#[test]
fn identity_shows_its_id_alone() -> TestResult {
    let db = filled(true)?;
    db.update(Durability::Buffered, |view, commit| {
        let id = identity::NodeId([7; 32]);
        identity::store(view, commit, now_ms(), &id, secrets::Stored::Plain(SECRET))
    })?;
    let kept = all(&db, TreeId::Identity)?;
    let text = serde_json::to_string(&kept)?;
    assert!(
        text.contains(&"07".repeat(32)) && !text.contains(str::from_utf8(SECRET)?),
        "{text}"
    );
    Ok(())
}
