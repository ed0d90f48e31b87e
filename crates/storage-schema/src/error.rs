//! Errors of this crate.

use std::error::Error;

use storage_core::{CoreError, Encoding, ErrorCode};

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
    /// An older release wrote this database, and this one cannot migrate it. Nothing was modified.
    #[error(
        "the database has schema version {from} and must be migrated, which this release cannot do yet"
    )]
    MigrationNeeded {
        /// The version whose layout the records have.
        from: u32,
    },
    /// The database cannot be read or written.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl SchemaError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooNew { .. } => ErrorCode::SchemaTooNew,
            Self::Unversioned
            | Self::Missing
            | Self::Unreadable { .. }
            | Self::UnknownEncoding { .. } => ErrorCode::SchemaMismatch,
            Self::MigrationNeeded { .. } => ErrorCode::MigrationNeeded,
            Self::Core(error) => error.code(),
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
            Self::MigrationNeeded { .. } => Some("wait for the release that migrates it"),
            Self::Core(error) => error.remedy(),
        }
    }
}
