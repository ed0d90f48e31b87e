//! How the node is: what the page, `/api/v1/status` and Prometheus tell, from one reading.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nonos_storage::{Health, NodeStorage, Progress, StorageMetricsSnapshot, StoredMetrics};
use serde::Serialize;

use super::findings;
use crate::daemon::node::{Done, LastBackup, Node, Phase, now};
use crate::error::CliError;
use crate::output::{Event, Finding, rfc3339};

/// Where the node is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) database: PathBuf,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(super) version: &'static str,
    data_dir: PathBuf,
    database: PathBuf,
    /// Unix seconds.
    pub(super) time: i64,
    pub(super) uptime_secs: u64,
    /// `opening`, `open` or `closing`.
    pub(super) phase: &'static str,
    opening: Option<Opening>,
    pub(super) open: Option<Open>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Opening {
    operation: &'static str,
    done: u64,
    total: u64,
    eta_s: Option<u64>,
}

/// What there is to tell of an open database.
#[derive(Debug, Serialize)]
pub(crate) struct Open {
    /// `ok`, `degraded` or `poisoned`.
    pub(super) health: &'static str,
    pub(super) reason: Option<String>,
    pub(super) schema_version: u32,
    pub(super) last_commit: u64,
    /// Commits that a power cut would lose now.
    pub(super) unsynced_commits: u64,
    /// Milliseconds until a buffered write survives one at the latest.
    flush_every_ms: Option<u64>,
    pub(super) trees: Vec<Tree>,
    pub(super) size_on_disk_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) journal_bytes: u64,
    /// What compacting returns at least.
    pub(super) reclaimable_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) counters: Counters,
    newest_sample: Option<Sample>,
    pub(super) checkpoint: Option<Event>,
    pub(super) checkpoint_commit: Option<u64>,
    pub(super) backup: Option<Event>,
    pub(super) backup_commit: Option<u64>,
    pub(super) verified_backup: Option<Event>,
    pub(super) drill: Option<Event>,
    pub(super) scrub: Option<Event>,
    pub(super) scrub_errors: u64,
    pub(super) compaction: Option<Event>,
}

#[derive(Debug, Serialize)]
pub(super) struct Tree {
    pub(super) name: &'static str,
    pub(super) entries: usize,
    /// Of keys and stored values, as they were at the last count; none before the first.
    pub(super) bytes: Option<u64>,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) deletes: u64,
}

/// Since the daemon started.
#[derive(Debug, Serialize)]
pub(super) struct Counters {
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) deletes: u64,
    pub(super) flushes: u64,
    pub(super) read_bytes: u64,
    pub(super) write_bytes: u64,
    pub(super) errors: u64,
    pub(super) cache_hits: u64,
    pub(super) cache_misses: u64,
}

impl From<StorageMetricsSnapshot> for Counters {
    fn from(of: StorageMetricsSnapshot) -> Self {
        Self {
            reads: of.reads,
            writes: of.writes,
            deletes: of.deletes,
            flushes: of.flushes,
            read_bytes: of.read_bytes,
            write_bytes: of.write_bytes,
            errors: of.errors,
            cache_hits: of.cache_hits,
            cache_misses: of.cache_misses,
        }
    }
}

#[derive(Debug, Serialize)]
struct Sample {
    time: String,
    #[serde(flatten)]
    metrics: StoredMetrics,
}

pub(crate) fn of(node: &Node, place: &Place) -> Result<Status, CliError> {
    let done = node.done();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION"),
        data_dir: place.data_dir.clone(),
        database: place.database.clone(),
        time: now(),
        uptime_secs: node.started.elapsed().as_secs(),
        phase: "closing",
        opening: None,
        open: None,
        findings: Vec::new(),
    };
    match node.phase() {
        Phase::Opening(progress) => {
            status.phase = "opening";
            status.opening = progress.map(|progress: Progress| Opening {
                operation: progress.operation,
                done: progress.done,
                total: progress.total,
                eta_s: progress.remaining().map(|left: Duration| left.as_secs()),
            });
        }
        Phase::Open(storage) => {
            status.phase = "open";
            let open = open(&storage, node, &done)?;
            status.findings = findings::of(&storage, &open, &done)?;
            status.open = Some(open);
        }
        Phase::Closing => {}
    }
    Ok(status)
}

fn open(storage: &NodeStorage, node: &Node, done: &Done) -> Result<Open, CliError> {
    let (health, reason) = match storage.health() {
        Health::Ok => ("ok", None),
        Health::Degraded { reason } => ("degraded", Some(reason)),
        Health::Poisoned { reason } => ("poisoned", Some(reason)),
        _ => ("degraded", None),
    };
    let activity = storage.activity();
    let trees = storage.tree_sizes()?.by_tree().map(|(tree, entries)| {
        let counted = activity.of(tree);
        Tree {
            name: tree.name(),
            entries,
            bytes: done.bytes_of(tree),
            reads: counted.reads.load(Relaxed),
            writes: counted.writes.load(Relaxed),
            deletes: counted.deletes.load(Relaxed),
        }
    });
    let upkeep = storage.upkeep()?;
    let space = storage.space()?;
    let newest = storage.load_latest_metrics(1)?.pop();
    let backup: Option<LastBackup> = done.backup;
    Ok(Open {
        health,
        reason,
        schema_version: storage.schema_version()?,
        last_commit: storage.last_commit(),
        unsynced_commits: storage.unsynced_commits(),
        flush_every_ms: node.flush_every_ms,
        trees: trees.into(),
        size_on_disk_bytes: storage.size_on_disk()?,
        index_bytes: space.index_bytes,
        journal_bytes: space.journal_bytes,
        reclaimable_bytes: space.reclaimable_bytes,
        free_bytes: storage.free_bytes()?,
        counters: storage.storage_metrics().snapshot().into(),
        newest_sample: newest.map(|(time, metrics)| Sample {
            time: rfc3339(time),
            metrics,
        }),
        checkpoint: space.checkpoint.map(|of| Event::new(of.created_at)),
        checkpoint_commit: space.checkpoint.map(|of| of.commit),
        backup: backup.map(|backup| Event::new(backup.at)),
        backup_commit: backup.map(|backup| backup.commit),
        verified_backup: backup.and_then(|backup| backup.verified_at).map(Event::new),
        drill: upkeep.drilled_at.map(Event::new),
        scrub: upkeep.scrubbed_at.map(Event::new),
        scrub_errors: upkeep.scrub_errors,
        compaction: upkeep.compacted_at.map(Event::new),
    })
}
