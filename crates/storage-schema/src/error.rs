//! Errors of this crate.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use storage_core::{CoreError, Encoding, ErrorCode, TreeId};

use crate::survey::Unconvertible;

/// Why a database is not at the current schema version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A newer release wrote this database. Nothing was modified.
    #[error(
        "Database schema version {found} is newer than supported version {supported}\n\
         a newer release of this program wrote it: upgrade the program, or restore a backup that \
         was made before"
    )]
    TooNew {
        /// The recorded version.
        found: u32,
        /// The newest version that this program knows.
        supported: u32,
    },
    /// There are records but no schema version. Nothing was modified.
    #[error("the database holds records but no schema version")]
    Unversioned,
    /// An empty schema tree in a database that was at the current version.
    #[error("the schema record is missing")]
    Missing,
    /// The schema record is damaged, or no release wrote it. Nothing was modified.
    #[error("the schema record does not decode")]
    Unreadable {
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The schema record is not in the encoding of any release. Nothing was modified.
    #[error("the schema record is encoded as {found:?}")]
    UnknownEncoding {
        /// The encoding that its frame names.
        found: Encoding,
    },
    /// An older release wrote this database, and it was not allowed to migrate it. Nothing was modified.
    #[error("the database has schema version {from} and must be migrated")]
    MigrationNeeded {
        /// The version whose layout the records have.
        from: u32,
    },
    /// No step starts from the recorded version. Nothing was modified.
    #[error("no release migrates from schema {from}")]
    NoStep {
        /// The recorded version.
        from: u32,
    },
    /// Records do not convert. Nothing was written.
    #[error(
        "{count} records do not convert; the first is {} in {}: {}",
        first.key_hex, first.tree.name(), first.reason
    )]
    Unconvertible {
        /// How many.
        count: u64,
        /// The first of them.
        first: Unconvertible,
    },
    /// A migration needs more free space. Nothing was written.
    #[error("the migration needs {needed} bytes of free space, there are {free}")]
    NoRoom {
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// A step could not read or write; the database is still at `from`, and the next open goes on.
    #[error("migration from schema {from} to {to} did not complete")]
    Step {
        /// The version before.
        from: u32,
        /// The version it was to get.
        to: u32,
        /// Why.
        source: CoreError,
    },
    /// What was converted is not what it must be; the database is still at `from`.
    #[error("migration from schema {from} to {to} is not complete: {detail}")]
    Invalid {
        /// The version before.
        from: u32,
        /// The version it was to get.
        to: u32,
        /// What is wrong.
        detail: String,
    },
    /// The cursor of an interrupted migration is damaged, or of another release. Nothing was modified.
    #[error("the cursor of the interrupted migration does not decode")]
    UnreadableCursor {
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No migration was interrupted. Nothing was modified.
    #[error("no migration is under way")]
    NothingToAbort,
    /// The file of records that are set aside cannot be written. Nothing was modified.
    #[error("cannot write {}", path.display())]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is no backup of the first implementation. Nothing was made.
    #[error("{} is no backup of the first implementation", path.display())]
    NoOldBackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A record has no form in the first implementation. Nothing was made.
    #[error("the entry {key_hex} of {} has no form in the first implementation", tree.name())]
    NoOldForm {
        /// Its tree.
        tree: TreeId,
        /// Its key in hexadecimal.
        key_hex: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database cannot be read or written.
    #[error(transparent)]
    Core(CoreError),
}

impl From<CoreError> for SchemaError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::SchemaTooNew { found, supported } => Self::TooNew { found, supported },
            error => Self::Core(error),
        }
    }
}

impl SchemaError {
    pub(crate) fn quarantine(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Quarantine { path, source }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooNew { .. } => ErrorCode::SchemaTooNew,
            Self::Unversioned
            | Self::Missing
            | Self::Unreadable { .. }
            | Self::UnknownEncoding { .. }
            | Self::NoStep { .. }
            | Self::UnreadableCursor { .. } => ErrorCode::SchemaMismatch,
            Self::MigrationNeeded { .. } => ErrorCode::MigrationNeeded,
            Self::Unconvertible { .. } | Self::Invalid { .. } => ErrorCode::Corrupt,
            Self::NoRoom { .. } => ErrorCode::DiskFull,
            Self::NothingToAbort => ErrorCode::NotFound,
            Self::Quarantine { .. } => ErrorCode::Io,
            Self::NoOldBackup { .. } => ErrorCode::BackupInvalid,
            Self::NoOldForm { .. } => ErrorCode::Serialization,
            Self::Step { source: error, .. } | Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::TooNew { .. } => Some("upgrade this program"),
            Self::Unversioned
            | Self::Missing
            | Self::Unreadable { .. }
            | Self::UnknownEncoding { .. } => {
                Some("restore a backup, or move the directory aside to start with an empty one")
            }
            Self::MigrationNeeded { .. } => {
                Some("`nonos migrate --dry-run` shows what it would do, `nonos migrate` does it")
            }
            Self::NoStep { .. } => Some("use the release that wrote the database"),
            Self::Unconvertible { .. } => {
                Some("`nonos migrate --allow-quarantine` sets them aside and lists them in a file")
            }
            Self::NoRoom { .. } => Some("free disk space, then open the database again"),
            Self::Invalid { .. } | Self::UnreadableCursor { .. } => {
                Some("`nonos migrate --abort` puts back what was there before")
            }
            Self::NothingToAbort => Some("a complete migration is undone by restoring a backup"),
            Self::Quarantine { .. } | Self::NoOldBackup { .. } | Self::NoOldForm { .. } => None,
            Self::Step { source: error, .. } | Self::Core(error) => error.remedy(),
        }
    }
}
