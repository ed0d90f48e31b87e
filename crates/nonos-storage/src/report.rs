//! What operations on the whole database report.

use std::time::Duration;

use storage_core::Compacted;
use storage_ops::{Backup, Integrity, Restored, TreeIntegrity};
use storage_schema::CURRENT_SCHEMA_VERSION;

/// What `verify_integrity` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityReport {
    /// When it was checked, in Unix seconds.
    pub checked_at: i64,
    /// Records read, and those that are missing; what is wrong with a whole copy is one of `schema`.
    pub total_entries: usize,
    /// Those that are as they were written.
    pub valid_entries: usize,
    /// Those that are not, or not there: 0 if nothing was found but oddities.
    pub corrupted_entries: usize,
    /// The same for each of the nine trees.
    pub tree_reports: Vec<TreeIntegrityReport>,
}

/// What `verify_integrity` found in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeIntegrityReport {
    /// The tree's name.
    pub name: String,
    /// Records read, and those that are missing.
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

impl IntegrityReport {
    pub(crate) fn of(found: &Integrity, checked_at: i64) -> Self {
        let tree_reports: Vec<_> = found.trees.iter().map(TreeIntegrityReport::of).collect();
        let total_entries = tree_reports.iter().map(|tree| tree.entries).sum();
        let corrupted_entries = tree_reports.iter().map(|tree| tree.corrupted).sum();
        Self {
            checked_at,
            total_entries,
            valid_entries: total_entries - corrupted_entries,
            corrupted_entries,
            tree_reports,
        }
    }
}

impl TreeIntegrityReport {
    fn of(found: &TreeIntegrity) -> Self {
        Self {
            name: found.tree.name().to_owned(),
            entries: found.entries,
            valid: found.entries - found.corrupted,
            corrupted: found.corrupted,
        }
    }
}

impl CompactionReport {
    pub(crate) fn of(compacted: Compacted, took: Duration) -> Self {
        Self {
            bytes_before: compacted.bytes_before,
            bytes_after: compacted.bytes_after,
            entries: compacted.entries,
            duration_ms: milliseconds(took),
        }
    }
}

impl RestoreReport {
    pub(crate) fn of(restored: Restored, took: Duration) -> Self {
        let older = restored.schema_version < CURRENT_SCHEMA_VERSION;
        Self {
            commit: restored.commit,
            entries: restored.entries,
            bytes: restored.bytes,
            migrated_from: older.then_some(restored.schema_version),
            is_redacted: restored.is_redacted,
            duration_ms: milliseconds(took),
        }
    }
}

pub(crate) fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// What a drill found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrillReport {
    /// The backup that was restored.
    pub backup: Backup,
    /// Records in it.
    pub entries: u64,
    /// Whether every record of it is sound.
    pub is_sound: bool,
    /// What verifying it found.
    pub integrity: Integrity,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
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
    /// Whether secrets and the node's identity were left out of the backup.
    pub is_redacted: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}
