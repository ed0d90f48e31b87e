//! Opening: for writing, for reading, in memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::digest::Digests;
use storage_journal::disk::{Disk, RealDisk};
use storage_journal::{JournalError, Merged};

use super::inner::{Durable, Inner, ReadOnly};
use super::recovery::{Accept, Place, Recovered};
use super::reserve::Reserve;
use super::{Db, compare, recovery};
use crate::background::Background;
use crate::cache::Found;
use crate::codec;
use crate::counters;
use crate::error::CoreError;
use crate::exchange;
use crate::frame::Encoding;
use crate::index::home::SledHome;
use crate::index::memory::MemoryIndex;
use crate::index::merged::MergedIndex;
use crate::index::overlay::Overlay;
use crate::index::simulated::SimulatedHome;
use crate::index::{Index, IndexHome};
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, journal_path, resolve};
use crate::report::OpeningReport;
use crate::restore::remains;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::tree::TreeId;

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

    pub(super) fn inner_at(
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

    /// A record by key: what `decode` makes of its body, which is in the cache or in the index.
    pub(crate) fn load_cached<T>(
        &self,
        tree: TreeId,
        key: &[u8],
        decode: impl Fn(&[u8]) -> Result<T, CoreError>,
    ) -> Result<Option<T>, CoreError> {
        let inner = &self.inner;
        inner.check_open()?;
        let counters = &inner.counters;
        // A state that is exchanged under this read must not leave records of the old one behind.
        let _between = inner.merged.is_some().then(|| inner.between_commits());
        let found = inner.cache.get_or_load(tree, key, || {
            let Some(frame) = inner.get(tree, key)? else {
                return Ok(None);
            };
            counters::add(&counters.read_bytes, key.len() + frame.len());
            let body = codec::open(tree, key, &frame, Encoding::Postcard)?;
            Ok::<_, CoreError>(Some((decode(&body)?, body.as_ref().into())))
        })?;
        counters::add(&counters.reads, 1);
        counters::add(&inner.activity.of(tree).reads, 1);
        match found {
            Found::Hit(body) => {
                counters::add(&counters.cache_hits, 1);
                decode(&body).map(Some)
            }
            Found::Miss(record) => {
                counters::add(&counters.cache_misses, 1);
                Ok(record)
            }
        }
    }
}
