//! A database on disk, closed and opened again at will.

use std::path::PathBuf;

use nonos_storage::{NodeStorage, NonosResult, StorageConfig};
use storage_testkit::Directory;

use crate::TestResult;

/// Where a test keeps its database, and how it opens it.
#[derive(Debug)]
pub(crate) struct OnDisk {
    pub(crate) directory: Directory,
    pub(crate) config: StorageConfig,
}

impl OnDisk {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        let directory = Directory::new()?;
        let config = StorageConfig {
            path: directory.database(),
            ..Default::default()
        };
        Ok(Self { directory, config })
    }

    pub(crate) fn open(&self) -> NonosResult<NodeStorage> {
        NodeStorage::open(self.config.clone())
    }

    pub(crate) fn reopen(&self, storage: NodeStorage) -> NonosResult<NodeStorage> {
        storage.close()?;
        self.open()
    }

    /// The same place under another name.
    pub(crate) fn config_at(&self, path: impl Into<PathBuf>) -> StorageConfig {
        StorageConfig {
            path: path.into(),
            ..self.config.clone()
        }
    }
}

/// Runs `test` in memory and on disk.
pub(crate) fn in_both_modes(test: impl Fn(&NodeStorage, &str) -> TestResult) -> TestResult {
    test(&NodeStorage::in_memory()?, "in memory")?;
    let disk = OnDisk::new()?;
    test(&disk.open()?, "on disk")
}
