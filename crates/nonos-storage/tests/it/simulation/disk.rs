//! A simulated disk for the database, and the real one for everything else: backups and what they are made in.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nonos_storage::{Target, TargetError, file_hash};
use storage_core::history::{Disk, RealDisk, SimulatedDisk};
use storage_journal::disk::{DiskFile, Space};

/// The journal is simulated, the rest is not.
#[derive(Clone, Debug)]
pub(crate) struct SplitDisk {
    pub(crate) simulated: SimulatedDisk,
    pub(crate) journal: PathBuf,
}

impl SplitDisk {
    fn of(&self, path: &Path) -> &dyn Disk {
        if path.starts_with(&self.journal) || self.journal.parent() == Some(path) {
            &self.simulated
        } else {
            &RealDisk
        }
    }
}

impl Disk for SplitDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.of(path).create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.of(path).create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.of(path).open(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.of(path).open_for_writing(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(from).rename(from, to)
    }

    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.of(path).is_own(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.of(directory).list(directory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.of(path).sync_directory(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.of(path).space(path)
    }
}

/// Files by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A place for backups in memory, which can be put back to what it was.
#[derive(Debug, Default)]
pub(crate) struct MemoryTarget(Mutex<Files>);

impl MemoryTarget {
    pub(crate) fn of(files: Files) -> Self {
        Self(Mutex::new(files))
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        let found = self.files().get(name).cloned();
        found.ok_or_else(|| TargetError::Missing {
            name: name.to_owned(),
        })
    }
}

impl Target for MemoryTarget {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        let files = self.files();
        let names = files.keys().filter(|name| name.starts_with(prefix));
        Ok(names.cloned().collect())
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        let failed = |source| TargetError::failed("read", name, source);
        let is_same = file_hash(file).is_ok_and(|of| of == *hash);
        if !is_same {
            return Err(TargetError::Differs {
                name: name.to_owned(),
            });
        }
        let bytes = fs::read(file).map_err(failed)?;
        self.files().insert(name.to_owned(), bytes);
        Ok(())
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let failed = |source| TargetError::failed("write", name, source);
        fs::write(file, self.get(name)?).map_err(failed)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.files().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        let mut bytes = self.get(name)?;
        bytes.truncate(max);
        Ok(bytes)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.files().remove(name);
        Ok(())
    }
}
