//! Operations on a whole database: pruning, sizes, backup and restore.

mod backup;
mod prune;
mod restore;
mod sizes;

pub use backup::{BackupError, BackupInfo, export_backup, verify_backup};
pub use prune::{PruneError, prune_metrics};
pub use restore::{RestoreError, Restored, restore_backup};
pub use sizes::{TreeSizes, tree_sizes};
