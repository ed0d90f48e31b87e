//! An open database: the lock, the index, and the one door for writes.
//!
//! # Invariants
//!
//! - Every write goes through [`Db::update`]: one at a time under the sequencer, numbered without a
//!   gap, applied whole. Read-modify-write needs no other lock anywhere.
//! - A read of several records runs between two commits, never across one.
//! - After a failed write or sync the handle is poisoned: no later write returns `Ok`.
//!
//! Other threads may read a commit before its `update` returns, and before it is durable.

use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use crate::cache::{Found, RecordCache};
use crate::commit::Commit;
use crate::counters::{self, StorageMetrics};
use crate::error::CoreError;
use crate::flush::Timer;
use crate::index::Index;
use crate::index::memory::MemoryIndex;
use crate::index::sled::SledIndex;
use crate::lock::{self, Lock};
use crate::options::DbOptions;
use crate::tree::{PerTree, TreeId};
use crate::view::{KeyRange, Order, Read, Visit};

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

/// A handle on an open database, shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct Db {
    inner: Arc<Inner>,
    timer: Mutex<Option<Timer>>,
}

impl Db {
    /// Opens the database on disk, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// [`CoreError::NotADirectory`], [`CoreError::Locked`] after the timeout,
    /// [`CoreError::IndexDamaged`], and errors of the file system. What was there is unchanged.
    pub fn open(options: &DbOptions) -> Result<Self, CoreError> {
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
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            create_directory(parent)?;
        }
        // By whatever name the database is opened, its lock is at the same place.
        let path = &resolve(path)?;
        let lock = Lock::take(path, options.lock_timeout, options.now)?;
        create_directory(path)?;
        // Records cost more decoded than stored, and are worth more: a quarter of the cache is theirs.
        let for_records = options.cache_capacity_bytes / 4;
        let index = SledIndex::open(path, options.cache_capacity_bytes - for_records)?;
        let inner = Inner::new(
            Arc::new(index),
            Some(lock),
            options.compression,
            for_records,
        )?;
        let inner = Arc::new(inner);
        let timer = match options.flush_every_ms {
            Some(period) => Some(Timer::start(Arc::clone(&inner), period)?),
            None => None,
        };
        Ok(Self {
            inner,
            timer: Mutex::new(timer),
        })
    }

    /// A database in memory, gone at drop. It touches no file.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of [`open`](Self::open).
    pub fn in_memory(cache_capacity_bytes: u64, compression: bool) -> Result<Self, CoreError> {
        let index = Arc::new(MemoryIndex::default());
        let inner = Inner::new(index, None, compression, cache_capacity_bytes / 4)?;
        Ok(Self {
            inner: Arc::new(inner),
            timer: Mutex::new(None),
        })
    }

    /// Makes one commit: `f` reads the view and fills the commit, which is then applied whole.
    ///
    /// Returns what `f` returned and the commit's number; a commit that changes nothing takes no
    /// number and returns the last one. If `f` returns an error or panics, nothing is written.
    /// Updates run one at a time; `f` must not write through this handle itself.
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
        let turn = inner.take_turn()?;
        inner.check_writable()?;
        let view = View {
            inner,
            counted: false,
        };
        let mut commit = Commit::new(inner.compression);
        let result = f(&view, &mut commit)?;
        let number = inner.apply(&commit)?;
        drop(turn);
        if durability == Durability::Durable && !commit.is_empty() {
            inner.sync_through(number)?;
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

    /// How many entries the tree has. Costs no read.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`].
    pub fn len(&self, tree: TreeId) -> Result<usize, CoreError> {
        let _index = self.inner.index()?;
        Ok(self.inner.counts.of(tree).load(Ordering::Acquire))
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
        crate::flush::on_own_thread(move || inner.flush()).await
    }

    /// Makes everything durable and closes. A second call does nothing; any other later call on this
    /// handle fails.
    ///
    /// # Errors
    ///
    /// [`CoreError::Reentrant`] inside the closure of `update`: nothing happened. Otherwise the
    /// handle is closed, and the error says what was not made durable.
    pub fn shutdown(&self) -> Result<(), CoreError> {
        let turn = self.inner.take_turn()?;
        let timer = self
            .timer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(timer);
        let mut slot = self
            .inner
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.take() else {
            return Ok(());
        };
        drop(slot);
        let synced = match self.inner.failure.get() {
            Some(reason) => Err(CoreError::Poisoned {
                reason: reason.clone(),
            }),
            None => index.sync(),
        };
        drop(index);
        let lock = self.inner.lock.lock();
        drop(lock.unwrap_or_else(PoisonError::into_inner).take());
        drop(turn);
        synced
    }

    /// How the database is doing.
    pub fn health(&self) -> Health {
        match (self.inner.failure.get(), self.inner.index()) {
            (Some(reason), _) => Health::Poisoned {
                reason: reason.clone(),
            },
            (None, Err(closed)) => Health::Poisoned {
                reason: closed.to_string(),
            },
            (None, Ok(_)) => Health::Ok,
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
        match self.inner.index()?.path() {
            Some(path) => files_of(path)
                .iter()
                .map(|file| crate::size::of(file))
                .sum(),
            None => Ok(0),
        }
    }

    /// A record by key: from the cache, or decoded by `decode` from the index.
    pub(crate) fn load_cached<T: Clone + Send + Sync + 'static>(
        &self,
        tree: TreeId,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, CoreError>,
    ) -> Result<Option<T>, CoreError> {
        let inner = &self.inner;
        let index = inner.index()?;
        let counters = &inner.counters;
        let found = inner.cache.get_or_load(tree, key, || {
            let Some(frame) = index.get(tree, key)? else {
                return Ok(None);
            };
            counters::add(&counters.read_bytes, key.len() + frame.len());
            Ok::<_, CoreError>(Some((decode(&frame)?, frame.len())))
        })?;
        counters::add(&counters.reads, 1);
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

impl View<'_> {
    fn count(&self, key: &[u8], value: &[u8]) {
        if self.counted {
            let counters = &self.inner.counters;
            counters::add(&counters.reads, 1);
            counters::add(&counters.read_bytes, key.len() + value.len());
        }
    }
}

impl Read for View<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let value = self.inner.index()?.get(tree, key)?;
        self.count(key, value.as_deref().unwrap_or_default());
        Ok(value)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let index = self.inner.index()?;
        let _between_commits = self
            .inner
            .applying
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        index.scan(tree, range, order, &mut |key, value| {
            self.count(key, value);
            visit(key, value)
        })
    }
}

/// What the handle, its timer and its flushes share.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Tells this database from others in [`IN_UPDATE`].
    id: u64,
    index: RwLock<Option<Arc<dyn Index>>>,
    lock: Mutex<Option<Lock>>,
    sequencer: Mutex<()>,
    /// Held for writing while a commit is applied.
    applying: RwLock<()>,
    /// The number of the last commit applied.
    last_commit: AtomicU64,
    /// The number of the last commit known durable. The lock is held while syncing, so commits that
    /// wait for it share the next sync.
    synced: Mutex<u64>,
    counts: PerTree<AtomicUsize>,
    cache: RecordCache,
    counters: Arc<StorageMetrics>,
    failure: OnceLock<String>,
    compression: bool,
}

thread_local! {
    /// The databases whose `update` this thread is inside of.
    static IN_UPDATE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Inner {
    fn new(
        index: Arc<dyn Index>,
        lock: Option<Lock>,
        compression: bool,
        record_cache_bytes: u64,
    ) -> Result<Self, CoreError> {
        let last_commit = index.last_commit()?;
        let counts = PerTree::try_new(|tree| {
            let mut count = 0;
            let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            index.scan(tree, &everything, Order::Ascending, &mut |_, _| {
                count += 1;
                Ok(true)
            })?;
            Ok::<_, CoreError>(AtomicUsize::new(count))
        })?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            index: RwLock::new(Some(index)),
            lock: Mutex::new(lock),
            sequencer: Mutex::new(()),
            applying: RwLock::new(()),
            last_commit: AtomicU64::new(last_commit),
            synced: Mutex::new(last_commit),
            counts,
            cache: RecordCache::new(record_cache_bytes),
            counters: Arc::default(),
            failure: OnceLock::new(),
            compression,
        })
    }

    fn index(&self) -> Result<Arc<dyn Index>, CoreError> {
        let slot = self.index.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or(CoreError::Closed)
    }

    /// Waits for this thread's turn to write.
    fn take_turn(&self) -> Result<Turn<'_>, CoreError> {
        if IN_UPDATE.with_borrow(|inside| inside.contains(&self.id)) {
            return Err(CoreError::Reentrant);
        }
        // A panic in a closure poisons the mutex and nothing else: its commit was never applied.
        let sequencer = self.sequencer.lock();
        let sequencer = sequencer.unwrap_or_else(PoisonError::into_inner);
        IN_UPDATE.with_borrow_mut(|inside| inside.push(self.id));
        Ok(Turn {
            _sequencer: sequencer,
        })
    }

    fn check_writable(&self) -> Result<(), CoreError> {
        let _index = self.index()?;
        match self.failure.get() {
            Some(reason) => Err(CoreError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Applies a commit whole and returns its number. Called on the caller's turn.
    fn apply(&self, commit: &Commit) -> Result<u64, CoreError> {
        let last = self.last_commit.load(Ordering::Acquire);
        if commit.is_empty() {
            return Ok(last);
        }
        let number = last + 1;
        let index = self.index()?;
        let applying = self.applying.write();
        let _applying = applying.unwrap_or_else(PoisonError::into_inner);
        for (tree, key, value) in commit.changes() {
            let existed = index.apply(tree, key, value).map_err(|e| self.poison(e))?;
            self.cache.remove(tree, key);
            self.count_change(tree, key, value, existed);
        }
        let numbered = index.set_last_commit(number);
        numbered.map_err(|e| self.poison(e))?;
        self.last_commit.store(number, Ordering::Release);
        Ok(number)
    }

    fn count_change(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>, existed: bool) {
        let counters = &self.counters;
        let count = self.counts.of(tree);
        if let Some(value) = value {
            counters::add(&counters.writes, 1);
            counters::add(&counters.write_bytes, key.len() + value.len());
            count.fetch_add(usize::from(!existed), Ordering::AcqRel);
        } else {
            counters::add(&counters.deletes, 1);
            count.fetch_sub(usize::from(existed), Ordering::AcqRel);
        }
    }

    fn flush(&self) -> Result<(), CoreError> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync(&mut synced)
    }

    /// Makes commit `number` durable, unless the sync of another one has done so.
    fn sync_through(&self, number: u64) -> Result<(), CoreError> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= number {
            return Ok(());
        }
        self.sync(&mut synced)
    }

    /// For the timer: makes durable what is not.
    pub(crate) fn sync_if_needed(&self) -> Result<(), CoreError> {
        self.sync_through(self.last_commit.load(Ordering::Acquire))
    }

    fn sync(&self, synced: &mut MutexGuard<'_, u64>) -> Result<(), CoreError> {
        self.check_writable()?;
        let through = self.last_commit.load(Ordering::Acquire);
        self.index()?.sync().map_err(|e| self.poison(e))?;
        **synced = through;
        counters::add(&self.counters.flushes, 1);
        Ok(())
    }

    /// Latches the first error: what failed once is not believed later.
    fn poison(&self, error: CoreError) -> CoreError {
        let reason = chain(&error);
        tracing::error!(%reason, "the database takes no more writes");
        let _first = self.failure.set(reason);
        error
    }
}

/// A thread's turn to write; ends at drop, on a panic as well.
#[derive(Debug)]
struct Turn<'a> {
    _sequencer: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IN_UPDATE.with_borrow_mut(Vec::pop);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn create_directory(path: &Path) -> Result<(), CoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| CoreError::io("create", path, e))
}

/// The path without links; its last part may not exist yet.
fn resolve(path: &Path) -> Result<PathBuf, CoreError> {
    let io = |e| CoreError::io("resolve", path, e);
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).map_err(io)?;
            Ok(parent.join(path.file_name().unwrap_or_default()))
        }
        found => found.map_err(io),
    }
}

/// Everything on disk that belongs to the database at `path`.
fn files_of(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), lock::lock_path(path)]
}
