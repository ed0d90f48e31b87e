//! The persistent storage of a NONOS node: identity, peers, metrics, epochs, claims, configuration,
//! secrets and an audit log, in one directory.
//!
//! [`NodeStorage`] is the handle, and where to begin: [`NodeStorage::open`]; [`StorageConfig`] says where the
//! database is and how it is kept.
//!
//! # What is durable when
//!
//! Identity, claims, configuration and secrets survive a power cut once their method has returned.
//! Peers, metrics and epochs do after [`flush_every_ms`](StorageConfig::flush_every_ms), or once
//! [`NodeStorage::flush`] has returned.
//!
//! # Errors
//!
//! A word as `LOCKED` is the name of an [`ErrorCode`], which [`StorageError::code`] tells of a
//! [`NonosError::Storage`]; its text says what happened, its `remedy` what to do. After closing, every method but
//! those that only tell what the handle is returns `POISONED`.
//!
//! # Features
//!
//! `encrypted-storage`: keys, key files, sealed secrets. Without it a configuration that asks for them is refused.

mod clock;
mod config;
mod error;
#[cfg(feature = "encrypted-storage")]
mod key_files;
mod node_storage;
mod open_options;
mod report;
mod secrets;
mod update;

#[doc(hidden)]
pub use clock::set_clock;
pub use config::StorageConfig;
pub use error::{ConfigError, NonosError, NonosResult, StorageError};
#[cfg(feature = "encrypted-storage")]
pub use key_files::{
    KeyFileError, destroy_key_file, read_key_file, read_private, read_text, sync_key_file,
    write_key_file,
};
pub use node_storage::NodeStorage;
pub use open_options::OpenOptions;
pub use report::{
    CompactionReport, DrillReport, IntegrityReport, RestoreReport, TreeIntegrityReport,
};
#[cfg(feature = "encrypted-storage")]
pub use secrets::{RekeyProgress, RekeyReport};
pub use secrets::{SecretCounts, SecretsStatus};
pub use storage_core::trees::audit_log::{AuditLogEntry, ChainFault, ChainFinding, ChainReport};
pub use storage_core::trees::claims::StoredClaim;
pub use storage_core::trees::epochs::StoredEpochSummary;
pub use storage_core::trees::identity::NodeId;
pub use storage_core::trees::metrics::StoredMetrics;
pub use storage_core::trees::peers::StoredPeerInfo;
pub use storage_core::{
    Activity, CheckpointInfo, CoreError, EpochNumber, ErrorCode, FrameError, Health, Holder,
    KeyError, KeyRange, Latencies, MAX_BATCH_SIZE, OpeningReport, Order, Progress, RecordError,
    Salvaged, SourceCount, Sources, Space, StorageMetrics, StorageMetricsSnapshot, TreeActivity,
    TreeId, TreeSalvage, ValueError, holder,
};
pub use storage_crypto::{Access, CryptoError, EncryptionMode, KeyId, StoreId};
#[cfg(feature = "encrypted-storage")]
pub use storage_crypto::{EncryptionKeys, NodeIdentity, Zeroizing, key_file as key_text};
pub use storage_ops::{
    Backup, BackupError, BackupInfo, BackupKind, CatalogError, DATA_TREES,
    Directory as BackupDirectory, Finding, FindingCode, HistoryId, Integrity, Keep, Listing,
    Origin, PruneError, Pruned, Record, RepairError, RepairOptions, RepairReport, RestoreError,
    Retention, Selection, Severity, Shipped, Target, TargetError, TreeIntegrity, TreeSizes, Upkeep,
    Wanted, encode_key, file_hash, in_scratch, is_name as is_backup_name,
};
pub use storage_schema::{
    CURRENT_SCHEMA_VERSION, Climbed, Exported, Imported, MigrationRecord, Outlook, SchemaError,
    SchemaInfo, Survey, TreeSurvey, Unconvertible,
};
pub use update::Update;

/// Every example of the guide, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/STORAGE.md")]
#[derive(Debug)]
pub struct Guide;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
