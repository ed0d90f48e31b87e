//! What is true of every record by itself.

use serde::de::DeserializeOwned;
use storage_core::trees::audit_log;
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::config;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::identity;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::trees::secrets;
use storage_core::{
    CoreError, DecodeError, EpochNumber, Key, TextKey, TimestampKey, TreeId, decode_record,
};
use storage_schema::SchemaInfo;

use super::report::Code;

type Found = Vec<(Code, String)>;

/// The keys of the tree `schema`.
const SCHEMA_KEYS: [&[u8]; 9] = [
    crate::origin::KEY,
    crate::upkeep::KEY,
    crate::redact::KEY,
    b"__schema_version__",
    b"__migration__",
    audit_log::HEAD_KEY,
    b"__keyring__",
    b"__secrets_manifest__",
    b"__purge_needed__",
];

/// Everything that is wrong with one record.
pub(super) fn check(tree: TreeId, key: &[u8], frame: &[u8]) -> Found {
    let mut found = Found::new();
    if let Some(detail) = key_fault(tree, key) {
        found.push((Code::Key, detail));
    }
    let checked = match tree {
        TreeId::Schema => schema(key, frame, &mut found),
        TreeId::Identity => identity(key, frame, &mut found),
        TreeId::Peers => peer(key, frame, &mut found),
        TreeId::Metrics => metrics(key, frame, &mut found),
        TreeId::Epochs => epoch(key, frame, &mut found),
        TreeId::Config => config::check(key, frame),
        TreeId::Claims => claim(key, frame, &mut found),
        TreeId::Secrets => secrets::open(tree, key, frame).map(drop),
        TreeId::AuditLog => audit(key, frame, &mut found),
        _ => Ok(()),
    };
    if let Err(error) = checked {
        found.push(fault(&error));
    }
    found
}

fn key_fault(tree: TreeId, key: &[u8]) -> Option<String> {
    let checked = match tree {
        TreeId::Peers | TreeId::Config | TreeId::Secrets => TextKey::decode(key).map(drop),
        TreeId::Metrics | TreeId::AuditLog => TimestampKey::decode(key).map(drop),
        TreeId::Epochs | TreeId::Claims => EpochNumber::decode(key).map(drop),
        _ => Ok(()),
    };
    checked.err().map(|error| error.to_string())
}

/// Which of the two a record that cannot be read is: damaged around, or in itself.
fn fault(error: &CoreError) -> (Code, String) {
    let mut text = error.to_string();
    let mut code = Code::Decode;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(DecodeError::Frame(_)) = cause.downcast_ref() {
            code = Code::Frame;
        }
        text = cause.to_string();
        source = cause.source();
    }
    (code, text)
}

fn decode<T: DeserializeOwned>(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<T, CoreError> {
    decode_record(tree, key, frame)
}

fn schema(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    if !SCHEMA_KEYS.contains(&key) {
        found.push((Code::UnknownKey, "the tree has no such key".to_owned()));
    }
    if key == b"__schema_version__"
        && let Err(error) = decode::<SchemaInfo>(TreeId::Schema, key, frame)
    {
        found.push((Code::SchemaRecord, fault(&error).1));
    }
    if key == audit_log::HEAD_KEY {
        audit_log::open_head(frame)?;
    }
    Ok(())
}

fn identity(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let stored = secrets::open(TreeId::Identity, key, frame)?;
    let len = stored.bytes().len();
    match key {
        identity::NODE_ID if len != 32 => {
            found.push((Code::NodeId, format!("{len} bytes are not a node id")));
        }
        identity::NODE_ID | identity::ENCRYPTED_KEY => {}
        _ => found.push((Code::UnknownKey, "the tree has no such key".to_owned())),
    }
    Ok(())
}

fn peer(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let peer: StoredPeerInfo = decode(TreeId::Peers, key, frame)?;
    if peer.peer_id.as_bytes() != key {
        let detail = format!("the record is of {:?}", peer.peer_id);
        found.push((Code::PeerId, detail));
    }
    if peer.reputation > 100 {
        let detail = format!("{} is over 100", peer.reputation);
        found.push((Code::Reputation, detail));
    }
    if let Some(first) = peer.first_seen.filter(|first| *first > peer.last_seen) {
        let detail = format!("first seen at {first}, last at {}", peer.last_seen);
        found.push((Code::SeenOrder, detail));
    }
    Ok(())
}

fn metrics(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let sample: StoredMetrics = decode(TreeId::Metrics, key, frame)?;
    let usages = [sample.cpu_usage, sample.memory_usage];
    let is_finite = usages.iter().flatten().all(|usage| usage.is_finite());
    score(sample.quality_score, found);
    if !is_finite {
        found.push((Code::NotFinite, "a usage is not finite".to_owned()));
    }
    Ok(())
}

fn score(score: f64, found: &mut Found) {
    if !score.is_finite() {
        found.push((Code::NotFinite, format!("the score is {score}")));
    } else if !(0.0..=1.0).contains(&score) {
        let detail = format!("{score} is not between 0 and 1");
        found.push((Code::ScoreRange, detail));
    }
}

fn epoch(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let summary: StoredEpochSummary = decode(TreeId::Epochs, key, frame)?;
    if summary.epoch.to_be_bytes() != key {
        let detail = format!("the record is of epoch {}", summary.epoch);
        found.push((Code::EpochKey, detail));
    }
    if summary.end_time < summary.start_time {
        let (start, end) = (summary.start_time, summary.end_time);
        let detail = format!("it starts at {start} and ends at {end}");
        found.push((Code::EpochOrder, detail));
    }
    score(summary.quality_score, found);
    Ok(())
}

fn claim(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let claim: StoredClaim = decode(TreeId::Claims, key, frame)?;
    if claim.epoch.to_be_bytes() != key {
        let detail = format!("the record is of epoch {}", claim.epoch);
        found.push((Code::ClaimKey, detail));
    }
    Ok(())
}

fn audit(key: &[u8], frame: &[u8], found: &mut Found) -> Result<(), CoreError> {
    let entry = audit_log::open(key, frame)?;
    if entry.timestamp.to_be_bytes() != key {
        let detail = format!("the entry is of {}", entry.timestamp);
        found.push((Code::AuditTime, detail));
    }
    Ok(())
}
