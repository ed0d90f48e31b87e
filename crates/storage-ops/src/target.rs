//! Where backups are kept: any place that takes files whole, under names.
//!
//! [`Directory`] is one on a file system. What a target must do: a name appears with its whole content or
//! not at all, and what [`upload`](Target::upload) accepted was compared with what arrived.

use std::fmt;
use std::io;
use std::path::Path;

use storage_core::history::{RealDisk, hash_of};
use storage_core::{CoreError, ErrorCode};

mod directory;

pub use directory::Directory;

/// A place for backups. Names have parts of ASCII letters, digits, `-`, `_` and `.`, with `/` between; no part is
/// empty or begins with `.`, and 512 bytes are the most. Any other is [`TargetError::Name`]. Calls come from several
/// threads, and may take long.
///
/// One in memory, for tests:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::fs;
/// use std::path::Path;
/// use std::sync::Mutex;
/// # use storage_ops as nonos_storage;
/// use nonos_storage::{Target, TargetError};
///
/// #[derive(Debug, Default)]
/// struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);
///
/// impl Target for Memory {
///     fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
///         let files = self.0.lock().unwrap();
///         Ok(files.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
///     }
///     fn upload(&self, name: &str, file: &Path, _hash: &[u8; 32]) -> Result<(), TargetError> {
///         let bytes = fs::read(file).map_err(|e| TargetError::failed("read", name, e))?;
///         self.write(name, &bytes)
///     }
///     fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
///         let bytes = self.read(name, usize::MAX)?;
///         fs::write(file, bytes).map_err(|e| TargetError::failed("write", name, e))
///     }
///     fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
///         self.0.lock().unwrap().insert(name.to_owned(), bytes.to_owned());
///         Ok(())
///     }
///     fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
///         let files = self.0.lock().unwrap();
///         let missing = || TargetError::Missing { name: name.to_owned() };
///         let bytes = files.get(name).ok_or_else(missing)?;
///         Ok(bytes[..bytes.len().min(max)].to_owned())
///     }
///     fn remove(&self, name: &str) -> Result<(), TargetError> {
///         self.0.lock().unwrap().remove(name);
///         Ok(())
///     }
/// }
/// ```
pub trait Target: fmt::Debug + Send + Sync {
    /// The names that begin with `prefix`, which need not end at a `/`, in any order; names that are not whole are not among them.
    ///
    /// # Errors
    ///
    /// [`TargetError::Failed`].
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError>;

    /// Puts a file, of which `hash` is the BLAKE2b-256, under a name, in the place of what has it. The
    /// file may be gone afterwards: it is moved where that is enough.
    ///
    /// # Errors
    ///
    /// [`TargetError::Failed`], [`TargetError::Differs`]: the name has what it had, or nothing.
    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError>;

    /// Writes what is under a name to a file, which does not exist; not durably.
    ///
    /// # Errors
    ///
    /// [`TargetError::Missing`]; [`TargetError::Encrypted`] where no key that opens it was given,
    /// [`TargetError::Differs`] where it is damaged; [`TargetError::Failed`], also if the file exists. Only that one
    /// is left then.
    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError>;

    /// Puts a few bytes under a name, durably, in the place of what has it.
    ///
    /// # Errors
    ///
    /// [`TargetError::Failed`]: the name has what it had, or nothing.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError>;

    /// Reads what is under a name, at most `max` bytes of it: what is longer is cut off, which is no error.
    ///
    /// # Errors
    ///
    /// [`TargetError::Missing`], [`TargetError::Failed`].
    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError>;

    /// Removes a name; one that is not there is removed.
    ///
    /// # Errors
    ///
    /// [`TargetError::Failed`].
    fn remove(&self, name: &str) -> Result<(), TargetError>;

    /// To whom files are encrypted there: the same text for the same readers; `None` if they are as they are.
    fn readers(&self) -> Option<String> {
        None
    }

    /// Whether secrets that nobody sealed may be in the files there.
    fn takes_plain_secrets(&self) -> bool {
        true
    }

    /// Where files are best made that are to be uploaded, if that is anywhere: from there they are moved.
    fn scratch(&self) -> Option<&Path> {
        None
    }
}

/// Why a target did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// There is nothing under the name.
    #[error("there is no {name} where the backups are")]
    Missing {
        /// The name.
        name: String,
    },
    /// What arrived is not what was sent.
    #[error("{name} arrived changed where the backups are")]
    Differs {
        /// The name.
        name: String,
    },
    /// It is encrypted, and the key that opens it was not given.
    #[error("{name} is encrypted, and no identity was given that opens it")]
    Encrypted {
        /// The name.
        name: String,
    },
    /// A name that no backup has.
    #[error("{name:?} is not the name of a backup's file")]
    Name {
        /// The name.
        name: String,
    },
    /// The place refused, or could not be reached.
    #[error("cannot {action} {name} where the backups are")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// To which name.
        name: String,
        /// What the place says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TargetError {
    /// The place failed at a name.
    pub fn failed(
        action: &'static str,
        name: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (name, source) = (name.to_owned(), source.into());
        Self::Failed {
            action,
            name,
            source,
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Encrypted { .. } => Some(
                "name the file of an age identity with --identity, in a program built with backup-age",
            ),
            _ => None,
        }
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::NotFound,
            Self::Differs { .. } => ErrorCode::BackupInvalid,
            Self::Encrypted { .. } => ErrorCode::KeyRequired,
            Self::Name { .. } => ErrorCode::InvalidArgument,
            Self::Failed { source, .. } => match source.downcast_ref::<io::Error>() {
                Some(e) if e.kind() == io::ErrorKind::StorageFull => ErrorCode::DiskFull,
                _ => ErrorCode::Io,
            },
        }
    }
}

/// The BLAKE2b-256 of a file, as [`Target::upload`] takes it.
///
/// # Errors
///
/// [`CoreError::Journal`] if it cannot be read.
pub fn file_hash(path: &Path) -> Result<[u8; 32], CoreError> {
    Ok(hash_of(&RealDisk, path)?)
}

/// Whether a name is one that every target takes.
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_fine)
    };
    name.len() <= 512 && name.split('/').all(part)
}
