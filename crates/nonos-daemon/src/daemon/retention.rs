//! What is kept of what grows for ever: pruned once an hour, after the daemon started as well.

use std::sync::Arc;
use std::time::Duration;

use nonos_daemon::settings::RetentionSettings;
use nonos_storage::{NodeStorage, NonosResult, Retention, TreeId};

use super::upkeep::{every_from, told};
use crate::error::CliError;

/// How often it is looked whether something is too old: the newest key and the oldest one are read.
const EVERY: Duration = Duration::from_hours(1);
/// A moment after the start, when a node that comes back after long has had its first samples.
const FIRST: Duration = Duration::from_mins(10);
const DAY: i64 = 86_400;
/// Fewer records do not tell a clock that is ahead from one that is right, and take no room.
const ENOUGH: usize = 60;

/// Prunes for as long as the daemon runs, if there are limits.
pub(crate) async fn run(
    storage: Arc<NodeStorage>,
    settings: RetentionSettings,
) -> Result<(), CliError> {
    let limits = limits(&settings);
    if limits.is_empty() {
        return std::future::pending().await;
    }
    every_from(FIRST, EVERY, move || {
        for (tree, days) in &limits {
            told("retention", || prune(&storage, *tree, *days));
        }
    })
    .await
}

/// Trees and the days that are kept of them.
fn limits(settings: &RetentionSettings) -> Vec<(TreeId, u32)> {
    let limits = [
        (TreeId::Metrics, settings.metrics_days),
        (TreeId::AuditLog, settings.audit_log_days),
        (TreeId::Epochs, settings.epochs_days),
        (TreeId::Peers, settings.peers_days),
    ];
    limits.into_iter().filter(|(_, days)| *days > 0).collect()
}

/// A jump of the clock prunes nothing: the cutoff goes by the newest records, where there are enough of them.
fn prune(storage: &NodeStorage, tree: TreeId, days: u32) -> NonosResult<()> {
    let sizes = storage.tree_sizes()?;
    let records = match tree {
        TreeId::Metrics => sizes.metrics,
        TreeId::AuditLog => sizes.audit_log,
        TreeId::Epochs => sizes.epochs,
        _ => sizes.peers,
    };
    if records < ENOUGH {
        return Ok(());
    }
    let Some(cutoff) = storage.retention_cutoff(tree, i64::from(days) * DAY)? else {
        return Ok(());
    };
    let pruned = storage.prune(tree, &Retention::default().older_than(cutoff), false)?;
    if pruned.records > 0 {
        let (tree, records) = (tree.name(), pruned.records);
        tracing::info!(tree, records, "removed what is no longer kept");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nonos_storage::{StoredMetrics, StoredPeerInfo};

    use super::*;
    use crate::daemon::node::now;

    /// A node that knows few peers, whose clock is ahead once it sees one of them.
    #[test]
    fn of_few_records_none_is_old_whatever_the_newest_says() -> NonosResult<()> {
        for known in [1, 2, 40, 59] {
            let storage = NodeStorage::in_memory()?;
            for number in 0..known {
                let ahead = if number == 0 { 2_000_000_000 } else { 0 };
                let info = StoredPeerInfo {
                    peer_id: format!("peer-{number}"),
                    last_seen: 1_770_000_000 + number + ahead,
                    ..Default::default()
                };
                storage.store_peer(&info.peer_id, &info)?;
            }
            prune(&storage, TreeId::Peers, 1)?;
            let left = i64::try_from(storage.count_peers()?).unwrap_or_default();
            assert_eq!(left, known);
        }
        Ok(())
    }

    #[test]
    fn what_is_older_than_its_days_is_removed_and_nothing_without_a_limit() -> NonosResult<()> {
        let storage = NodeStorage::in_memory()?;
        let end = now();
        for number in 0..1440 {
            storage.store_metrics(end - number * 600, &StoredMetrics::default())?;
        }
        let settings = RetentionSettings {
            metrics_days: 3,
            ..RetentionSettings::default()
        };
        assert_eq!(limits(&RetentionSettings::default()), []);
        assert_eq!(limits(&settings), [(TreeId::Metrics, 3)]);
        prune(&storage, TreeId::Metrics, 3)?;
        let left = storage.load_metrics_range(0, i64::MAX)?;
        let oldest = left.first().map(|(time, _)| end - time);
        // As old as by the clock that its newest 60 samples agree on.
        let most = 3 * DAY + 60 * 600;
        assert!(oldest > Some(3 * DAY) && oldest <= Some(most), "{oldest:?}");
        // An empty tree has nothing to go by.
        prune(&storage, TreeId::Epochs, 3)?;
        Ok(())
    }
}
