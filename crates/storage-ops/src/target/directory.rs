//! A directory as a place for backups.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use storage_core::CoreError;
use storage_core::history::{RealDisk, hash_of};

use super::{Target, TargetError, is_name};

/// The ending of files that are not whole.
const PART: &str = ".part";

/// Nobody writes a file for so long.
const ABANDONED: Duration = Duration::from_hours(24);

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
        // Two may note something of the same backup at once: neither writes into the file of the other.
        let random = storage_core::new_store_id().map_err(io::Error::other)?;
        part.push(format!(".{}{PART}", HEXLOWER.encode(&random)));
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
            {
                if name.ends_with(PART) {
                    remove_if_abandoned(&entry);
                } else {
                    found.push(name.to_owned());
                }
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

/// Removes what was being written when a program was killed. What cannot be removed stays: it does not list.
fn remove_if_abandoned(part: &fs::DirEntry) {
    let modified = part.metadata().and_then(|found| found.modified());
    let age = modified.ok().and_then(|modified| modified.elapsed().ok());
    if age.is_some_and(|age| age > ABANDONED) {
        let _removed = fs::remove_file(part.path());
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
