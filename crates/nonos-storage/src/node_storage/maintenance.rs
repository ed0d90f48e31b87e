//! Operations on the whole database: each method is one delegation.

use std::path::Path;

use storage_ops::TreeSizes;

use super::{NodeStorage, not_supported};
use crate::config::StorageConfig;
use crate::error::NonosResult;
use crate::report::{BackupInfo, CompactionReport, IntegrityReport, RestoreReport};

/// # Maintenance
impl NodeStorage {
    /// Makes everything durable that was stored before the call.
    ///
    /// # Errors
    ///
    /// `POISONED`, `IO`, `DISK_FULL`; after the latter two the handle takes no more writes.
    pub fn flush(&self) -> NonosResult<()> {
        self.done(self.db.flush())
    }

    /// [`flush`](Self::flush) without blocking the caller's thread, on any executor.
    ///
    /// # Errors
    ///
    /// As `flush`.
    pub async fn flush_async(&self) -> NonosResult<()> {
        self.done(self.db.flush_async().await)
    }

    /// How many records each tree holds. Costs no read.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing.
    pub fn tree_sizes(&self) -> NonosResult<TreeSizes> {
        self.done(storage_ops::tree_sizes(&self.db))
    }

    /// The bytes of every file of the database; 0 in memory.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `IO`.
    pub fn size_on_disk(&self) -> NonosResult<u64> {
        self.done(self.db.size_on_disk())
    }

    /// Returns free space to the disk.
    ///
    /// # Errors
    ///
    /// `NOT_SUPPORTED`, always, in this release.
    pub fn compact(&self) -> NonosResult<CompactionReport> {
        self.done(not_supported("compact"))
    }

    /// Reads every record and reports what is damaged.
    ///
    /// # Errors
    ///
    /// `NOT_SUPPORTED`, always, in this release.
    pub fn verify_integrity(&self) -> NonosResult<IntegrityReport> {
        self.done(not_supported("verify_integrity"))
    }

    /// Writes everything to a backup file and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// `NOT_SUPPORTED`, always, in this release; no file is made.
    pub fn export_backup(&self, path: impl AsRef<Path>) -> NonosResult<u64> {
        let _path = path;
        self.done(not_supported("export_backup"))
    }

    /// Reads a backup file whole and says what it holds.
    ///
    /// # Errors
    ///
    /// `NOT_SUPPORTED`, always, in this release.
    pub fn verify_backup(path: impl AsRef<Path>) -> NonosResult<BackupInfo> {
        let _path = path;
        not_supported("verify_backup")
    }

    /// Makes a database of a backup file.
    ///
    /// # Errors
    ///
    /// `NOT_SUPPORTED`, always, in this release; nothing is made.
    #[expect(clippy::needless_pass_by_value, reason = "the contract, as open")]
    pub fn restore_backup(
        path: impl AsRef<Path>,
        config: StorageConfig,
    ) -> NonosResult<RestoreReport> {
        let _path = path;
        config.check()?;
        not_supported("restore_backup")
    }
}
