//! What the files take, and what is free.

use std::path::Path;
use std::sync::Arc;

use storage_journal::checkpoint;
use storage_journal::disk::Disk;

use super::Db;
use super::inner::Durable;
use crate::error::CoreError;
use crate::paths::{files_of, journal_path};

/// What the files of a database take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// The index.
    pub index_bytes: u64,
    /// The journal with its checkpoints.
    pub journal_bytes: u64,
    /// What compaction returns of the index at least, as far as that can be told.
    pub reclaimable_bytes: u64,
    /// The newest checkpoint of the journal.
    pub checkpoint: Option<CheckpointInfo>,
}

/// A checkpoint of the journal: its whole state at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// The commit.
    pub commit: u64,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// Its length.
    pub bytes: u64,
}

/// What an index without a record takes.
const FRESH_INDEX: u64 = 4 * 1024 * 1024;

impl Db {
    /// Bytes that may still be written where the database is; plenty in memory.
    ///
    /// # Errors
    ///
    /// [`CoreError::Io`].
    pub fn free_bytes(&self) -> Result<u64, CoreError> {
        let Some((disk, directory)) = self.place() else {
            return Ok(u64::MAX);
        };
        let space = disk.space(directory);
        Ok(space
            .map_err(|e| CoreError::io("look at", directory, e))?
            .free)
    }

    /// The bytes of every file of the database; 0 in memory.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`] and errors of the file system.
    pub fn size_on_disk(&self) -> Result<u64, CoreError> {
        self.inner.index()?;
        match &self.inner.path {
            Some(path) => files_of(path)
                .iter()
                .map(|file| crate::size::of(file))
                .sum(),
            None => Ok(0),
        }
    }

    /// Where the journal is; nowhere in memory.
    fn place(&self) -> Option<(&Arc<dyn Disk>, &Path)> {
        match (&self.inner.durable, &self.inner.merged) {
            (Some(Durable { journal, .. }), _) => Some((journal.disk(), journal.directory())),
            (None, Some(view)) => Some((&view.disk, &view.directory)),
            (None, None) => None,
        }
    }

    /// What the files of the database take, and what compaction would return of it.
    ///
    /// # Errors
    ///
    /// [`CoreError::Closed`], [`CoreError::Io`].
    pub fn space(&self) -> Result<Space, CoreError> {
        self.inner.index()?;
        let Some(path) = &self.inner.path else {
            return Ok(Space::default());
        };
        let index_bytes = crate::size::of(path)?;
        let journal_bytes = crate::size::of(&journal_path(path))?;
        let Some((disk, directory)) = self.place() else {
            return Ok(Space::default());
        };
        let checkpoint = checkpoint::newest(&**disk, directory)?;
        // Without a checkpoint there is no history worth mentioning. With one, a fresh index takes at most
        // three times as much, and what the engine takes for itself.
        let fresh = match &checkpoint {
            None => index_bytes,
            Some(of) => of.size().saturating_mul(3).saturating_add(FRESH_INDEX),
        };
        Ok(Space {
            index_bytes,
            journal_bytes,
            reclaimable_bytes: index_bytes.saturating_sub(fresh),
            checkpoint: checkpoint.map(|of| CheckpointInfo {
                commit: of.about().commit,
                created_at: of.about().created_at,
                bytes: of.size(),
            }),
        })
    }
}
