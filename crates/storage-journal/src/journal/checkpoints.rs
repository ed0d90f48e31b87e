//! Checkpoints of a journal that is written to, other files of its state, and what they make needless.

use std::cell::RefCell;
use std::path::Path;

use super::Journal;
use crate::checkpoint::{self, About, Put, Record, Threads};
use crate::digest::Digests;
use crate::disk::remove_if_there;
use crate::error::JournalError;
use crate::extract::{self, After, Extract};
use crate::merged::Merged;
use crate::scan::Names;
use crate::segment;

/// How many checkpoints are kept, with the segments between them.
const CHECKPOINTS_KEPT: usize = 2;

/// The state of a database in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The commit whose state it is.
    pub commit: u64,
    /// When that was made, in Unix milliseconds.
    pub last_at: i64,
    /// What tells that commit from any other of its number: a CRC-32; `None` without a journal.
    pub content: Option<u32>,
    /// The length of the file in bytes.
    pub bytes: u64,
}

impl Exported {
    /// The state at this commit, made at `last_at`, of a database without a journal.
    pub fn without_journal(commit: u64, last_at: i64, bytes: u64) -> Self {
        Self {
            commit,
            last_at,
            content: None,
            bytes,
        }
    }
}

impl Journal {
    /// Begins a segment, so that what came before goes once no checkpoint needs it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`]: this journal takes no more. [`JournalError::Poisoned`].
    pub fn begin_segment(&self) -> Result<(), JournalError> {
        let mut writer = self.writer();
        self.check()?;
        if writer.last >= writer.first {
            self.roll(&mut writer).map_err(|e| self.poison(e))?;
        }
        Ok(())
    }

    /// Writes a checkpoint at the last commit, beside the writers, and removes what it makes
    /// needless: the last two checkpoints and the segments between them stay. Returns its commit and
    /// its length in bytes. `watch` is called with 1 for
    /// every record and with 0 while it is read back, and ends it by an error.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`], [`JournalError::Checkpoint`], [`JournalError::Io`], and those of
    /// `watch`: nothing was removed, and the journal goes on.
    pub fn checkpoint<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let written = self.checkpoint_beside(schema_version, created_at, watch)?;
        self.remove_needless()?;
        Ok(written)
    }

    pub(super) fn checkpoint_beside<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let (last, size, before) = {
            let writer = self.writer();
            (writer.last, writer.since_checkpoint, writer.offset)
        };
        let merged = self.merged(last)?;
        let path = self.directory.join(checkpoint::name(merged.through()));
        let about = self.about(merged.through(), schema_version, created_at);
        let written = self.write_checkpoint(&path, &merged, &about, Threads::One, watch)?;
        {
            let mut writer = self.writer();
            writer.since_checkpoint = writer.since_checkpoint.saturating_sub(size);
            writer.before_checkpoint = before;
            writer.checkpoint_size = written.1;
        }
        Ok(written)
    }

    /// Writes a checkpoint at the last commit of `records`, which are its state in the order of tree and
    /// key: what an index holds while nobody writes. Memory does not grow with what was committed
    /// since the checkpoint before. `accept` is asked for the digests before it counts, `pulse` is called while it
    /// is read back.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint), and those of `records` and `accept`.
    pub fn checkpoint_of<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        records: impl Iterator<Item = Result<Record, E>>,
        accept: impl FnOnce(&Digests) -> Result<(), E>,
        pulse: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let last = self.writer().last;
        self.sync_through(last)?;
        let path = self.directory.join(checkpoint::name(last));
        let about = self.about(last, schema_version, created_at);
        let size = checkpoint::write_if(
            &*self.disk,
            &path,
            &about,
            Threads::One,
            checkpoint::each(records),
            accept,
            pulse,
        )?;
        let mut writer = self.writer();
        writer.since_checkpoint = 0;
        writer.before_checkpoint = writer.offset;
        writer.checkpoint_size = size;
        drop(writer);
        self.remove_needless()?;
        Ok((last, size))
    }

    /// Writes the state at the last commit, as a checkpoint, to a file anywhere on this disk, beside
    /// the writers.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint).
    pub fn export<E: From<JournalError>>(
        &self,
        path: &Path,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Exported, E> {
        let last = self.writer().last;
        let merged = self.merged(last)?;
        let about = self.about(merged.through(), schema_version, created_at);
        let (_, bytes) = self.write_checkpoint(path, &merged, &about, Threads::Two, watch)?;
        Ok(merged.exported(bytes))
    }

    /// Writes the commits behind `after` to a file of their own, beside the writers: [`extract::write`].
    ///
    /// # Errors
    ///
    /// As there, and as [`sync_through`](Self::sync_through).
    pub fn extract(
        &self,
        after: After,
        path: &Path,
        most: u64,
    ) -> Result<Option<Extract>, JournalError> {
        let last = self.writer().last;
        self.sync_through(last)?;
        let of_this = (self.store_id, self.term);
        let to = (path, most);
        extract::write(&*self.disk, &self.directory, of_this, after, last, to)
    }

    /// The state at commit `last`, made durable first.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`], also where two checkpoints above `last` were written meanwhile, and nothing reaches back
    /// to it any more; [`JournalError::Io`].
    pub fn merged(&self, last: u64) -> Result<Merged, JournalError> {
        self.sync_through(last)?;
        Merged::open(&*self.disk, &self.directory, last)
    }

    fn write_checkpoint<E: From<JournalError>>(
        &self,
        path: &Path,
        merged: &Merged,
        about: &About,
        threads: Threads,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let watch = RefCell::new(watch);
        let told = |records| (watch.borrow_mut())(records);
        let records = |put: Put<'_, E>| {
            merged.visit(&mut |tree, key, value| {
                told(1)?;
                put(tree, key, value)
            })
        };
        let disk = &*self.disk;
        let pulse = &mut || told(0);
        let size = checkpoint::write_if(disk, path, about, threads, records, |_| Ok(()), pulse)?;
        Ok((about.commit, size))
    }

    pub(super) fn about(&self, commit: u64, schema_version: u32, created_at: i64) -> About {
        About {
            store_id: self.store_id,
            term: self.term,
            schema_version,
            commit,
            // Not before the last commit, where the clock was set back.
            created_at: created_at.max(self.writer().last_time_ms.div_euclid(1000)),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    fn remove_needless(&self) -> Result<(), JournalError> {
        let io = |source| JournalError::io("tidy", &self.directory, source);
        let Names {
            segments,
            checkpoints,
            ..
        } = Names::list(&*self.disk, &self.directory)?;
        let needless = checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
        let (old, kept) = checkpoints.split_at_checked(needless).unwrap_or_default();
        // Without two checkpoints, the first segment is the older copy of what the one holds.
        let oldest = match kept {
            [oldest, _, ..] => *oldest,
            _ => return Ok(()),
        };
        for commit in old {
            let path = self.directory.join(checkpoint::name(*commit));
            remove_if_there(&*self.disk, &path).map_err(io)?;
        }
        // A segment is needless once the one after it begins with a number that the oldest checkpoint already holds.
        // The checkpoint's own commit stays: an increment tells by it whether it goes on from the same past.
        for pair in segments.windows(2) {
            if let [first, next] = pair
                && *next <= oldest
            {
                let path = self.directory.join(segment::name(*first));
                remove_if_there(&*self.disk, &path).map_err(io)?;
            }
        }
        Ok(())
    }
}
