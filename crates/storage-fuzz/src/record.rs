//! A value of the index, as a record of its tree.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage_core::trees::audit_log;
use storage_core::trees::claims::{self, StoredClaim};
use storage_core::trees::config;
use storage_core::trees::epochs::{self, StoredEpochSummary};
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::trees::{identity, secrets};
use storage_core::{
    CoreError, Db, Durability, Encoding, EpochNumber, TreeId, decode_record, seal_frame,
};
use storage_ops::VerifyOptions;
use storage_schema::SchemaInfo;

use crate::disk::{NOW_MS, dump, options};
use crate::frame::{input_of, placed};
use crate::input::{Input, MENDED};

pub(crate) fn run(data: &[u8]) {
    let Some((tree, key, frame)) = Input::of(data).and_then(|mut input| placed(&mut input)) else {
        return;
    };
    match tree {
        TreeId::Peers => encodes_again::<StoredPeerInfo>(tree, key, &frame),
        TreeId::Metrics => encodes_again::<StoredMetrics>(tree, key, &frame),
        TreeId::Epochs => encodes_again::<StoredEpochSummary>(tree, key, &frame),
        TreeId::Claims => encodes_again::<StoredClaim>(tree, key, &frame),
        TreeId::Schema => encodes_again::<SchemaInfo>(tree, key, &frame),
        TreeId::Config => {
            let read = config::read::<serde_json::Value>(key, &frame);
            assert!(
                read.is_err() || config::check(key, &frame).is_ok(),
                "a value is one"
            );
        }
        _ => {}
    }
    in_a_database(tree, key, &frame).expect("a database in memory");
}

/// A record that was decoded is written so that it decodes to the same.
fn encodes_again<T: Serialize + DeserializeOwned>(tree: TreeId, key: &[u8], frame: &[u8]) {
    let Ok(record) = decode_record::<T>(tree, key, frame) else {
        return;
    };
    let body = postcard::to_allocvec(&record).expect("a record has a form");
    let sealed = seal_frame(
        tree,
        key,
        Encoding::Postcard,
        tree.record_version(),
        &body,
        true,
    );
    let Ok(sealed) = sealed else {
        return;
    };
    let again: T = decode_record(tree, key, &sealed).expect("what was sealed decodes");
    // Compared as bytes: a number that is none is not equal to itself.
    assert_eq!(postcard::to_allocvec(&again), Ok(body));
}

/// What does not decode is found by verification, whatever it is, and everything that reads it says so.
fn in_a_database(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<(), CoreError> {
    let db = Db::in_memory(&options())?;
    db.update(Durability::Buffered, |_, commit| {
        commit.put(tree, key.to_vec(), frame.to_vec());
        Ok::<_, CoreError>(())
    })?;
    let shown = storage_ops::record(tree, key, frame);
    if let Ok(shown) = &shown {
        assert!(
            serde_json::to_string(&shown.value).is_ok(),
            "it has a form as text"
        );
    }
    let mut how = VerifyOptions::default();
    how.tree = Some(tree);
    let report = storage_ops::verify(&db, &how)?;
    assert!(
        shown.is_ok() || !report.findings.is_empty(),
        "damage that is not found"
    );
    let view = db.view();
    // Any of these may be an error; none is a panic.
    let _any = (
        (
            peers::list(&db),
            metrics::latest(&view, 2),
            claims::list(&view),
        ),
        (
            epochs::latest(&view),
            config::names(&view),
            identity::node_id(&view),
        ),
        (
            secrets::names(&view),
            audit_log::latest(&view, 2),
            audit_log::head(&view),
        ),
        (storage_schema::recorded(&view), storage_ops::origin(&view)),
        (
            storage_ops::upkeep(&view),
            storage_ops::plain_secrets(&view),
        ),
    );
    Ok(())
}

/// A record of each tree, as its module writes it.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let db = sample().expect("a database in memory");
    let state = dump(&db).expect("a database in memory");
    let frames = state
        .iter()
        .flat_map(|((tree, key), frame)| [0, MENDED].map(|mode| input_of(mode, *tree, key, frame)));
    frames.collect()
}

/// A database with something in each tree.
pub(crate) fn sample() -> Result<Db, CoreError> {
    let mut options = options();
    options.path = PathBuf::from("memory");
    let db = Db::in_memory(&options)?;
    fill(&db)?;
    Ok(db)
}

/// Puts something into each tree.
pub(crate) fn fill(db: &Db) -> Result<(), CoreError> {
    db.update(Durability::Durable, |view, commit| {
        // As `SchemaInfo`, which only its crate makes.
        let schema = (
            2_u32,
            NOW_MS / 1000,
            None::<i64>,
            [(1_u32, 2_u32, 0_i64, 3_u64, true)].to_vec(),
        );
        let body = postcard::to_allocvec(&schema).unwrap_or_default();
        let (tree, key) = (TreeId::Schema, b"__schema_version__");
        let frame = seal_frame(tree, key, Encoding::Postcard, 2, &body, true)?;
        commit.put(tree, key.to_vec(), frame);
        let peer = StoredPeerInfo {
            peer_id: "peer-1".to_owned(),
            addresses: vec!["192.0.2.1:9000".to_owned(); 9],
            avg_latency_ms: Some(7),
            last_failure: Some(NOW_MS / 1000),
            ..Default::default()
        };
        peers::store(commit, "peer-1", &peer)?;
        let sample = StoredMetrics {
            total_requests: 1000,
            ..Default::default()
        };
        metrics::store(commit, NOW_MS / 1000, &sample)?;
        let epoch = StoredEpochSummary {
            epoch: 3,
            ..Default::default()
        };
        epochs::store(commit, EpochNumber(3), &epoch)?;
        let claim = StoredClaim {
            epoch: 3,
            amount: u128::MAX,
            tx_hash: Some("0xab".to_owned()),
            ..Default::default()
        };
        claims::store(view, commit, NOW_MS, EpochNumber(3), &claim)?;
        config::store(commit, "nodes", &vec!["a", "b"])?;
        config::store(commit, "limits", &(1_u8, -2.5_f64, Some("text")))?;
        config::store(commit, "large", &(u64::MAX, true, i64::MIN))
    })?;
    Ok(())
}
