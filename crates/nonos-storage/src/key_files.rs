//! Key files on disk: made for their owner alone, and read only where nobody else could have written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;
use storage_crypto::Zeroizing;
use storage_crypto::key_file::MAX_FILE_LEN;

/// Why a key file is not read, or not written. A file that is there is unchanged, but for one that was to be
/// destroyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What it refused.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could have put it there, or read it.
    #[error("{} {fault}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A thief of the database would have it as well.
    #[error("the key file {} is inside of the database {}", path.display(), database.display())]
    Inside {
        /// The file.
        path: PathBuf,
        /// The database.
        database: PathBuf,
    },
    /// There is one.
    #[error("the key file {} exists: it is not replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What was written does not read back.
    #[error("the key file {} does not read back as it was written", path.display())]
    ReadBack {
        /// The file.
        path: PathBuf,
    },
}

impl KeyFileError {
    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Exposed { .. } => {
                Some("make it yours alone: chown it to the user of the node, chmod 600, no link")
            }
            Self::Inside { .. } => Some("name a file beside the database, not in it"),
            Self::Exists { .. } => Some("name another file, or move that one away"),
            Self::Io { .. } | Self::ReadBack { .. } => None,
        }
    }
}

/// The text of a key file, which must be a regular file of this user or root that nobody else can read
/// or write, in a directory that nobody else can write, outside of the database.
///
/// # Errors
///
/// [`KeyFileError`].
pub fn read_key_file(path: &Path, database: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    outside(path, database)?;
    let parent = fs::metadata(directory_of(path)).map_err(|e| io_error("look at", path, e))?;
    let is_sticky = parent.mode() & 0o1000 != 0;
    if parent.mode() & 0o022 != 0 && !is_sticky {
        return Err(exposed(path, "is in a directory that others can write"));
    }
    read_private(path)
}

/// [`read_key_file`] wherever it is: for directories that a service manager makes.
///
/// # Errors
///
/// [`KeyFileError`].
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nofollow)
        .open(path);
    let file = match opened {
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(exposed(path, "is a link"));
        }
        opened => opened.map_err(|e| io_error("open", path, e))?,
    };
    let found = file.metadata().map_err(|e| io_error("look at", path, e))?;
    if !found.is_file() {
        return Err(exposed(path, "is not a regular file"));
    }
    if found.uid() != geteuid().as_raw() && found.uid() != 0 {
        return Err(exposed(path, "belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(exposed(path, "can be read or written by others"));
    }
    read_text(&file).map_err(|e| io_error("read", path, e))
}

/// The text that an open file has, at most as much as a key file.
///
/// # Errors
///
/// What the operating system says; `InvalidData` for one that is longer, or no text.
pub fn read_text(file: &File) -> io::Result<Zeroizing<String>> {
    // As long as it may be from the start: growing would leave copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN + 1));
    let most = u64::try_from(MAX_FILE_LEN + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
    }
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes a key file that does not exist, for its owner alone; durable, and read back, on return.
///
/// # Errors
///
/// [`KeyFileError`]; no half of a file is left under the name.
pub fn write_key_file(path: &Path, text: &str, database: &Path) -> Result<(), KeyFileError> {
    outside(path, database)?;
    if fs::symlink_metadata(path).is_ok() {
        return Err(KeyFileError::Exists {
            path: path.to_owned(),
        });
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".writing");
    let new = PathBuf::from(new);
    let written = write_and_read_back(&new, path, text);
    if written.is_err() {
        // What is left of it holds the key.
        let _gone = fs::remove_file(&new);
    }
    written
}

fn write_and_read_back(new: &Path, path: &Path, text: &str) -> Result<(), KeyFileError> {
    match fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("replace", new, e));
        }
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(new).map_err(|e| io_error("create", new, e))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|e| io_error("write", new, e))?;
    if *read_private(new)? != text {
        return Err(KeyFileError::ReadBack {
            path: new.to_owned(),
        });
    }
    // A link fails where the name is taken meanwhile, which a rename would replace.
    fs::hard_link(new, path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists {
            path: path.to_owned(),
        },
        _ => io_error("create", path, e),
    })?;
    fs::remove_file(new)
        .and_then(|()| File::open(directory_of(path))?.sync_all())
        .map_err(|e| io_error("write", path, e))
}

/// Makes a key file durable that somebody else put there: before anything is sealed to its key. Where a file system
/// does not sync, or the directory cannot be read, nothing more can be done.
///
/// # Errors
///
/// [`KeyFileError::Io`].
pub fn sync_key_file(path: &Path) -> Result<(), KeyFileError> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let sync = |path: &Path| File::open(path)?.sync_all();
    let synced = sync(path).and_then(|()| match sync(directory_of(path)) {
        Err(e) if e.kind() == PermissionDenied => Ok(()),
        synced => synced,
    });
    match synced {
        Err(e) if matches!(e.kind(), InvalidInput | ReadOnlyFilesystem | Unsupported) => Ok(()),
        synced => synced.map_err(|e| io_error("sync", path, e)),
    }
}

/// Overwrites a key file once, and removes it. A file system that copies on writing, and a flash device,
/// may keep what it held.
///
/// # Errors
///
/// [`KeyFileError::Io`]: it may be there, overwritten in part; calling again finishes.
pub fn destroy_key_file(path: &Path) -> Result<(), KeyFileError> {
    let io = |e| io_error("destroy", path, e);
    let mut file = OpenOptions::new().write(true).open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    io::copy(&mut io::repeat(0).take(size), &mut file).map_err(io)?;
    file.sync_all()
        .and_then(|()| fs::remove_file(path))
        .and_then(|()| File::open(directory_of(path))?.sync_all())
        .map_err(io)
}

fn outside(path: &Path, database: &Path) -> Result<(), KeyFileError> {
    let resolved = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_missing| path.to_owned());
    let directory = resolved(directory_of(path));
    let mut journal = resolved(database).into_os_string();
    journal.push(".journal");
    let is_inside =
        directory.starts_with(resolved(database)) || directory.starts_with(PathBuf::from(journal));
    if is_inside {
        return Err(KeyFileError::Inside {
            path: path.to_owned(),
            database: database.to_owned(),
        });
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn exposed(path: &Path, fault: &'static str) -> KeyFileError {
    KeyFileError::Exposed {
        path: path.to_owned(),
        fault,
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
