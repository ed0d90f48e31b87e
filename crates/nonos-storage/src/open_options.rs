//! [`OpenOptions`]: opening with more to say than the configuration does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use storage_core::history::Disk;
use storage_core::{Db, Observer, Progress, SimulatedHome};

use crate::config::StorageConfig;
use crate::error::NonosResult;
use crate::node_storage::NodeStorage;

/// How to open a storage, where [`NodeStorage::open`] says too little.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::Duration;
/// use nonos_storage::{NonosResult, OpenOptions, StorageConfig};
///
/// # fn main() -> NonosResult<()> {
/// # let directory = std::env::temp_dir().join(format!("nonos-open-options-{}", std::process::id()));
/// let config = StorageConfig { path: directory.join("data.sled"), ..Default::default() };
/// let storage = OpenOptions::new(config)
///     .lock_timeout(Duration::from_secs(10))
///     .on_progress(|progress| {
///         eprintln!("{}: {} of {}", progress.operation, progress.done, progress.total);
///         ControlFlow::Continue(())
///     })
///     .open()?;
/// storage.close()?;
/// # std::fs::remove_dir_all(directory).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub(crate) config: StorageConfig,
    pub(crate) observer: Observer,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) migrate: bool,
    pub(crate) allow_quarantine: bool,
    pub(crate) require_sealed_secrets: bool,
    #[cfg(feature = "encrypted-storage")]
    pub(crate) anchor: Option<std::path::PathBuf>,
}

impl OpenOptions {
    /// The same as [`NodeStorage::open`] would do.
    pub fn new(config: StorageConfig) -> Self {
        Self {
            config,
            observer: Observer::default(),
            lock_timeout: None,
            migrate: true,
            allow_quarantine: false,
            require_sealed_secrets: false,
            #[cfg(feature = "encrypted-storage")]
            anchor: None,
        }
    }

    /// Calls `tell` with how far long work is, at least every 500 ms: comparing and rebuilding while
    /// opening, every commit of a migration, later backups, verifying and compaction. It may be called by other
    /// threads. `Break` cancels the work, which then fails with `CANCELLED` and can be done again.
    #[must_use]
    pub fn on_progress(
        mut self,
        tell: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.observer = Observer::new(tell);
        self
    }

    /// Waits so long for another holder of the lock; by default half a second.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Whether a database of an older schema is migrated, as it is by default; otherwise opening one is
    /// refused with `MIGRATION_NEEDED`.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether records that do not convert are set aside, in a file beside the database that lists
    /// them; by default the first one refuses the migration before anything is written.
    #[must_use]
    pub fn allow_quarantine(mut self, allow: bool) -> Self {
        self.allow_quarantine = allow;
        self
    }

    /// Refuses to store a secret, or the node's key, that cannot be sealed; by default
    /// [`EncryptionMode::None`](crate::EncryptionMode::None) stores it as it is given, with a warning.
    #[must_use]
    pub fn require_sealed_secrets(mut self, require: bool) -> Self {
        self.require_sealed_secrets = require;
        self
    }

    /// Keeps the counter of sealed secrets in the file `path` as well, outside of the database: then
    /// [`set_encryption_keys`](NodeStorage::set_encryption_keys) finds out that the whole database was
    /// put back to an older state. Written after each change of a secret; read only, where the database is
    /// [opened for reading](Self::open_readonly), and then before the database is.
    #[cfg(feature = "encrypted-storage")]
    #[must_use]
    pub fn anchor(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.anchor = Some(path.into());
        self
    }

    /// Opens for reading, without a lock and without a write, as [`NodeStorage::open_readonly`] does. Of what was
    /// said only who watches the progress and the anchor count: nothing is waited for, migrated or sealed.
    ///
    /// # Errors
    ///
    /// As there, and `CANCELLED`.
    pub fn open_readonly(self) -> NonosResult<NodeStorage> {
        NodeStorage::open_readonly_with(self)
    }

    /// Opens the database, and creates it where there is none.
    ///
    /// # Errors
    ///
    /// As [`NodeStorage::open`], and `CANCELLED`.
    pub fn open(self) -> NonosResult<NodeStorage> {
        NodeStorage::open_with(self)
    }

    /// Opens the database on a disk and with an index that a test can crash. Nothing runs beside the caller; of what
    /// was committed `held_back_bytes` are written to the index later, by default as many as on a disk.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_simulated(
        self,
        disk: Arc<dyn Disk>,
        home: &SimulatedHome,
        held_back_bytes: Option<u64>,
    ) -> NonosResult<NodeStorage> {
        NodeStorage::opened_by(self, |options, migration| {
            let mut options = options.clone();
            options.flush_every_ms = None;
            options.mark_when_idle_ms = None;
            options.held_back_bytes = held_back_bytes;
            storage_schema::open_with(&options, migration, |accept| {
                Db::open_simulated(disk, home, &options, accept)
            })
        })
    }
}
