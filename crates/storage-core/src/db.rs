//! An open database: the lock, the journal, the index, and the one door for writes.
//!
//! # Invariants
//!
//! - Every write goes through [`Db::update`]: one at a time under the sequencer, appended to the
//!   journal, then applied to the index, whole. Read-modify-write needs no other lock anywhere.
//! - The journal is what happened: once its bytes are with the operating system, killing the process
//!   loses nothing. The index is what is: it can be rebuilt.
//! - A read of several records is of one commit: it runs between two, or reads the journal up to one.
//! - After a failed write or sync the handle is poisoned: no later write returns `Ok`.
//!
//! Other threads may read a commit before its `update` returns, and before it is durable.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use storage_journal::Merged;

use crate::activity::Activity;
use crate::background::Background;
use crate::commit::Commit;
use crate::counters::StorageMetrics;
use crate::error::CoreError;
use crate::index::IndexReader;
use crate::index::merged::MergedIndex;
use crate::progress::{Meter, Observer};
use crate::report::OpeningReport;
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, lock};
use crate::tree::TreeId;
use crate::trees::audit_log::HeadSealer;
use crate::view::Read;

mod checkpoints;
mod compact;
mod compare;
mod differences;
mod export;
mod health;
mod inner;
mod listing;
mod open;
mod pieces;
mod reading;
pub(crate) mod recovery;
mod reserve;
mod samples;
#[cfg(all(test, nonos_shuttle))]
mod schedules;
pub(crate) mod settle;
mod space;
mod view;

pub use compact::Compacted;
pub use differences::Difference;
pub use health::Health;
use inner::Durable;
pub(crate) use inner::Inner;
pub use space::{CheckpointInfo, Space};
pub use view::View;

/// When `update` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Once the commit is applied; a power cut may lose it until the next flush.
    Buffered,
    /// Once the commit survives a power cut.
    Durable,
}

/// A handle on an open database, shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct Db {
    inner: Arc<Inner>,
    background: Mutex<Option<Background>>,
}

impl Db {
    /// What opening found and did.
    pub fn opening_report(&self) -> &OpeningReport {
        &self.inner.report
    }

    /// Whether it is open for reading only.
    pub fn is_read_only(&self) -> bool {
        self.inner.merged.is_some()
    }

    /// Goes on to the state that the writer has now, if this is open for reading only; returns the
    /// number of its last commit.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`]: the state stays as it was.
    pub fn refresh(&self) -> Result<u64, CoreError> {
        let inner = &self.inner;
        inner.check_open()?;
        let Some(merged) = &inner.merged else {
            return Ok(inner.last_commit.load(Ordering::Acquire));
        };
        let _alone = inner.alone()?;
        let newer = Merged::open(&*merged.disk, &merged.directory, u64::MAX)?;
        let through = newer.through();
        let newer = MergedIndex::of(newer);
        let digests = compare::digests(&newer)?;
        // Reads that fill the cache end before.
        let applying = inner.applying.write();
        let _between = applying.unwrap_or_else(PoisonError::into_inner);
        merged.index.exchange(newer);
        inner.cache.clear();
        inner.window_mut().clear();
        inner.set_counts(&digests);
        lock(&inner.sequencer).digests = digests;
        inner.last_commit.store(through, Ordering::Release);
        Ok(through)
    }

    /// Counts long work on this database: its observer is told, and it ends when the database is closed.
    pub fn meter(&self, operation: &'static str, total: u64) -> Meter<'_> {
        self.inner.meter(operation, total)
    }

    /// Who is told the progress of long work.
    pub fn observer(&self) -> Observer {
        self.inner.observer.clone()
    }

    /// Which database this is: sixteen random bytes, which its backups and what is restored from them
    /// have as well.
    pub fn store_id(&self) -> [u8; 16] {
        self.inner.audit().store_id
    }

    /// From now on every entry of the audit log is vouched for by `sealer`.
    pub fn set_head_sealer(&self, sealer: HeadSealer) {
        let audit = self.inner.audit.write();
        audit.unwrap_or_else(PoisonError::into_inner).sealer = sealer;
    }

    /// The schema that checkpoints and backups say their records have.
    pub fn schema_version(&self) -> u32 {
        self.inner.schema()
    }

    /// Says which schema the records have now. Programs that do not know it are kept out by
    /// [`require_reader`](Self::require_reader), which comes before the first record of it.
    pub fn set_schema_version(&self, version: u32) {
        self.inner.schema_version.store(version, Ordering::Release);
    }

    /// From now on only programs that know this schema open the database. Durable on return.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`]: what was required before is.
    pub fn require_reader(&self, schema: u32) -> Result<(), CoreError> {
        match &self.inner.durable {
            Some(Durable { journal, .. }) => Ok(journal.set_schema(schema)?),
            None => Ok(()),
        }
    }

    /// The state at the last commit as the journal has it: what a long read in key order goes through
    /// several times faster than through the index. It does not change any more.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`]; [`CoreError::ReadOnly`] without a journal.
    pub fn journal_view(&self) -> Result<impl Read + '_, CoreError> {
        let Some(Durable { journal, .. }) = &self.inner.durable else {
            return Err(CoreError::ReadOnly);
        };
        let merged = self.inner.merged_at_last(journal)?;
        Ok(IndexReader(Box::new(MergedIndex::of(merged))))
    }

    /// Keeps checkpoints and compaction off while it lives: for work that writes much and ends with
    /// [`checkpoint_index`](Self::checkpoint_index).
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`], [`CoreError::Reentrant`].
    pub fn hold_maintenance(&self) -> Result<impl Drop + '_, CoreError> {
        self.inner.alone()
    }

    /// The number of the last commit.
    pub fn last_commit(&self) -> u64 {
        self.inner.last_commit.load(Ordering::Acquire)
    }

    /// Makes one commit: `f` reads the view and fills the commit, which is then applied whole.
    ///
    /// Returns what `f` returned and the commit's number; a commit that changes nothing takes no
    /// number and returns the last one, durable if that was asked for. If `f` returns an error or
    /// panics, nothing is written. Updates run one at a time; `f` must not write through this handle itself.
    ///
    /// # Errors
    ///
    /// The error of `f`. [`CoreError::Poisoned`], [`CoreError::Closed`], [`CoreError::Reentrant`]:
    /// nothing was written; nor was it with [`CoreError::IndexFailed`], before an index that failed is rebuilt. One that
    /// fails while the commit is applied does not undo it: the journal has it, and answers. Errors of the journal
    /// poison the handle: whether the commit is there after opening again is open.
    pub fn update<R, E: From<CoreError>>(
        &self,
        durability: Durability,
        f: impl FnOnce(&View<'_>, &mut Commit) -> Result<R, E>,
    ) -> Result<(R, u64), E> {
        let inner = &*self.inner;
        let started = Instant::now();
        let turn = inner.take_turn()?;
        inner.check_writable()?;
        let view = View {
            inner,
            counted: false,
        };
        let mut commit = Commit::new(inner.compression, inner.audit());
        let result = f(&view, &mut commit)?;
        let mut turn = turn;
        let number = inner.apply(&commit, durability, &mut turn.sequence)?;
        drop(turn);
        // Also what changes nothing: it may be that somebody else's commit, which nobody waited for yet, did it before.
        if durability == Durability::Durable {
            inner.sync_through(number)?;
        }
        if !commit.is_empty() {
            let latencies = match durability {
                Durability::Durable => &inner.activity.durable,
                Durability::Buffered => &inner.activity.buffered,
            };
            latencies.note(started.elapsed());
        }
        Ok((result, number))
    }

    /// The state as of now. Each scan sees whole commits; two reads may see different ones.
    pub fn view(&self) -> View<'_> {
        View {
            inner: &self.inner,
            counted: true,
        }
    }

    /// How many entries the tree has. Reads nothing; what is held back from the index is written to it, so that it
    /// is known which records are new.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`]; errors of the index where the journal cannot answer for it.
    pub fn len(&self, tree: TreeId) -> Result<usize, CoreError> {
        self.inner.len_of(tree)
    }

    /// Whether it was not closed.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`].
    pub(crate) fn check_open(&self) -> Result<(), CoreError> {
        self.inner.check_open()
    }

    /// Makes everything durable that was committed before the call.
    ///
    /// # Errors
    ///
    /// [`CoreError::Poisoned`], [`CoreError::Closed`], and errors of the file system, which poison
    /// the handle.
    pub fn flush(&self) -> Result<(), CoreError> {
        self.inner.flush()
    }

    /// [`flush`](Self::flush) for an executor's thread: the work is done on a thread of its own.
    ///
    /// # Errors
    ///
    /// As `flush`, and [`CoreError::Thread`] if the thread cannot be started.
    pub async fn flush_async(&self) -> Result<(), CoreError> {
        let inner = Arc::clone(&self.inner);
        crate::background::on_own_thread(move || inner.flush()).await
    }

    /// Makes everything durable and closes. A second call does nothing; any other later call on this
    /// handle fails.
    ///
    /// # Errors
    ///
    /// [`CoreError::Reentrant`] inside the closure of `update`: nothing happened. Otherwise the
    /// handle is closed, and the error says what was not made durable.
    pub fn shutdown(&self) -> Result<(), CoreError> {
        let inner = &*self.inner;
        if inner.is_in_update() || inner.is_reading() {
            return Err(CoreError::Reentrant);
        }
        // Long work ends. The background takes turns itself, so it ends before this takes the last one.
        inner.closing.store(true, Ordering::Release);
        let background = self.background.lock();
        drop(background.unwrap_or_else(PoisonError::into_inner).take());
        let alone = inner.maintenance.lock();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let turn = inner.take_turn()?;
        let mut slot = inner.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.take() else {
            return Ok(());
        };
        inner.is_open.store(false, Ordering::Release);
        drop(slot);
        let closed = inner
            .check_journal()
            .and_then(|()| inner.close(index, &turn.sequence));
        let lock = inner.lock.lock();
        drop(lock.unwrap_or_else(PoisonError::into_inner).take());
        closed
    }

    /// What happens in each tree, and how long writers wait.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.inner.activity)
    }

    /// Commits that a power cut would lose now.
    pub fn unsynced_commits(&self) -> u64 {
        match &self.inner.durable {
            Some(Durable { journal, .. }) => self.last_commit().saturating_sub(journal.synced()),
            None => 0,
        }
    }

    /// The counters of this handle.
    pub fn counters(&self) -> Arc<StorageMetrics> {
        Arc::clone(&self.inner.counters)
    }

    /// Whether values are compressed where that pays.
    pub fn compression(&self) -> bool {
        self.inner.compression
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the database did not close cleanly");
        }
    }
}
