//! An open database: the lock, the journal, the index, and the one door for writes.
//!
//! # Invariants
//!
//! - Every write goes through [`Db::update`]: one at a time under the sequencer, appended to the
//!   journal, then applied to the index, whole. Read-modify-write needs no other lock anywhere.
//! - The journal is what happened: once its bytes are with the operating system, killing the process
//!   loses nothing. The index is what is: it can be rebuilt.
//! - A read of several records runs between two commits, never across one.
//! - After a failed write or sync the handle is poisoned: no later write returns `Ok`.
//!
//! Other threads may read a commit before its `update` returns, and before it is durable.

use std::cell::RefCell;
use std::fs::{self};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use storage_journal::checkpoint::{self, Checkpoint, Record};
use storage_journal::digest::Digests;
use storage_journal::disk::{Disk, RealDisk};
use storage_journal::{JournalError, Merged};

use crate::activity::Activity;
use crate::background::Background;
use crate::cache::Found;
use crate::commit::Commit;
use crate::counters::{self, StorageMetrics};
use crate::error::CoreError;
use crate::exchange;
use crate::index::home::SledHome;
use crate::index::memory::MemoryIndex;
use crate::index::merged::MergedIndex;
use crate::index::overlay::Overlay;
use crate::index::simulated::SimulatedHome;
use crate::index::{Index, IndexHome};
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, files_of, journal_path, resolve};
use crate::progress::{Meter, Observer};
use crate::report::OpeningReport;
use crate::restore::remains;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::tree::TreeId;
use crate::trees::audit_log::HeadSealer;
use crate::view::{KeyRange, Order, Read, Visit};

mod compact;
mod compare;
mod differences;
mod export;
mod inner;
mod reading;
pub(crate) mod recovery;
mod reserve;
mod samples;
#[cfg(all(test, nonos_shuttle))]
mod schedules;
pub(crate) mod settle;

pub use compact::Compacted;
pub use differences::Difference;

pub(crate) use inner::Inner;
use inner::{Durable, ReadOnly};
use recovery::{Accept, Place, Recovered};
use reserve::Reserve;

/// When `update` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Once the commit is applied; a power cut may lose it until the next flush.
    Buffered,
    /// Once the commit survives a power cut.
    Durable,
}

/// How an open database is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Reads and writes work.
    Ok,
    /// Everything works, but not as well as it should.
    Degraded {
        /// What happened.
        reason: String,
    },
    /// A write failed: reads work, no write does. Opening again recovers.
    Poisoned {
        /// The first error.
        reason: String,
    },
}

/// What the files of a database take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// The index.
    pub index_bytes: u64,
    /// The journal with its checkpoints.
    pub journal_bytes: u64,
    /// What compaction returns of the index at least, as far as that can be told.
    pub reclaimable_bytes: u64,
    /// The newest checkpoint of the journal.
    pub checkpoint: Option<CheckpointInfo>,
}

/// A checkpoint of the journal: its whole state at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// The commit.
    pub commit: u64,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// Its length.
    pub bytes: u64,
}

/// What an index without a record takes.
const FRESH_INDEX: u64 = 4 * 1024 * 1024;

/// A handle on an open database, shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct Db {
    inner: Arc<Inner>,
    background: Mutex<Option<Background>>,
}

impl Db {
    /// Opens the database on disk, and creates it where there is none. Whatever a crash, a power cut
    /// or damage left is brought to order first; [`opening_report`](Self::opening_report) says what
    /// was done.
    ///
    /// `accept` is asked before an index without journal is adopted.
    ///
    /// # Errors
    ///
    /// [`CoreError::NotADirectory`], [`CoreError::Locked`] after the timeout, [`CoreError::Sibling`],
    /// errors of `accept` and of the file system: what was there is unchanged.
    /// [`CoreError::Journal`] if both copies are damaged: it names what is lost.
    pub fn open(options: &DbOptions, accept: Accept<'_>) -> Result<Self, CoreError> {
        let path = &options.path.components().collect::<PathBuf>();
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                let path = path.clone();
                return Err(CoreError::NotADirectory { path });
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(CoreError::io("open", path, e)),
        }
        create_directory(directory_of(path))?;
        // By whatever name the database is opened, its lock is at the same place.
        let path = resolve(path)?;
        let lock = Lock::take(&path, options.lock_timeout, options.now())?;
        exchange::finish(&path)?;
        let home = Arc::new(SledHome::new(path.clone(), options.for_pages()));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let directory = journal_path(&path);
        Self::open_at(disk, home, &directory, Some(lock), options, accept)
    }

    /// Opens a database on a simulated disk, with an index in memory: for tests of crashes. What is held back from the
    /// index is written by those who commit, so that a test finds the same again.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_simulated(
        disk: Arc<dyn Disk>,
        home: &SimulatedHome,
        options: &DbOptions,
        accept: Accept<'_>,
    ) -> Result<Self, CoreError> {
        let home = Arc::new(home.clone());
        let directory = journal_path(&options.path);
        Self::open_at(disk, home, &directory, None, options, accept)
    }

    fn open_at(
        disk: Arc<dyn Disk>,
        home: Arc<dyn IndexHome>,
        directory: &Path,
        lock: Option<Lock>,
        options: &DbOptions,
        accept: Accept<'_>,
    ) -> Result<Self, CoreError> {
        let inner = Self::inner_at(disk, home, directory, lock, options, accept)?;
        let inner = Arc::new(inner);
        let background = Background::start(Arc::clone(&inner), options)?;
        Ok(Self {
            inner,
            background: Mutex::new(Some(background)),
        })
    }

    fn inner_at(
        disk: Arc<dyn Disk>,
        home: Arc<dyn IndexHome>,
        directory: &Path,
        lock: Option<Lock>,
        options: &DbOptions,
        accept: Accept<'_>,
    ) -> Result<Inner, CoreError> {
        let place = Place {
            disk: &disk,
            home: &*home,
            directory,
            schema_version: options.schema_version,
            now_ms: (options.clock)(),
            observer: &options.observer,
        };
        let Recovered {
            index,
            journal,
            digests,
            report,
            schema_version,
        } = recovery::open(place, accept)?;
        let durable = Durable {
            reserve: Reserve::new(disk, directory.to_owned()),
            journal,
            home,
            last_mark: Mutex::new(0),
        };
        let settles_beside = lock.is_some();
        let index = Arc::new(Overlay::new(index, options.for_held_back()));
        let mut inner = Inner::new(index, lock, Some(durable), digests, report, options);
        inner.settles_beside = settles_beside;
        inner.schema_version = AtomicU32::new(schema_version);
        Ok(inner)
    }

    /// Opens the state that the journal of the database at `options.path` holds, for reading only:
    /// without a lock, without a write, beside a running writer. [`refresh`](Self::refresh) goes on to
    /// a newer state.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`] if there is no database, or if its journal is damaged,
    /// [`CoreError::NoJournal`] if there is an index only.
    pub fn open_readonly(options: &DbOptions) -> Result<Self, CoreError> {
        let path = &options.path.components().collect::<PathBuf>();
        let path = resolve(path)?;
        if let Some(path) = exchange::pending(&path) {
            return Err(CoreError::Exchanging { path });
        }
        let directory = journal_path(&path);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let schema = storage_journal::schema_of(&*disk, &directory)?;
        let supported = options.schema_version;
        if let Some(found) = schema.filter(|schema| *schema > supported) {
            return Err(CoreError::SchemaTooNew { found, supported });
        }
        let state = match Merged::open(&*disk, &directory, u64::MAX) {
            Err(JournalError::Missing { .. }) if remains(&path)?.is_some() => {
                return Err(CoreError::NoJournal { path });
            }
            state => state?,
        };
        let (through, store_id) = (state.through(), state.store_id());
        let report = OpeningReport {
            clean: true,
            cut_bytes: state.cut_bytes(),
            damage: state.notes().to_vec(),
            ..OpeningReport::default()
        };
        let merged = Arc::new(MergedIndex::of(state));
        let digests = compare::digests(&*merged)?;
        let index: Arc<dyn Index> = Arc::<MergedIndex>::clone(&merged);
        let mut inner = Inner::new(index, None, None, digests, report, options);
        inner.path = Some(path);
        inner.set_store_id(store_id);
        inner.last_commit = AtomicU64::new(through);
        inner.merged = Some(ReadOnly {
            disk,
            directory,
            index: merged,
        });
        Ok(Self {
            inner: Arc::new(inner),
            background: Mutex::new(None),
        })
    }

    /// A database in memory, gone at drop. It touches no file.
    ///
    /// # Errors
    ///
    /// [`CoreError::Random`].
    pub fn in_memory(options: &DbOptions) -> Result<Self, CoreError> {
        let index = Arc::new(MemoryIndex::default());
        let digests = Digests::empty(TreeId::ALL.len());
        let report = OpeningReport {
            clean: true,
            ..OpeningReport::default()
        };
        let inner = Inner::new(index, None, None, digests, report, options);
        inner.set_store_id(recovery::random()?);
        Ok(Self {
            inner: Arc::new(inner),
            background: Mutex::new(None),
        })
    }

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
        inner.index()?;
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
        Ok(StateView(MergedIndex::of(merged)))
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

    /// Writes a checkpoint of what the index holds, while no commit is made. In difference to
    /// [`checkpoint`](Self::checkpoint), its memory does not grow with what was committed since the
    /// last one. Its counts and digests must be those of what was committed.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`], errors of the index, [`CoreError::Diverged`] if the index is not what it
    /// must be: nothing changed.
    pub fn checkpoint_index(&self) -> Result<(), CoreError> {
        let index = self.inner.index()?;
        self.checkpoint_of(recovery::records(&*index))
    }

    /// [`checkpoint_index`](Self::checkpoint_index) of `records`, which the caller knows to be what the
    /// index holds, in the order of tree and key: where they come from is faster to read.
    ///
    /// # Errors
    ///
    /// As there; [`CoreError::Diverged`] if they are not what was committed.
    pub fn checkpoint_of(
        &self,
        records: impl Iterator<Item = Result<Record, CoreError>>,
    ) -> Result<(), CoreError> {
        let inner = &*self.inner;
        let Some(Durable { journal, .. }) = &inner.durable else {
            return Ok(());
        };
        let turn = inner.take_turn()?;
        let expected = turn.sequence.settled(&*inner.index()?)?;
        let created_at = (inner.clock)().div_euclid(1000);
        let meter = RefCell::new(inner.meter("write a checkpoint", inner.len()));
        let records = records.map(|record| meter.borrow_mut().step().and(record));
        let accept = |digests: &Digests| {
            let same = TreeId::ALL
                .iter()
                .all(|tree| digests.of(tree.number()) == expected.of(tree.number()));
            same.then_some(()).ok_or(CoreError::Diverged)
        };
        let pulse = &mut || meter.borrow_mut().steps(0);
        journal.checkpoint_of(inner.schema(), created_at, records, accept, pulse)?;
        Ok(())
    }

    /// Bytes that may still be written where the database is; plenty in memory.
    ///
    /// # Errors
    ///
    /// [`CoreError::Io`].
    pub fn free_bytes(&self) -> Result<u64, CoreError> {
        let Some((disk, directory)) = self.place() else {
            return Ok(u64::MAX);
        };
        let space = disk.space(directory);
        Ok(space
            .map_err(|e| CoreError::io("look at", directory, e))?
            .free)
    }

    /// Writes a checkpoint of the state now beside those of the journal, under a name of its own: it is
    /// kept until it is removed. Verified on return.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export), and [`CoreError::ReadOnly`] without a journal.
    pub fn keep_checkpoint(&self, name: &str) -> Result<(), CoreError> {
        let Some(Durable { journal, .. }) = &self.inner.durable else {
            return Err(CoreError::ReadOnly);
        };
        self.export(&journal.directory().join(name)).map(drop)
    }

    /// A checkpoint that was kept under this name.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`] if it is damaged or not there, [`CoreError::ReadOnly`] without a journal.
    pub fn kept_checkpoint(&self, name: &str) -> Result<Checkpoint, CoreError> {
        let Some(Durable { journal, .. }) = &self.inner.durable else {
            return Err(CoreError::ReadOnly);
        };
        let path = journal.directory().join(name);
        let checkpoint = Checkpoint::open(&**journal.disk(), &path)?;
        checkpoint.verify()?;
        Ok(checkpoint)
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
    /// nothing was written. Errors of applying or syncing poison the handle: whether the commit is
    /// there after opening again is open.
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
        self.inner.index().map(drop)
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
        drop(slot);
        let closed = inner
            .check_journal()
            .and_then(|()| inner.close(index, &turn.sequence));
        let lock = inner.lock.lock();
        drop(lock.unwrap_or_else(PoisonError::into_inner).take());
        closed
    }

    /// How the database is doing.
    pub fn health(&self) -> Health {
        match (self.inner.failed(), self.inner.index()) {
            (Some(reason), _) => Health::Poisoned {
                reason: reason.to_owned(),
            },
            (None, Err(closed)) => Health::Poisoned {
                reason: closed.to_string(),
            },
            (None, Ok(_)) => {
                let degraded = self.inner.degraded.lock();
                let degraded = degraded.unwrap_or_else(PoisonError::into_inner);
                let index = self.inner.index_failure();
                let index = index.map(|reason| format!("the index takes no writes: {reason}"));
                match index.or_else(|| degraded.clone()) {
                    Some(reason) => Health::Degraded { reason },
                    None => Health::Ok,
                }
            }
        }
    }

    /// Whether writes are taken: it is open for them, and neither the journal nor the index failed. A full disk, which
    /// some writes still fit on, is no reason.
    pub fn accepts_writes(&self) -> bool {
        let inner = &self.inner;
        inner.merged.is_none()
            && inner.check_journal().is_ok()
            && inner.index().is_ok()
            && inner.index_failure().is_none()
    }

    /// Writes a checkpoint into the journal now.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`]: nothing changed. [`CoreError::ReadOnly`], [`CoreError::Poisoned`],
    /// [`CoreError::Closed`].
    pub fn checkpoint(&self) -> Result<(), CoreError> {
        if self.inner.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.inner.check_journal()?;
        self.inner.checkpoint().map(drop)
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

    /// The bytes of every file of the database; 0 in memory.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`] and errors of the file system.
    pub fn size_on_disk(&self) -> Result<u64, CoreError> {
        self.inner.index()?;
        match &self.inner.path {
            Some(path) => files_of(path)
                .iter()
                .map(|file| crate::size::of(file))
                .sum(),
            None => Ok(0),
        }
    }

    /// Where the journal is; nowhere in memory.
    fn place(&self) -> Option<(&Arc<dyn Disk>, &Path)> {
        match (&self.inner.durable, &self.inner.merged) {
            (Some(Durable { journal, .. }), _) => Some((journal.disk(), journal.directory())),
            (None, Some(view)) => Some((&view.disk, &view.directory)),
            (None, None) => None,
        }
    }

    /// What the files of the database take, and what compaction would return of it.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`], [`CoreError::Io`].
    pub fn space(&self) -> Result<Space, CoreError> {
        self.inner.index()?;
        let Some(path) = &self.inner.path else {
            return Ok(Space::default());
        };
        let index_bytes = crate::size::of(path)?;
        let journal_bytes = crate::size::of(&journal_path(path))?;
        let Some((disk, directory)) = self.place() else {
            return Ok(Space::default());
        };
        let checkpoint = checkpoint::newest(&**disk, directory)?;
        // Without a checkpoint there is no history worth mentioning. With one, a fresh index takes at most
        // three times as much, and what the engine takes for itself.
        let fresh = match &checkpoint {
            None => index_bytes,
            Some(of) => of.size().saturating_mul(3).saturating_add(FRESH_INDEX),
        };
        Ok(Space {
            index_bytes,
            journal_bytes,
            reclaimable_bytes: index_bytes.saturating_sub(fresh),
            checkpoint: checkpoint.map(|of| CheckpointInfo {
                commit: of.about().commit,
                created_at: of.about().created_at,
                bytes: of.size(),
            }),
        })
    }

    /// A record by key: from the cache, or decoded by `decode` from the index.
    pub(crate) fn load_cached<T: Clone + Send + Sync + 'static>(
        &self,
        tree: TreeId,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, CoreError>,
    ) -> Result<Option<T>, CoreError> {
        let inner = &self.inner;
        inner.index()?;
        let counters = &inner.counters;
        // A state that is exchanged under this read must not leave records of the old one behind.
        let _between = inner.merged.is_some().then(|| inner.between_commits());
        let found = inner.cache.get_or_load(tree, key, || {
            let Some(frame) = inner.get(tree, key)? else {
                return Ok(None);
            };
            counters::add(&counters.read_bytes, key.len() + frame.len());
            Ok::<_, CoreError>(Some((decode(&frame)?, frame.len())))
        })?;
        counters::add(&counters.reads, 1);
        counters::add(&inner.activity.of(tree).reads, 1);
        match found {
            Found::Hit(record) => {
                counters::add(&counters.cache_hits, 1);
                Ok(Some(record))
            }
            Found::Miss(record) => {
                counters::add(&counters.cache_misses, 1);
                Ok(record)
            }
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the database did not close cleanly");
        }
    }
}

/// The state of an open database as reads see it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    inner: &'a Inner,
    counted: bool,
}

/// A state that does not change.
#[derive(Debug)]
struct StateView(MergedIndex);

impl Read for StateView {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        self.0.get(tree, key)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.0.scan(tree, range, order, visit)
    }
}

impl View<'_> {
    fn count(&self, tree: TreeId, key: &[u8], value: &[u8]) {
        if self.counted {
            let counters = &self.inner.counters;
            counters::add(&self.inner.activity.of(tree).reads, 1);
            counters::add(&counters.reads, 1);
            counters::add(&counters.read_bytes, key.len() + value.len());
        }
    }
}

impl Read for View<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let value = self.inner.get(tree, key)?;
        self.count(tree, key, value.as_deref().unwrap_or_default());
        Ok(value)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.inner.scan(tree, range, order, &mut |key, value| {
            self.count(tree, key, value);
            visit(key, value)
        })
    }
}
