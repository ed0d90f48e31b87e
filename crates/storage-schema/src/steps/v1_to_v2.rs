//! Schema 1 to 2: the bare bincode of the first implementation to framed values. Frozen.
//!
//! A peer without `protocol_version` gets "1.0.0". Config values cannot be decoded without their type,
//! so their bytes are kept, marked as bincode, and decoded when they are loaded. Secrets and the
//! identity are the caller's bytes before and after.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage_core::{Encoding, EpochNumber, Key, TextKey, TimestampKey, TreeId, bincode};
use storage_core::{open_frame, seal_frame};

use crate::shapes::v1::{
    AuditLogEntryV1, StoredClaimV1, StoredEpochSummaryV1, StoredMetricsV1, StoredPeerInfoV1,
};
use crate::shapes::v2::{
    AuditLogEntryV2, StoredClaimV2, StoredEpochSummaryV2, StoredMetricsV2, StoredPeerInfoV2,
};
use crate::step::{Conversion, Step, Stored};

/// The version of the records that this step writes.
const RECORD_VERSION: u8 = 2;
const PROTOCOL_VERSION: &str = "1.0.0";

#[derive(Debug)]
pub(crate) struct V1ToV2;

const TREES: [TreeId; 8] = [
    TreeId::Identity,
    TreeId::Claims,
    TreeId::Secrets,
    TreeId::Config,
    TreeId::Epochs,
    TreeId::AuditLog,
    TreeId::Metrics,
    TreeId::Peers,
];

impl Step for V1ToV2 {
    fn starts_at(&self) -> u32 {
        1
    }

    fn ends_at(&self) -> u32 {
        2
    }

    fn trees(&self) -> &[TreeId] {
        &TREES
    }

    fn convert(&self, record: Stored<'_>, compress: bool) -> Conversion {
        let converted = convert(record).and_then(|(encoding, body)| {
            let compress = compress && encoding != Encoding::Raw;
            let Stored { tree, key, .. } = record;
            seal_frame(tree, key, encoding, RECORD_VERSION, &body, compress).map_err(text)
        });
        match converted {
            Ok(value) => Conversion::Put(value),
            Err(reason) => Conversion::Quarantine(reason),
        }
    }

    fn check(&self, record: Stored<'_>) -> Result<(), String> {
        let frame = open_frame(record.tree, record.key, record.value).map_err(text)?;
        let body = &frame.body;
        match record.tree {
            TreeId::Peers => read::<StoredPeerInfoV2>(body),
            TreeId::Metrics => read::<StoredMetricsV2>(body),
            TreeId::Epochs => read::<StoredEpochSummaryV2>(body),
            TreeId::Claims => read::<StoredClaimV2>(body),
            TreeId::AuditLog => read::<AuditLogEntryV2>(body),
            _ => Ok(()),
        }
    }
}

fn convert(Stored { tree, key, value }: Stored<'_>) -> Result<(Encoding, Vec<u8>), String> {
    match tree {
        TreeId::Identity => identity(key, value),
        TreeId::Peers => {
            TextKey::decode(key).map_err(text)?;
            write(&StoredPeerInfoV2::from(peer(value)?))
        }
        TreeId::Metrics => {
            TimestampKey::decode(key).map_err(text)?;
            write(&StoredMetricsV2::from(decode::<StoredMetricsV1>(value)?))
        }
        TreeId::Epochs => {
            EpochNumber::decode(key).map_err(text)?;
            let summary = decode::<StoredEpochSummaryV1>(value)?;
            write(&StoredEpochSummaryV2::from(summary))
        }
        TreeId::Claims => {
            EpochNumber::decode(key).map_err(text)?;
            write(&StoredClaimV2::from(decode::<StoredClaimV1>(value)?))
        }
        TreeId::AuditLog => {
            TimestampKey::decode(key).map_err(text)?;
            write(&AuditLogEntryV2::from(decode::<AuditLogEntryV1>(value)?))
        }
        TreeId::Config => {
            TextKey::decode(key).map_err(text)?;
            Ok((Encoding::Bincode, value.to_vec()))
        }
        TreeId::Secrets => {
            TextKey::decode(key).map_err(text)?;
            Ok((Encoding::Raw, value.to_vec()))
        }
        _ => Err("schema 1 has no such tree".to_owned()),
    }
}

fn identity(key: &[u8], value: &[u8]) -> Result<(Encoding, Vec<u8>), String> {
    match key {
        b"node_id" if value.len() == 32 => Ok((Encoding::Raw, value.to_vec())),
        b"node_id" => Err(format!("{} bytes are not a node id", value.len())),
        b"encrypted_key" => Ok((Encoding::Raw, value.to_vec())),
        _ => Err("schema 1 has no such key".to_owned()),
    }
}

/// bincode, or JSON: the first implementation's own step wrote that back.
fn peer(value: &[u8]) -> Result<StoredPeerInfoV1, String> {
    decode(value).or_else(|reason| {
        if value.first() == Some(&b'{') {
            serde_json::from_slice(value).map_err(text)
        } else {
            Err(reason)
        }
    })
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    bincode::decode(value).map_err(text)
}

fn write<T: Serialize>(record: &T) -> Result<(Encoding, Vec<u8>), String> {
    let body = postcard::to_allocvec(record).map_err(text)?;
    Ok((Encoding::Postcard, body))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<(), String> {
    match postcard::take_from_bytes::<T>(body) {
        Ok((_, [])) => Ok(()),
        Ok((_, rest)) => Err(format!("{} bytes follow the record", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

impl From<StoredPeerInfoV1> for StoredPeerInfoV2 {
    fn from(old: StoredPeerInfoV1) -> Self {
        let protocol_version = old.protocol_version;
        Self {
            peer_id: old.peer_id,
            addresses: old.addresses,
            last_seen: old.last_seen,
            avg_latency_ms: old.avg_latency_ms,
            connection_count: old.connection_count,
            is_bootstrap: old.is_bootstrap,
            reputation: old.reputation,
            protocol_version: protocol_version.or_else(|| Some(PROTOCOL_VERSION.to_owned())),
            capabilities: old.capabilities,
            first_seen: old.first_seen,
            last_failure: old.last_failure,
            failure_count: old.failure_count,
        }
    }
}

impl From<StoredMetricsV1> for StoredMetricsV2 {
    fn from(old: StoredMetricsV1) -> Self {
        Self {
            total_requests: old.total_requests,
            successful_requests: old.successful_requests,
            error_count: old.error_count,
            avg_latency_ms: old.avg_latency_ms,
            peer_count: old.peer_count,
            quality_score: old.quality_score,
            uptime_secs: old.uptime_secs,
            cpu_usage: old.cpu_usage,
            memory_usage: old.memory_usage,
            network_bytes_sent: old.network_bytes_sent,
            network_bytes_received: old.network_bytes_received,
        }
    }
}

impl From<StoredEpochSummaryV1> for StoredEpochSummaryV2 {
    fn from(old: StoredEpochSummaryV1) -> Self {
        Self {
            epoch: old.epoch,
            start_time: old.start_time,
            end_time: old.end_time,
            total_emission: old.total_emission,
            our_reward: old.our_reward,
            quality_score: old.quality_score,
            participated: old.participated,
            streak: old.streak,
        }
    }
}

impl From<StoredClaimV1> for StoredClaimV2 {
    fn from(old: StoredClaimV1) -> Self {
        Self {
            epoch: old.epoch,
            amount: old.amount,
            claimed_at: old.claimed_at,
            tx_hash: old.tx_hash,
            claimant: old.claimant,
        }
    }
}

impl From<AuditLogEntryV1> for AuditLogEntryV2 {
    fn from(old: AuditLogEntryV1) -> Self {
        Self {
            timestamp: old.timestamp,
            tree: old.tree,
            operation: old.operation,
            details: old.details,
        }
    }
}
