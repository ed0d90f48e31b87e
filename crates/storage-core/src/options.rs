//! What it takes to open a database.

use std::path::PathBuf;
use std::time::Duration;

use crate::progress::Observer;

/// How to open a database on disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DbOptions {
    /// The directory of the index; the lock, the journal and everything else are siblings of it.
    pub path: PathBuf,
    /// Bytes for caches: what is held back, the index's pages, records, samples.
    pub cache_capacity_bytes: u64,
    /// Bytes of commits that are held back in memory before they are written to the index; `None`: five sixteenths of
    /// `cache_capacity_bytes`, and what others do not use of it while the index is small. 0 holds nothing back.
    pub held_back_bytes: Option<u64>,
    /// How often buffered commits are made durable, in milliseconds; `None`: only by `flush` and by
    /// durable commits.
    pub flush_every_ms: Option<u64>,
    /// After so long without a commit the index is made durable and marked, in milliseconds, whatever
    /// `flush_every_ms` says; `None`: never.
    pub mark_when_idle_ms: Option<u64>,
    /// Who is told how far opening is.
    pub observer: Observer,
    /// Whether values are compressed where that pays.
    pub compression: bool,
    /// How long to wait for another holder of the lock.
    pub lock_timeout: Duration,
    /// The schema version of the records, for checkpoints.
    pub schema_version: u32,
    /// The clock: Unix milliseconds.
    pub clock: fn() -> i64,
}

impl DbOptions {
    /// The defaults, for the database at `path`, with records of `schema_version`.
    pub fn new(path: PathBuf, schema_version: u32, clock: fn() -> i64) -> Self {
        Self {
            path,
            cache_capacity_bytes: 64 * 1024 * 1024,
            held_back_bytes: None,
            flush_every_ms: Some(30_000),
            mark_when_idle_ms: Some(10_000),
            observer: Observer::default(),
            compression: true,
            lock_timeout: Duration::from_millis(500),
            schema_version,
            clock,
        }
    }

    /// How the caches share `cache_capacity_bytes`: what is held back has five sixteenths.
    pub(crate) fn for_held_back(&self) -> u64 {
        let share = self.cache_capacity_bytes / 16 * 5;
        self.held_back_bytes.unwrap_or(share)
    }

    /// Records have a quarter.
    pub(crate) fn for_records(&self) -> u64 {
        self.cache_capacity_bytes / 4
    }

    /// The newest samples, decoded, have three eighths.
    pub(crate) fn for_samples(&self) -> u64 {
        self.cache_capacity_bytes / 8 * 3
    }

    /// The pages of the index have the rest, a sixteenth: thousands of them lie there whatever that is.
    pub(crate) fn for_pages(&self) -> u64 {
        let others = self.cache_capacity_bytes / 16 * 5 + self.for_records() + self.for_samples();
        self.cache_capacity_bytes - others
    }

    /// Now, in Unix seconds.
    pub fn now(&self) -> i64 {
        (self.clock)().div_euclid(1000)
    }
}
