//! Salvaging a database that does not open.

use storage_ops::{RepairOptions, RepairReport};

use super::{NodeStorage, options};
use crate::error::{NonosResult, StorageError};
use crate::open_options::OpenOptions;

/// # Repair
impl NodeStorage {
    /// Makes a new database of everything that is intact anywhere of the one that `how` would open: for when
    /// opening it refuses because both of its copies are damaged. Nothing of the original is changed.
    ///
    /// Of each record the newest version that is intact counts, a deletion too. What is damaged is listed in
    /// a file beside the new database, which was opened once and verified when this returns. Interrupted,
    /// a directory `<into>.repairing` may be left; calling it again begins anew. Of `how` the configuration, who
    /// watches the progress, and how long it waits for the lock count.
    ///
    /// ```no_run
    /// # use nonos_storage::{NodeStorage, NonosResult, OpenOptions, RepairOptions, StorageConfig};
    /// # fn main() -> NonosResult<()> {
    /// let mut repair = RepairOptions::default();
    /// repair.dry_run = true;
    /// let report = NodeStorage::repair(&OpenOptions::new(StorageConfig::default()), &repair)?;
    /// println!("{} kept, {} damaged", report.salvaged.records(), report.salvaged.quarantined());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is nothing of a database, `INVALID_ARGUMENT` where one is in the place of the new
    /// one, `LOCKED`, `SCHEMA_TOO_NEW`, `SCHEMA_MISMATCH`, `CANCELLED`, `DISK_FULL`, `IO`: there is no new database.
    pub fn repair(how: &OpenOptions, repair: &RepairOptions) -> NonosResult<RepairReport> {
        let mut options = options(&how.config, how.config.check()?);
        options.observer = how.observer.clone();
        options.lock_timeout = how.lock_timeout.unwrap_or(options.lock_timeout);
        Ok(storage_ops::repair(&options, repair).map_err(StorageError::from)?)
    }
}
