//! Opening: from what a crash, a power cut or damage left to an index and a journal that agree.
//!
//! | journal | index | what is done |
//! |---|---|---|
//! | none | none | both are made |
//! | none | there | adopted: a journal is made from a copy of it, then as below |
//! | sound, ends with a clean mark that matches | there | opened, nothing compared |
//! | sound | there | commits are replayed, every record is compared and healed |
//! | sound | gone, of another store, or beyond reading | moved aside, rebuilt |
//! | damaged | whole through the last mark | a new checkpoint is made from it, the journal begins anew; what of later commits cannot be read is named |
//! | damaged | not whole | refused, naming what is lost |
//!
//! Whatever is done can be interrupted and done again. An index is made beside and put in place whole.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::checkpoint::{self, About, Record};
use storage_journal::digest::Digests;
use storage_journal::disk::{Disk, make_directory};
use storage_journal::{Journal, JournalError, Mark, Merged, Scan};

use super::compare;
use super::inner::let_go;
use crate::error::CoreError;
use crate::index::merged::MergedIndex;
use crate::index::overlay::Overlay;
use crate::index::{Index, IndexHome, IndexReader, Witness};
use crate::progress::{Meter, Observer, during};
use crate::report::OpeningReport;
use crate::tree::TreeId;
use crate::view::Read;

mod salvage;

/// What a replay holds back, to write it to the index in key order.
const REPLAYED_BYTES: u64 = 8 * 1024 * 1024;

/// What the records of a database are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "both are all that opening must know"
)]
pub struct Layout {
    /// The schema that the database says it has.
    pub schema_version: u32,
    /// Whether every record has a frame. Those of the first implementation have none.
    pub is_framed: bool,
}

/// Decides from the records whether a database may be opened, and says what they are; called before
/// anything is changed.
pub type Accept<'a> = &'a dyn Fn(&dyn Read) -> Result<Layout, CoreError>;

/// What an open database consists of.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Arc<dyn Index>,
    pub(crate) journal: Journal,
    pub(crate) digests: Digests,
    pub(crate) report: OpeningReport,
    pub(crate) schema_version: u32,
}

/// An index, and through which commit it is durable.
type Opened = (Arc<dyn Index>, u64);

/// Everything that recovery works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) home: &'a dyn IndexHome,
    /// The journal's directory.
    pub(crate) directory: &'a Path,
    pub(crate) schema_version: u32,
    /// Unix milliseconds.
    pub(crate) now_ms: i64,
    pub(crate) observer: &'a Observer,
}

/// Opens, whatever there is.
///
/// # Errors
///
/// [`CoreError::Journal`] with the damage if neither copy is whole, [`CoreError::Sibling`] where
/// something says that there was a database, the errors of `accept`, of the disk and of the index,
/// and [`CoreError::Cancelled`].
pub(crate) fn open(place: Place<'_>, accept: Accept<'_>) -> Result<Recovered, CoreError> {
    let schema = storage_journal::schema_of(&**place.disk, place.directory)?;
    if let Some(found) = schema.filter(|schema| *schema > place.schema_version) {
        let supported = place.schema_version;
        return Err(CoreError::SchemaTooNew { found, supported });
    }
    place.home.settle()?;
    let mut report = OpeningReport::default();
    let scan = match Scan::read(&**place.disk, place.directory, u64::MAX) {
        Err(JournalError::Missing { .. }) if place.home.exists()? => {
            place.adopt(accept)?;
            report.adopted = true;
            Scan::read(&**place.disk, place.directory, u64::MAX)?
        }
        Err(JournalError::Missing { .. }) => return place.create(),
        scan => scan?,
    };
    let mut layout = None;
    if scan.damage().is_empty() {
        layout = accepted(&scan, accept)?;
    }
    if let Some(layout) = layout
        && let Some(recovered) = place.open_clean(&scan, layout, &mut report)?
    {
        place.home.remove_leftovers()?;
        return Ok(recovered);
    }
    // Everything is compared with the checkpoint below, so every byte of it is read first.
    let scan = Scan::read_verified(&**place.disk, place.directory)?;
    report.damage.extend(scan.notes().iter().cloned());
    report.cut_bytes = scan.cut_bytes();
    if scan.cut_bytes() > 0 {
        let (bytes, last) = (scan.cut_bytes(), scan.last());
        tracing::warn!(
            bytes,
            last,
            "cut the tail that a power cut left in the journal"
        );
    }
    if scan.damage().is_empty() && layout.is_none() {
        layout = accepted(&scan, accept)?;
    }
    let recovered = if let Some(layout) = layout.filter(|_| scan.damage().is_empty()) {
        match place.reopen(&scan, layout, &mut report) {
            // It ends before the index does, or its checkpoint cannot be read.
            Err(Failed::Journal(error)) => {
                let scan = scan.with_damage(error.to_string());
                place.restart(&scan, report, accept)
            }
            Err(Failed::Other(error)) => Err(error),
            Ok(recovered) => Ok(recovered),
        }
    } else {
        place.restart(&scan, report, accept)
    }?;
    place.home.remove_leftovers()?;
    Ok(recovered)
}

/// Asks whether what a sound journal holds may be opened; `None` if it turns out to be damaged.
fn accepted(scan: &Scan, accept: Accept<'_>) -> Result<Option<Layout>, CoreError> {
    match accept(&IndexReader(&MergedIndex::of(Merged::of(scan)))) {
        Ok(layout) => Ok(Some(layout)),
        Err(CoreError::Journal(JournalError::Checkpoint { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a sound journal and its index could not be opened.
enum Failed {
    /// The journal turned out to be damaged.
    Journal(Box<JournalError>),
    Other(CoreError),
}

impl<E: Into<CoreError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Place<'_> {
    /// A new database.
    fn create(&self) -> Result<Recovered, CoreError> {
        let sibling = match self.home.sibling()? {
            None => Scan::trace(&**self.disk, self.directory)?,
            sibling => sibling,
        };
        if let Some(path) = sibling {
            return Err(CoreError::Sibling { path });
        }
        let (store_id, term) = (random()?, u64::from_le_bytes(random()?));
        let disk = Arc::clone(self.disk);
        let schema_version = self.schema_version;
        let journal = Journal::create(disk, self.directory, store_id, term, schema_version)?;
        let (index, digests) = self.build(&journal, None, 0)?;
        let report = OpeningReport {
            clean: true,
            ..OpeningReport::default()
        };
        Ok(Recovered {
            index,
            journal,
            digests,
            report,
            schema_version,
        })
    }

    /// Makes a journal for an index that has none, from a copy: opening it may change it. Notes it, if it had one.
    fn adopt(&self, accept: Accept<'_>) -> Result<(), CoreError> {
        let copy = self.home.open_copy()?;
        let adopted = accept(&IndexReader(&*copy)).and_then(|layout| {
            let witness = copy.witness()?;
            let store_id = match witness {
                Some(witness) => witness.store_id,
                None => random()?,
            };
            let commit = witness.map_or(0, |witness| witness.durable_through).max(1);
            if let Some(Witness { durable_through, .. }) = witness {
                let gone = format!(
                    "the journal was gone and is made anew from the index, which has everything through commit \
                     {durable_through}: what came after it may be lost"
                );
                tracing::error!("{gone}");
                // Before there is a journal again, which would look as if nothing had been.
                self.make_directory()?;
                Journal::note_damage(&**self.disk, self.directory, &[gone])?;
            }
            let schema = layout.schema_version;
            self.write_base(&*copy, store_id, schema, commit).map(drop)
        });
        drop(copy);
        self.home.remove_leftovers()?;
        adopted
    }

    fn make_directory(&self) -> Result<(), CoreError> {
        let made = make_directory(&**self.disk, self.directory);
        made.map_err(|e| CoreError::io("create", self.directory, e))
    }

    /// Publishes what an index holds as the checkpoint at `commit`; returns its length in bytes.
    fn write_base(
        &self,
        index: &dyn Index,
        store_id: [u8; 16],
        schema_version: u32,
        commit: u64,
    ) -> Result<u64, CoreError> {
        self.make_directory()?;
        let about = About {
            store_id,
            term: u64::from_le_bytes(random()?),
            schema_version,
            commit,
            created_at: self.now_ms.div_euclid(1000),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let path = self.directory.join(checkpoint::name(commit));
        let mut meter = Meter::start("write a checkpoint", 0, self.observer);
        let records = records(index).map(|record| meter.step().and(record));
        checkpoint::write(&**self.disk, &path, &about, records)
    }

    /// Opens without a comparison, if the journal ends with a clean mark that matches the index.
    fn open_clean(
        &self,
        scan: &Scan,
        layout: Layout,
        report: &mut OpeningReport,
    ) -> Result<Option<Recovered>, CoreError> {
        let (Some(clean), Some((_, mark))) = (scan.clean(), scan.mark()) else {
            return Ok(None);
        };
        if !self.home.exists()? || self.home.fingerprint()? != clean {
            return Ok(None);
        }
        let Ok(Some((index, _))) = self.open_own(scan, false) else {
            return Ok(None);
        };
        let term = u64::from_le_bytes(random()?);
        let schema_version = layout.schema_version;
        let journal = Journal::open(Arc::clone(self.disk), scan, term, schema_version)?;
        report.clean = true;
        report.damage.extend(scan.notes().iter().cloned());
        Ok(Some(Recovered {
            index,
            journal,
            digests: mark.digests.clone(),
            report: std::mem::take(report),
            schema_version,
        }))
    }

    /// The journal is sound; the index is brought up to it, or made anew.
    fn reopen(
        &self,
        scan: &Scan,
        layout: Layout,
        report: &mut OpeningReport,
    ) -> Result<Recovered, Failed> {
        let schema_version = layout.schema_version;
        let term = u64::from_le_bytes(random()?);
        let mut index = None;
        if self.home.exists()? {
            match self.open_own(scan, report.adopted || scan.is_only_begun()) {
                Ok(Some((opened, witness))) if witness > scan.last() => {
                    drop(opened);
                    let first = scan.last() + 1;
                    let damage = vec![format!("commits {first} to {witness} are missing")];
                    let directory = self.directory.to_owned();
                    let error = JournalError::Damaged { directory, damage };
                    return Err(Failed::Journal(Box::new(error)));
                }
                Ok(Some(opened)) => index = Some(opened),
                Ok(None) => self.set_aside("it is not the index of this store", report)?,
                Err(error) if error.is_index_damage() => self.set_aside(&chain(&error), report)?,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((adopted, 0)) = &index {
            // Before there is more than a checkpoint: from now on it is known as this store's.
            adopted.set_witness(Witness {
                store_id: scan.store_id(),
                term,
                durable_through: 0,
            })?;
            adopted.sync()?;
        }
        let journal = Journal::open(Arc::clone(self.disk), scan, term, schema_version)?;
        let merged = Merged::of(scan);
        if let Some((opened, witness)) = index.take() {
            let was_clean = scan.clean().is_some();
            match self.bring_up(&opened, scan, witness, (was_clean, layout), report) {
                Ok(digests) => {
                    self.mark(&*opened, &journal, &digests, scan.last())?;
                    return Ok(Recovered {
                        index: opened,
                        journal,
                        digests,
                        report: std::mem::take(report),
                        schema_version,
                    });
                }
                Err(CoreError::Journal(error @ JournalError::Checkpoint { .. })) => {
                    return Err(Failed::Journal(Box::new(error)));
                }
                Err(error) if error.is_index_damage() => {
                    drop(opened);
                    self.set_aside(&chain(&error), report)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if scan.is_only_begun() {
            tracing::info!("building the index from the journal");
        } else {
            tracing::warn!(records = "all", "rebuilding the index from the journal");
        }
        let (index, digests) = self.build(&journal, Some(&merged), scan.last())?;
        Ok(Recovered {
            index,
            journal,
            digests,
            report: std::mem::take(report),
            schema_version,
        })
    }

    /// Makes an index of what the journal holds through commit `last`, beside, and puts it in place
    /// once it is whole: what an interruption leaves is not taken for an index.
    fn build(
        &self,
        journal: &Journal,
        merged: Option<&Merged>,
        last: u64,
    ) -> Result<(Arc<dyn Index>, Digests), CoreError> {
        let new = self.home.open_beside()?;
        let mut digests = Digests::empty(TreeId::ALL.len());
        if let Some(merged) = merged {
            let mut meter = Meter::start("rebuild the index", merged.at_most(), self.observer);
            (digests, _) = compare::heal(&*new, merged, &mut meter)?;
        }
        let witness = Witness {
            store_id: journal.store_id(),
            term: journal.term(),
            durable_through: last,
        };
        new.set_witness(witness)?;
        let index = during("open the index", self.observer, || {
            new.sync()?;
            let_go(new).map_err(|_used| CoreError::Busy)?;
            self.home.swap()?;
            self.home.remove_old()?;
            self.home.open()
        })?;
        self.mark(&*index, journal, &digests, last)?;
        Ok((index, digests))
    }

    /// Opens the index, if it is this store's; returns also through which commit it is durable.
    fn open_own(&self, scan: &Scan, adopted: bool) -> Result<Option<Opened>, CoreError> {
        let index = during("open the index", self.observer, || self.home.open())?;
        let witness = index.witness()?;
        let is_own = match witness {
            Some(witness) => adopted || witness.store_id == scan.store_id(),
            // A crash in the making of an index.
            None => adopted || records(&*index).next().transpose()?.is_none(),
        };
        let durable_through = witness.map_or(0, |witness| witness.durable_through);
        Ok(is_own.then_some((index, durable_through)))
    }

    /// Replays what the index may lack after commit `after`, then compares everything. With the layout
    /// comes whether the index was closed cleanly.
    fn bring_up(
        &self,
        index: &Arc<dyn Index>,
        scan: &Scan,
        after: u64,
        (was_clean, layout): (bool, Layout),
        report: &mut OpeningReport,
    ) -> Result<Digests, CoreError> {
        let merged = &Merged::of(scan);
        // What cannot be read of older segments is in the checkpoint, and compared below.
        self.replay(index, scan, after, |_, _| report.replayed_commits += 1)?;
        let mut meter = Meter::start("compare the index", merged.at_most(), self.observer);
        let (digests, healed) = compare::heal(&**index, merged, &mut meter)?;
        let damaged = if layout.is_framed { healed.damaged } else { 0 };
        if !report.adopted {
            report.healed_records = healed.records;
        }
        if healed.records > 0 {
            let records = healed.records;
            tracing::warn!(
                records,
                damaged,
                "mended records of the index from the journal"
            );
        }
        // After a power cut the index may be ahead of the journal, so a difference alone is none.
        if damaged > 0 || (healed.records > 0 && was_clean) {
            let records = damaged.max(1);
            report
                .damage
                .push(format!("{records} records of the index were damaged"));
        }
        Ok(digests)
    }

    /// Applies the commits after `after` to an index and shows each to `visit`; returns those that
    /// cannot be read.
    fn replay(
        &self,
        index: &Arc<dyn Index>,
        scan: &Scan,
        after: u64,
        mut visit: impl FnMut(u64, &[(TreeId, Vec<u8>)]),
    ) -> Result<Vec<RangeInclusive<u64>>, CoreError> {
        let mut meter = Meter::start("replay the journal", 0, self.observer);
        let over = Overlay::new(Arc::clone(index), REPLAYED_BYTES);
        let unread = scan.replay(&**self.disk, after, |number, changes| {
            meter.step()?;
            let mut touched = Vec::new();
            for change in changes {
                if let Some(tree) = TreeId::from_number(change.tree) {
                    over.apply(tree, change.key, change.value, &mut |_| {})?;
                    over.make_room_for(change.key, change.value)?;
                    touched.push((tree, change.key.to_vec()));
                }
            }
            visit(number, &touched);
            Ok::<_, CoreError>(())
        })?;
        over.settle()?;
        Ok(unread)
    }

    fn set_aside(&self, reason: &str, report: &mut OpeningReport) -> Result<(), CoreError> {
        let aside: PathBuf = self.home.move_aside(self.now_ms.div_euclid(1000))?;
        tracing::warn!(reason, to = %aside.display(), "the index cannot be used and is moved aside");
        report
            .damage
            .push(format!("the index cannot be used: {reason}"));
        report.moved_aside.push(aside);
        Ok(())
    }

    /// Makes the index durable at commit `last`, and says so in the journal.
    fn mark(
        &self,
        index: &dyn Index,
        journal: &Journal,
        digests: &Digests,
        last: u64,
    ) -> Result<(), CoreError> {
        index.set_witness(Witness {
            store_id: journal.store_id(),
            term: journal.term(),
            durable_through: last,
        })?;
        index.sync()?;
        let mark = Mark {
            digests: digests.clone(),
            clean: None,
        };
        Ok(journal.mark(last, self.now_ms, &mark)?)
    }
}

/// All records of an index, as a checkpoint takes them.
pub(crate) fn records(index: &dyn Index) -> impl Iterator<Item = Result<Record, CoreError>> {
    TreeId::ALL.into_iter().flat_map(move |tree| {
        let everything = Ok((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded));
        let entries = crate::pages::Pages::new(IndexReader(index), tree, everything);
        entries.map(move |entry| entry.map(|(key, value)| (tree.number(), key, value)))
    })
}

/// Random bytes, for ids and terms.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| CoreError::Random {
        source: Box::new(source),
    })?;
    Ok(bytes)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
