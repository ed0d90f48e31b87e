//! The storage of a NONOS node, for programs that depend on the daemon's crate: everything of
//! [`nonos_storage`] under this name, [`settings`], which `config.toml` says, [`object_target`], the
//! places for backups, and [`encryption`] of what goes there.

pub mod encryption;
pub mod object_target;
pub mod settings;

pub use nonos_storage::{
    Access, AuditLogEntry, BackupDirectory, BackupError, BackupInfo, CURRENT_SCHEMA_VERSION,
    ChainFault, ChainFinding, ChainReport, Climbed, CompactionReport, ConfigError, CoreError,
    CryptoError, EncryptionMode, EpochNumber, ErrorCode, Exported, FrameError, Health, Holder,
    Imported, IntegrityReport, KeyError, KeyId, MAX_BATCH_SIZE, MigrationRecord, NodeId,
    NodeStorage, NonosError, NonosResult, OpenOptions, OpeningReport, Outlook, Progress,
    PruneError, RecordError, RestoreError, RestoreReport, Retention, SchemaError, SchemaInfo,
    SecretCounts, SecretsStatus, StorageConfig, StorageError, StorageMetrics,
    StorageMetricsSnapshot, StoreId, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo, Survey, Target, TargetError, TreeId, TreeIntegrity, TreeIntegrityReport,
    TreeSizes, TreeSurvey, Unconvertible, Update, ValueError, holder, is_backup_name,
};
#[cfg(feature = "encrypted-storage")]
pub use nonos_storage::{
    EncryptionKeys, KeyFileError, NodeIdentity, RekeyProgress, RekeyReport, Zeroizing,
    destroy_key_file, key_text, read_key_file, read_private, read_text, write_key_file,
};
