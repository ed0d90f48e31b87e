//! Backup files: written, verified, restored.

use std::path::Path;
use std::time::Instant;

use storage_ops::BackupInfo;

use super::NodeStorage;
use crate::config::StorageConfig;
use crate::error::{NonosResult, StorageError};
use crate::open_options::OpenOptions;
use crate::report::RestoreReport;

/// # Backup files
impl NodeStorage {
    /// Writes everything, exact at one commit, to a file and returns its length in bytes. Writers
    /// go on meanwhile.
    ///
    /// The file appears under its name once it is whole, durable and was read back; one that has
    /// the name is replaced then. [`restore_backup`](Self::restore_backup) is the way back.
    ///
    /// ```
    /// # use nonos_storage::{NodeStorage, NonosResult, StorageConfig};
    /// # fn main() -> NonosResult<()> {
    /// # let directory = std::env::temp_dir().join(format!("nonos-export-{}", std::process::id()));
    /// # let config = |name: &str| StorageConfig { path: directory.join(name), ..Default::default() };
    /// let storage = NodeStorage::open(config("data.sled"))?;
    /// storage.store_config("name", &"node-1")?;
    /// let file = directory.join("backup.nonos");
    /// let bytes = storage.export_backup(&file)?;
    /// assert_eq!(NodeStorage::verify_backup(&file)?.bytes, bytes);
    ///
    /// NodeStorage::restore_backup(&file, config("restored.sled"))?;
    /// let restored = NodeStorage::open(config("restored.sled"))?;
    /// assert_eq!(restored.load_config("name")?, Some("node-1".to_owned()));
    /// # std::fs::remove_dir_all(directory).ok();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `IO`, `DISK_FULL`, `CORRUPT` if the journal is damaged, `POISONED`, `CANCELLED` by who watches the progress:
    /// no new file appears.
    pub fn export_backup(&self, path: impl AsRef<Path>) -> NonosResult<u64> {
        self.done(storage_ops::export_backup(&self.db, path.as_ref()))
    }

    /// [`export_backup`](Self::export_backup) without the secrets, the node's identity, and what secrets are
    /// sealed with: a file that can be given to somebody who looks for a fault. Restored, it is a database
    /// without them. The audit log keeps the names of secrets.
    ///
    /// A whole backup is written first, into a directory for its owner alone beside the database (of one in memory in
    /// the current directory), and removed: there has to be room for both.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn export_redacted(&self, path: impl AsRef<Path>) -> NonosResult<u64> {
        let scratch = super::backups::scratch_of(&self.data_path);
        let redacted = storage_ops::in_scratch(&scratch, |directory| {
            let whole = directory.join("whole.nonos");
            self.done(storage_ops::export_backup(&self.db, &whole))?;
            let redacted = storage_ops::redact_backup(&whole, path.as_ref());
            Ok(redacted.map_err(StorageError::from)?)
        });
        redacted.map_err(StorageError::from)?
    }

    /// Secrets that lie in the database as they were given, with the node's key: so they are in its backups.
    ///
    /// # Errors
    ///
    /// `POISONED`, `IO`.
    pub fn plain_secrets(&self) -> NonosResult<u64> {
        self.done(storage_ops::plain_secrets(&self.db.view()))
    }

    /// Reads a backup file whole, down to the hash of it all, and says what it holds.
    ///
    /// # Errors
    ///
    /// `BACKUP_INVALID` names the first thing that is wrong; `IO`, also where there is no file.
    pub fn verify_backup(path: impl AsRef<Path>) -> NonosResult<BackupInfo> {
        let verified = storage_ops::verify_backup(path.as_ref());
        Ok(verified.map_err(StorageError::from)?)
    }

    /// Makes the database at `config.path` of a backup file, which is verified first, and opens it
    /// once to build its index. A backup file of the first implementation is taken as well, and migrated.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if a database is there: it is unchanged. `BACKUP_INVALID`,
    /// `SCHEMA_TOO_NEW`, `IO`, `DISK_FULL`: there is no database, or one that the next open
    /// completes.
    pub fn restore_backup(
        path: impl AsRef<Path>,
        config: StorageConfig,
    ) -> NonosResult<RestoreReport> {
        Self::restore_backup_with(path, OpenOptions::new(config))
    }

    /// [`restore_backup`](Self::restore_backup), of which somebody is told how far it is, and may cancel it.
    ///
    /// # Errors
    ///
    /// As there, and `CANCELLED`: there is no database, or one that the next open completes.
    pub fn restore_backup_with(
        path: impl AsRef<Path>,
        how: OpenOptions,
    ) -> NonosResult<RestoreReport> {
        let started = Instant::now();
        let mut options = super::options(&how.config, how.config.check()?);
        options.observer = how.observer.clone();
        let restored = storage_ops::restore_backup(path.as_ref(), &options);
        let restored = restored.map_err(StorageError::from)?;
        how.open()?.close()?;
        Ok(RestoreReport::of(restored, started.elapsed()))
    }
}
