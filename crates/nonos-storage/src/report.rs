//! What operations on the whole database report.

use storage_ops::TreeSizes;

/// What `verify_integrity` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityReport {
    /// When it was checked, in Unix seconds.
    pub checked_at: i64,
    /// Records read.
    pub total_entries: usize,
    /// Those that are as they were written.
    pub valid_entries: usize,
    /// Those that are not.
    pub corrupted_entries: usize,
    /// The same for each of the nine trees.
    pub tree_reports: Vec<TreeIntegrityReport>,
}

/// What `verify_integrity` found in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeIntegrityReport {
    /// The tree's name.
    pub name: String,
    /// Records read.
    pub entries: usize,
    /// Those that are as they were written.
    pub valid: usize,
    /// Those that are not.
    pub corrupted: usize,
}

/// What `compact` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionReport {
    /// The index's size before, in bytes.
    pub bytes_before: u64,
    /// The index's size after, in bytes.
    pub bytes_after: u64,
    /// Records in it.
    pub entries: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// What a backup file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The database that it was made of.
    pub store_id: [u8; 16],
    /// The schema of its records.
    pub schema_version: u32,
    /// The commit that it holds the state of.
    pub commit: u64,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// Records in it.
    pub entries: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The program that made it.
    pub program_version: String,
    /// Records in each tree.
    pub trees: TreeSizes,
}

/// What `restore_backup` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The commit whose state was restored.
    pub commit: u64,
    /// Records restored.
    pub entries: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The backup's schema, if it was an older one.
    pub migrated_from: Option<u32>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}
