//! The storage of a NONOS node, for programs that depend on the daemon's crate: everything of
//! [`nonos_storage`] under this name, [`settings`], which `config.toml` says, [`object_target`], the
//! places for backups, and [`encryption`] of what goes there.

pub mod encryption;
pub mod object_target;
pub mod settings;

pub use nonos_storage::{
    Access, Activity, AuditLogEntry, Backup, BackupDirectory, BackupError, BackupInfo, BackupKind,
    CURRENT_SCHEMA_VERSION, CatalogError, ChainFault, ChainFinding, ChainReport, CheckpointInfo,
    Climbed, CompactionReport, ConfigError, CoreError, CryptoError, DATA_TREES, DrillReport,
    EncryptionMode, EpochNumber, ErrorCode, Exported, Finding, FindingCode, FrameError, Health,
    HistoryId, Holder, Imported, Integrity, IntegrityReport, Keep, KeyError, KeyId, KeyRange,
    Latencies, Listing, MAX_BATCH_SIZE, MigrationRecord, NodeId, NodeStorage, NonosError,
    NonosResult, OpenOptions, OpeningReport, Order, Origin, Outlook, Progress, PruneError, Pruned,
    Record, RecordError, RepairError, RepairOptions, RepairReport, RestoreError, RestoreReport,
    Retention, Salvaged, SchemaError, SchemaInfo, SecretCounts, SecretsStatus, Selection, Severity,
    Shipped, SourceCount, Sources, Space, StorageConfig, StorageError, StorageMetrics,
    StorageMetricsSnapshot, StoreId, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo, Survey, Target, TargetError, TreeActivity, TreeId, TreeIntegrity,
    TreeIntegrityReport, TreeSalvage, TreeSizes, TreeSurvey, Unconvertible, Update, Upkeep,
    ValueError, Wanted, encode_key, file_hash, holder, in_scratch, is_backup_name,
};
#[cfg(feature = "encrypted-storage")]
pub use nonos_storage::{
    EncryptionKeys, KeyFileError, NodeIdentity, RekeyProgress, RekeyReport, Zeroizing,
    destroy_key_file, key_text, read_key_file, read_private, read_text, write_key_file,
};
