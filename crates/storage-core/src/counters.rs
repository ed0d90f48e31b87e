//! What a process did with its database, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the database was opened.
#[derive(Debug, Default)]
pub struct StorageMetrics {
    /// Reads by key, found or not, and records read in ranges, from the cache or from the index.
    /// Reads inside the closure of `update` are a part of the write.
    pub reads: AtomicU64,
    /// Records put by commits that were applied. Audit entries count as well.
    pub writes: AtomicU64,
    /// Records removed by commits that were applied.
    pub deletes: AtomicU64,
    /// Times that the database was made durable on disk.
    pub flushes: AtomicU64,
    /// Bytes of keys and stored values read from the index. Hits of the cache, and samples that are kept decoded, read
    /// none.
    pub read_bytes: AtomicU64,
    /// Bytes of keys and stored values put by commits that were applied.
    pub write_bytes: AtomicU64,
    /// Operations that ended with an error.
    pub errors: AtomicU64,
    /// Reads by key that the cache of records answered.
    pub cache_hits: AtomicU64,
    /// Reads by key that a cached tree had to get from the index.
    pub cache_misses: AtomicU64,
}

impl StorageMetrics {
    /// The counters now, each by itself.
    pub fn snapshot(&self) -> StorageMetricsSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StorageMetricsSnapshot {
            reads: get(&self.reads),
            writes: get(&self.writes),
            deletes: get(&self.deletes),
            flushes: get(&self.flushes),
            read_bytes: get(&self.read_bytes),
            write_bytes: get(&self.write_bytes),
            errors: get(&self.errors),
            cache_hits: get(&self.cache_hits),
            cache_misses: get(&self.cache_misses),
        }
    }
}

/// [`StorageMetrics`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageMetricsSnapshot {
    /// See [`StorageMetrics::reads`].
    pub reads: u64,
    /// See [`StorageMetrics::writes`].
    pub writes: u64,
    /// See [`StorageMetrics::deletes`].
    pub deletes: u64,
    /// See [`StorageMetrics::flushes`].
    pub flushes: u64,
    /// See [`StorageMetrics::read_bytes`].
    pub read_bytes: u64,
    /// See [`StorageMetrics::write_bytes`].
    pub write_bytes: u64,
    /// See [`StorageMetrics::errors`].
    pub errors: u64,
    /// See [`StorageMetrics::cache_hits`].
    pub cache_hits: u64,
    /// See [`StorageMetrics::cache_misses`].
    pub cache_misses: u64,
}

impl StorageMetricsSnapshot {
    /// The share of cached reads that hit, from 0 to 1; `None` before the first one.
    #[expect(clippy::as_conversions, reason = "u64 to f64 has no other conversion")]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate needs no more than 52 bits"
    )]
    pub fn cache_hit_rate(&self) -> Option<f64> {
        let total = self.cache_hits.saturating_add(self.cache_misses);
        (total > 0).then(|| self.cache_hits as f64 / total as f64)
    }
}

/// [`add`] to a counter that one thread at a time changes, for less than an atomic addition takes.
pub(crate) fn add_alone(counter: &AtomicU64, by: usize) {
    let by = u64::try_from(by).unwrap_or(u64::MAX);
    let sum = counter.load(Ordering::Relaxed).wrapping_add(by);
    counter.store(sum, Ordering::Relaxed);
}

pub(crate) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}
