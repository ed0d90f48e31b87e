//! Samples of this host, stored once an interval.

use std::sync::Arc;
use std::time::Duration;

use nonos_storage::{NodeStorage, NonosResult, StoredMetrics};
use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, Networks, System};
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::error::CliError;

/// Samples over and over; one that cannot be stored is logged.
///
/// The first sample comes as soon as a CPU load can be told, so that a node with a long interval
/// shows one soon.
pub(crate) async fn run(storage: Arc<NodeStorage>, every: Duration) -> Result<(), CliError> {
    let mut host = Host::new().map_err(|source| CliError::Host { source })?;
    let first = tokio::time::Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL.min(every);
    let mut ticks = interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let storage = Arc::clone(&storage);
        let sampled = tokio::task::spawn_blocking(move || {
            let stored = sample(&mut host, &storage);
            (host, stored)
        });
        let (back, stored) = sampled.await.map_err(|source| CliError::Task { source })?;
        host = back;
        if let Err(error) = stored {
            tracing::error!(%error, "this sample was not stored");
        }
    }
}

fn sample(host: &mut Host, storage: &NodeStorage) -> NonosResult<()> {
    let metrics = host.sample(storage.count_peers()?);
    let time = OffsetDateTime::now_utc().unix_timestamp();
    storage.store_metrics(time, &metrics)?;
    tracing::debug!(
        time,
        cpu = metrics.cpu_usage,
        memory = metrics.memory_usage,
        "sample"
    );
    Ok(())
}

/// This machine.
#[derive(Debug)]
struct Host {
    system: System,
    networks: Networks,
}

impl Host {
    fn new() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        // A CPU load is the difference of two readings; this is the first.
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        Ok(Self {
            system,
            networks: Networks::new_with_refreshed_list()?,
        })
    }

    /// A sample. This daemon serves no requests yet, so those fields and the score are 0.
    fn sample(&mut self, peer_count: usize) -> StoredMetrics {
        let cpu = CpuRefreshKind::nothing().with_usage();
        self.system.refresh_cpu_specifics(cpu);
        let ram = MemoryRefreshKind::nothing().with_ram();
        self.system.refresh_memory_specifics(ram);
        self.networks.refresh(true);
        let real = || self.networks.iter().filter(|(name, _)| *name != "lo");
        StoredMetrics {
            peer_count,
            uptime_secs: System::uptime().unwrap_or_default(),
            cpu_usage: Some(self.system.global_cpu_usage()).filter(|usage| usage.is_finite()),
            memory_usage: percent(self.system.used_memory(), self.system.total_memory()),
            network_bytes_sent: Some(real().map(|(_, n)| n.total_transmitted()).sum()),
            network_bytes_received: Some(real().map(|(_, n)| n.total_received()).sum()),
            ..StoredMetrics::default()
        }
    }
}

#[expect(clippy::as_conversions, reason = "u64 to f32 has no other conversion")]
#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no more than 24 bits"
)]
fn percent(part: u64, whole: u64) -> Option<f32> {
    (whole > 0).then(|| 100.0 * (part as f32 / whole as f32))
}
