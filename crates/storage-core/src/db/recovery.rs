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

use std::path::Path;
use std::sync::Arc;

use storage_journal::checkpoint::Record;
use storage_journal::digest::Digests;
use storage_journal::disk::Disk;
use storage_journal::{Journal, JournalError, Mark, Merged, Scan};

use crate::error::CoreError;
use crate::index::merged::MergedIndex;
use crate::index::{Index, IndexHome, IndexReader, Witness, vouch};
use crate::progress::Observer;
use crate::report::OpeningReport;
use crate::tree::TreeId;
use crate::view::Read;

mod begin;
mod index;
mod salvage;

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
            // The opening that wrote the checkpoint may have failed before its name was durable.
            self.make_directory()?;
            let synced = self.disk.sync_directory(self.directory);
            synced.map_err(|e| CoreError::io("sync", self.directory, e))?;
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

    /// Makes the index durable at commit `last`, and says so in the journal.
    fn mark(
        &self,
        index: &dyn Index,
        journal: &Journal,
        digests: &Digests,
        last: u64,
    ) -> Result<(), CoreError> {
        let witness = Witness {
            store_id: journal.store_id(),
            term: journal.term(),
            durable_through: last,
        };
        vouch(index, witness)?;
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
