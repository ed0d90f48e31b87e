//! Upkeep by the daemon: every record is read again within a period, and the index is made anew where that
//! returns enough of the disk.
//!
//! What fails is logged and tried again at the next turn.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use nonos_daemon::settings::UpkeepSettings;
use nonos_storage::{ErrorCode, NodeStorage, NonosError, NonosResult};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::cmd::verify::told as told_finding;
use crate::daemon::node::{Node, now};
use crate::daemon::turns::Turns;
use crate::error::CliError;
use crate::output::chain;

/// Findings of a scrub that are shown.
const LISTED: usize = 20;

/// Scrubs over and over, for as long as the daemon runs.
pub(crate) async fn scrub(
    storage: Arc<NodeStorage>,
    node: Arc<Node>,
    settings: UpkeepSettings,
) -> Result<(), CliError> {
    let Some(rate) = NonZero::new(settings.scrub_bytes_per_sec) else {
        return std::future::pending().await;
    };
    let mut turns = Turns::new(&storage, settings.scrub_every_secs, |of| of.scrubbed_at);
    // What the last one found may be mended since.
    if storage.upkeep().map_or(0, |of| of.scrub_errors) == 0 {
        turns.next().await;
    }
    loop {
        let (storage, node) = (Arc::clone(&storage), Arc::clone(&node));
        turn(move || {
            // One that began before the settings changed goes on.
            if let Ok(_alone) = node.scrubbing.try_lock() {
                told("scrub", || scrub_once(&storage, &node, rate));
            }
        })
        .await?;
        turns.next().await;
    }
}

fn scrub_once(storage: &NodeStorage, node: &Node, rate: NonZero<u64>) -> NonosResult<()> {
    let found = storage.scrub(rate)?;
    let listed = found.findings.iter().take(LISTED).cloned();
    let listed = listed.map(told_finding).collect();
    node.verified(storage, found.errors, listed)?;
    let entries: usize = found.trees.iter().map(|tree| tree.entries).sum();
    if found.errors > 0 {
        let (errors, first) = (found.errors, found.findings.first());
        let first = first.map(|finding| format!("{}: {}", finding.code.name(), finding.detail));
        tracing::error!(
            errors,
            first,
            "records are damaged; `nonos verify --deep` lists them"
        );
    } else {
        tracing::info!(entries, "every record is as it was written");
    }
    Ok(())
}

/// How often the bytes of the trees are counted: one reading of every record.
const COUNT_EVERY: Duration = Duration::from_mins(10);

/// Counts the bytes of the trees, for as long as the daemon runs.
pub(crate) async fn count(storage: Arc<NodeStorage>, node: Arc<Node>) -> Result<(), CliError> {
    every_from(Duration::ZERO, COUNT_EVERY, move || {
        told("count", || {
            let bytes = storage.tree_bytes()?;
            node.note(|done| done.tree_bytes = Some(bytes));
            Ok(())
        });
    })
    .await
}

/// Compacts where it pays, for as long as the daemon runs.
pub(crate) async fn compact(
    storage: Arc<NodeStorage>,
    settings: UpkeepSettings,
) -> Result<(), CliError> {
    let percent = settings.compact_above_percent;
    if percent == 0 {
        return std::future::pending().await;
    }
    every_from(COMPACTION_FIRST, COMPACTION_EVERY, move || {
        let storage = Arc::clone(&storage);
        told("compact", || {
            if let Some(done) = storage.compact_above(percent)? {
                storage.note_upkeep(|upkeep| upkeep.compacted_at = Some(now()))?;
                let (before, after) = (done.bytes_before, done.bytes_after);
                tracing::info!(before, after, "compacted the index");
            }
            Ok(())
        });
    })
    .await
}

/// How often it is looked at whether compacting pays: one reading of file sizes.
const COMPACTION_EVERY: Duration = Duration::from_hours(1);
/// A moment after the start: a node that restarts more often has it as well.
const COMPACTION_FIRST: Duration = Duration::from_mins(5);

/// Does some work on a thread of its own, over and over.
pub(super) async fn every_from(
    first: Duration,
    period: Duration,
    work: impl Fn() + Clone + Send + Sync + 'static,
) -> Result<(), CliError> {
    let mut turns = interval_at(tokio::time::Instant::now() + first, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        turn(work.clone()).await?;
    }
}

/// Does some work on a thread of its own.
pub(super) async fn turn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    let turn = tokio::task::spawn_blocking(work).await;
    turn.map_err(|source| CliError::Task { source })
}

pub(super) fn told(what: &str, work: impl FnOnce() -> NonosResult<()>) {
    match work() {
        Err(NonosError::Storage(error))
            if matches!(error.code(), ErrorCode::Poisoned | ErrorCode::Cancelled) =>
        {
            tracing::debug!(what, %error, "it ended with the database");
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(what, %reason, "it failed; it is tried again");
        }
        Ok(()) => {}
    }
}
