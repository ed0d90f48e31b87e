//! Restoring: a backup becomes the journal of a new database, and the index is built from it.

use std::path::Path;

use storage_core::{CoreError, DbOptions, ErrorCode};

use crate::backup::{self, BackupError};

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The commit whose state was restored.
    pub commit: u64,
    /// Records restored.
    pub entries: u64,
    /// The backup's length in bytes.
    pub bytes: u64,
    /// The schema of its records.
    pub schema_version: u32,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is a database, or what is left of one, where the backup should go. It is unchanged.
    #[error("{} exists", path.display())]
    Exists {
        /// What is there.
        path: std::path::PathBuf,
    },
    /// The backup holds records of a newer schema. Nothing was made.
    #[error("Database schema version {found} is newer than supported version {supported}")]
    TooNew {
        /// The schema of its records.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// The backup is not valid. Nothing was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The database cannot be made.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl RestoreError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Exists { .. } => ErrorCode::InvalidArgument,
            Self::TooNew { .. } => ErrorCode::SchemaTooNew,
            Self::Backup(error) => error.code(),
            Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Exists { .. } => Some("restore to another path, or move the database away"),
            Self::TooNew { .. } => Some("upgrade this program"),
            Self::Backup(error) => error.remedy(),
            Self::Core(error) => error.remedy(),
        }
    }
}

/// Makes the database at `options.path` of a backup, which is read and verified whole first.
///
/// The journal appears in one step, with everything in it; until then there is no database, and from
/// then on any open completes the index. So an interrupted restore is either undone or finished.
///
/// # Errors
///
/// [`RestoreError::Exists`], [`RestoreError::TooNew`], [`RestoreError::Backup`],
/// [`RestoreError::Core`]: no database is there.
pub fn restore_backup(path: &Path, options: &DbOptions) -> Result<Restored, RestoreError> {
    let (checkpoint, info) = backup::open(path)?;
    if info.schema_version > options.schema_version {
        return Err(RestoreError::TooNew {
            found: info.schema_version,
            supported: options.schema_version,
        });
    }
    backup::verify_backup(path)?;
    if let Some(path) = storage_core::remains(&options.path)? {
        return Err(RestoreError::Exists { path });
    }
    storage_core::begin_from(&checkpoint, options)?;
    Ok(Restored {
        commit: info.commit,
        entries: info.entries,
        bytes: info.bytes,
        schema_version: info.schema_version,
    })
}
