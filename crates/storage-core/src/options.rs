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
    /// Bytes for caches: the index's pages and decoded records.
    pub cache_capacity_bytes: u64,
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
            flush_every_ms: Some(30_000),
            mark_when_idle_ms: Some(10_000),
            observer: Observer::default(),
            compression: true,
            lock_timeout: Duration::from_millis(500),
            schema_version,
            clock,
        }
    }

    /// Now, in Unix seconds.
    pub fn now(&self) -> i64 {
        (self.clock)().div_euclid(1000)
    }
}
