//! A database begun from a checkpoint: its journal is made whole beside, and appears in one step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::Journal;
use storage_journal::checkpoint::{self, Checkpoint};
use storage_journal::disk::{Disk, RealDisk};

use crate::error::CoreError;
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, journal_path, resolve};

/// Ending of a journal that is not complete. Nothing reads it; the next one to begin removes it.
const BEGUN: &str = ".begun";

/// What there is of a database at this path: the index or the journal.
///
/// # Errors
///
/// [`CoreError::Io`].
pub fn remains(path: &Path) -> Result<Option<PathBuf>, CoreError> {
    for path in [path.to_owned(), journal_path(path)] {
        match fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Ok(Some(path)),
            Ok(false) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(Some(path)),
            Err(e) => return Err(CoreError::io("look for", &path, e)),
        }
    }
    Ok(None)
}

/// Makes the journal of a new database at `options.path` that begins with the state of a checkpoint,
/// of the same store. The next open builds the index from it.
///
/// # Errors
///
/// [`CoreError::Locked`], [`CoreError::Journal`], errors of the file system: there is no database.
pub fn begin_from(from: &Checkpoint, options: &DbOptions) -> Result<(), CoreError> {
    let path = options.path.components().collect::<PathBuf>();
    create_directory(directory_of(&path))?;
    let path = resolve(&path)?;
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    if let Some(path) = remains(&path)? {
        return Err(CoreError::Sibling { path });
    }
    let directory = journal_path(&path);
    let mut begun = directory.as_os_str().to_owned();
    begun.push(BEGUN);
    let begun = PathBuf::from(begun);
    match fs::remove_dir_all(&begun) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(CoreError::io("remove", &begun, e));
        }
        _ => {}
    }
    create_directory(&begun)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let about = from.about();
    let base = begun.join(checkpoint::name(about.commit));
    let size = checkpoint::write(&*disk, &base, about, from.records())?;
    Journal::restart(disk, &begun, about.store_id, about.term, about.commit, size)?;
    let renamed = fs::remove_dir(&directory).or_else(|e| match e.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(e),
    });
    let parent = directory_of(&directory);
    renamed
        .and_then(|()| fs::rename(&begun, &directory))
        .and_then(|()| fs::File::open(parent)?.sync_all())
        .map_err(|e| CoreError::io("create", &directory, e))
}
