//! Exit codes. Their meanings never change.

use std::io;

use nonos_daemon::encryption::{CryptError, EncryptionError};
use nonos_storage::{
    CatalogError, CoreError, ErrorCode, NonosError, RestoreError, SchemaError, StorageError,
};

use crate::error::CliError;

const UNEXPECTED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const NO_DATABASE: u8 = 3;
const LOCKED: u8 = 4;
const TOO_NEW: u8 = 5;
const MIGRATION_NEEDED: u8 = 6;
pub(crate) const INTEGRITY: u8 = 7;
pub(crate) const BACKUP_INVALID: u8 = 8;
pub(crate) const KEY: u8 = 9;
const REFUSED: u8 = 10;
pub(crate) const DISK_FULL: u8 = 11;
pub(crate) const INTERRUPTED: u8 = 12;
const WORK_TO_DO: u8 = 13;
pub(crate) const POISONED: u8 = 14;

pub(crate) fn code(error: &CliError) -> u8 {
    match error {
        // Not the database is missing.
        CliError::Storage(NonosError::Storage(
            StorageError::Core(CoreError::NoSuch { .. })
            | StorageError::Catalog(_)
            | StorageError::Schema(SchemaError::NothingToAbort)
            | StorageError::Target(_)
            | StorageError::Restore(RestoreError::Catalog(_)),
        )) if error.code() == ErrorCode::NotFound.name() => UNEXPECTED,
        CliError::Storage(NonosError::Storage(StorageError::Catalog(CatalogError::Plain {
            ..
        }))) => REFUSED,
        CliError::Storage(NonosError::Storage(error)) => match error.code() {
            ErrorCode::Locked => LOCKED,
            ErrorCode::SchemaTooNew => TOO_NEW,
            ErrorCode::MigrationNeeded => MIGRATION_NEEDED,
            ErrorCode::Corrupt | ErrorCode::SchemaMismatch | ErrorCode::IncompleteSwap => INTEGRITY,
            ErrorCode::BackupInvalid => BACKUP_INVALID,
            ErrorCode::InvalidArgument | ErrorCode::WrongType => USAGE,
            ErrorCode::NotFound => NO_DATABASE,
            ErrorCode::DiskFull => DISK_FULL,
            ErrorCode::Poisoned => POISONED,
            ErrorCode::KeyRequired => KEY,
            ErrorCode::Cancelled => INTERRUPTED,
            _ => UNEXPECTED,
        },
        CliError::Storage(NonosError::Config(_)) | CliError::Settings(_) => USAGE,
        CliError::Storage(NonosError::Encryption(_)) => KEY,
        #[cfg(feature = "encrypted-storage")]
        CliError::KeyFile(_) | CliError::KeysNotInFile => KEY,
        #[cfg(feature = "encrypted-storage")]
        CliError::OnTerminal | CliError::NeedsFile => USAGE,
        CliError::BackupKeys(EncryptionError::Recipient | EncryptionError::NotBuiltIn) => USAGE,
        CliError::BackupKeys(_) => KEY,
        CliError::Encrypted { source, .. } => match source {
            CryptError::NoIdentity => KEY,
            CryptError::Damaged | CryptError::Differs => BACKUP_INVALID,
            CryptError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                DISK_FULL
            }
            _ => UNEXPECTED,
        },
        CliError::Daemon { failed } => failed.exit_code,
        CliError::Exposed { .. } | CliError::Token { .. } => USAGE,
        CliError::DaemonEnded => INTERRUPTED,
        CliError::Restoring { .. } => LOCKED,
        CliError::WhichNode { .. } | CliError::NoNode | CliError::PlainSecrets { .. } => REFUSED,
        CliError::Head
        | CliError::NoTree { .. }
        | CliError::Place(_)
        | CliError::Usage { .. }
        | CliError::CommandLine { .. }
        | CliError::Outside { .. }
        | CliError::Exists { .. } => USAGE,
        CliError::Findings { .. } => INTEGRITY,
        CliError::NoDatabase { .. } => NO_DATABASE,
        #[cfg(feature = "encrypted-storage")]
        CliError::DatabaseGone { .. } => NO_DATABASE,
        CliError::NotConfirmed { .. } => REFUSED,
        CliError::NoWrites { .. } => POISONED,
        CliError::Pending { .. } => MIGRATION_NEEDED,
        CliError::WorkToDo => WORK_TO_DO,
        CliError::Io { source, .. } | CliError::Output { source }
            if source.kind() == io::ErrorKind::StorageFull =>
        {
            DISK_FULL
        }
        CliError::Reported { source } => code(source),
        _ => UNEXPECTED,
    }
}
