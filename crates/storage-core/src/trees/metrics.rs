//! `metrics`: samples of this node by Unix second, one a second.

use serde::{Deserialize, Serialize};

use crate::batch::{self, Entries};
use crate::commit::Commit;
use crate::db::{Db, Durability};
use crate::error::{CoreError, RecordError};
use crate::key::TimestampKey;
use crate::tree::{Tree, TreeId};
use crate::view::{Order, Read};

const METRICS: Tree<TimestampKey, StoredMetrics> = Tree::new(TreeId::Metrics);

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredMetrics {
    /// Requests served since the node started.
    pub total_requests: u64,
    /// Those that succeeded.
    pub successful_requests: u64,
    /// Those that failed.
    pub error_count: u64,
    /// Mean time of a request in milliseconds.
    pub avg_latency_ms: u32,
    /// Known peers.
    pub peer_count: usize,
    /// The node's quality, from 0 to 1.
    pub quality_score: f64,
    /// Seconds since the host started, as the daemon has it.
    pub uptime_secs: u64,
    /// CPU in use, in percent of all cores.
    pub cpu_usage: Option<f32>,
    /// Memory in use, in percent.
    pub memory_usage: Option<f32>,
    /// Bytes sent over the network since its interfaces are up, without the loopback.
    pub network_bytes_sent: Option<u64>,
    /// Bytes received, likewise.
    pub network_bytes_received: Option<u64>,
}

fn entry(
    timestamp: i64,
    metrics: &StoredMetrics,
    compress: bool,
) -> Result<(Vec<u8>, Vec<u8>), CoreError> {
    let finite = |usage: Option<f32>| usage.is_none_or(f32::is_finite);
    let field = if !metrics.quality_score.is_finite() {
        "quality_score"
    } else if !finite(metrics.cpu_usage) {
        "cpu_usage"
    } else if !finite(metrics.memory_usage) {
        "memory_usage"
    } else {
        return METRICS.entry(&timestamp, metrics, compress);
    };
    Err(CoreError::Record {
        tree: TreeId::Metrics,
        key: timestamp.to_string(),
        source: RecordError::NotFinite { field },
    })
}

/// Puts the sample of a second, in place of an earlier one of that second.
///
/// # Errors
///
/// [`CoreError::Key`] for a time before 1970, [`CoreError::Record`] for NaN or infinity.
pub fn store(
    commit: &mut Commit,
    timestamp: i64,
    metrics: &StoredMetrics,
) -> Result<(), CoreError> {
    let (key, frame) = entry(timestamp, metrics, commit.compression())?;
    commit.put_sample((timestamp, metrics.clone()), key, frame);
    Ok(())
}

fn encode(samples: &[(i64, StoredMetrics)], compress: bool) -> Result<Entries, CoreError> {
    let entry = |(key, record): &(i64, StoredMetrics)| entry(*key, record, compress);
    samples.iter().map(entry).collect()
}

/// Puts many samples into one commit; returns how many were given.
///
/// # Errors
///
/// As [`store`], for the first bad one; then nothing is in the commit.
pub fn store_all(
    commit: &mut Commit,
    samples: &[(i64, StoredMetrics)],
) -> Result<usize, CoreError> {
    let entries = encode(samples, commit.compression())?;
    for ((key, frame), sample) in entries.into_iter().zip(samples) {
        commit.put_sample(sample.clone(), key, frame);
    }
    Ok(samples.len())
}

/// Stores many samples in chunks; returns how many were given. Every one is checked before the
/// first is written.
///
/// # Errors
///
/// As [`store`], with nothing written; [`CoreError::Batch`] once writing began.
pub fn store_batch(db: &Db, samples: &[(i64, StoredMetrics)]) -> Result<usize, CoreError> {
    let entries = encode(samples, db.compression())?;
    batch::apply(db, Durability::Buffered, TreeId::Metrics, entries)
}

/// The samples from `start` to `end`, both included, oldest first.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn range(
    from: &dyn Read,
    start: i64,
    end: i64,
) -> Result<Vec<(i64, StoredMetrics)>, CoreError> {
    let mut samples = Vec::new();
    let (start, end) = since_1970(start, end);
    let order = Order::Ascending;
    METRICS.scan(
        from,
        Some(&start),
        Some(&end),
        order,
        |TimestampKey(time), metrics| {
            samples.push((time, metrics));
            true
        },
    )?;
    Ok(samples)
}

/// [`range`] of what `db` holds now. The newest samples are kept decoded, and not read again.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn load_range(db: &Db, start: i64, end: i64) -> Result<Vec<(i64, StoredMetrics)>, CoreError> {
    let (start, end) = since_1970(start, end);
    db.samples(start, end)
}

/// [`latest`] of what `db` holds now, as [`load_range`].
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn load_latest(db: &Db, count: usize) -> Result<Vec<(i64, StoredMetrics)>, CoreError> {
    db.newest_samples(count)
}

/// Iterates from `start` to `end`, both included, oldest first, a page at a time, as
/// [`Tree::iter`].
pub fn iter(
    db: &Db,
    start: i64,
    end: i64,
) -> impl Iterator<Item = Result<(i64, StoredMetrics), CoreError>> {
    let (start, end) = since_1970(start, end);
    let samples = METRICS.iter(db, Some(&start), Some(&end));
    samples.map(|sample| sample.map(|(TimestampKey(time), metrics)| (time, metrics)))
}

/// The newest `count` samples, oldest first.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn latest(from: &dyn Read, count: usize) -> Result<Vec<(i64, StoredMetrics)>, CoreError> {
    latest_through(from, None, count)
}

/// The newest `count` samples that are not later than `end`.
pub(crate) fn latest_through(
    from: &dyn Read,
    end: Option<i64>,
    count: usize,
) -> Result<Vec<(i64, StoredMetrics)>, CoreError> {
    let mut samples = Vec::new();
    METRICS.scan(
        from,
        None,
        end.as_ref(),
        Order::Descending,
        |TimestampKey(time), metrics| {
            if samples.len() < count {
                samples.push((time, metrics));
            }
            samples.len() < count
        },
    )?;
    samples.reverse();
    Ok(samples)
}

/// The part of a range that can hold samples: none is before 1970. A range that ends before it is
/// empty, as a reversed one is.
fn since_1970(start: i64, end: i64) -> (i64, i64) {
    if end < 0 { (1, 0) } else { (start.max(0), end) }
}
