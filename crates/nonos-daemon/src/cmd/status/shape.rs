//! What a status holds.

use std::path::PathBuf;

use nonos_storage::StoredMetrics;
use serde::Serialize;

use crate::output::Event;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Status {
    pub(super) data_dir: PathBuf,
    pub(super) database: PathBuf,
    pub(super) held_by: Option<String>,
    pub(super) schema: Schema,
    pub(super) last_commit: Option<u64>,
    /// Milliseconds until a buffered write survives a power cut at the latest; none if it never is made to.
    pub(super) flush_every_ms: Option<u64>,
    /// Commits that a power cut would lose now; none if no daemon says so.
    pub(super) unsynced_commits: Option<u64>,
    pub(super) trees: Vec<TreeStatus>,
    pub(super) size_on_disk_bytes: u64,
    pub(super) disk: Option<Disk>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) backups: Backups,
    pub(super) upkeep: Option<Upkeep>,
    pub(super) newest_sample: Option<Sample>,
    #[cfg(feature = "encrypted-storage")]
    pub(super) secrets: Option<Secrets>,
    #[serde(skip)]
    pub(super) is_pending: bool,
}

#[cfg(feature = "encrypted-storage")]
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Secrets {
    pub(super) key_id: Option<String>,
    pub(super) changing: bool,
    pub(super) plaintext: u64,
    pub(super) purge_needed: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Schema {
    pub(super) version: u32,
    /// The one of this program.
    pub(super) supported: u32,
    /// A migration to it was begun and did not end.
    pub(super) migration_interrupted: bool,
    pub(super) created_at: String,
    pub(super) last_migration: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct TreeStatus {
    pub(super) name: &'static str,
    pub(super) entries: usize,
    /// Of keys and stored values.
    pub(super) bytes: u64,
}

/// What the files take, in bytes.
#[expect(
    clippy::struct_field_names,
    reason = "fields of JSON, which have their unit"
)]
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Disk {
    pub(super) index_bytes: u64,
    pub(super) journal_bytes: u64,
    /// Of keys and stored values, once.
    pub(super) live_bytes: u64,
    /// What compacting returns at least.
    pub(super) reclaimable_bytes: u64,
    pub(super) free_bytes: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Checkpoint {
    pub(super) commit: u64,
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) made: Event,
}

/// The newest backup, where that can be told without asking a server.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Backups {
    pub(super) to: String,
    pub(super) is_remote: bool,
    pub(super) newest: Option<Backup>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Backup {
    pub(super) name: String,
    pub(super) commit: u64,
    #[serde(flatten)]
    pub(super) made: Event,
    /// When it was read whole.
    pub(super) verified: Option<Event>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Upkeep {
    pub(super) scrub: Option<Event>,
    pub(super) scrub_errors: u64,
    pub(super) drill: Option<Event>,
    pub(super) compaction: Option<Event>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Sample {
    pub(super) time: String,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(with = "crate::schemas::Metrics"))]
    pub(super) metrics: StoredMetrics,
}
