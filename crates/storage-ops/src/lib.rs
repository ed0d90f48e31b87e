//! Operations on a whole database: pruning, sizes, backup and restore.

mod backup;
mod browse;
mod catalog;
mod integrity;
mod origin;
mod prune;
mod redact;
mod repair;
mod restore;
mod retention;
mod rewrite;
mod sizes;
mod target;
mod upkeep;
mod wipe;

pub use backup::{BackupError, BackupInfo, export_backup, verify_backup};
pub use browse::{Record, Selection, browse, content_hash, encode_key, record};
pub use catalog::{
    Backup, CatalogError, Create, Keep, Kind as BackupKind, Listing, Shipped, Wanted, create,
    in_scratch, list, newest, note_verified, prune as prune_backups, ship,
    verify as verify_in_catalog,
};
pub use integrity::{
    Code as FindingCode, Envelope, Finding, Integrity, Severity, TreeIntegrity, VerifyOptions,
    compare_index, verify,
};
pub use origin::{HistoryId, Origin, origin, settle};
pub use prune::{PruneError, prune_metrics};
pub use redact::{plain_secrets, redact as redact_backup};
pub use repair::{RepairError, RepairOptions, RepairReport, repair};
pub use restore::{RestoreError, Restored, restore_backup, restore_from};
pub use retention::{Pruned, Retention, cutoff as retention_cutoff, prune};
pub use rewrite::{RECORDS_IN_A_COMMIT, ValueRewriter, rewrite_values};
pub use sizes::{TreeSizes, tree_bytes, tree_sizes};
pub use target::{Directory, Target, TargetError, file_hash, is_name};
pub use upkeep::{Upkeep, note_upkeep, upkeep};
pub use wipe::{DATA as DATA_TREES, wipe};
