//! A database begun from a checkpoint: the one file that its journal needs appears in one step.

use std::path::{Path, PathBuf};

use storage_journal::Scan;
use storage_journal::checkpoint::{self, Checkpoint};
use storage_journal::disk::{Disk, RealDisk};

use crate::error::CoreError;
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, journal_path, resolve};
use crate::progress::Meter;

/// What there is of a database at this path: the index or the journal.
///
/// # Errors
///
/// [`CoreError::Io`].
pub fn remains(path: &Path) -> Result<Option<PathBuf>, CoreError> {
    let journal = journal_path(path);
    if Scan::is_begun(&RealDisk, &journal)? {
        return Ok(Some(journal));
    }
    let found = std::fs::read_dir(path).map(|mut entries| entries.next().is_some());
    match found {
        Ok(is_filled) => Ok(is_filled.then(|| path.to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(Some(path.to_owned())),
        Err(e) => Err(CoreError::io("look for", path, e)),
    }
}

/// Makes the journal of a new database at `options.path` that begins with the state of a checkpoint,
/// of the same store. The next open builds the index from it. Interrupted, there is no database,
/// opening refuses to make an empty one, and beginning again begins anew.
///
/// # Errors
///
/// [`CoreError::Locked`], [`CoreError::Journal`], [`CoreError::Sibling`] where a database is, errors of
/// the file system, [`CoreError::Cancelled`]: there is no new database.
pub fn begin_from(from: &Checkpoint, options: &DbOptions) -> Result<(), CoreError> {
    let path = options.path.components().collect::<PathBuf>();
    create_directory(directory_of(&path))?;
    let path = resolve(&path)?;
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    if let Some(path) = remains(&path)? {
        return Err(CoreError::Sibling { path });
    }
    begin_in(&RealDisk, &journal_path(&path), from, options)
}

/// [`begin_from`] on any disk, in a directory without journal: for tests of crashes.
///
/// # Errors
///
/// As there.
pub fn begin_in(
    disk: &dyn Disk,
    directory: &Path,
    from: &Checkpoint,
    options: &DbOptions,
) -> Result<(), CoreError> {
    match disk.create_directory(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(CoreError::io("create", directory, e));
        }
        _ => {}
    }
    let parent = directory_of(directory);
    let synced = disk.sync_directory(parent);
    synced.map_err(|e| CoreError::io("sync", parent, e))?;
    let about = from.about();
    let mut meter = Meter::start("restore", from.digests().total(), &options.observer);
    let records = from.records().map(|record| {
        meter.step()?;
        Ok::<_, CoreError>(record?)
    });
    checkpoint::write(
        disk,
        &directory.join(checkpoint::name(about.commit)),
        about,
        records,
    )?;
    Ok(())
}
