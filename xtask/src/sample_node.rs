//! A node with a month behind it: to look at the page, or at lists, with something on them.

use std::f64::consts::TAU;
use std::path::PathBuf;

use nonos_storage::{
    EpochNumber, NodeStorage, StorageConfig, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo,
};

use crate::{Error, failed};

const DAYS: i32 = 30;
const MINUTES: i32 = DAYS * 24 * 60;

/// Fills the database of a data directory, which `nonos init` made or nobody did.
pub(crate) fn run(directory: Option<&str>) -> Result<bool, Error> {
    let directory = directory.ok_or_else(|| failed("name a data directory"))?;
    let storage = NodeStorage::open(StorageConfig {
        path: PathBuf::from(directory).join("data.sled"),
        ..StorageConfig::default()
    })?;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let samples: Vec<_> = (0..MINUTES).map(|minute| sample(now, minute)).collect();
    for batch in samples.chunks(1000) {
        storage.store_metrics_batch(batch)?;
    }
    let peers: Vec<_> = (0..400_u32).map(|number| peer(now, number)).collect();
    storage.store_peers_batch(&peers)?;
    for epoch in 1..=4_u32 {
        let number = EpochNumber(u64::from(epoch));
        let end = now - i64::from(4 - epoch) * 7 * 86_400;
        let summary = StoredEpochSummary {
            epoch: number.0,
            start_time: end - 7 * 86_400,
            end_time: end,
            total_emission: 1_000_000_000_000_000_000,
            our_reward: 1_234_000_000_000_000,
            quality_score: 0.97,
            participated: true,
            streak: epoch,
        };
        storage.store_epoch(number, &summary)?;
        let claim = StoredClaim {
            epoch: number.0,
            amount: summary.our_reward,
            claimed_at: end,
            claimant: "0x00000000000000000000000000000000000000aa".to_owned(),
            ..StoredClaim::default()
        };
        storage.store_claim(number, &claim)?;
    }
    storage.close()?;
    println!("{DAYS} days of samples are in {directory}");
    Ok(true)
}

/// Days with a busy evening, a weekly rhythm, an hour without power.
fn sample(now: i64, minute: i32) -> (i64, StoredMetrics) {
    let at = f64::from(minute);
    let day = (at / 1440.0 * TAU).sin();
    let week = (at / 10_080.0 * TAU).sin();
    let noise = f64::from(minute.wrapping_mul(7919) % 97) / 97.0;
    let cpu = 22.0 + 14.0 * day + 6.0 * week + 9.0 * noise;
    let count = |number: f64| u64::try_from(number_of(number)).unwrap_or(0);
    let metrics = StoredMetrics {
        total_requests: count(at * 40.0 + 4000.0 * day),
        cpu_usage: Some(narrow(cpu)),
        memory_usage: Some(narrow(48.0 + 5.0 * week + at / 8000.0)),
        quality_score: 0.9 + 0.08 * day * noise,
        network_bytes_sent: Some(count(at * 9e5 + 3e8 * (day + 1.0))),
        network_bytes_received: Some(count(at * 2e6 + 5e8 * (week + 1.0))),
        peer_count: 400,
        ..StoredMetrics::default()
    };
    (now - i64::from(MINUTES - minute) * 60, metrics)
}

fn peer(now: i64, number: u32) -> (String, StoredPeerInfo) {
    let id = format!("12D3KooW{number:036}");
    let peer = StoredPeerInfo {
        peer_id: id.clone(),
        addresses: vec![format!(
            "/ip4/10.0.{}.{}/tcp/9000",
            number / 200,
            number % 200
        )],
        last_seen: now - i64::from(number) * 97,
        avg_latency_ms: Some(20 + number % 180),
        ..StoredPeerInfo::default()
    };
    (id, peer)
}

#[expect(clippy::as_conversions, reason = "f64 to i64 has no other conversion")]
#[expect(clippy::cast_possible_truncation, reason = "sample data")]
fn number_of(number: f64) -> i64 {
    number as i64
}

#[expect(clippy::as_conversions, reason = "f64 to f32 has no other conversion")]
#[expect(clippy::cast_possible_truncation, reason = "sample data")]
fn narrow(number: f64) -> f32 {
    number as f32
}
