//! Backups: a checkpoint in a file of the operator's, exact at one commit.

use std::path::Path;

use storage_core::history::{Checkpoint, JournalError, RealDisk};
use storage_core::{CoreError, Db, ErrorCode, TreeId};

use crate::redact;
use crate::sizes::TreeSizes;

/// What a backup file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The database that it was made of.
    pub store_id: [u8; 16],
    /// The schema of its records.
    pub schema_version: u32,
    /// The commit that it holds the state of.
    pub commit: u64,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// Records in it, with those of the tree `schema`: more than in `trees`.
    pub entries: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The program that made it.
    pub program_version: String,
    /// Records in each tree.
    pub trees: TreeSizes,
    /// Whether secrets and the node's identity were left out.
    pub is_redacted: bool,
}

/// Why a file is no backup to rely on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file is damaged, or no backup.
    #[error("the backup is not valid")]
    Invalid {
        /// What is wrong with it.
        source: JournalError,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl BackupError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::BackupInvalid,
            Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Invalid { .. } => Some("use another backup"),
            Self::Core(error) => error.remedy(),
        }
    }
}

/// Writes everything at the last commit to a file and returns its length in bytes.
///
/// Writers go on meanwhile. The file appears under its name once it is whole, durable and was read
/// back; a file of that name is replaced then.
///
/// # Errors
///
/// [`CoreError::Journal`], [`CoreError::Closed`]: no new file appears, but for the whole one where only its name could not
/// be made durable.
pub fn export_backup(db: &Db, path: &Path) -> Result<u64, CoreError> {
    db.export(path).map(|exported| exported.bytes)
}

/// Reads a backup whole: every block, the counts and digests, and the hash of the file.
///
/// # Errors
///
/// [`BackupError::Invalid`] names the first thing that is wrong.
pub fn verify_backup(path: &Path) -> Result<BackupInfo, BackupError> {
    let (checkpoint, info) = open(path)?;
    checkpoint.verify().map_err(invalid)?;
    Ok(info)
}

/// Opens a backup and reads what it says of itself.
pub(crate) fn open(path: &Path) -> Result<(Checkpoint, BackupInfo), BackupError> {
    let checkpoint = Checkpoint::open(&RealDisk, path).map_err(invalid)?;
    let about = checkpoint.about();
    let digests = checkpoint.digests();
    let len =
        |tree: TreeId| usize::try_from(digests.of(tree.number()).count()).unwrap_or(usize::MAX);
    let info = BackupInfo {
        store_id: about.store_id,
        schema_version: about.schema_version,
        commit: about.commit,
        created_at: about.created_at,
        entries: digests.total(),
        bytes: checkpoint.size(),
        program_version: about.program.clone(),
        trees: TreeSizes::of(len),
        is_redacted: redact::is_redacted(&checkpoint)?,
    };
    Ok((checkpoint, info))
}

pub(crate) fn invalid(error: JournalError) -> BackupError {
    match error {
        source @ JournalError::Checkpoint { .. } => BackupError::Invalid { source },
        error => BackupError::Core(error.into()),
    }
}
