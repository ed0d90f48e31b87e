//! What goes wrong with backups at a target.

use storage_core::{CoreError, ErrorCode};

use super::{Backup, MAX_NOTE_LEN};
use crate::target::TargetError;

/// Why something with the backups at a target failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The target did not do what was asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The database cannot be read.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// No backup is what was asked for.
    #[error("there is no such backup: {sought}")]
    NoSuch {
        /// What was sought.
        sought: String,
    },
    /// There are backups of several databases.
    #[error("there are backups of several databases: {}", stores.join(", "))]
    Several {
        /// Their ids.
        stores: Vec<String>,
    },
    /// Secrets in it are not sealed, and the target takes none that are not.
    #[error("{count} secrets are not sealed: a backup would hold them as they are")]
    Plain {
        /// How many.
        count: u64,
    },
    /// With so many readers its note would be longer than notes may be. Nothing was uploaded.
    #[error(
        "its note would have {len} bytes, of {MAX_NOTE_LEN} at most: it is encrypted to too many"
    )]
    TooManyReaders {
        /// The length of the note.
        len: usize,
    },
    /// A backup is not what its note says, or one that it goes on from is missing.
    #[error("the backup {name} is not valid: {what}")]
    Invalid {
        /// The backup's name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

impl CatalogError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Target(error) => error.code(),
            Self::Core(error) => error.code(),
            Self::NoSuch { .. } => ErrorCode::NotFound,
            Self::Several { .. } | Self::Plain { .. } | Self::TooManyReaders { .. } => {
                ErrorCode::InvalidArgument
            }
            Self::Invalid { .. } => ErrorCode::BackupInvalid,
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Core(error) => error.remedy(),
            Self::NoSuch { .. } => Some("`nonos backup list` shows what there is"),
            Self::Several { .. } => Some("name one with --store"),
            Self::Plain { .. } => Some(
                "give the node its keys, which seals them; or encrypt the backup with --recipient; or leave \
                 them out of a backup file with --redact secrets",
            ),
            Self::TooManyReaders { .. } => Some("encrypt to fewer recipients"),
            Self::Invalid { .. } => Some("use another backup, and make a full one now"),
            Self::Target(error) => error.remedy(),
        }
    }

    pub(super) fn invalid(backup: &Backup, what: impl Into<String>) -> Self {
        let (name, what) = (backup.name(), what.into());
        Self::Invalid { name, what }
    }
}
