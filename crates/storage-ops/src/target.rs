//! Where backups are kept: any place that takes files whole, under names.
//!
//! [`Directory`] is one on a file system. What a target must do: a name appears with its whole content or
//! not at all, and what [`upload`](Target::upload) accepted was compared with what arrived.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use storage_core::history::{RealDisk, hash_of};
use storage_core::{CoreError, ErrorCode};

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

/// The ending of files that are not whole.
const PART: &str = ".part";

/// A directory of backups, for its owner only.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory, which is made where it does not exist.
    ///
    /// # Errors
    ///
    /// [`CoreError::Io`].
    pub fn new(path: &Path) -> Result<Self, CoreError> {
        let path = path.to_owned();
        match make(&path) {
            Ok(()) => Ok(Self { path }),
            Err(source) => Err(CoreError::Io {
                action: "create",
                path,
                source,
            }),
        }
    }

    fn place(&self, name: &str) -> Result<PathBuf, TargetError> {
        if is_name(name) {
            return Ok(self.path.join(name));
        }
        let name = name.to_owned();
        Err(TargetError::Name { name })
    }

    /// Makes a file appear under `path` by a rename, after `fill` filled another one.
    fn publish(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        make(directory)?;
        let mut part = path.as_os_str().to_owned();
        part.push(PART);
        let part = PathBuf::from(part);
        remove_if_there(&part)?;
        let published = fill(&part).and_then(|()| {
            fs::rename(&part, path)?;
            File::open(directory)?.sync_all()
        });
        if published.is_err() {
            // Its ending says that it is not whole.
            let _removed = remove_if_there(&part);
        }
        published
    }

    fn names_in(&self, directory: &Path, found: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.names_in(&entry.path(), found)?;
            } else if let Ok(relative) = entry.path().strip_prefix(&self.path)
                && let Some(name) = relative.to_str()
                && is_name(name)
                && !name.ends_with(PART)
            {
                found.push(name.to_owned());
            }
        }
        Ok(())
    }
}

impl Target for Directory {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        let mut found = Vec::new();
        let listed = self.names_in(&self.path, &mut found);
        listed.map_err(|e| TargetError::failed("list", prefix, e))?;
        found.retain(|name| name.starts_with(prefix));
        Ok(found)
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        let path = self.place(name)?;
        let failed = |e| TargetError::failed("write", name, e);
        let directory = path.parent().unwrap_or(Path::new("."));
        make(directory).map_err(failed)?;
        if fs::rename(file, &path).is_ok() {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            return synced.map_err(failed);
        }
        let mut differs = false;
        let published = Self::publish(&path, |part| {
            // Another file system.
            copy(file, part)?.sync_all()?;
            differs = hash_of(&RealDisk, part).map_err(io::Error::other)? != *hash;
            if differs {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(())
        });
        match published {
            Err(_) if differs => {
                let name = name.to_owned();
                Err(TargetError::Differs { name })
            }
            published => published.map_err(failed),
        }
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let path = self.place(name)?;
        match copy(&path, file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => {
                let name = name.to_owned();
                Err(TargetError::Missing { name })
            }
            copied => copied
                .map(drop)
                .map_err(|e| TargetError::failed("read", name, e)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let path = self.place(name)?;
        let published = Self::publish(&path, |part| {
            let mut file = create(part)?;
            file.write_all(bytes)?;
            file.sync_all()
        });
        published.map_err(|e| TargetError::failed("write", name, e))
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        let path = self.place(name)?;
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(max).read_to_end(&mut bytes));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let name = name.to_owned();
                Err(TargetError::Missing { name })
            }
            Err(e) => Err(TargetError::failed("read", name, e)),
            Ok(_) => Ok(bytes),
        }
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let path = self.place(name)?;
        let directory = path.parent().unwrap_or(&self.path);
        let removed = remove_if_there(&path).and_then(|()| match File::open(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened?.sync_all(),
        });
        removed.map_err(|e| TargetError::failed("remove", name, e))
    }

    fn scratch(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// Makes a directory and those above it, durably, for their owner only.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

fn copy(from: &Path, to: &Path) -> io::Result<File> {
    let mut source = File::open(from)?;
    let mut file = create(to)?;
    match io::copy(&mut source, &mut file) {
        Ok(_) => Ok(file),
        Err(error) => {
            // The error is what must be told.
            let _removed = fs::remove_file(to);
            Err(error)
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
