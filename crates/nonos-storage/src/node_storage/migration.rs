//! Schema migrations, and the first implementation's own files: each method is one delegation.

use std::path::Path;

use storage_schema::{Exported, Imported, MigrateOptions, Outlook};

use super::{NodeStorage, options};
use crate::config::StorageConfig;
use crate::error::{NonosResult, StorageError};
use crate::open_options::OpenOptions;

/// # Migration
impl NodeStorage {
    /// What the database at `config.path` says of its schema and, with `survey`, what migrating it
    /// would do to each tree, and which records do not convert. Nothing is changed; a database of the
    /// first implementation is looked at in a copy beside it, which is removed.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no database, `LOCKED`, `SCHEMA_TOO_NEW`, `SCHEMA_MISMATCH`, `CORRUPT`, `IO`.
    pub fn schema_outlook(config: &StorageConfig, survey: bool) -> NonosResult<Outlook> {
        let options = options(config, config.check()?);
        let outlook = storage_schema::outlook(&options, &MigrateOptions::default(), survey);
        Ok(outlook.map_err(StorageError::from)?)
    }

    /// Undoes a migration that was begun and is not complete: every record is again what it was.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if none is under way, `LOCKED`, `CORRUPT`, `CANCELLED`, `IO`: calling it again, or
    /// opening the database, goes on with undoing.
    pub fn abort_migration(how: &OpenOptions) -> NonosResult<()> {
        let mut options = options(&how.config, how.config.check()?);
        options.lock_timeout = how.lock_timeout.unwrap_or(options.lock_timeout);
        let mut migration = MigrateOptions::default();
        migration.observer = how.observer.clone();
        Ok(storage_schema::abort(&options, &migration).map_err(StorageError::from)?)
    }

    /// Makes the database at `config.path` of what the first implementation wrote: its directory, which
    /// nobody has open, or its backup file. Nothing of the source is changed. Opening the database
    /// migrates it.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if a database is there, `BACKUP_INVALID`, `SCHEMA_MISMATCH`, `LOCKED`, `DISK_FULL`,
    /// `IO`: there is no new database.
    pub fn import_first_implementation(
        source: impl AsRef<Path>,
        config: &StorageConfig,
    ) -> NonosResult<Imported> {
        let options = options(config, config.check()?);
        let imported = storage_schema::import(source.as_ref(), &options);
        Ok(imported.map_err(StorageError::from)?)
    }

    /// Writes everything to a backup file of the first implementation, which it can read: the way back.
    /// Secrets are in it as they were given: it cannot open what is sealed.
    ///
    /// # Errors
    ///
    /// `SERIALIZATION` for a secret that the keys in use do not open, for a config value that is a map or absent, whose type is not known; `CORRUPT`, `IO`,
    /// `POISONED`: no new file is there.
    pub fn export_first_implementation(&self, path: impl AsRef<Path>) -> NonosResult<Exported> {
        let open = self.done(self.secrets.opener(&self.db.view()))?;
        let unseal = |tree, key: &[u8], record: &[u8]| Ok(open(tree, key, record)?);
        let exported = storage_schema::export_old_backup(&self.db, path.as_ref(), &unseal);
        self.done(exported.map_err(StorageError::from))
    }
}
