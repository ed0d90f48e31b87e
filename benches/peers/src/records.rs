//! The records that all engines store: the library's own types, the same values in every run.

use nonos_storage::{StoredMetrics, StoredPeerInfo};

pub(crate) type Peer = (String, StoredPeerInfo);
pub(crate) type Sample = (i64, StoredMetrics);

/// When the first sample was taken.
const BEGIN: i64 = 1_770_000_000;

const CAPABILITIES: [&str; 4] = ["relay", "storage", "metrics", "exit"];

/// Spreads numbers over all of 64 bits, one to one.
pub(crate) fn mixed(number: usize) -> u64 {
    let mut mixed = u64::try_from(number).unwrap_or(u64::MAX);
    mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The id of a peer: as long as one of libp2p, and as little in order.
pub(crate) fn peer_id(number: usize) -> String {
    format!("12D3KooW{:016x}{number:028}", mixed(number))
}

/// The peer of this number, as it is after so many changes.
pub(crate) fn peer(number: usize, changes: u32) -> Peer {
    let peer_id = peer_id(number);
    let at = mixed(number);
    let host = format!("/ip4/10.{}.{}.{}", at % 251, at % 241, at % 239);
    let last_seen = BEGIN + i64::from(changes) + i64::try_from(at % 1_000_000).unwrap_or(0);
    let peer = StoredPeerInfo {
        peer_id: peer_id.clone(),
        addresses: vec![
            format!("{host}/tcp/9000"),
            format!("{host}/udp/9000/quic-v1"),
        ],
        last_seen,
        avg_latency_ms: Some(40 + changes % 200),
        connection_count: changes,
        capabilities: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        first_seen: Some(BEGIN),
        last_failure: Some(last_seen - 3_600),
        ..StoredPeerInfo::default()
    };
    (peer_id, peer)
}

/// When the sample of this number was taken.
pub(crate) fn time(number: usize) -> i64 {
    BEGIN + i64::try_from(number).unwrap_or(0)
}

/// The sample of this number. Its counters are as large as they get: nothing of it compresses well.
pub(crate) fn sample(number: usize) -> Sample {
    let large = |salt: usize| mixed(number ^ (salt << 40)) >> 1;
    let metrics = StoredMetrics {
        total_requests: large(1),
        successful_requests: large(2),
        error_count: large(3),
        avg_latency_ms: 40,
        peer_count: 5_000,
        quality_score: 0.997,
        uptime_secs: large(4),
        cpu_usage: Some(12.5),
        memory_usage: Some(48.25),
        network_bytes_sent: Some(large(5)),
        network_bytes_received: Some(large(6)),
    };
    (time(number), metrics)
}

/// The same sequence of numbers below `bound` in every run.
pub(crate) fn any(bound: usize) -> impl Iterator<Item = usize> {
    let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
    (0_usize..).map(move |step| usize::try_from(mixed(step) % bound).unwrap_or(0))
}
