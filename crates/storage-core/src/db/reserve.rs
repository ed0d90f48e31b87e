//! The free-space reserve: when the disk fills up, buffered writes stop first, durable ones last.

use std::path::PathBuf;
use std::sync::Arc;

use storage_journal::disk::{Disk, Space};

use super::Durability;
use crate::error::CoreError;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const MAX_RESERVE: u64 = 64 * 1024 * 1024;
/// The file system is asked again after so many bytes, and after so many milliseconds: others write to it, too.
const ASK_EVERY: u64 = 256 * 1024;
const ASK_EVERY_MS: u64 = 1000;

/// Refuses writes that would eat into what recovery and the most important records need.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Bytes written since the file system was asked.
    since: AtomicU64,
    /// What it answered, less what was written since.
    free: AtomicU64,
    /// What is kept free for durable writes and recovery.
    kept: AtomicU64,
    /// When the file system was asked, in Unix milliseconds.
    asked_at_ms: AtomicI64,
}

impl Reserve {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: PathBuf) -> Self {
        Self {
            disk,
            directory,
            since: AtomicU64::new(u64::MAX),
            free: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            asked_at_ms: AtomicI64::new(0),
        }
    }

    /// Whether a commit of so many bytes may be written now. Called on the writer's turn.
    pub(super) fn check(
        &self,
        len: usize,
        durability: Durability,
        now_ms: i64,
    ) -> Result<(), CoreError> {
        // The journal takes the bytes once, the index about twice.
        let len = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(3);
        let since = self.since.load(Ordering::Relaxed).saturating_add(len);
        let mut free = self.free.load(Ordering::Relaxed).saturating_sub(len);
        let mut limit = self.limit(durability);
        // A clock that steps asks once more.
        let is_old = now_ms.abs_diff(self.asked_at_ms.load(Ordering::Relaxed)) >= ASK_EVERY_MS;
        if is_old || since >= ASK_EVERY || free < limit.saturating_add(ASK_EVERY) {
            let space = self.disk.space(&self.directory);
            let space = space.map_err(|e| CoreError::io("look at", &self.directory, e))?;
            free = space.free.saturating_sub(len);
            self.since.store(0, Ordering::Relaxed);
            self.asked_at_ms.store(now_ms, Ordering::Relaxed);
            self.kept.store(reserve_of(space), Ordering::Relaxed);
            limit = self.limit(durability);
        } else {
            self.since.store(since, Ordering::Relaxed);
        }
        self.free.store(free, Ordering::Relaxed);
        if free >= limit {
            return Ok(());
        }
        Err(self.full())
    }

    /// Whether so many bytes can be written, for now or for good, and the reserve stays.
    pub(super) fn room_for(&self, len: u64) -> Result<(), CoreError> {
        let has_room = self.has_room(len);
        let has_room = has_room.map_err(|e| CoreError::io("look at", &self.directory, e))?;
        has_room.then_some(()).ok_or_else(|| self.full())
    }

    /// The same; an error says that nobody can tell.
    pub(super) fn has_room(&self, len: u64) -> std::io::Result<bool> {
        let space = self.disk.space(&self.directory)?;
        Ok(space.free >= len.saturating_add(reserve_of(space)))
    }

    fn full(&self) -> CoreError {
        CoreError::DiskFull {
            action: "keep the free-space reserve beside",
            path: self.directory.clone(),
            source: std::io::ErrorKind::StorageFull.into(),
        }
    }

    fn limit(&self, durability: Durability) -> u64 {
        let reserve = self.kept.load(Ordering::Relaxed);
        match durability {
            Durability::Buffered => reserve,
            Durability::Durable => reserve / 4,
        }
    }
}

/// The smaller of 64 MiB and 5 % of the file system.
fn reserve_of(space: Space) -> u64 {
    MAX_RESERVE.min(space.total / 20)
}
