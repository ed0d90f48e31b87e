//! The storage of a NONOS node, for programs that depend on the daemon's crate: everything of
//! [`nonos_storage`] under this name.

pub use nonos_storage::{
    AuditLogEntry, BackupError, BackupInfo, CURRENT_SCHEMA_VERSION, CompactionReport, ConfigError,
    CoreError, CryptoError, EncryptionMode, EpochNumber, ErrorCode, FrameError, Health, Holder,
    IntegrityReport, KeyError, MAX_BATCH_SIZE, MigrationRecord, NodeId, NodeStorage, NonosError,
    NonosResult, OpeningReport, PruneError, RecordError, RestoreError, RestoreReport, SchemaError,
    SchemaInfo, StorageConfig, StorageError, StorageMetrics, StorageMetricsSnapshot, StoredClaim,
    StoredEpochSummary, StoredMetrics, StoredPeerInfo, TreeId, TreeIntegrityReport, TreeSizes,
    Update, ValueError, holder,
};
