//! Errors of this crate, and the stable codes that callers match on.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use storage_journal::JournalError;

use crate::key::KeyError;
use crate::lock::Holder;
use crate::tree::TreeId;

mod code;

pub use code::ErrorCode;
use code::journal_code;

/// "Input/output error" of every Unix.
const EIO: i32 = 5;

/// A record that its tree refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// `peer_id` in the record is not the key it is stored under.
    #[error("info.peer_id is {found:?}")]
    PeerIdDiffers {
        /// The id in the record.
        found: String,
    },
    /// A reputation over 100.
    #[error("the reputation is {found}, the maximum is 100")]
    Reputation {
        /// The reputation in the record.
        found: u8,
    },
    /// `epoch` in the record is not the key it is stored under.
    #[error("the record is of epoch {found}")]
    EpochDiffers {
        /// The epoch in the record.
        found: u64,
    },
    /// NaN or infinity.
    #[error("{field} is not a finite number")]
    NotFinite {
        /// The field's name.
        field: &'static str,
    },
}

/// Why an operation on the database failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// Another handle, here or in another process, has the database open. Nothing was touched.
    #[error("Failed to open database: Resource busy (held by {holder})")]
    Locked {
        /// Who holds it, as far as the lock file tells.
        holder: Holder,
    },
    /// A program that does not know our lock has the index open. Nothing was touched.
    #[error("Failed to open database: Resource busy (the index is held by another program)")]
    IndexLocked {
        /// What the engine says.
        source: io::Error,
    },
    /// The path of the database names something else than a directory. Nothing was touched.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A key that the tree cannot hold. Nothing was written.
    #[error("invalid key for {}", tree.name())]
    Key {
        /// The tree.
        tree: TreeId,
        /// What is wrong with the key.
        source: KeyError,
    },
    /// A record that the tree refuses. Nothing was written.
    #[error("invalid record {key:?} for {}", tree.name())]
    Record {
        /// The tree.
        tree: TreeId,
        /// The record's key, readable.
        key: String,
        /// What is wrong with the record.
        source: RecordError,
    },
    /// A value over the tree's maximum. Nothing was written.
    #[error("the value has {size} bytes, the maximum in {} is {max}", tree.name())]
    TooLarge {
        /// The tree.
        tree: TreeId,
        /// The value's encoded size in bytes.
        size: usize,
        /// The tree's maximum in bytes.
        max: usize,
    },
    /// A value that serde cannot encode. Nothing was written.
    #[error("the value for {} cannot be encoded", tree.name())]
    Serialization {
        /// The tree.
        tree: TreeId,
        /// What the encoder says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A config value of another type than the caller asks for. It is unchanged.
    #[error("config value {key:?} holds {stored}, which is not a {requested}")]
    WrongType {
        /// The config key.
        key: String,
        /// The kind of the stored value.
        stored: &'static str,
        /// The type asked for.
        requested: &'static str,
        /// Where the two differ.
        source: crate::value::ValueError,
    },
    /// Stored bytes are not what was written.
    #[error("the entry {key_hex} of {} is damaged", tree.name())]
    Corrupt {
        /// The tree.
        tree: TreeId,
        /// The entry's key in hexadecimal.
        key_hex: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The index directory is damaged.
    #[error("the index {} is damaged", path.display())]
    IndexDamaged {
        /// The index directory.
        path: PathBuf,
        /// What the engine says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file system is full. What returned `Ok` is kept.
    #[error("the disk is full: cannot {action} {}", path.display())]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system refused an operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A thread of the database cannot be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the operating system says.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A newer release wrote this database. Nothing was modified.
    #[error("Database schema version {found} is newer than supported version {supported}")]
    SchemaTooNew {
        /// The newest schema that its records may have.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// The index has no journal: the first implementation wrote it, or its journal was removed. Nothing was touched.
    #[error("the index {} has no journal: the first implementation wrote it, or its journal was removed", path.display())]
    NoJournal {
        /// The index.
        path: PathBuf,
    },
    /// Nothing is at the path, but something beside it says that there was a database: an empty one
    /// is not made in its place.
    #[error("there is no database, but {} says that there was one", path.display())]
    Sibling {
        /// What is there.
        path: PathBuf,
    },
    /// A database is there, or what is left of one. It is unchanged.
    #[error("{} exists", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A database to be exchanged is not in the directory of the other.
    #[error("{} is not beside the database", path.display())]
    Elsewhere {
        /// Where it is.
        path: PathBuf,
    },
    /// The name of a database to be exchanged is not one line of UTF-8, which an intent can hold.
    #[error("the name of {} is not one line of UTF-8", path.display())]
    Name {
        /// Its path.
        path: PathBuf,
    },
    /// The database is being exchanged for another one, or that was interrupted.
    #[error("the database is being exchanged for another one: {}", path.display())]
    Exchanging {
        /// The file that says so.
        path: PathBuf,
    },
    /// Random bytes cannot be had.
    #[error("the operating system gives no random bytes")]
    Random {
        /// What it says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database is open for reading only. Nothing was written.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// An index without journal is not adopted. Nothing was written.
    #[error("the database was not accepted")]
    NotAccepted,
    /// The index holds something else than was committed. Compaction puts it right.
    #[error("the index differs from what was committed")]
    Diverged,
    /// A read that does not end stands in the way. Nothing was changed.
    #[error("a read that does not end stands in the way")]
    Busy,
    /// The engine panicked. Opening the database again recovers.
    #[error("the engine panicked")]
    EnginePanic,
    /// A write failed before, so nothing more is written through this handle.
    #[error("the database takes no more writes, because {reason}")]
    Poisoned {
        /// The first error.
        reason: String,
    },
    /// The index failed, so writes wait until it is rebuilt. Reads go on from the journal.
    #[error("the index takes no writes, because {reason}")]
    IndexFailed {
        /// The first error.
        reason: String,
    },
    /// The caller ended it.
    #[error("cancelled")]
    Cancelled,
    /// The handle was shut down.
    #[error("the database is closed")]
    Closed,
    /// `update` was called inside the closure of another `update` of the same thread.
    #[error("a write inside the closure of update")]
    Reentrant,
    /// The audit log was vouched for, and nobody holds the keys that do so again. Nothing was written.
    #[error("the audit log would begin where nobody vouches for it: the right keys are not set")]
    NotVouchedFor,
    /// There is no record of that name.
    #[error("there is no {tree} {name:?}")]
    NoSuch {
        /// What it would be.
        tree: &'static str,
        /// Its name.
        name: String,
    },
    /// A batch failed after some of its chunks were applied.
    #[error("the batch stopped after {applied_chunks} chunks ({applied} records)")]
    Batch {
        /// How many chunks were applied whole.
        applied_chunks: usize,
        /// How many of the records given are in them.
        applied: usize,
        /// Why the next chunk failed.
        source: Box<CoreError>,
    },
}

impl CoreError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Locked { .. } | Self::IndexLocked { .. } | Self::Busy => ErrorCode::Locked,
            Self::NotADirectory { .. }
            | Self::Key { .. }
            | Self::Record { .. }
            | Self::TooLarge { .. }
            | Self::Exists { .. }
            | Self::Elsewhere { .. }
            | Self::Name { .. }
            | Self::Reentrant => ErrorCode::InvalidArgument,
            Self::NoSuch { .. } => ErrorCode::NotFound,
            Self::NotVouchedFor => ErrorCode::KeyRequired,
            Self::Serialization { .. } => ErrorCode::Serialization,
            Self::WrongType { .. } => ErrorCode::WrongType,
            Self::Corrupt { .. } | Self::IndexDamaged { .. } | Self::Diverged => ErrorCode::Corrupt,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::Journal(error) => journal_code(error),
            Self::Sibling { .. } | Self::Exchanging { .. } => ErrorCode::IncompleteSwap,
            Self::ReadOnly => ErrorCode::ReadOnly,
            Self::NoJournal { .. } => ErrorCode::MigrationNeeded,
            Self::SchemaTooNew { .. } => ErrorCode::SchemaTooNew,
            Self::NotAccepted => ErrorCode::SchemaMismatch,
            Self::Io { .. } | Self::Thread { .. } | Self::Random { .. } => ErrorCode::Io,
            Self::EnginePanic | Self::IndexFailed { .. } | Self::Poisoned { .. } | Self::Closed => {
                ErrorCode::Poisoned
            }
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Batch { source, .. } => source.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Locked { .. } | Self::IndexLocked { .. } => {
                Some("stop the process that holds the database, or wait for it")
            }
            Self::NotADirectory { .. } => Some("name a directory, or a path that does not exist"),
            Self::Exists { .. } => Some("name another path, or move the database away"),
            Self::Reentrant => Some("write through the Update that the closure is given"),
            Self::DiskFull { .. } => Some("free disk space, then open the database again"),
            Self::EnginePanic
            | Self::Poisoned { .. }
            | Self::Journal(JournalError::Poisoned { .. }) => {
                Some("close the database and open it again")
            }
            Self::IndexFailed { .. } => {
                Some("it is rebuilt in the background: try again, or compact it now")
            }
            Self::Closed => Some("open the database again"),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as the user who owns the directory, or change its permissions")
            }
            Self::IndexDamaged { .. }
            | Self::Corrupt { .. }
            | Self::Journal(JournalError::Damaged { .. }) => Some(
                "restore a backup, or make a new database of what is intact with `nonos repair`",
            ),
            Self::Batch { source, .. } => source.remedy(),
            Self::ReadOnly => Some("open the database for writing"),
            Self::SchemaTooNew { .. } => Some("upgrade this program"),
            Self::NoJournal { .. } => Some(
                "if the first implementation wrote it, open it for writing: that makes a journal. If its journal was \
                 removed, put that back or restore a backup: the index alone may lack what is newest",
            ),
            Self::Exchanging { .. } => Some("open the database for writing: that finishes it"),
            Self::Sibling { .. } => {
                Some("restore a backup, or move what is left of the old database away")
            }
            _ => None,
        }
    }

    /// Whether the index, of which this is an error, is damaged; `false` if it is its surroundings
    /// that refuse: another holder, a full disk, permissions, limits.
    pub(crate) fn is_index_damage(&self) -> bool {
        match self {
            Self::IndexDamaged { .. } | Self::Corrupt { .. } | Self::EnginePanic => true,
            // The engine's own errors have no number of the operating system; EIO is a bad sector.
            Self::Io { source, .. } => source.raw_os_error().is_none_or(|errno| errno == EIO),
            _ => false,
        }
    }

    /// A failure of the file system.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// A stored record that is not one.
    pub fn corrupt(
        tree: TreeId,
        key: &[u8],
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Corrupt {
            tree,
            key_hex: HEXLOWER.encode(key),
            source: source.into(),
        }
    }
}
