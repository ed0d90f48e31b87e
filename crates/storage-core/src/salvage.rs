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
use storage_journal::salvage::{Commits, Remains, RestOf, Stretch};

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

mod known;
mod report;
mod source;
mod staging;

use known::{Known, Source};
pub use report::{Damaged, LostCommits, Salvaged, SourceCount, Sources, TellDamaged, TreeSalvage};
pub use staging::Staging;

/// Says of the records of a state whether they have frames, or that it cannot tell.
pub type IsFramed<'a> = &'a dyn Fn(&dyn Read) -> Option<bool>;

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

    /// Puts together what the journal tells; returns its commits, and the checkpoints that were taken.
    fn journal(&mut self, remains: &Remains) -> Result<(Commits, Vec<State>), CoreError> {
        // The newest that is whole, and every newer one as far as it goes.
        let mut taken: Vec<&RestOf> = Vec::new();
        let mut base = 0;
        for rest in remains.checkpoints.iter().rev() {
            let meter = &mut self.meter;
            let unknown = rest.records::<CoreError>(&mut |_, _| meter.step(), &mut |_| Ok(()))?;
            taken.push(rest);
            if unknown.is_empty() && rest.commit() > 0 {
                base = rest.commit();
                break;
            }
            self.note(format!("{} is damaged", rest.path().display()));
        }
        taken.reverse();
        let mut states: Vec<State> = Vec::new();
        if remains.has_the_beginning() {
            // Before the first commit there is nothing.
            states.push((0, Vec::new()));
        }
        let (pieces, tell) = (&mut self.damaged_pieces, &mut *self.tell);
        let commits = Commits::read::<CoreError>(&RealDisk, remains, base, &mut |damaged| {
            *pieces += 1;
            tell(&piece(damaged))
        })?;
        let mut applied = base;
        for rest in taken {
            let commit = rest.commit();
            self.replay(&commits, applied, commit)?;
            applied = applied.max(commit);
            let unknown = self.checkpoint(rest, commit)?;
            self.remove_absent(commit, &unknown)?;
            states.push((commit, unknown));
        }
        self.replay(&commits, applied, u64::MAX)?;
        Ok((commits, states))
    }

    fn replay(&mut self, commits: &Commits, after: u64, through: u64) -> Result<(), CoreError> {
        let Self {
            scratch,
            counts,
            meter,
            ..
        } = self;
        commits.replay(&RealDisk, after, through, &mut |number, change| {
            meter.step()?;
            let Some(tree) = TreeId::from_number(change.tree) else {
                return Ok(());
            };
            let known = match change.value {
                Some(value) => {
                    counts.of_mut(tree).sources.commits.found += 1;
                    Known::put(Source::Commit, number, value)
                }
                None => Known::deleted(number),
            };
            scratch.apply(tree, change.key, Some(&known.encode()), &mut |_| {})
        })
    }

    /// Takes what can be read of a checkpoint; returns what it tells nothing of.
    fn checkpoint(&mut self, rest: &RestOf, commit: u64) -> Result<Vec<Stretch>, CoreError> {
        let Self {
            scratch,
            counts,
            meter,
            damaged_pieces,
            tell,
            ..
        } = self;
        rest.records::<CoreError>(
            &mut |tree, entries| {
                let Some(tree) = TreeId::from_number(tree) else {
                    return Ok(());
                };
                for (key, value) in entries {
                    meter.step()?;
                    counts.of_mut(tree).sources.checkpoints.found += 1;
                    let known = Known::put(Source::Checkpoint, commit, &value);
                    scratch.apply(tree, &key, Some(&known.encode()), &mut |_| {})?;
                }
                Ok(())
            },
            &mut |damaged| {
                *damaged_pieces += 1;
                tell(&piece(damaged))
            },
        )
    }

    /// What is older than a checkpoint, lies where it can be read, and is not in it, had been deleted.
    fn remove_absent(&mut self, commit: u64, unknown: &[Stretch]) -> Result<(), CoreError> {
        let scratch = Arc::clone(&self.scratch);
        for tree in TreeId::ALL {
            for entry in Pages::new(IndexReader(&*scratch), tree, Ok(EVERYTHING)) {
                let (key, stored) = entry?;
                self.meter.step()?;
                let Some(known) = Known::decode(&stored) else {
                    continue;
                };
                if known.number < commit && tells(unknown, tree, &key) {
                    let deleted = Known::deleted(commit).encode();
                    scratch.apply(tree, &key, Some(&deleted), &mut |_| {})?;
                }
            }
        }
        Ok(())
    }

    /// Takes from an index what the journal cannot know.
    fn index(
        &mut self,
        from: &IndexSource<'_>,
        commits: &mut Commits,
        states: &[State],
    ) -> Result<(), CoreError> {
        let shown = from.path.display();
        let witness = match from.index.witness() {
            Err(error) if is_damage(&error) => None,
            witness => witness?,
        };
        if let (Some(witness), Some(store_id)) = (witness, self.store_id)
            && witness.store_id != store_id
        {
            self.note(format!("{shown} belongs to another store"));
            return Ok(());
        }
        let said = witness.map(|witness| witness.store_id);
        self.store_id = self.store_id.or(said);
        let through = witness.map_or(0, |witness| witness.durable_through);
        commits.reached(through);
        if self.is_framed.is_none() {
            self.is_framed = (self.ask)(&IndexReader(from.index));
        }
        for tree in TreeId::ALL {
            let ended = source::read(from.index, tree, &mut |key, value| {
                self.meter.step()?;
                self.record(from, through, commits, states, (tree, key, value))
            });
            if let Some(why) = ended? {
                let tree = tree.name();
                self.note(format!("{shown}: {tree} cannot be read whole: {why}"));
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        from: &IndexSource<'_>,
        through: u64,
        commits: &Commits,
        states: &[State],
        (tree, key, value): (TreeId, &[u8], &[u8]),
    ) -> Result<(), CoreError> {
        let count = self.counts.of_mut(tree);
        match from.source {
            Source::MovedAside => count.sources.moved_aside.found += 1,
            _ => count.sources.index.found += 1,
        }
        if self.is_framed.unwrap_or(true)
            && let Err(error) = frame::open(tree, key, value)
        {
            count.quarantined += 1;
            return (self.tell)(&Damaged {
                tree: Some(tree),
                key,
                reason: error.to_string(),
                bytes: value,
                found_in: from.path.display().to_string(),
            });
        }
        let stored = self.scratch.get(tree, key)?;
        let known = stored.as_deref().and_then(Known::decode);
        if let Some(known) = &known
            && known.value == Some(value)
        {
            if self.is_one_of_many && !known.source.is_index() && !known.is_confirmed {
                let mut known = *known;
                known.is_confirmed = true;
                return self
                    .scratch
                    .apply(tree, key, Some(&known.encode()), &mut |_| {});
            }
            return Ok(());
        }
        let is_aside = from.source == Source::MovedAside;
        let lost = commits.lost();
        // What the journal says as of a commit, against an index that was durable through another one.
        let against = |number| match (lost.any_after(number), through >= number) {
            (true, true) => Wins::Yes,
            (_, false) if is_aside => Wins::No,
            (true, false) => Wins::IfNew,
            (false, is_behind) if is_behind && lost.is_unknown => Wins::IfNew,
            (false, _) => Wins::No,
        };
        let wins = match &known {
            // A better index has it.
            Some(known) if known.source.is_index() || known.is_confirmed => Wins::No,
            Some(known) => match known.value {
                Some(damaged) if !self.is_sound(tree, key, damaged) => Wins::Yes,
                _ => against(known.number),
            },
            None => {
                let absent = states
                    .iter()
                    .filter(|(_, unknown)| tells(unknown, tree, key));
                match absent.map(|(commit, _)| *commit).max() {
                    None => Wins::Yes,
                    // It holds what the checkpoint holds, and this on top.
                    Some(commit) if through >= commit && against(commit) == Wins::No => Wins::IfNew,
                    Some(commit) => against(commit),
                }
            }
        };
        let count = self.counts.of_mut(tree);
        count.conflicts += u64::from(known.is_some() || wins != Wins::Yes);
        let number = known.as_ref().map_or(0, |known| known.number);
        let taken = Known::put(from.source, number, value).encode();
        match wins {
            Wins::No => Ok(()),
            Wins::Yes => {
                count.index_won += u64::from(known.is_some());
                self.scratch.apply(tree, key, Some(&taken), &mut |_| {})
            }
            Wins::IfNew if self.doubts.get(tree, key)?.is_some() => Ok(()),
            Wins::IfNew => {
                self.has_doubts = true;
                self.doubts.apply(tree, key, Some(&taken), &mut |_| {})
            }
        }
    }

    fn is_sound(&self, tree: TreeId, key: &[u8], value: &[u8]) -> bool {
        !self.is_framed.unwrap_or(true) || frame::open(tree, key, value).is_ok()
    }

    /// Of the records in doubt, takes those whose value the journal does not know as an older one.
    fn resolve_doubts(&mut self, remains: &Remains, commits: &Commits) -> Result<(), CoreError> {
        let doubts = Arc::clone(&self.doubts);
        let meter = &mut self.meter;
        let mut dispel = |tree: u8, key: &[u8], value: &[u8]| {
            meter.step()?;
            let Some(tree) = TreeId::from_number(tree) else {
                return Ok(());
            };
            let stored = doubts.get(tree, key)?;
            let doubt = stored.as_deref().and_then(Known::decode);
            if doubt.is_some_and(|doubt| doubt.value == Some(value)) {
                doubts.apply(tree, key, None, &mut |_| {})?;
            }
            Ok::<_, CoreError>(())
        };
        for rest in &remains.checkpoints {
            rest.records::<CoreError>(
                &mut |tree, entries| {
                    let mut entries = entries.iter();
                    entries.try_for_each(|(key, value)| dispel(tree, key, value))
                },
                &mut |_| Ok(()),
            )?;
        }
        commits.replay(
            &RealDisk,
            0,
            u64::MAX,
            &mut |_, change| match change.value {
                Some(value) => dispel(change.tree, change.key, value),
                None => Ok(()),
            },
        )?;
        for tree in TreeId::ALL {
            for entry in Pages::new(IndexReader(&*doubts), tree, Ok(EVERYTHING)) {
                let (key, stored) = entry?;
                self.counts.of_mut(tree).index_won += 1;
                self.scratch.apply(tree, &key, Some(&stored), &mut |_| {})?;
            }
        }
        Ok(())
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
                let opened = frame::open(tree, &key, value);
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

/// Whether a record of an index counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wins {
    Yes,
    No,
    /// If the journal does not know its value as an older one.
    IfNew,
}

/// Whether a checkpoint tells of a place.
fn tells(unknown: &[Stretch], tree: TreeId, key: &[u8]) -> bool {
    !unknown
        .iter()
        .any(|stretch| stretch.contains(tree.number(), key))
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

fn piece(damaged: storage_journal::salvage::Damaged<'_>) -> Damaged<'_> {
    Damaged {
        tree: None,
        key: &[],
        reason: format!("{} is damaged", damaged.what),
        bytes: damaged.bytes,
        found_in: format!("{}, byte {}", damaged.path.display(), damaged.offset),
    }
}

/// Whether an index cannot be read for what it is, and not for what surrounds it.
fn is_damage(error: &CoreError) -> bool {
    let missing = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    error.is_index_damage() || matches!(error, CoreError::Io { source, .. } if missing(source))
}
