//! Errors of the facade.

use std::path::PathBuf;

use storage_core::{CoreError, ErrorCode};
use storage_crypto::CryptoError;
use storage_ops::{BackupError, CatalogError, PruneError, RepairError, RestoreError, TargetError};
use storage_schema::SchemaError;

/// What methods of this crate return.
pub type NonosResult<T> = Result<T, NonosError>;

/// Why an operation failed. Its text is that of its payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NonosError {
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Sealing of secrets.
    #[error(transparent)]
    Encryption(#[from] CryptoError),
    /// The configuration. Nothing was opened.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<CoreError> for NonosError {
    fn from(error: CoreError) -> Self {
        Self::Storage(error.into())
    }
}

/// Why an operation on the database failed, with a stable code and, where there is one, a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Opening, reading or writing.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The schema version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Pruning.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backups at a target.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A target of backups.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Restoring a backup.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Repairing.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// This release cannot do it. Nothing happened. No method of this one returns it.
    #[error("{operation} is not supported yet")]
    NotSupported {
        /// The method.
        operation: &'static str,
    },
}

impl StorageError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Core(error) => error.code(),
            Self::Schema(error) => error.code(),
            Self::Prune(error) => error.code(),
            Self::Backup(error) => error.code(),
            Self::Catalog(error) => error.code(),
            Self::Target(error) => error.code(),
            Self::Restore(error) => error.code(),
            Self::Repair(error) => error.code(),
            Self::NotSupported { .. } => ErrorCode::NotSupported,
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Core(error) => error.remedy(),
            Self::Schema(error) => error.remedy(),
            Self::Prune(error) => error.remedy(),
            Self::Backup(error) => error.remedy(),
            Self::Catalog(error) => error.remedy(),
            Self::Restore(error) => error.remedy(),
            Self::Repair(error) => error.remedy(),
            Self::Target(_) | Self::NotSupported { .. } => None,
        }
    }
}

/// A configuration that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A cache too small to work with.
    #[error(
        "cache_capacity_bytes is {found}, the minimum is {}",
        crate::config::MIN_CACHE_BYTES
    )]
    CacheTooSmall {
        /// The configured size in bytes.
        found: u64,
    },
    /// A flush every 0 milliseconds.
    #[error("flush_every_ms is 0; give the milliseconds between flushes, or \"never\"")]
    FlushEveryZero,
    /// A path below `~/` without a home directory.
    #[error("{} begins with ~/, but HOME is not set", path.display())]
    NoHome {
        /// The configured path.
        path: PathBuf,
    },
    /// No path at all.
    #[error("the path of the database is empty")]
    EmptyPath,
}
