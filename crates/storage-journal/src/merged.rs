//! The merged stream: a checkpoint and the commits after it, as one ordered state.
//!
//! `state(N) = checkpoint(C) merged with the commits C+1 ..= N`. In memory are the keys of the
//! commits, not their values, and one block of the checkpoint.

use std::cmp::Ordering;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Put, Record};
use crate::digest::MAX_TREES;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::journal::Exported;
use crate::scan::Scan;
use crate::tail::{Ahead, Place, Tail};

/// How often a reader beside a writer looks again when files vanish under it.
const TRIES: usize = 100;

/// Called with the key and value of one entry after the other. Its error ends the visit.
pub type Visit<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;

/// The state of a store at one commit, read from its journal alone.
#[derive(Debug)]
pub struct Merged {
    base: Option<Checkpoint>,
    tail: Arc<Tail>,
    through: u64,
    last_at: i64,
    content: Option<u32>,
    store_id: [u8; 16],
    cut_bytes: u64,
    notes: Vec<String>,
}

impl Merged {
    /// The state at commit `limit`, or at the last one before it, of the journal in `directory`.
    /// Needs no lock and changes nothing; a writer may go on.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`] if the state cannot be told; errors of [`Scan::read`].
    pub fn open(disk: &dyn Disk, directory: &Path, limit: u64) -> Result<Self, JournalError> {
        let mut tries = 0;
        loop {
            match Scan::read(disk, directory, limit) {
                // A writer removed or replaced what was just listed.
                Err(JournalError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && tries < TRIES =>
                {
                    tries += 1;
                }
                Ok(scan) if scan.damage().is_empty() => return Ok(Self::of(&scan)),
                Ok(_) if tries < 3 => tries += 1,
                Ok(scan) => {
                    return Err(JournalError::Damaged {
                        directory: directory.to_owned(),
                        damage: scan.damage().to_vec(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The state that a scan found.
    pub fn of(scan: &Scan) -> Self {
        Self {
            base: scan.base.clone(),
            tail: Arc::clone(&scan.tail),
            through: scan.last(),
            last_at: scan.last_at(),
            content: scan.content(),
            store_id: scan.store_id(),
            cut_bytes: scan.cut_bytes(),
            notes: scan.notes().to_vec(),
        }
    }

    /// Bytes at the journal's end that were no whole commits when it was read.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// What was damaged and could be read all the same; a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The commit at which this is the state.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// When that commit was made, in Unix milliseconds; when the checkpoint was, if it is that one's.
    pub fn last_at(&self) -> i64 {
        self.last_at
    }

    /// The state as it is exported, in a file of so many bytes.
    pub fn exported(&self, bytes: u64) -> Exported {
        Exported {
            commit: self.through,
            last_at: self.last_at,
            content: self.content,
            bytes,
        }
    }

    /// About how many records there are, for progress: not fewer.
    pub fn at_most(&self) -> u64 {
        let base = self.base.as_ref().map_or(0, |base| base.digests().total());
        base.saturating_add(self.tail.len())
    }

    /// The id of the store.
    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The checkpoint below, if there is one.
    pub fn base(&self) -> Option<&Checkpoint> {
        self.base.as_ref()
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// [`JournalError::Checkpoint`], [`JournalError::Io`].
    pub fn get(&self, tree: u8, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        match (self.tail.get(tree, key), &self.base) {
            (Some(place), _) => self.read(place, &mut Ahead::default()),
            (None, Some(base)) => base.get(tree, key),
            (None, None) => Ok(None),
        }
    }

    /// All records, in the order of tree and key. After an error it ends.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, JournalError>> {
        let mut failed = false;
        let trees = (0..MAX_TREES).filter_map(|tree| u8::try_from(tree).ok());
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let records = trees.flat_map(move |tree| {
            let entries = self.entries(tree, everything, false);
            entries.map(move |entry| entry.map(|(key, value)| (tree, key, value)))
        });
        records.take_while(move |record| {
            let after = failed;
            failed = record.is_err();
            !after
        })
    }

    /// Visits all records, in the order of tree and key: as [`records`](Self::records), without memory for each.
    ///
    /// # Errors
    ///
    /// [`JournalError::Checkpoint`], [`JournalError::Io`], and those of `visit`: it ends there.
    pub fn visit<E: From<JournalError>>(&self, visit: Put<'_, E>) -> Result<(), E> {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut trees = (0..MAX_TREES).filter_map(|tree| u8::try_from(tree).ok());
        trees.try_for_each(|tree| {
            self.visit_range(tree, everything, &mut |key, value| visit(tree, key, value))
        })
    }

    /// Visits the entries of a range of a tree, in key order. A reversed range is empty.
    ///
    /// # Errors
    ///
    /// As [`visit`](Self::visit).
    pub fn visit_range<E: From<JournalError>>(
        &self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        let mut ahead = Ahead::default();
        let mut changed = self.tail.entries(tree, range, false).peekable();
        let mut visit_changed = |(key, place), visit: Visit<'_, E>| {
            let value = self.read(place, &mut ahead)?;
            value.map_or(Ok(()), |value| visit(key, &value))
        };
        if let Some(base) = &self.base {
            base.visit(tree, range, |key, value| {
                while let Some(before) = changed.next_if(|(changed, _)| *changed < key) {
                    visit_changed(before, visit)?;
                }
                match changed.next_if(|(changed, _)| *changed == key) {
                    Some(changed) => visit_changed(changed, visit),
                    None => visit(key, value),
                }
            })?;
        }
        for behind in changed {
            visit_changed(behind, visit)?;
        }
        Ok(())
    }

    /// The entries of a range of a tree, in key order or against it. A reversed range is empty.
    /// After an error it ends.
    pub fn entries<'a>(
        &'a self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), JournalError>> + use<'a> {
        let base = self
            .base
            .as_ref()
            .map(|base| base.entries(tree, range, backwards));
        let mut base = base.into_iter().flatten().peekable();
        let mut tail = self.tail.entries(tree, range, backwards).peekable();
        let mut ahead = Ahead::default();
        let mut failed = false;
        std::iter::from_fn(move || {
            while !failed {
                let order = match (base.peek(), tail.peek()) {
                    (None, None) => return None,
                    (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(Ok((key, _))), Some((changed, _))) if backwards => (**changed).cmp(key),
                    (Some(Ok((key, _))), Some((changed, _))) => key.as_slice().cmp(changed),
                };
                if order == Ordering::Less {
                    let next = base.next();
                    failed = matches!(next, Some(Err(_)));
                    return next;
                }
                if order == Ordering::Equal {
                    base.next();
                }
                let (key, place) = tail.next()?;
                match self.read(place, &mut ahead) {
                    Ok(None) => {}
                    Ok(Some(value)) => return Some(Ok((key.to_vec(), value))),
                    Err(error) => {
                        failed = true;
                        return Some(Err(error));
                    }
                }
            }
            None
        })
    }

    fn read(&self, place: &Place, ahead: &mut Ahead) -> Result<Option<Vec<u8>>, JournalError> {
        let value = self.tail.read(place, ahead);
        value.map_err(|source| JournalError::io("read a segment of", Path::new("journal"), source))
    }
}
