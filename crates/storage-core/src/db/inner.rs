//! What the handle of a database and its background share: the one way of a commit, marks, closing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use storage_journal::digest::Digests;
use storage_journal::disk::Disk;

use super::compact::Old;
use super::recovery::chain;
use crate::activity::Activity;
use crate::cache::RecordCache;
use crate::commit::Audit;
use crate::counters::StorageMetrics;
use crate::error::CoreError;
use crate::index::Index;
use crate::index::merged::MergedIndex;
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::progress::{Meter, Observer};
use crate::report::OpeningReport;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::tree::{PerTree, TreeId};
use crate::window::Window;
use crate::woken::Wake;

mod apply;
mod close;
mod durable;
mod turn;

pub(in crate::db) use close::let_go;
pub(crate) use durable::{Durable, on_a_sound_base};
use turn::NEXT_ID;

/// What the handle and its background share.
pub(crate) struct Inner {
    /// Tells this database from others in [`IN_UPDATE`].
    pub(super) id: u64,
    pub(super) index: RwLock<Option<Arc<dyn Index>>>,
    /// Whether there is one: each read and each commit asks.
    pub(super) is_open: AtomicBool,
    /// Where the state comes from, if this is open for reading only.
    pub(super) merged: Option<ReadOnly>,
    pub(super) lock: Mutex<Option<Lock>>,
    pub(super) path: Option<PathBuf>,
    /// What makes it durable; a database in memory or for reading has nothing.
    pub(super) durable: Option<Durable>,
    pub(super) sequencer: Mutex<Sequence>,
    /// Held for writing while a commit is applied.
    pub(super) applying: RwLock<()>,
    /// The number of the last commit applied.
    pub(super) last_commit: AtomicU64,
    /// Records; those that blind puts replaced are counted as well.
    pub(super) counts: PerTree<AtomicUsize>,
    pub(super) cache: RecordCache,
    pub(super) window: RwLock<Window>,
    pub(super) counters: Arc<StorageMetrics>,
    pub(super) activity: Arc<Activity>,
    /// Wakes who syncs ahead.
    pub(crate) sync: Wake,
    /// Wakes who writes to the index what is held back.
    pub(super) settle: Wake,
    /// Whether there is one; else those who commit do it, nothing reads ahead, and no list comes from the journal: on a disk
    /// of a test.
    pub(crate) settles_beside: bool,
    pub(super) held_back_bytes: u64,
    /// Whether more may be held back while others do not use their shares.
    pub(super) lends: bool,
    /// Held while something is written to the index in use beside the writers.
    pub(super) settling: Mutex<()>,
    pub(super) failure: OnceLock<String>,
    /// Why the index is given up, if it is: then the journal answers, and nothing is written.
    pub(super) index_failure: Mutex<Option<String>>,
    /// Whether it is: each commit asks.
    pub(super) has_given_up: AtomicBool,
    /// One list from the journal at a time.
    pub(super) listing: Mutex<()>,
    /// One checkpoint, backup, compaction or closing at a time.
    pub(super) maintenance: Mutex<()>,
    /// Ends long work: somebody waits to close.
    pub(super) closing: AtomicBool,
    pub(super) observer: Observer,
    /// Which database this is, and who vouches for the head of its audit log.
    pub(super) audit: RwLock<Audit>,
    pub(super) degraded: Mutex<Option<String>>,
    pub(super) compression: bool,
    /// The schema that checkpoints say their records have.
    pub(super) schema_version: AtomicU32,
    pub(super) clock: fn() -> i64,
    pub(super) report: OpeningReport,
}

/// A state of the journal of a database that somebody else may write.
#[derive(Debug)]
pub(super) struct ReadOnly {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) index: Arc<MergedIndex>,
}

/// What one update changes after the other.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// What blind puts replaced is still in: [`settled`](Self::settled) is without it.
    pub(super) digests: Digests,
    /// Bytes that were applied since a writer looked at what the index holds back.
    pub(super) applied: usize,
}

impl Sequence {
    /// Counts and digests of the last commit; what the index holds back is written for it.
    pub(super) fn settled(&self, index: &dyn Index) -> Result<Digests, CoreError> {
        let mut digests = self.digests.clone();
        settle(index, &mut digests)?;
        Ok(digests)
    }
}

/// Writes what an index holds back, and counts out what it replaced of which it had not told.
pub(super) fn settle(index: &dyn Index, digests: &mut Digests) -> Result<(), CoreError> {
    index.settle()?;
    for tree in TreeId::ALL {
        if let Some(digest) = digests.of_mut(tree.number()) {
            *digest = digest.without(index.replaced(tree)?);
        }
    }
    Ok(())
}

/// Says which database it is and nothing of what is in it: the engine would write every record.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("path", &self.path)
            .field("last_commit", &self.last_commit)
            .field("counts", &self.counts)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn new(
        index: Arc<dyn Index>,
        lock: Option<Lock>,
        durable: Option<Durable>,
        digests: Digests,
        report: OpeningReport,
        options: &DbOptions,
    ) -> Self {
        let last_commit = durable.as_ref().map_or(0, |d| d.journal.last());
        let store_id = durable.as_ref().map(|d| d.journal.store_id());
        let audit = Audit {
            store_id: store_id.unwrap_or_default(),
            ..Audit::default()
        };
        let inner = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            index: RwLock::new(Some(index)),
            is_open: AtomicBool::new(true),
            merged: None,
            path: durable
                .as_ref()
                .and_then(|durable| durable.home.path().map(Path::to_owned)),
            lock: Mutex::new(lock),
            durable,
            sequencer: Mutex::default(),
            applying: RwLock::new(()),
            last_commit: AtomicU64::new(last_commit),
            counts: PerTree::default(),
            cache: RecordCache::new(options.for_records()),
            window: RwLock::new(Window::new(
                options.for_samples(),
                digests.of(TreeId::Metrics.number()).count() == 0,
            )),
            counters: Arc::default(),
            activity: Arc::default(),
            sync: Wake::default(),
            settle: Wake::default(),
            settles_beside: true,
            held_back_bytes: options.for_held_back(),
            lends: options.held_back_bytes.is_none(),
            settling: Mutex::new(()),
            failure: OnceLock::new(),
            index_failure: Mutex::new(None),
            has_given_up: AtomicBool::new(false),
            listing: Mutex::new(()),
            maintenance: Mutex::new(()),
            closing: AtomicBool::new(false),
            observer: options.observer.clone(),
            audit: RwLock::new(audit),
            degraded: Mutex::new(None),
            compression: options.compression,
            schema_version: AtomicU32::new(options.schema_version),
            clock: options.clock,
            report,
        };
        inner.set_counts(&digests);
        let sequence = inner.sequencer.lock();
        sequence.unwrap_or_else(PoisonError::into_inner).digests = digests;
        inner
    }

    /// The number of the last commit applied.
    pub(crate) fn last_commit(&self) -> u64 {
        self.last_commit.load(Ordering::Acquire)
    }

    pub(super) fn schema(&self) -> u32 {
        self.schema_version.load(Ordering::Acquire)
    }

    pub(super) fn index(&self) -> Result<Arc<dyn Index>, CoreError> {
        let slot = self.index.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or(CoreError::Closed)
    }

    pub(super) fn check_open(&self) -> Result<(), CoreError> {
        let is_open = self.is_open.load(Ordering::Acquire);
        is_open.then_some(()).ok_or(CoreError::Closed)
    }

    pub(super) fn check_writable(&self) -> Result<(), CoreError> {
        self.check_open()?;
        if self.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.check_journal()?;
        match self.index_failure() {
            Some(reason) => Err(CoreError::IndexFailed { reason }),
            None => Ok(()),
        }
    }

    /// Whether the journal takes writes.
    pub(super) fn check_journal(&self) -> Result<(), CoreError> {
        match self.failed() {
            Some(reason) => Err(CoreError::Poisoned {
                reason: reason.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Why the journal takes no writes, if it takes none. What reads it syncs it first, and may be who finds out.
    pub(super) fn failed(&self) -> Option<&str> {
        let journal = self.durable.as_ref().map(|durable| &durable.journal);
        if let Some(reason) = journal.and_then(|journal| journal.failure()) {
            self.failure.get_or_init(|| {
                tracing::error!(%reason, "the database takes no more writes");
                reason.to_owned()
            });
        }
        self.failure.get().map(String::as_str)
    }

    /// For the background: rebuilds an index that failed; whether there is none, or it succeeded.
    pub(crate) fn rebuild_if_needed(&self) -> bool {
        if self.index_failure().is_none() || self.failed().is_some() {
            return true;
        }
        match self.compact(Old::Remove) {
            Ok(_) | Err(CoreError::Closed) => true,
            Err(error) => {
                tracing::error!(reason = %chain(&error), "the index could not be rebuilt");
                false
            }
        }
    }

    /// Waits for this thread's turn at maintenance.
    pub(super) fn alone(&self) -> Result<MutexGuard<'_, ()>, CoreError> {
        if self.is_in_update() || self.is_reading() {
            return Err(CoreError::Reentrant);
        }
        let alone = self.maintenance.lock();
        let alone = alone.unwrap_or_else(PoisonError::into_inner);
        if self.closing.load(Ordering::Acquire) {
            return Err(CoreError::Closed);
        }
        Ok(alone)
    }

    pub(super) fn audit(&self) -> Audit {
        let audit = self.audit.read();
        audit.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_store_id(&self, store_id: [u8; 16]) {
        let audit = self.audit.write();
        audit.unwrap_or_else(PoisonError::into_inner).store_id = store_id;
    }

    /// Counts long work, which ends when the handle is closed.
    pub(super) fn meter(&self, operation: &'static str, total: u64) -> Meter<'_> {
        Meter::start(operation, total, &self.observer).or_stop(&self.closing)
    }

    /// An error of the journal: latched if the journal takes no more.
    pub(super) fn latch(&self, error: CoreError) -> CoreError {
        let journal = self.durable.as_ref().map(|durable| &durable.journal);
        if journal.is_some_and(|journal| journal.failure().is_some()) {
            return self.poison(error);
        }
        error
    }

    /// Latches the first error: what failed once is not believed later.
    pub(super) fn poison(&self, error: CoreError) -> CoreError {
        let reason = chain(&error);
        tracing::error!(%reason, "the database takes no more writes");
        let _first = self.failure.set(reason);
        error
    }
}
