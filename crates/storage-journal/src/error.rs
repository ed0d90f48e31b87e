//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on the journal failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// A checkpoint or a backup is damaged, or no such file.
    #[error("{} is damaged: {part}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The first part that is not right.
        part: &'static str,
    },
    /// Records for a checkpoint did not come in the order of tree and key.
    #[error("records are out of order")]
    OutOfOrder,
    /// A commit over the maximum. Nothing was written.
    #[error("the commit has {size} bytes, the maximum is {max}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The maximum in bytes.
        max: usize,
    },
    /// A write or a sync failed before, so nothing more is written.
    #[error("the journal takes no more writes, because {reason}")]
    Poisoned {
        /// The first error.
        reason: String,
    },
    /// The journal cannot be read whole.
    #[error("the journal {} is damaged: {}", directory.display(), damage.join("; "))]
    Damaged {
        /// Its directory.
        directory: PathBuf,
        /// One line per damaged thing.
        damage: Vec<String>,
    },
    /// Older commits are no more in the journal, but in its checkpoints.
    #[error("the journal no longer holds the commits after {after}")]
    Removed {
        /// The commit behind which they are sought.
        after: u64,
    },
    /// The commit of this number is another one than what is gone on from.
    #[error("commit {after} of the journal is not the one that was backed up")]
    Another {
        /// Its number.
        after: u64,
    },
    /// The directory holds no journal.
    #[error("{} holds no journal", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// A newer program wrote the journal. Nothing was modified.
    #[error("the journal has format {found}, this program reads up to {supported}")]
    TooNew {
        /// The format that a reader must know.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
}

impl JournalError {
    /// Whether a checkpoint is damaged, or lies where the disk cannot be read.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Checkpoint { .. } => true,
            Self::Io { source, .. } => is_bad_sector(source),
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Whether a part of the disk cannot be read: "Input/output error" of every Unix.
pub(crate) fn is_bad_sector(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}
