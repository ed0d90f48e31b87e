//! Records of schema 1, the first implementation, in bincode. Frozen.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SchemaInfoV1 {
    pub(crate) version: u32,
    pub(crate) created_at: i64,
    pub(crate) last_migration: Option<i64>,
    pub(crate) migrations_applied: Vec<MigrationRecordV1>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MigrationRecordV1 {
    pub(crate) from_version: u32,
    pub(crate) to_version: u32,
    pub(crate) applied_at: i64,
    pub(crate) duration_ms: u64,
    pub(crate) success: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredPeerInfoV1 {
    pub(crate) peer_id: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) last_seen: i64,
    pub(crate) avg_latency_ms: Option<u32>,
    pub(crate) connection_count: u32,
    pub(crate) is_bootstrap: bool,
    pub(crate) reputation: u8,
    pub(crate) protocol_version: Option<String>,
    pub(crate) capabilities: Option<Vec<String>>,
    pub(crate) first_seen: Option<i64>,
    pub(crate) last_failure: Option<i64>,
    pub(crate) failure_count: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredMetricsV1 {
    pub(crate) total_requests: u64,
    pub(crate) successful_requests: u64,
    pub(crate) error_count: u64,
    pub(crate) avg_latency_ms: u32,
    pub(crate) peer_count: u64,
    pub(crate) quality_score: f64,
    pub(crate) uptime_secs: u64,
    pub(crate) cpu_usage: Option<f32>,
    pub(crate) memory_usage: Option<f32>,
    pub(crate) network_bytes_sent: Option<u64>,
    pub(crate) network_bytes_received: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredEpochSummaryV1 {
    pub(crate) epoch: u64,
    pub(crate) start_time: i64,
    pub(crate) end_time: i64,
    pub(crate) total_emission: u128,
    pub(crate) our_reward: u128,
    pub(crate) quality_score: f64,
    pub(crate) participated: bool,
    pub(crate) streak: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredClaimV1 {
    pub(crate) epoch: u64,
    pub(crate) amount: u128,
    pub(crate) claimed_at: i64,
    pub(crate) tx_hash: Option<String>,
    pub(crate) claimant: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AuditLogEntryV1 {
    pub(crate) timestamp: i64,
    pub(crate) tree: String,
    pub(crate) operation: String,
    pub(crate) details: Option<String>,
}
