//! Directories for files on their way, which leave nothing behind.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use storage_core::CoreError;

use super::CatalogError;
use crate::hex::hex;
use crate::target::Target;

/// How their names begin: with a dot, as no target lists those.
const BEGINNING: &str = ".scratch-";

/// Does something in a directory of its own within `scratch`, which is removed.
///
/// # Errors
///
/// [`CatalogError::Core`] if it cannot be made.
pub fn in_scratch<R>(scratch: &Path, f: impl FnOnce(&Path) -> R) -> Result<R, CatalogError> {
    let scratch = Scratch::within(scratch)?;
    Ok(f(&scratch.path))
}

/// A directory for files on their way, removed at drop. It is locked: one that is not was left by a program
/// that was killed, and the next one removes it.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _locked: File,
}

impl Scratch {
    pub(crate) fn new(target: &dyn Target, or: &Path) -> Result<Self, CatalogError> {
        Self::within(target.scratch().unwrap_or(or))
    }

    pub(crate) fn within(directory: &Path) -> Result<Self, CatalogError> {
        remove_left(directory);
        loop {
            let name = format!("{BEGINNING}{}", hex(&storage_core::new_store_id()?));
            let path = directory.join(name);
            let made = fs::create_dir_all(directory).and_then(|()| make(&path));
            match made {
                Ok(Some(locked)) => {
                    return Ok(Self {
                        path,
                        _locked: locked,
                    });
                }
                // Another one took it for left before it was locked.
                Ok(None) => {}
                Err(source) => {
                    let action = "create";
                    return Err(CoreError::Io {
                        action,
                        path,
                        source,
                    }
                    .into());
                }
            }
        }
    }
}

/// The new directory, locked; `None` if it is gone again.
fn make(path: &Path) -> io::Result<Option<File>> {
    DirBuilder::new().mode(0o700).create(path)?;
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let file = match File::open(path) {
        Err(error) if gone(&error) => return Ok(None),
        opened => opened?,
    };
    file.lock()?;
    match fs::metadata(path) {
        Err(error) if gone(&error) => Ok(None),
        found => Ok((found?.ino() == file.metadata()?.ino()).then_some(file)),
    }
}

/// Removes what programs that were killed left.
fn remove_left(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(BEGINNING) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        match file.try_lock() {
            // The next one tries again.
            Ok(()) => drop(fs::remove_dir_all(entry.path())),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                let path = entry.path();
                let path = path.display();
                tracing::debug!(%path, %error, "cannot be locked");
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "files on their way are left");
        }
    }
}
