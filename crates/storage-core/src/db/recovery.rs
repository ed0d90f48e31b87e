//! Opening: from what a crash, a power cut or damage left to an index and a journal that agree.
//!
//! | journal | index | what is done |
//! |---|---|---|
//! | none | none | both are made |
//! | none | there | adopted: a journal is made from a copy of it, then as below |
//! | sound, ends with a clean mark that matches | there | opened, nothing compared |
//! | sound | there | commits are replayed, every record is compared and healed |
//! | sound | gone, of another store, or beyond reading | moved aside, rebuilt |
//! | damaged | whole | a new checkpoint is made from it, the journal begins anew |
//! | damaged | not whole | refused, naming what is lost |
//!
//! Whatever is done can be interrupted and done again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::checkpoint::{self, About, Record};
use storage_journal::digest::Digests;
use storage_journal::disk::Disk;
use storage_journal::{Journal, JournalError, Mark, Merged, Scan};

use super::compare;
use crate::error::CoreError;
use crate::frame;
use crate::index::merged::MergedIndex;
use crate::index::{Index, IndexHome, IndexReader, Witness};
use crate::paths::directory_of;
use crate::report::OpeningReport;
use crate::tree::TreeId;
use crate::view::{Order, Read};

/// Decides from the records whether a database may be opened; called before anything is changed.
pub type Accept<'a> = &'a dyn Fn(&dyn Read) -> Result<(), CoreError>;

/// What an open database consists of.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) index: Arc<dyn Index>,
    pub(crate) journal: Journal,
    pub(crate) digests: Digests,
    pub(crate) report: OpeningReport,
}

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
}

/// Opens, whatever there is.
///
/// # Errors
///
/// [`CoreError::Journal`] with the damage if neither copy is whole, [`CoreError::Sibling`] where
/// something says that there was a database, the errors of `accept`, of the disk and of the index.
pub(crate) fn open(place: Place<'_>, accept: Accept<'_>) -> Result<Recovered, CoreError> {
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
    if scan.damage().is_empty() {
        accept(&IndexReader(&MergedIndex::of(Merged::of(&scan))))?;
    }
    place.home.remove_leftovers()?;
    if scan.damage().is_empty()
        && let Some(recovered) = place.open_clean(&scan, &mut report)?
    {
        return Ok(recovered);
    }
    // Everything is compared with the checkpoint below, so every byte of it is read first.
    let scan = Scan::read_verified(&**place.disk, place.directory)?;
    report.damage.extend(scan.notes().iter().cloned());
    if scan.cut_bytes() > 0 {
        let (bytes, last) = (scan.cut_bytes(), scan.last());
        tracing::warn!(
            bytes,
            last,
            "cut the tail that a power cut left in the journal"
        );
    }
    if !scan.damage().is_empty() {
        return place.restart(&scan, report);
    }
    match place.reopen(&scan, &mut report) {
        // It ends before the index does.
        Err(Failed::Journal(error)) => {
            let scan = scan.with_damage(error.to_string());
            place.restart(&scan, report)
        }
        Err(Failed::Other(error)) => Err(error),
        Ok(recovered) => Ok(recovered),
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
        if let Some(path) = self.home.sibling()? {
            return Err(CoreError::Sibling { path });
        }
        let (store_id, term) = (random()?, u64::from_le_bytes(random()?));
        let disk = Arc::clone(self.disk);
        let journal = Journal::create(disk, self.directory, store_id, term)?;
        let index = self.home.open()?;
        let digests = Digests::empty(TreeId::ALL.len());
        self.mark(&*index, &journal, &digests, 0)?;
        let report = OpeningReport {
            clean: true,
            ..OpeningReport::default()
        };
        Ok(Recovered {
            index,
            journal,
            digests,
            report,
        })
    }

    /// Makes a journal for an index that has none, from a copy: opening it may change it.
    fn adopt(&self, accept: Accept<'_>) -> Result<(), CoreError> {
        let copy = self.home.open_copy()?;
        let adopted = accept(&IndexReader(&*copy)).and_then(|()| {
            let witness = copy.witness()?;
            let store_id = match witness {
                Some(witness) => witness.store_id,
                None => random()?,
            };
            let commit = witness.map_or(0, |witness| witness.durable_through).max(1);
            self.write_base(&*copy, store_id, commit)
        });
        drop(copy);
        self.home.remove_leftovers()?;
        adopted
    }

    /// Publishes what an index holds as the checkpoint at `commit`.
    fn write_base(
        &self,
        index: &dyn Index,
        store_id: [u8; 16],
        commit: u64,
    ) -> Result<(), CoreError> {
        match self.disk.create_directory(self.directory) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(CoreError::io("create", self.directory, e));
            }
            _ => {}
        }
        let about = About {
            store_id,
            term: u64::from_le_bytes(random()?),
            schema_version: self.schema_version,
            commit,
            created_at: self.now_ms.div_euclid(1000),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let path = self.directory.join(checkpoint::name(commit));
        checkpoint::write(&**self.disk, &path, &about, records(index))?;
        let parent = directory_of(self.directory);
        let synced = self.disk.sync_directory(parent);
        synced.map_err(|e| CoreError::io("sync", parent, e))
    }

    /// Opens without a comparison, if the journal ends with a clean mark that matches the index.
    fn open_clean(
        &self,
        scan: &Scan,
        report: &mut OpeningReport,
    ) -> Result<Option<Recovered>, CoreError> {
        let (Some(clean), Some((_, mark))) = (scan.clean(), scan.mark()) else {
            return Ok(None);
        };
        if !self.home.exists()? || self.home.fingerprint()? != clean {
            return Ok(None);
        }
        let opened = self.home.open();
        let Some(index) = opened.ok().filter(|index| Self::belongs(&**index, scan)) else {
            return Ok(None);
        };
        let term = u64::from_le_bytes(random()?);
        let journal = Journal::open(Arc::clone(self.disk), scan, term)?;
        report.clean = true;
        report.damage.extend(scan.notes().iter().cloned());
        Ok(Some(Recovered {
            index,
            journal,
            digests: mark.digests.clone(),
            report: std::mem::take(report),
        }))
    }

    /// The journal is sound; the index is brought up to it, or made anew.
    fn reopen(&self, scan: &Scan, report: &mut OpeningReport) -> Result<Recovered, Failed> {
        let term = u64::from_le_bytes(random()?);
        let mut index = None;
        if self.home.exists()? {
            match self.home.open() {
                Ok(opened) if report.adopted || Self::belongs(&*opened, scan) => {
                    let witness = opened.witness()?.map_or(0, |w| w.durable_through);
                    if witness > scan.last() {
                        let first = scan.last() + 1;
                        let damage = vec![format!("commits {first} to {witness} are missing")];
                        let directory = self.directory.to_owned();
                        let error = JournalError::Damaged { directory, damage };
                        return Err(Failed::Journal(Box::new(error)));
                    }
                    index = Some(opened);
                }
                Ok(foreign) => {
                    drop(foreign);
                    self.set_aside("it is not the index of this store", report)?;
                }
                Err(error) => self.set_aside(&chain(&error), report)?,
            }
        }
        let journal = Journal::open(Arc::clone(self.disk), scan, term)?;
        let merged = Merged::of(scan);
        if let Some(opened) = index.take() {
            let replayed = scan.mark().map_or(0, |(number, _)| *number);
            match self.bring_up(&*opened, &merged, replayed, scan.clean().is_some(), report) {
                Ok(digests) => {
                    self.mark(&*opened, &journal, &digests, scan.last())?;
                    return Ok(Recovered {
                        index: opened,
                        journal,
                        digests,
                        report: std::mem::take(report),
                    });
                }
                Err(CoreError::Journal(error)) => return Err(error.into()),
                Err(error) => {
                    drop(opened);
                    self.set_aside(&chain(&error), report)?;
                }
            }
        }
        tracing::warn!(records = "all", "rebuilding the index from the journal");
        let index = self.home.open()?;
        let (digests, _) = compare::heal(&*index, &merged)?;
        self.mark(&*index, &journal, &digests, scan.last())?;
        Ok(Recovered {
            index,
            journal,
            digests,
            report: std::mem::take(report),
        })
    }

    /// Replays what the index may lack, then compares everything.
    fn bring_up(
        &self,
        index: &dyn Index,
        merged: &Merged,
        durable: u64,
        was_clean: bool,
        report: &mut OpeningReport,
    ) -> Result<Digests, CoreError> {
        report.replayed_commits = self.replay(index, durable, merged.through())?;
        let (digests, healed) = compare::heal(index, merged)?;
        if !report.adopted {
            report.healed_records = healed.records;
        }
        if healed.records > 0 {
            let (records, damaged) = (healed.records, healed.damaged);
            tracing::warn!(
                records,
                damaged,
                "mended records of the index from the journal"
            );
        }
        // After a power cut the index may be ahead of the journal, so a difference alone is none.
        if healed.damaged > 0 || (healed.records > 0 && was_clean) {
            let records = healed.damaged.max(1);
            report
                .damage
                .push(format!("{records} records of the index were damaged"));
        }
        Ok(digests)
    }

    fn replay(&self, index: &dyn Index, after: u64, through: u64) -> Result<u64, CoreError> {
        let mut replayed = 0;
        let mut failed = None;
        Scan::replay(
            &**self.disk,
            self.directory,
            after,
            through,
            |_, changes| {
                replayed += 1;
                for change in changes {
                    let Some(tree) = TreeId::from_number(change.tree) else {
                        continue;
                    };
                    if let Err(error) = index.apply(tree, change.key, change.value, &mut |_| {}) {
                        failed = Some(error);
                        break;
                    }
                }
                failed.is_none()
            },
        )?;
        failed.map_or(Ok(replayed), Err)
    }

    /// The journal is damaged: the index is the copy that counts, if it is whole.
    fn restart(&self, scan: &Scan, mut report: OpeningReport) -> Result<Recovered, CoreError> {
        let refuse = || JournalError::Damaged {
            directory: self.directory.to_owned(),
            damage: scan.damage().to_vec(),
        };
        if !self.home.exists()? {
            return Err(refuse().into());
        }
        let Ok(copy) = self.home.open_copy() else {
            self.home.remove_leftovers()?;
            return Err(refuse().into());
        };
        let whole = self.is_whole(&*copy, scan);
        let based = match whole {
            // First those aside: the new one may have the name of one of them.
            Ok(Some((store_id, last))) => scan
                .set_bad_checkpoints_aside(&**self.disk)
                .map_err(CoreError::from)
                .and_then(|()| self.write_base(&*copy, store_id, last))
                .map(|()| last),
            Ok(None) | Err(_) => Err(refuse().into()),
        };
        drop(copy);
        self.home.remove_leftovers()?;
        let last = based?;
        report.damage.extend(scan.damage().iter().cloned());
        tracing::warn!(damage = ?scan.damage(), "the journal is damaged; it was made anew from the index");

        let index = self.home.open()?;
        let term = u64::from_le_bytes(random()?);
        let disk = Arc::clone(self.disk);
        let store_id = index
            .witness()?
            .map_or(scan.store_id(), |witness| witness.store_id);
        let journal = Journal::restart(disk, self.directory, store_id, term, last)?;
        let merged = Merged::open(&**self.disk, self.directory, last)?;
        let digests = self.bring_up(&*index, &merged, last, false, &mut report)?;
        self.mark(&*index, &journal, &digests, last)?;
        Ok(Recovered {
            index,
            journal,
            digests,
            report,
        })
    }

    /// Whether a copy of the index holds everything through the last mark, with the commits that can
    /// be read after it applied; returns its store and the number at which to go on.
    fn is_whole(
        &self,
        copy: &dyn Index,
        scan: &Scan,
    ) -> Result<Option<([u8; 16], u64)>, CoreError> {
        let Some(witness) = copy.witness()? else {
            return Ok(None);
        };
        let known = scan.store_id();
        if known != [0; 16] && known != witness.store_id {
            return Ok(None);
        }
        let (marked, expected) = match scan.mark() {
            Some((number, mark)) => (*number, Some(&mark.digests)),
            None => (0, None),
        };
        if witness.durable_through < marked {
            return Ok(None);
        }
        let last = scan.highest().max(witness.durable_through);
        // At the mark and nothing after it: the digests must be the same. After it the index may be
        // ahead, and each record's own checksum is what there is.
        if let Some(expected) = expected
            && last == marked
            && compare::digests(copy)? != *expected
        {
            return Ok(None);
        }
        // Behind damage only: what is before it may be older than what the index holds.
        let after = marked.max(witness.durable_through).max(scan.sound_after());
        self.replay(copy, after, scan.last())?;
        for tree in TreeId::ALL {
            let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            copy.scan(tree, &everything, Order::Ascending, &mut |key, value| {
                let sound = frame::open(tree, key, value);
                sound.map_err(|source| CoreError::corrupt(tree, key, source))?;
                Ok(true)
            })?;
        }
        Ok(Some((witness.store_id, last)))
    }

    /// Whether the index is this store's. One without a witness is only if it is empty: a crash in
    /// its making.
    fn belongs(index: &dyn Index, scan: &Scan) -> bool {
        match index.witness() {
            Ok(Some(witness)) => witness.store_id == scan.store_id(),
            Ok(None) => records(index).next().is_none(),
            Err(_) => false,
        }
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
pub(super) fn records(index: &dyn Index) -> impl Iterator<Item = Result<Record, CoreError>> {
    TreeId::ALL.into_iter().flat_map(move |tree| {
        let everything = Ok((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded));
        let entries = crate::pages::Pages::new(IndexReader(index), tree, everything);
        entries.map(move |entry| entry.map(|(key, value)| (tree.number(), key, value)))
    })
}

/// Random bytes, for ids and terms.
fn random<const N: usize>() -> Result<[u8; N], CoreError> {
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
