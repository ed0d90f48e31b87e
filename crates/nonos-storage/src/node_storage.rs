//! [`NodeStorage`]: opening and closing, and several records in one commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage_core::{Commit, CoreError, Db, DbOptions, Durability, Health, OpeningReport, View};
use storage_crypto::{CryptoError, EncryptionMode, StoreId};
use storage_schema::{
    CURRENT_SCHEMA_VERSION, Climbed, MigrateOptions, Opened, SchemaError, SchemaInfo,
};

use crate::StorageMetrics;
use crate::clock;
use crate::config::StorageConfig;
use crate::error::{NonosError, NonosResult, StorageError};
use crate::open_options::OpenOptions;
use crate::secrets::Secrets;
use crate::update::Update;

mod backup_files;
mod backups;
mod browse;
mod maintenance;
mod migration;
mod records;
mod repair;
mod secrets;

/// The storage of a node. Every method takes `&self`: share it as `Arc<NodeStorage>`.
///
/// ```
/// use nonos_storage::{NodeStorage, NonosResult, StoredPeerInfo};
///
/// # fn main() -> NonosResult<()> {
/// let storage = NodeStorage::in_memory()?;
/// let peer = StoredPeerInfo { peer_id: "peer-1".into(), ..Default::default() };
/// storage.store_peer("peer-1", &peer)?;
/// assert_eq!(storage.load_peer("peer-1")?, Some(peer));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NodeStorage {
    db: Db,
    config: StorageConfig,
    data_path: PathBuf,
    in_memory: bool,
    schema: SchemaInfo,
    climbed: Vec<Climbed>,
    opened_at: Instant,
    secrets: Secrets,
}

impl NodeStorage {
    /// Opens the database at `config.path`, creates it where there is none, with the directories above it, and
    /// migrates one of an older schema. [`OpenOptions`] says more. Keys are set by a call of their own: where
    /// secrets are sealed, they cannot be read or stored before.
    ///
    /// ```
    /// # use nonos_storage::{NodeStorage, NonosResult, StorageConfig};
    /// # fn main() -> NonosResult<()> {
    /// # let directory = std::env::temp_dir().join(format!("nonos-open-{}", std::process::id()));
    /// let config = StorageConfig { path: directory.join("data.sled"), ..Default::default() };
    /// let storage = NodeStorage::open(config)?;
    /// for line in &storage.opening_report().damage {
    ///     eprintln!("damaged: {line}");
    /// }
    /// storage.close()?;
    /// # std::fs::remove_dir_all(directory).ok();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`NonosError::Config`]: a setting is not allowed. Nothing was touched.
    /// - [`NonosError::Encryption`]: secrets cannot be sealed as configured. Nothing was touched.
    /// - `CORRUPT`: both copies are damaged; the text says what is lost. `INCOMPLETE_SWAP`: something
    ///   beside the path says that there was a database.
    /// - `LOCKED`: another handle or process has it; the text says which.
    /// - `SCHEMA_TOO_NEW`, `SCHEMA_MISMATCH`: nothing was modified.
    /// - `CORRUPT`: records of an older schema do not convert. Nothing was modified.
    /// - `INVALID_ARGUMENT`: the path is that of a file. Nothing was touched.
    /// - `DISK_FULL`: also where a migration would not fit, which takes 2.2 times what the records do. `IO`.
    pub fn open(config: StorageConfig) -> NonosResult<Self> {
        OpenOptions::new(config).open()
    }

    pub(crate) fn open_with(how: OpenOptions) -> NonosResult<Self> {
        Self::opened_by(how, storage_schema::open)
    }

    /// Opens it in whatever way `open` does.
    pub(crate) fn opened_by(
        how: OpenOptions,
        open: impl FnOnce(&DbOptions, Option<&MigrateOptions>) -> Result<Opened, SchemaError>,
    ) -> NonosResult<Self> {
        let config = how.config;
        let data_path = config.check()?;
        let secrets = secrets_of(&config, how.require_sealed_secrets)?;
        let mut options = options(&config, data_path.clone());
        options.observer = how.observer;
        options.lock_timeout = how.lock_timeout.unwrap_or(options.lock_timeout);
        let mut migration = MigrateOptions::default();
        migration.allow_quarantine = how.allow_quarantine;
        migration.observer = options.observer.clone();
        let migration = how.migrate.then_some(&migration);
        let opened = open(&options, migration).map_err(StorageError::from)?;
        let (db, info) = (opened.db, opened.info);
        #[cfg(feature = "encrypted-storage")]
        let secrets = secrets.with_anchor(how.anchor);
        let mut storage = Self::with(db, info, config, data_path, (false, secrets));
        storage.climbed = opened.climbed;
        Ok(storage)
    }

    /// Opens a database in memory, gone at drop. It touches no file.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), for what can fail without a disk.
    pub fn in_memory() -> NonosResult<Self> {
        let config = StorageConfig::default();
        let data_path = PathBuf::from(":memory:");
        let db = Db::in_memory(&options(&config, data_path.clone()))?;
        let schema = storage_schema::prepare(&db, clock::now()).map_err(StorageError::from)?;
        let secrets = secrets_of(&config, false)?;
        Ok(Self::with(db, schema, config, data_path, (true, secrets)))
    }

    /// The same as [`in_memory`](Self::in_memory).
    ///
    /// # Errors
    ///
    /// As `in_memory`.
    pub fn open_memory() -> NonosResult<Self> {
        Self::in_memory()
    }

    /// Opens for reading, without a lock and without a write: beside a running daemon, on a
    /// read-only mount. Shows the state at one commit; [`refresh`](Self::refresh) goes on to a newer
    /// one. Every method that writes returns `READ_ONLY`.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no database, `CORRUPT` if its journal is damaged, `SCHEMA_TOO_NEW`,
    /// `SCHEMA_MISMATCH`, `MIGRATION_NEEDED`, `INCOMPLETE_SWAP` until somebody who may write opens a database that
    /// is being exchanged, `IO`; [`NonosError::Config`] and [`NonosError::Encryption`] as [`open`](Self::open).
    pub fn open_readonly(config: StorageConfig) -> NonosResult<Self> {
        Self::open_readonly_with(OpenOptions::new(config))
    }

    pub(crate) fn open_readonly_with(how: OpenOptions) -> NonosResult<Self> {
        let config = how.config;
        let data_path = config.check()?;
        let mut options = options(&config, data_path.clone());
        options.observer = how.observer;
        let secrets = secrets_of(&config, false)?;
        #[cfg(feature = "encrypted-storage")]
        let secrets = secrets.with_anchor(how.anchor).looked();
        let db = Db::open_readonly(&options)?;
        let schema = storage_schema::load(&db).map_err(StorageError::from)?;
        Ok(Self::with(db, schema, config, data_path, (false, secrets)))
    }

    /// Goes on to the state that the writer has now, if this is open for reading only; returns the
    /// number of the last commit. Where keys are set, that state is proved as they were: if it is not sound, or older
    /// than the [anchor](OpenOptions) says, calls on secrets return that from then on, until keys are set that fit.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `IO`: the state stays as it was. `POISONED` after closing.
    pub fn refresh(&self) -> NonosResult<u64> {
        #[cfg(feature = "encrypted-storage")]
        return self.done(self.secrets.refresh(&self.db));
        #[cfg(not(feature = "encrypted-storage"))]
        self.done(self.db.refresh())
    }

    fn with(
        db: Db,
        schema: SchemaInfo,
        config: StorageConfig,
        data_path: PathBuf,
        (in_memory, secrets): (bool, Secrets),
    ) -> Self {
        #[cfg(feature = "encrypted-storage")]
        let secrets = secrets.vouch_for(&db);
        Self {
            db,
            config,
            data_path,
            in_memory,
            schema,
            climbed: Vec::new(),
            opened_at: Instant::now(),
            secrets,
        }
    }

    /// What is below, for tests that have it do what no operator asks for.
    #[doc(hidden)]
    pub fn core(&self) -> &Db {
        &self.db
    }

    /// What opening found and did.
    pub fn opening_report(&self) -> &OpeningReport {
        self.db.opening_report()
    }

    /// The steps of migration that opening took.
    pub fn migrations_taken(&self) -> &[Climbed] {
        &self.climbed
    }

    /// Makes everything durable and closes, from a shared handle. A second call does nothing.
    ///
    /// # Errors
    ///
    /// `IO`, `DISK_FULL`, `POISONED`: the handle is closed, but not all of it is durable. Later
    /// calls of other methods return `POISONED`. `INVALID_ARGUMENT` within a read or an update of this thread:
    /// it stays open.
    pub fn shutdown(&self) -> NonosResult<()> {
        self.done(self.db.shutdown())
    }

    /// Makes everything durable and closes. Dropping does the same and logs what fails.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub fn close(self) -> NonosResult<()> {
        self.shutdown()
    }

    /// How the database is doing.
    pub fn health(&self) -> Health {
        self.db.health()
    }

    /// Whether writes are taken now: it is open for them, and neither the journal nor the index failed. A full disk,
    /// which some writes still fit on, is no reason.
    pub fn accepts_writes(&self) -> bool {
        self.db.accepts_writes()
    }

    /// Writes several records in one commit: all of them or none, in every tree.
    ///
    /// Returns what the closure returned and the commit's number. If the closure returns an error or
    /// panics, nothing is written. Updates run one at a time; other threads may read the commit
    /// before this returns. With `durable`, it survives a power cut once this returns. A commit that changes
    /// nothing takes no number: that of the last one is returned.
    ///
    /// ```
    /// # use nonos_storage::{EpochNumber, NodeStorage, NonosResult, StoredClaim, StoredEpochSummary};
    /// # fn main() -> NonosResult<()> {
    /// # let storage = NodeStorage::in_memory()?;
    /// let epoch = EpochNumber(7);
    /// storage.update(true, |update| {
    ///     update.store_epoch(epoch, &StoredEpochSummary { epoch: 7, ..Default::default() })?;
    ///     update.store_claim(epoch, &StoredClaim { epoch: 7, ..Default::default() })?;
    ///     update.store_config("last_claimed", &7u64)
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The closure's. `READ_ONLY`, `POISONED`; `INVALID_ARGUMENT` inside the closure of another update of this
    /// thread, and for a commit of more than 64 MiB of keys and stored values; `DISK_FULL` where it would eat into
    /// the space that is kept free: nothing was written, and writes are taken again once there is room. After `IO`,
    /// and `DISK_FULL` of the disk itself, it is open whether the commit is there; then writes are refused as
    /// `POISONED` until the database is opened again. With an [anchor](OpenOptions) `IO` may also mean that the commit
    /// is durable and the anchor was not written.
    pub fn update<R>(
        &self,
        durable: bool,
        f: impl FnOnce(&mut Update<'_>) -> NonosResult<R>,
    ) -> NonosResult<(R, u64)> {
        let durability = if durable {
            Durability::Durable
        } else {
            Durability::Buffered
        };
        let now_ms = clock::now_ms();
        self.anchored(durability, |view, commit| {
            f(&mut Update {
                view,
                commit,
                now_ms,
                secrets: &self.secrets,
            })
        })
    }

    /// Which database this is: sixteen random bytes, which its backups have as well.
    pub fn store_id(&self) -> StoreId {
        StoreId(self.db.store_id())
    }

    /// The counters of this handle.
    pub fn storage_metrics(&self) -> Arc<StorageMetrics> {
        self.db.counters()
    }

    /// How long this handle has been open.
    pub fn uptime(&self) -> Duration {
        self.opened_at.elapsed()
    }

    /// The configuration that it was opened with.
    pub fn config(&self) -> &StorageConfig {
        &self.config
    }

    /// Where the database is, with `~/` expanded; `:memory:` in memory.
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// Whether it is in memory only.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Whether it refuses to write.
    pub fn is_read_only(&self) -> bool {
        self.db.is_read_only()
    }

    /// One commit of one operation.
    fn write<R>(
        &self,
        durability: Durability,
        f: impl FnOnce(&View<'_>, &mut Commit) -> Result<R, CoreError>,
    ) -> NonosResult<R> {
        let written = self.db.update(durability, f);
        self.done(written.map(|(result, _)| result))
    }

    /// Converts an error of a layer, and counts it.
    fn done<T, E: Into<NonosError>>(&self, result: Result<T, E>) -> NonosResult<T> {
        result.map_err(|error| {
            let errors = &self.db.counters().errors;
            errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            error.into()
        })
    }
}

/// How secrets are to be kept; refused where this program cannot.
fn secrets_of(config: &StorageConfig, must_seal: bool) -> NonosResult<Secrets> {
    let mode = config.encryption_mode;
    if cfg!(not(feature = "encrypted-storage")) && mode == EncryptionMode::SealedBox {
        return Err(CryptoError::FeatureDisabled.into());
    }
    Ok(Secrets::new(mode, must_seal))
}

fn options(config: &StorageConfig, path: PathBuf) -> DbOptions {
    let mut options = DbOptions::new(path, CURRENT_SCHEMA_VERSION, clock::now_ms);
    options.cache_capacity_bytes = config.cache_capacity_bytes;
    options.flush_every_ms = config.flush_every_ms;
    options.compression = config.compression_enabled;
    options
}
