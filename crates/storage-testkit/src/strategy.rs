//! Strategies for every record type and for keys, within what the trees accept and up to its edges.

use proptest::collection::vec;
use proptest::num;
use proptest::option;
use proptest::prelude::*;
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::identity::NodeId;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::{EpochNumber, MAX_NAME_LEN};

/// Any text: every Unicode scalar value, also controls, also none at all.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(any::<char>(), 0..24).prop_map(String::from_iter),
        1 => vec(any::<char>(), 1000..3000).prop_map(String::from_iter),
    ]
}

/// A name that a tree takes: mostly short, sometimes of the maximal length.
pub fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(any::<char>(), 1..24).prop_map(String::from_iter),
        1 => any::<char>().prop_map(|c| c.to_string().repeat(MAX_NAME_LEN / c.len_utf8())),
    ]
}

/// A time that can be a key: 1970 and later.
pub fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..=i64::MAX, 1 => Just(0), 1 => Just(i64::MAX)]
}

/// An epoch.
pub fn epoch() -> impl Strategy<Value = EpochNumber> {
    prop_oneof![8 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)].prop_map(EpochNumber)
}

/// The id of a node.
pub fn node_id() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

/// A number that is not NaN or infinite.
pub fn finite() -> impl Strategy<Value = f64> {
    num::f64::NORMAL
        | num::f64::SUBNORMAL
        | num::f64::ZERO
        | num::f64::POSITIVE
        | num::f64::NEGATIVE
}

fn finite_f32() -> impl Strategy<Value = f32> {
    num::f32::NORMAL
        | num::f32::SUBNORMAL
        | num::f32::ZERO
        | num::f32::POSITIVE
        | num::f32::NEGATIVE
}

/// A peer under any name.
pub fn peer() -> impl Strategy<Value = StoredPeerInfo> {
    name().prop_flat_map(peer_of)
}

/// A peer of this id.
pub fn peer_of(peer_id: String) -> impl Strategy<Value = StoredPeerInfo> {
    let contact = (
        vec(text(), 0..4),
        any::<i64>(),
        any::<Option<u32>>(),
        any::<u32>(),
        any::<bool>(),
    );
    let standing = (
        0..=100u8,
        option::of(text()),
        option::of(vec(text(), 0..4)),
        any::<Option<i64>>(),
        any::<Option<i64>>(),
        any::<u32>(),
    );
    (contact, standing).prop_map(move |(contact, standing)| {
        let (addresses, last_seen, avg_latency_ms, connection_count, is_bootstrap) = contact;
        let (reputation, protocol_version, capabilities, first_seen, last_failure, failure_count) =
            standing;
        StoredPeerInfo {
            peer_id: peer_id.clone(),
            addresses,
            last_seen,
            avg_latency_ms,
            connection_count,
            is_bootstrap,
            reputation,
            protocol_version,
            capabilities,
            first_seen,
            last_failure,
            failure_count,
        }
    })
}

/// A sample.
pub fn metrics() -> impl Strategy<Value = StoredMetrics> {
    let requests = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let node = (
        any::<usize>(),
        finite(),
        any::<u64>(),
        option::of(finite_f32()),
        option::of(finite_f32()),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
    );
    (requests, node).prop_map(|(requests, node)| {
        let (total_requests, successful_requests, error_count, avg_latency_ms) = requests;
        let (peer_count, quality_score, uptime_secs, cpu_usage, memory_usage, sent, received) =
            node;
        StoredMetrics {
            total_requests,
            successful_requests,
            error_count,
            avg_latency_ms,
            peer_count,
            quality_score,
            uptime_secs,
            cpu_usage,
            memory_usage,
            network_bytes_sent: sent,
            network_bytes_received: received,
        }
    })
}

/// The summary of this epoch.
pub fn epoch_summary_of(epoch: EpochNumber) -> impl Strategy<Value = StoredEpochSummary> {
    (
        any::<i64>(),
        any::<i64>(),
        any::<u128>(),
        any::<u128>(),
        finite(),
        any::<bool>(),
        any::<u32>(),
    )
        .prop_map(
            move |(
                start_time,
                end_time,
                total_emission,
                our_reward,
                score,
                participated,
                streak,
            )| {
                StoredEpochSummary {
                    epoch: epoch.0,
                    start_time,
                    end_time,
                    total_emission,
                    our_reward,
                    quality_score: score,
                    participated,
                    streak,
                }
            },
        )
}

/// The claim of this epoch.
pub fn claim_of(epoch: EpochNumber) -> impl Strategy<Value = StoredClaim> {
    (any::<u128>(), any::<i64>(), option::of(text()), text()).prop_map(
        move |(amount, claimed_at, tx_hash, claimant)| StoredClaim {
            epoch: epoch.0,
            amount,
            claimed_at,
            tx_hash,
            claimant,
        },
    )
}
