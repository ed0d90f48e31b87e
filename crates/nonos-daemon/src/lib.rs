//! The storage of a NONOS node, for programs that depend on the daemon's crate: everything of
//! [`nonos_storage`] under this name.

pub use nonos_storage::{
    AuditLogEntry, BackupError, BackupInfo, CURRENT_SCHEMA_VERSION, Climbed, CompactionReport,
    ConfigError, CoreError, CryptoError, EncryptionMode, EpochNumber, ErrorCode, Exported,
    FrameError, Health, Holder, Imported, IntegrityReport, KeyError, MAX_BATCH_SIZE,
    MigrationRecord, NodeId, NodeStorage, NonosError, NonosResult, OpenOptions, OpeningReport,
    Outlook, Progress, PruneError, RecordError, RestoreError, RestoreReport, SchemaError,
    SchemaInfo, StorageConfig, StorageError, StorageMetrics, StorageMetricsSnapshot, StoredClaim,
    StoredEpochSummary, StoredMetrics, StoredPeerInfo, Survey, TreeId, TreeIntegrityReport,
    TreeSizes, TreeSurvey, Unconvertible, Update, ValueError, holder,
};
