//! What the handle of a database and its background share: the one way of a commit, marks, closing.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use storage_journal::commit::{self, Change};
use storage_journal::digest::Digests;
use storage_journal::disk::Disk;
use storage_journal::{Journal, Mark};

use super::Durability;
use super::compact::Old;
use super::reading::give_up;
use super::recovery::chain;
use super::reserve::Reserve;
use crate::activity::Activity;
use crate::ahead::AHEAD;
use crate::cache::RecordCache;
use crate::commit::{Audit, Commit};
use crate::counters::{self, StorageMetrics};
use crate::error::CoreError;
use crate::index::merged::MergedIndex;
use crate::index::{Index, IndexHome, Witness};
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::progress::{Meter, Observer};
use crate::report::OpeningReport;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock, thread, thread_local};
use crate::tree::{PerTree, TreeId};
use crate::window::Window;
use crate::woken::Wake;

/// How long closing waits for reads that are under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the handle and its background share.
pub(crate) struct Inner {
    /// Tells this database from others in [`IN_UPDATE`].
    pub(super) id: u64,
    pub(super) index: RwLock<Option<Arc<dyn Index>>>,
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
    /// Whether there is one; else those who commit do it.
    pub(crate) settles_beside: bool,
    pub(super) held_back_bytes: u64,
    /// Held while something is written to the index in use beside the writers.
    pub(super) settling: Mutex<()>,
    pub(super) failure: OnceLock<String>,
    /// Why the index is given up, if it is: then the journal answers, and nothing is written.
    pub(super) index_failure: Mutex<Option<String>>,
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

/// The journal, and the place of the index that it can rebuild.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) journal: Journal,
    pub(super) home: Arc<dyn IndexHome>,
    pub(super) reserve: Reserve,
    /// The commit of the last mark. Held while marking.
    pub(super) last_mark: Mutex<u64>,
}

/// A state of the journal of a database that somebody else may write.
#[derive(Debug)]
pub(super) struct ReadOnly {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) index: Arc<MergedIndex>,
}

/// What one update changes after the other.
#[derive(Debug)]
pub(super) struct Sequence {
    /// What blind puts replaced is still in: [`settled`](Self::settled) is without it.
    pub(super) digests: Digests,
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
            *digest = digest.without(index.replaced(tree));
        }
    }
    Ok(())
}

thread_local! {
    /// The databases whose `update` this thread is inside of.
    static IN_UPDATE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Outlives every execution of the model checker, so it is none of its own.
static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

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
            merged: None,
            path: durable
                .as_ref()
                .and_then(|durable| durable.home.path().map(Path::to_owned)),
            lock: Mutex::new(lock),
            durable,
            sequencer: Mutex::new(Sequence {
                digests: Digests::default(),
            }),
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
            settling: Mutex::new(()),
            failure: OnceLock::new(),
            index_failure: Mutex::new(None),
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

    /// How many records the tree has. What is held back is written to the index for it.
    pub(super) fn len_of(&self, tree: TreeId) -> Result<usize, CoreError> {
        let _between = self.between_commits();
        let index = self.index()?;
        if let Err(error) = index.settle() {
            self.fall_back(&index, error)?;
        }
        let slot = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let index = slot.as_ref().ok_or(CoreError::Closed)?;
        let replaced = usize::try_from(index.replaced(tree).count()).unwrap_or(usize::MAX);
        let count = self.counts.of(tree).load(Ordering::Acquire);
        Ok(count.saturating_sub(replaced))
    }

    /// Records in all trees, at most.
    pub(super) fn len(&self) -> u64 {
        let counts = TreeId::ALL.map(|tree| self.counts.of(tree).load(Ordering::Acquire));
        u64::try_from(counts.iter().sum::<usize>()).unwrap_or(u64::MAX)
    }

    pub(super) fn set_counts(&self, digests: &Digests) {
        for tree in TreeId::ALL {
            let count = digests.of(tree.number()).count();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.counts.of(tree).store(count, Ordering::Release);
        }
    }

    pub(super) fn index(&self) -> Result<Arc<dyn Index>, CoreError> {
        let slot = self.index.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or(CoreError::Closed)
    }

    /// Whether this thread is inside the closure of an update of this database.
    pub(super) fn is_in_update(&self) -> bool {
        IN_UPDATE.with(|inside| inside.borrow().contains(&self.id))
    }

    /// Waits for this thread's turn to write.
    pub(super) fn take_turn(&self) -> Result<Turn<'_>, CoreError> {
        if self.is_in_update() || self.is_reading() {
            return Err(CoreError::Reentrant);
        }
        // A panic in a closure poisons the mutex and nothing else: its commit was never applied.
        let sequencer = self.sequencer.lock();
        let sequencer = sequencer.unwrap_or_else(PoisonError::into_inner);
        IN_UPDATE.with(|inside| inside.borrow_mut().push(self.id));
        Ok(Turn {
            sequence: sequencer,
        })
    }

    pub(super) fn check_writable(&self) -> Result<(), CoreError> {
        let _index = self.index()?;
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

    /// Appends a commit to the journal, applies it whole and returns its number.
    pub(super) fn apply(
        &self,
        commit: &Commit,
        durability: Durability,
        sequence: &mut Sequence,
    ) -> Result<u64, CoreError> {
        let last = self.last_commit.load(Ordering::Acquire);
        if commit.is_empty() {
            return Ok(last);
        }
        let number = match &self.durable {
            Some(durable) => {
                let body = commit::encode(commit.changes().map(|(tree, key, value)| Change {
                    tree: tree.number(),
                    key,
                    value,
                }));
                durable.reserve.check(body.len(), durability)?;
                let appended = durable.journal.append((self.clock)(), &body);
                let number = appended.map_err(|e| self.latch(e.into()))?;
                if durable.journal.unsynced_bytes() >= AHEAD {
                    self.sync.wake();
                }
                number
            }
            None => last + 1,
        };
        let applying = self.applying.write();
        let applying = applying.unwrap_or_else(PoisonError::into_inner);
        // Only now: a read may have given the index up before, and cannot from here on.
        let applied = self
            .index()
            .and_then(|index| self.apply_to(&*index, commit, sequence));
        self.last_commit.store(number, Ordering::Release);
        if let Err(error) = applied {
            for (tree, key, _) in commit.changes() {
                self.cache.remove(tree, key);
            }
            self.window_mut().clear();
            return Err(self.applied_in_part(error, sequence));
        }
        self.tell_window(commit);
        drop(applying);
        self.make_room(commit);
        Ok(number)
    }

    fn apply_to(
        &self,
        index: &dyn Index,
        commit: &Commit,
        sequence: &mut Sequence,
    ) -> Result<(), CoreError> {
        for (tree, key, value) in commit.changes() {
            let mut existed = false;
            let mut digest = sequence.digests.of(tree.number());
            index.apply(tree, key, value, &mut |replaced| {
                existed = true;
                digest.remove(key, replaced);
            })?;
            if let Some(value) = value {
                digest.add(key, value);
            }
            if let Some(kept) = sequence.digests.of_mut(tree.number()) {
                *kept = digest;
            }
            self.cache.remove(tree, key);
            self.count_change(tree, key, value, existed);
        }
        Ok(())
    }

    fn count_change(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>, existed: bool) {
        let counters = &self.counters;
        let count = self.counts.of(tree);
        if let Some(value) = value {
            // What the database notes of itself is no record that somebody wrote.
            if tree != TreeId::Schema {
                counters::add(&counters.writes, 1);
                counters::add(&counters.write_bytes, key.len() + value.len());
            }
            counters::add(&self.activity.of(tree).writes, 1);
            count.fetch_add(usize::from(!existed), Ordering::AcqRel);
        } else {
            counters::add(&counters.deletes, 1);
            counters::add(&self.activity.of(tree).deletes, 1);
            count.fetch_sub(usize::from(existed), Ordering::AcqRel);
        }
    }

    /// Makes everything durable, in the journal and in the index.
    pub(super) fn flush(&self) -> Result<(), CoreError> {
        let _index = self.index()?;
        if self.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.check_journal()?;
        self.sync_through(self.last_commit.load(Ordering::Acquire))?;
        // Inside the closure of `update` the digests are not this commit's nor the last one's.
        if !self.is_in_update() && !self.is_reading() {
            self.mark()?;
        }
        counters::add(&self.counters.flushes, 1);
        Ok(())
    }

    /// Syncs the journal if so many bytes wait for it.
    pub(crate) fn sync_ahead(&self, bytes: u64) {
        let Some(Durable { journal, .. }) = &self.durable else {
            return;
        };
        if journal.unsynced_bytes() >= bytes
            && self.check_journal().is_ok()
            && let Err(error) = journal.sync_through(self.last_commit.load(Ordering::Acquire))
        {
            self.latch(error.into());
        }
    }

    /// Returns once commit `number` is durable.
    pub(super) fn sync_through(&self, number: u64) -> Result<(), CoreError> {
        let Some(Durable { journal, .. }) = &self.durable else {
            return Ok(());
        };
        // What is durable stays so, whatever failed or was closed since.
        if journal.synced() < number {
            self.check_journal()?;
            let synced = journal.sync_through(number);
            synced.map_err(|e| self.latch(e.into()))?;
            counters::add(&self.counters.flushes, 1);
        }
        Ok(())
    }

    /// Makes the index durable and says so in the journal, if there is a commit since it was said.
    pub(crate) fn mark(&self) -> Result<(), CoreError> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        self.check_journal()?;
        let mut last_mark = durable
            .last_mark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last_mark == self.last_commit() {
            return Ok(());
        }
        // Most of what is held back is written beside the writers, the rest while they wait.
        self.settle_all(false)?;
        let index = self.index()?;
        let turn = self.take_turn()?;
        let number = self.last_commit();
        let digests = turn.sequence.settled(&*index);
        drop(turn);
        let digests = match digests {
            Ok(digests) => digests,
            Err(error) => {
                let _between = self.between_commits();
                self.fall_back(&index, error)?;
                return Ok(());
            }
        };
        // What the journal answers for is not in the index.
        if self.index_failure().is_some() {
            return Ok(());
        }
        self.sync_through(number)?;
        // A mark is not worth the last of the disk: without it the next open compares more.
        if durable.reserve.room_for(MARK_ROOM).is_err() {
            return Ok(());
        }
        if let Err(error) = durable.make_durable(&*index, number) {
            let _between = self.between_commits();
            self.fall_back(&index, error)?;
            return Ok(());
        }
        durable
            .mark(number, digests, (self.clock)())
            .map_err(|e| self.latch(e))?;
        *last_mark = number;
        Ok(())
    }

    /// Ends with a clean mark, where nothing stands in the way. Called after the last commit.
    pub(super) fn close(
        &self,
        index: Arc<dyn Index>,
        sequence: &Sequence,
    ) -> Result<(), CoreError> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let number = self.last_commit.load(Ordering::Acquire);
        let now_ms = (self.clock)();
        durable.journal.sync_through(number)?;
        if self.index_failure().is_some() {
            // The index on disk is not what the journal answered with: the next open heals it.
            give_up(index);
            return Ok(());
        }
        if durable.is_worth_a_checkpoint() && durable.room_for_checkpoint().is_ok() {
            let created_at = now_ms.div_euclid(1000);
            let never = |_| Ok::<_, CoreError>(());
            let written = durable.journal.checkpoint(self.schema(), created_at, never);
            if let Err(error) = written {
                tracing::warn!(error = %chain(&error), "no checkpoint at closing");
            }
        }
        durable.make_durable(&*index, number)?;
        let digests = sequence.settled(&*index)?;
        durable.mark(number, digests.clone(), now_ms)?;
        if let_go(index).is_err() {
            // A read is still under way: what it reads must stay. The next open compares.
            tracing::warn!("closing beside a read that does not end: the next opening compares");
            return Ok(durable.journal.sync()?);
        }
        // What the engine wrote since it was opened, it recovers from damage silently wrong; what it
        // found at an opening, never. So it is opened once more.
        let reopened = durable.home.open()?;
        if let_go(reopened).is_err() {
            return Ok(durable.journal.sync()?);
        }
        let mark = Mark {
            digests,
            clean: Some(durable.home.fingerprint()?),
        };
        durable.journal.mark(number, now_ms, &mark)?;
        durable.journal.sync()?;
        // What opening found damaged was told, and is put right.
        Ok(durable.journal.forget_damage()?)
    }

    /// For the background: writes a checkpoint where the policy asks for one; whether none was due, or
    /// it succeeded.
    pub(crate) fn checkpoint_if_needed(&self) -> bool {
        let Some(durable) = &self.durable else {
            return true;
        };
        if self.failed().is_some() || !durable.checkpoint_is_due() {
            return true;
        }
        let written = durable
            .room_for_checkpoint()
            .and_then(|()| self.checkpoint());
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok((commit, bytes)) => {
                tracing::info!(commit, bytes, "wrote a checkpoint");
                *degraded = None;
                true
            }
            Err(CoreError::Closed) => true,
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(%reason, "no checkpoint could be written");
                *degraded = Some(format!("no checkpoint could be written: {reason}"));
                false
            }
        }
    }

    /// Writes a checkpoint into the journal; returns its commit and length in bytes.
    pub(super) fn checkpoint(&self) -> Result<(u64, u64), CoreError> {
        let Some(Durable { journal, .. }) = &self.durable else {
            return Ok((0, 0));
        };
        let _alone = self.alone()?;
        let created_at = (self.clock)().div_euclid(1000);
        on_a_sound_base(journal, || {
            let mut meter = self.meter("write a checkpoint", 0);
            journal.checkpoint(self.schema(), created_at, |records| meter.steps(records))
        })
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

/// A thread's turn to write; ends at drop, on a panic as well.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) sequence: MutexGuard<'a, Sequence>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IN_UPDATE.with(|inside| inside.borrow_mut().pop());
    }
}

impl Durable {
    /// Makes the index durable, which says itself that it is so through commit `number`.
    pub(super) fn make_durable(&self, index: &dyn Index, number: u64) -> Result<(), CoreError> {
        index.set_witness(Witness {
            store_id: self.journal.store_id(),
            term: self.journal.term(),
            durable_through: number,
        })?;
        index.sync()
    }

    /// Says in the journal that the index is durable through commit `number`.
    pub(super) fn mark(&self, number: u64, digests: Digests, now_ms: i64) -> Result<(), CoreError> {
        let mark = Mark {
            digests,
            clean: None,
        };
        Ok(self.journal.mark(number, now_ms, &mark)?)
    }

    /// When what came since the last checkpoint is more than min(64 MiB, max(8 MiB, its size)).
    pub(super) fn checkpoint_is_due(&self) -> bool {
        self.journal.since_checkpoint() > self.checkpoint_limit()
    }

    /// When closing writes a checkpoint: at a quarter of what makes one due.
    fn is_worth_a_checkpoint(&self) -> bool {
        self.journal.since_checkpoint() > self.checkpoint_limit() / 4
    }

    fn checkpoint_limit(&self) -> u64 {
        self.journal.checkpoint_size().clamp(8 * MIB, 64 * MIB)
    }

    /// What the live records take at most in a checkpoint, in bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        let since = self.journal.since_checkpoint();
        self.journal.checkpoint_size().saturating_add(since)
    }

    /// Whether a checkpoint can be written without eating into the reserve.
    fn room_for_checkpoint(&self) -> Result<(), CoreError> {
        self.reserve.room_for(self.live_bytes())
    }
}

const MIB: u64 = 1024 * 1024;
/// What the engine and the journal may write for a mark.
const MARK_ROOM: u64 = MIB;

/// Does what reads the merged stream; where its checkpoint turns out to be damaged, that one is set
/// aside, and it is done again from the one before.
pub(super) fn on_a_sound_base<R>(
    journal: &Journal,
    work: impl Fn() -> Result<R, CoreError>,
) -> Result<R, CoreError> {
    match work() {
        Err(CoreError::Journal(error)) if journal.set_damaged_aside(&error)? => {
            let reason = chain(&error);
            tracing::error!(%reason, "set a damaged checkpoint aside");
            work()
        }
        done => done,
    }
}

/// Waits until nobody else uses the index, and drops it; gives it back if somebody still does.
pub(super) fn let_go(index: Arc<dyn Index>) -> Result<(), Arc<dyn Index>> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while Arc::strong_count(&index) > 1 {
        if Instant::now() > deadline {
            return Err(index);
        }
        thread::sleep(Duration::from_millis(1));
    }
    drop(index);
    Ok(())
}
