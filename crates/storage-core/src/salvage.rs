//! Salvage: everything that is intact anywhere of a database whose copies are both damaged, put together.
//!
//! The journal comes first: its newest whole checkpoint, every newer one as far as it can be read, and every
//! commit that can be read, in the order of their numbers; the highest number wins. Then each index, opened
//! as a copy. What it has and the journal has not, or has otherwise, counts where the journal cannot know: a
//! commit is lost behind the last one that is known to have changed the record, or nothing is known of it. An
//! index that was not durable through that one may be behind it: what the journal knows as an older value does
//! not count then. One that was moved aside counts only from where it was durable, and behind the others.
//!
//! # Invariants
//!
//! - Nothing of the original is written, renamed or removed.
//! - Values are not kept in memory: what was put together is in a scratch index beside the new database.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::JournalError;
use storage_journal::checkpoint::About;
use storage_journal::disk::RealDisk;
use storage_journal::salvage::{Remains, Stretch};

use crate::db::recovery::{chain, random};
use crate::error::CoreError;
use crate::frame;
use crate::index::home::{OLD, SledHome};
use crate::index::{Index, IndexHome, IndexReader};
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::pages::Pages;
use crate::paths::{journal_path, resolve};
use crate::progress::Meter;
use crate::tree::{PerTree, TreeId};
use crate::view::{KeyRange, Order, Read, Visit};

mod index;
mod journal;
mod known;
mod report;
mod source;
mod staging;

pub use index::IsFramed;
use known::{Known, Source};
pub use report::{Damaged, LostCommits, Salvaged, SourceCount, Sources, TellDamaged, TreeSalvage};
pub use staging::Staging;

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// Ending of indexes that were moved aside.
const DAMAGED: &str = ".damaged-";

/// What was put together of a database.
#[derive(Debug)]
pub struct Salvage {
    scratch: Arc<dyn Index>,
    salvaged: Salvaged,
    _lock: Option<Lock>,
}

impl Salvage {
    /// Whether there is anything of a database at `from.path`.
    ///
    /// # Errors
    ///
    /// [`CoreError::Io`].
    pub fn is_possible(from: &DbOptions) -> Result<bool, CoreError> {
        let path = resolve(&from.path.components().collect::<PathBuf>())?;
        let remains = Remains::find(&RealDisk, &journal_path(&path))?;
        Ok(!remains.is_empty() || !source::indexes_of(&path)?.is_empty())
    }

    /// Reads everything that there is of the database at `from.path`; what it is put together in lies in
    /// `staging`.
    ///
    /// # Errors
    ///
    /// [`CoreError::Journal`] with `Missing` if there is nothing of a database; [`CoreError::SchemaTooNew`],
    /// [`CoreError::Locked`], [`CoreError::IndexLocked`], [`CoreError::Cancelled`]; errors of the file system
    /// that are no damage, and those of `tell`.
    pub fn read(
        from: &DbOptions,
        staging: &Staging,
        is_framed: IsFramed<'_>,
        tell: TellDamaged<'_>,
    ) -> Result<Self, CoreError> {
        let path = resolve(&from.path.components().collect::<PathBuf>())?;
        let lock = Lock::take_as_it_is(&path, from.lock_timeout)?;
        let remains = Remains::find(&RealDisk, &journal_path(&path))?;
        if remains.schema > from.schema_version {
            let (found, supported) = (remains.schema, from.schema_version);
            return Err(CoreError::SchemaTooNew { found, supported });
        }
        let indexes = source::indexes_of(&path)?;
        if remains.is_empty() && indexes.is_empty() {
            let directory = journal_path(&path);
            return Err(JournalError::Missing { directory }.into());
        }
        let cache = from.cache_capacity_bytes / 4;
        let open = |name| SledHome::new(staging.file(name), cache).open();
        let mut work = Work {
            scratch: open("salvaged")?,
            doubts: open("doubts")?,
            has_doubts: false,
            counts: PerTree::try_new(|tree| Ok::<_, CoreError>(nothing_of(tree)))?,
            damaged_pieces: 0,
            store_id: remains.store_id,
            is_framed: None,
            ask: is_framed,
            record_version: 0,
            is_one_of_many: indexes.len() > 1,
            notes: Vec::new(),
            tell,
            meter: Meter::start("salvage the journal", 0, &from.observer),
        };
        for path in &remains.foreign {
            work.note(format!("{} belongs to another store", path.display()));
        }
        let (mut commits, states) = work.journal(&remains)?;
        work.is_framed = is_framed(&View(&*work.scratch));
        work.meter = Meter::start("salvage the index", 0, &from.observer);
        let home = SledHome::new(staging.file("index"), cache);
        for (source, path) in &indexes {
            let index = match home.open_copy_of(path) {
                Ok(index) => index,
                Err(error) if is_damage(&error) => {
                    work.note(format!(
                        "{} cannot be read: {}",
                        path.display(),
                        chain(&error)
                    ));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let from = IndexSource {
                index: &*index,
                source: *source,
                path,
            };
            work.index(&from, &mut commits, &states)?;
        }
        home.remove_leftovers()?;
        if work.has_doubts {
            work.resolve_doubts(&remains, &commits)?;
        }
        work.finish()?;
        let Work {
            scratch,
            counts,
            damaged_pieces,
            notes,
            store_id,
            record_version,
            ..
        } = work;
        let salvaged = Salvaged {
            store_id: match store_id {
                Some(store_id) => store_id,
                None => random()?,
            },
            commit: commits.highest().max(newest(&states)) + 1,
            schema: remains.schema.max(record_version),
            trees: TreeId::ALL.iter().map(|tree| *counts.of(*tree)).collect(),
            lost: commits.lost().clone(),
            damaged_pieces,
            is_locked: lock.is_some(),
            notes,
        };
        Ok(Self {
            scratch,
            salvaged,
            _lock: lock,
        })
    }

    /// What was salvaged.
    pub fn report(&self) -> &Salvaged {
        &self.salvaged
    }

    /// The records.
    pub fn view(&self) -> impl Read {
        View(&*self.scratch)
    }

    /// Adds a record that no source has.
    ///
    /// # Errors
    ///
    /// Errors of the scratch index.
    pub fn add(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<(), CoreError> {
        let known = Known::put(Source::Commit, self.salvaged.commit, value);
        self.scratch
            .apply(tree, key, Some(&known.encode()), &mut |_| {})?;
        let count = self.salvaged.trees.iter_mut();
        for count in count.filter(|count| count.tree == tree) {
            count.records += 1;
        }
        Ok(())
    }

    /// Makes the journal of the new database, at `options.path`.
    ///
    /// # Errors
    ///
    /// As [`begin`](crate::begin).
    pub fn begin(&self, options: &DbOptions, schema_version: u32) -> Result<(), CoreError> {
        let about = About {
            store_id: self.salvaged.store_id,
            term: u64::from_le_bytes(random()?),
            schema_version,
            commit: self.salvaged.commit,
            created_at: options.now(),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let view = View(&*self.scratch);
        let records = TreeId::ALL.into_iter().flat_map(move |tree| {
            let entries = Pages::new(view, tree, Ok(EVERYTHING));
            entries.map(move |entry| entry.map(|(key, value)| (tree.number(), key, value)))
        });
        crate::restore::begin(&about, records, options)
    }
}

/// The live records of a scratch index, without what is noted of them.
#[derive(Clone, Copy, Debug)]
struct View<'a>(&'a dyn Index);

impl Read for View<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let stored = self.0.get(tree, key)?;
        let known = stored.as_deref().and_then(Known::decode);
        Ok(known.and_then(|known| known.value.map(<[u8]>::to_vec)))
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.0.scan(
            tree,
            range,
            order,
            &mut |key, stored| match Known::decode(stored).and_then(|known| known.value) {
                Some(value) => visit(key, value),
                None => Ok(true),
            },
        )
    }
}

/// A checkpoint that was taken: its commit, and what it tells nothing of.
type State = (u64, Vec<Stretch>);

fn newest(states: &[State]) -> u64 {
    states.iter().map(|(commit, _)| *commit).max().unwrap_or(0)
}

/// An index that records are taken from.
struct IndexSource<'a> {
    index: &'a dyn Index,
    source: Source,
    path: &'a Path,
}

/// Salvaging under way.
struct Work<'a> {
    scratch: Arc<dyn Index>,
    /// Records of an index that count, unless the journal knows their value as an older one.
    doubts: Arc<dyn Index>,
    has_doubts: bool,
    counts: PerTree<TreeSalvage>,
    damaged_pieces: u64,
    /// Whether every record has a frame, once that is known.
    is_framed: Option<bool>,
    ask: IsFramed<'a>,
    /// Whether there is more than one index.
    is_one_of_many: bool,
    /// The newest that a record in the result has.
    record_version: u32,
    store_id: Option<[u8; 16]>,
    notes: Vec<String>,
    tell: TellDamaged<'a>,
    meter: Meter<'a>,
}

impl Work<'_> {
    fn note(&mut self, note: String) {
        tracing::warn!(note, "salvaging");
        self.notes.push(note);
    }

    /// Sets records aside whose frames are bad, and counts the others.
    fn finish(&mut self) -> Result<(), CoreError> {
        let scratch = Arc::clone(&self.scratch);
        for tree in TreeId::ALL {
            for entry in Pages::new(IndexReader(&*scratch), tree, Ok(EVERYTHING)) {
                let (key, stored) = entry?;
                self.meter.step()?;
                let Some(known) = Known::decode(&stored) else {
                    continue;
                };
                let Some(value) = known.value else {
                    continue;
                };
                let framed = self.is_framed.unwrap_or(true);
                let opened = frame::open_borrowed(tree, &key, value);
                if let Ok(frame) = &opened {
                    self.record_version = self.record_version.max(frame.record_version.into());
                }
                let bad = opened.err().filter(|_| framed);
                let count = self.counts.of_mut(tree);
                if let Some(error) = bad {
                    count.quarantined += 1;
                    (self.tell)(&Damaged {
                        tree: Some(tree),
                        key: &key,
                        reason: error.to_string(),
                        bytes: value,
                        found_in: format!("the journal, commit {}", known.number),
                    })?;
                    scratch.apply(tree, &key, None, &mut |_| {})?;
                    continue;
                }
                count.records += 1;
                let source = match known.source {
                    Source::Checkpoint => &mut count.sources.checkpoints,
                    Source::Commit => &mut count.sources.commits,
                    Source::Index => &mut count.sources.index,
                    Source::MovedAside => &mut count.sources.moved_aside,
                };
                source.kept += 1;
            }
        }
        Ok(())
    }
}

fn nothing_of(tree: TreeId) -> TreeSalvage {
    TreeSalvage {
        tree,
        records: 0,
        sources: Sources::default(),
        conflicts: 0,
        index_won: 0,
        quarantined: 0,
    }
}

/// Whether an index cannot be read for what it is, and not for what surrounds it.
fn is_damage(error: &CoreError) -> bool {
    let missing = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    error.is_index_damage() || matches!(error, CoreError::Io { source, .. } if missing(source))
}
