//! The names of errors that scripts rely on.

use std::fmt;
use std::io;

use storage_journal::JournalError;

/// What a caller can do something about. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Another process or handle has the database.
    Locked,
    /// A newer release wrote the database.
    SchemaTooNew,
    /// There is data, but no readable schema version.
    SchemaMismatch,
    /// An older release wrote the database, and migrating is not possible or not allowed.
    MigrationNeeded,
    /// A value cannot be encoded.
    Serialization,
    /// Stored bytes are damaged.
    Corrupt,
    /// The disk, or what of it may be used, is full. In the second case writes are taken again once there is room.
    DiskFull,
    /// The handle does not write.
    ReadOnly,
    /// There is nothing of that name.
    NotFound,
    /// The caller's value is not allowed; nothing was written.
    InvalidArgument,
    /// The stored value has another type than the one asked for.
    WrongType,
    /// The handle is closed, or takes no more writes after an error: opening again recovers; or its index failed
    /// and is made anew: try again.
    Poisoned,
    /// A backup file is damaged or not one.
    BackupInvalid,
    /// It is encrypted, or was vouched for, and the key that is needed was not given.
    KeyRequired,
    /// An exchange of two databases was interrupted, or what is beside the path says that there was a database.
    IncompleteSwap,
    /// The operating system refused an operation on a file.
    Io,
    /// The caller ended it; running it again is safe.
    Cancelled,
    /// Not built. This release returns it nowhere.
    NotSupported,
}

impl ErrorCode {
    /// The code's name, as programs and the operator's output show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Locked => "LOCKED",
            Self::SchemaTooNew => "SCHEMA_TOO_NEW",
            Self::SchemaMismatch => "SCHEMA_MISMATCH",
            Self::MigrationNeeded => "MIGRATION_NEEDED",
            Self::Serialization => "SERIALIZATION",
            Self::Corrupt => "CORRUPT",
            Self::DiskFull => "DISK_FULL",
            Self::ReadOnly => "READ_ONLY",
            Self::NotFound => "NOT_FOUND",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::WrongType => "WRONG_TYPE",
            Self::Poisoned => "POISONED",
            Self::BackupInvalid => "BACKUP_INVALID",
            Self::KeyRequired => "KEY_REQUIRED",
            Self::IncompleteSwap => "INCOMPLETE_SWAP",
            Self::Io => "IO",
            Self::Cancelled => "CANCELLED",
            Self::NotSupported => "NOT_SUPPORTED",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

pub(super) fn journal_code(error: &JournalError) -> ErrorCode {
    match error {
        JournalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            ErrorCode::DiskFull
        }
        JournalError::TooLarge { .. } => ErrorCode::InvalidArgument,
        JournalError::Poisoned { .. } => ErrorCode::Poisoned,
        JournalError::Damaged { .. } | JournalError::Checkpoint { .. } => ErrorCode::Corrupt,
        JournalError::TooNew { .. } => ErrorCode::SchemaTooNew,
        JournalError::Missing { .. } => ErrorCode::NotFound,
        _ => ErrorCode::Io,
    }
}
