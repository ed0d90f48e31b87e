//! Operations on a whole database: pruning, sizes, backup and restore.

mod backup;
mod integrity;
mod prune;
mod repair;
mod restore;
mod retention;
mod rewrite;
mod sizes;

pub use backup::{BackupError, BackupInfo, export_backup, verify_backup};
pub use integrity::{
    Code as FindingCode, Envelope, Finding, Integrity, Severity, TreeIntegrity, VerifyOptions,
    verify,
};
pub use prune::{PruneError, prune_metrics};
pub use repair::{RepairError, RepairOptions, RepairReport, repair};
pub use restore::{RestoreError, Restored, restore_backup};
pub use retention::{Pruned, Retention, cutoff as retention_cutoff, prune};
pub use rewrite::{RECORDS_IN_A_COMMIT, ValueRewriter, rewrite_values};
pub use sizes::{TreeSizes, tree_sizes};
