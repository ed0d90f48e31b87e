//! Reading a journal: which commits there are, what is durable, what a power cut left, what is
//! damaged. Changes nothing.
//!
//! # The end of the log
//!
//! Every frame says how far the log was durable when it was written. The first bad frame above the
//! highest such number is the unsynced tail of a power cut: it and what follows is cut. A bad frame
//! at or below it is damage. Commits form a chain: each frame, and each header, repeats the checksum
//! of the last commit before it, so that a missing end or a missing segment is noticed. Marks are not
//! in the chain: one that was not synced may be lost.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint};
use crate::commit::{self, Change};
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::{self, Format};
use crate::mark::Mark;
use crate::segment;
use crate::tail::Tail;

mod pieces;
mod walk;

pub(crate) use pieces::{Piece, pieces};
pub(crate) use walk::Walk;

/// What a journal holds.
#[derive(Debug)]
pub struct Scan {
    pub(crate) directory: PathBuf,
    pub(crate) base: Option<Checkpoint>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) walk: Walk,
    pub(crate) leftovers: Vec<PathBuf>,
    bad_checkpoints: Vec<PathBuf>,
    schema: u32,
}

impl Scan {
    /// Reads the journal in `directory`, up to and with commit `limit`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Missing`] if there is none, [`JournalError::TooNew`], [`JournalError::Io`].
    /// Damage is no error here: see [`damage`](Self::damage).
    pub fn read(disk: &dyn Disk, directory: &Path, limit: u64) -> Result<Self, JournalError> {
        Self::read_from(disk, directory, limit, Checkpoint::open)
    }

    /// Reads the journal with every byte of the checkpoint that it begins with. A checkpoint that is
    /// damaged anywhere is passed over for an older one, where there is one.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_verified(disk: &dyn Disk, directory: &Path) -> Result<Self, JournalError> {
        Self::read_from(disk, directory, u64::MAX, |disk, path| {
            let base = Checkpoint::open(disk, path)?;
            base.verify()?;
            Ok(base)
        })
    }

    /// Whether a journal is in `directory`, or was.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn is_begun(disk: &dyn Disk, directory: &Path) -> Result<bool, JournalError> {
        let names = Names::list(disk, directory)?;
        Ok(!names.segments.is_empty() || !names.checkpoints.is_empty())
    }

    /// What says of a directory without journal that there was one, or was to be one: its `FORMAT`, or the
    /// checkpoint of a restore that was not completed.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn trace(disk: &dyn Disk, directory: &Path) -> Result<Option<PathBuf>, JournalError> {
        if Format::read(disk, directory)? != Format::Missing {
            return Ok(Some(directory.join(format::NAME)));
        }
        let leftovers = Names::list(disk, directory)?.leftovers;
        let is_checkpoint = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            checkpoint::is_unpublished(&name)
        };
        Ok(leftovers.into_iter().find(is_checkpoint))
    }

    fn read_from(
        disk: &dyn Disk,
        directory: &Path,
        limit: u64,
        open: impl Fn(&dyn Disk, &Path) -> Result<Checkpoint, JournalError>,
    ) -> Result<Self, JournalError> {
        let said = Format::read(disk, directory)?.said();
        let names = Names::list(disk, directory)?;
        if names.segments.is_empty() && names.checkpoints.is_empty() {
            let directory = directory.to_owned();
            return Err(JournalError::Missing { directory });
        }
        let mut scan = Self {
            directory: directory.to_owned(),
            base: None,
            tail: Arc::default(),
            walk: Walk::new(directory, said.map(|said| said.store_id), 0, limit),
            leftovers: names.leftovers,
            bad_checkpoints: Vec::new(),
            schema: said.map_or(0, |said| said.schema),
        };
        scan.choose_base(disk, &names.checkpoints, limit, open)?;
        let mut tail = Tail::default();
        scan.walk.run(disk, &names.segments, &mut |found| {
            Ok::<_, JournalError>(tail.apply(found.file, found.offset, found.body, found.corrected))
        })?;
        scan.tail = Arc::new(tail);
        if limit == u64::MAX {
            let next = said.map_or(0, |said| said.next);
            scan.walk.highest = scan.walk.highest.max(next.saturating_sub(1));
            scan.walk.notes.extend(format::noted(disk, directory)?);
        }
        if let Some(said) = said
            && names
                .segments
                .last()
                .is_none_or(|last| *last < said.segment)
        {
            let name = segment::name(said.segment);
            scan.walk
                .damage
                .push(format!("the segment {name} is missing"));
        }
        Ok(scan)
    }

    /// Takes the newest checkpoint that is sound. What a damaged one held, an older one and the
    /// segments after it hold as well; if they do not, the gap is found in reading them.
    fn choose_base(
        &mut self,
        disk: &dyn Disk,
        checkpoints: &[u64],
        limit: u64,
        open: impl Fn(&dyn Disk, &Path) -> Result<Checkpoint, JournalError>,
    ) -> Result<(), JournalError> {
        for &commit in checkpoints.iter().rev().filter(|commit| **commit <= limit) {
            let path = self.directory.join(checkpoint::name(commit));
            let shown = path.display();
            let store_id = self.walk.store_id;
            let wrong = match open(disk, &path) {
                Ok(base) if base.about().commit != commit => {
                    format!("{shown} is damaged: it names another commit")
                }
                Ok(base) if store_id.is_some_and(|id| id != base.about().store_id) => {
                    format!("{shown} belongs to another store")
                }
                Ok(base) => {
                    let notes = std::mem::take(&mut self.walk.notes);
                    let store_id = Some(base.about().store_id);
                    self.walk = Walk::new(&self.directory, store_id, commit, limit);
                    self.walk.notes = notes;
                    self.base = Some(base);
                    return Ok(());
                }
                Err(error) if error.is_damage() => error.to_string(),
                Err(error) => return Err(error),
            };
            self.walk.notes.push(wrong);
            self.bad_checkpoints.push(path);
        }
        Ok(())
    }

    /// The highest number that was ever in use.
    pub fn highest(&self) -> u64 {
        self.walk.highest
    }

    /// The newest schema that a record may have; 0 if nothing tells.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Whether there is a checkpoint only, as after a restore or an adoption: no open came to its end.
    pub fn is_only_begun(&self) -> bool {
        self.walk.bytes == 0
    }

    /// The id of the store; zeros if nothing tells it.
    pub fn store_id(&self) -> [u8; 16] {
        self.walk.store_id.unwrap_or_default()
    }

    /// The number of the last commit.
    pub fn last(&self) -> u64 {
        self.walk.last
    }

    /// When the last commit was made, in Unix milliseconds; when the checkpoint was, if there is none
    /// after it.
    pub fn last_at(&self) -> i64 {
        let base = self.base.as_ref();
        let of_base = base.map_or(0, |base| {
            // Its last commit came in that second or before.
            base.about()
                .created_at
                .saturating_mul(1000)
                .saturating_add(999)
        });
        match self.walk.commit_time_ms {
            0 => of_base,
            time_ms => time_ms,
        }
    }

    /// What the last commit is, or the checkpoint where only that holds it.
    pub(crate) fn content(&self) -> Option<u32> {
        let of_base = || Some(self.base.as_ref()?.about().content());
        self.walk.content.or_else(of_base)
    }

    /// The last number that is known durable.
    pub fn watermark(&self) -> u64 {
        self.walk.watermark
    }

    /// The last mark and the commit it speaks of.
    pub fn mark(&self) -> Option<&(u64, Mark)> {
        self.walk.mark.as_ref()
    }

    /// The last mark's fingerprint of the index, if the journal ends with a clean mark.
    pub fn clean(&self) -> Option<&[u8]> {
        let (_, mark) = self.walk.mark.as_ref().filter(|_| self.walk.clean)?;
        mark.clean.as_deref()
    }

    /// Bytes of an unsynced tail that are no whole commits.
    pub fn cut_bytes(&self) -> u64 {
        self.walk.cut_bytes
    }

    /// What was damaged and could be read all the same; a line each.
    pub fn notes(&self) -> &[String] {
        &self.walk.notes
    }

    /// What is damaged beyond reading; a line each. Empty if the journal is sound.
    pub fn damage(&self) -> &[String] {
        &self.walk.damage
    }

    /// The same, with a damage that was found in reading on.
    #[must_use]
    pub fn with_damage(mut self, damage: String) -> Self {
        self.walk.damage.push(damage);
        self
    }

    /// Renames the checkpoints that were found damaged and the segments of other stores, so that
    /// nothing reads them again.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn set_bad_files_aside(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        for path in self.bad_checkpoints.iter().chain(&self.walk.foreign) {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            let renamed = disk.rename(path, Path::new(&aside));
            renamed.map_err(|e| JournalError::io("rename", path, e))?;
        }
        Ok(())
    }

    /// Calls `visit` with each commit after `after` that can be read, in order; returns the ranges of
    /// those that cannot, also of what is known to have been durable behind the last.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], and those of `visit`.
    pub fn replay<E: From<JournalError>>(
        &self,
        disk: &dyn Disk,
        after: u64,
        visit: impl FnMut(u64, &mut dyn Iterator<Item = Change<'_>>) -> Result<(), E>,
    ) -> Result<Vec<RangeInclusive<u64>>, E> {
        let Walk {
            store_id,
            limit,
            watermark,
            ..
        } = self.walk;
        let mut walk = Walk::new(&self.directory, store_id, after, limit);
        walk.watermark = after.max(watermark);
        replay(disk, walk, visit)
    }
}

/// Walks, and decodes each commit for `visit`; returns what cannot be read.
pub(crate) fn replay<E: From<JournalError>>(
    disk: &dyn Disk,
    mut walk: Walk,
    mut visit: impl FnMut(u64, &mut dyn Iterator<Item = Change<'_>>) -> Result<(), E>,
) -> Result<Vec<RangeInclusive<u64>>, E> {
    let names = Names::list(disk, walk.directory())?;
    walk.run(disk, &names.segments, &mut |found| {
        let whole = commit::decode(found.body).all(|change| change.is_some());
        if whole {
            visit(found.number, &mut commit::decode(found.body).flatten())?;
        }
        Ok::<_, E>(whole)
    })?;
    Ok(walk.lost)
}

/// What is in a journal's directory, by kind and in order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) segments: Vec<u64>,
    pub(crate) checkpoints: Vec<u64>,
    leftovers: Vec<PathBuf>,
}

impl Names {
    /// Lists the directory; one that does not exist is empty.
    pub(crate) fn list(disk: &dyn Disk, directory: &Path) -> Result<Self, JournalError> {
        let names = match disk.list(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|e| JournalError::io("read", directory, e))?,
        };
        let mut found = Self::default();
        for name in &names {
            if let Some(first) = segment::first_of(name) {
                found.segments.push(first);
            } else if let Some(commit) = checkpoint::commit_of(name) {
                found.checkpoints.push(commit);
            } else if checkpoint::is_leftover(name) {
                found.leftovers.push(directory.join(name));
            }
        }
        found.segments.sort_unstable();
        found.checkpoints.sort_unstable();
        Ok(found)
    }
}
