//! Where the files of a database are.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::CoreError;
use crate::lock;

/// The directory that a path is in; `.` for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Makes a directory and those above it, for their owner only. The names of those that were not there are durable.
pub(crate) fn create_directory(path: &Path) -> Result<(), CoreError> {
    let missing = path.ancestors().take_while(|above| !above.exists());
    let missing: Vec<&Path> = missing
        .filter(|above| !above.as_os_str().is_empty())
        .collect();
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|e| CoreError::io("create", path, e))?;
    for parent in missing.into_iter().map(directory_of) {
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|e| CoreError::io("sync", parent, e))?;
    }
    Ok(())
}

/// The path without links, as far as it exists.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, CoreError> {
    let io = |e| CoreError::io("resolve", path, e);
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            match fs::canonicalize(directory_of(path)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
                parent => Ok(parent
                    .map_err(io)?
                    .join(path.file_name().unwrap_or_default())),
            }
        }
        found => found.map_err(io),
    }
}

/// Everything on disk that belongs to the database at `path`.
pub(crate) fn files_of(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), lock::lock_path(path), journal_path(path)]
}

/// The journal of the database at `path`: its name with `.journal` appended.
pub(crate) fn journal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".journal");
    PathBuf::from(name)
}
