//! Directories for files on their way, which leave nothing behind.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use storage_core::CoreError;

use super::CatalogError;
use crate::target::Target;

/// How their names begin: with a dot, as no target lists those.
const BEGINNING: &str = ".scratch-";
/// Digits of a name that tell which system made it.
const BOOT_DIGITS: usize = 16;
/// What nobody changed for so long was left.
const LEFT_AFTER: Duration = Duration::from_hours(48);

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
            let random = HEXLOWER.encode(&storage_core::new_store_id()?);
            let path = directory.join(format!("{BEGINNING}{}-{random}", this_boot()));
            let mut parents = DirBuilder::new();
            let parents = parents.recursive(true).mode(0o700).create(directory);
            let made = parents.and_then(|()| make(&path));
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

/// Which system runs, since its last start: on a disk that several machines share, a lock is known to the machine that
/// has it only.
fn this_boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = id.chars().filter(char::is_ascii_hexdigit);
    let digits: String = digits.take(BOOT_DIGITS).collect();
    format!("{digits:0>BOOT_DIGITS$}")
}

/// Whether it is a directory that this module made, and whether its lock tells anything here.
fn parse(name: &str) -> Option<bool> {
    let (boot, random) = name.strip_prefix(BEGINNING)?.split_once('-')?;
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex(boot, BOOT_DIGITS) && is_hex(random, 32)).then(|| boot == this_boot())
}

/// Removes what programs that were killed left: here at once, what another machine or an earlier start of this one
/// made once it is old.
fn remove_left(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Some(is_of_this_boot) = parse(&entry.file_name().to_string_lossy()) else {
            continue;
        };
        if !is_of_this_boot && !is_old(&entry.path()) {
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

/// Whether nothing in it changed for long.
fn is_old(directory: &Path) -> bool {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = files
        .map(|entry| entry.path())
        .chain([directory.to_owned()]);
    let is_young = |path: PathBuf| {
        let changed = fs::metadata(path).and_then(|found| found.modified());
        // A clock that is behind tells nothing.
        let age = changed.ok().and_then(|changed| changed.elapsed().ok());
        age.is_none_or(|age| age < LEFT_AFTER)
    };
    !paths.into_iter().any(is_young)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "files on their way are left");
        }
    }
}
