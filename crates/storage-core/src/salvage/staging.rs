//! The directory in which a repaired database is made, until it is whole.
//!
//! Killed before the database is at its place, the directory is all that is left, and the next run begins
//! anew. It is at its place once its journal is: the index can be rebuilt.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::CoreError;
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, journal_path, resolve};
use crate::restore::remains;

/// Ending of the directory.
const MAKING: &str = ".repairing";

/// Where a database is made, and where it will be. What was made is removed at drop, if it was not
/// published.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    directory: PathBuf,
    name: OsString,
    lock: Option<Lock>,
}

impl Staging {
    /// Begins to make a database that will be at `options.path`; what an interrupted run left is removed.
    ///
    /// # Errors
    ///
    /// [`CoreError::Exists`] where a database is, [`CoreError::Locked`] while another run makes it,
    /// [`CoreError::Io`].
    pub fn begin(options: &DbOptions) -> Result<Self, CoreError> {
        let target = options.path.components().collect::<PathBuf>();
        create_directory(directory_of(&target))?;
        let target = resolve(&target)?;
        let name = target.file_name().unwrap_or_default().to_owned();
        let mut directory = target.as_os_str().to_owned();
        directory.push(MAKING);
        let directory = PathBuf::from(directory);
        create_directory(&directory)?;
        let mut staging = Self {
            target,
            directory,
            name,
            lock: None,
        };
        // Until it has the lock, what is there may be of another run.
        let lock = Lock::take(&staging.guard(), options.lock_timeout, options.now());
        match lock {
            Ok(lock) => staging.lock = Some(lock),
            Err(error) => {
                staging.directory = PathBuf::new();
                return Err(error);
            }
        }
        staging.take_back()?;
        if let Some(path) = remains(&staging.target)? {
            return Err(CoreError::Exists { path });
        }
        staging.empty()?;
        Ok(staging)
    }

    /// Where the database is made.
    pub fn database(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A file that is made along with the database.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What the lock of the run is named after.
    fn guard(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Undoes a publishing that was interrupted between journal and index: nobody opened what has no index.
    fn take_back(&self) -> Result<(), CoreError> {
        let (made, target) = (self.database(), &self.target);
        let journal = journal_path(target);
        if made.is_dir() && !target.exists() && journal.is_dir() && !journal_path(&made).exists() {
            rename(&journal, &journal_path(&made))?;
            sync(directory_of(target))?;
        }
        Ok(())
    }

    /// Removes everything but the lock.
    fn empty(&self) -> Result<(), CoreError> {
        let io = |e| CoreError::io("remove", &self.directory, e);
        let keep = crate::lock::lock_path(&self.guard());
        for entry in fs::read_dir(&self.directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path).map_err(io)?;
            } else if path != keep {
                fs::remove_file(&path).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Puts the database, which is closed, and `beside` with their names, at their place; `beside` first.
    ///
    /// # Errors
    ///
    /// [`CoreError::Io`]: the database is at its place whole, or not at all.
    pub fn publish(self, beside: &[(PathBuf, PathBuf)]) -> Result<(), CoreError> {
        let (made, target) = (self.database(), &self.target);
        for (from, to) in beside {
            rename(from, to)?;
        }
        sync(&self.directory)?;
        sync(directory_of(target))?;
        rename(&journal_path(&made), &journal_path(target))?;
        sync(directory_of(target))?;
        rename(&made, target)?;
        sync(directory_of(target))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What is left has the ending of what is not whole.
            let _removed = fs::remove_dir_all(&self.directory);
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), CoreError> {
    fs::rename(from, to).map_err(|e| CoreError::io("rename", from, e))
}

fn sync(directory: &Path) -> Result<(), CoreError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|e: io::Error| CoreError::io("sync", directory, e))
}
