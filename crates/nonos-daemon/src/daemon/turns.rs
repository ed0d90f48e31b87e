//! Turns of work that are a period apart, whichever run of the daemon did the last one: a node that restarts every day
//! has its weekly work done all the same.

use std::sync::Arc;
use std::time::Duration;

use nonos_storage::{NodeStorage, Upkeep};

use super::node::now;

/// No turn comes sooner after the start, or after the configuration was read again.
const FIRST: Duration = Duration::from_mins(1);
/// What failed is tried again after so long at the earliest.
const AGAIN: Duration = Duration::from_hours(1);

pub(super) struct Turns {
    storage: Arc<NodeStorage>,
    period: Duration,
    /// When it was done last, in Unix seconds.
    last: fn(&Upkeep) -> Option<i64>,
    least: Duration,
}

impl Turns {
    pub(super) fn new(
        storage: &Arc<NodeStorage>,
        period_secs: u64,
        last: fn(&Upkeep) -> Option<i64>,
    ) -> Self {
        Self {
            storage: Arc::clone(storage),
            period: Duration::from_secs(period_secs),
            last,
            least: FIRST,
        }
    }

    /// Waits until it is due.
    pub(super) async fn next(&mut self) {
        let wait = self.left().max(self.least).min(self.period);
        self.least = AGAIN;
        tokio::time::sleep(wait).await;
    }

    /// What is left of the period. A database that cannot be read is due: the work says why.
    fn left(&self) -> Duration {
        let upkeep = self.storage.upkeep().unwrap_or_default();
        let last = (self.last)(&upkeep).or_else(|| {
            let info = self.storage.schema_info();
            info.ok().map(|info| info.created_at)
        });
        let gone = now().saturating_sub(last.unwrap_or_default());
        let gone = Duration::from_secs(u64::try_from(gone).unwrap_or(0));
        self.period.saturating_sub(gone)
    }
}

#[cfg(test)]
mod tests {
    use nonos_storage::StorageConfig;

    use super::*;

    /// Restarts do not put off what is due, and a clock that was ahead does not for ever.
    #[test]
    fn a_turn_is_due_a_period_after_the_last_one() -> Result<(), Box<dyn std::error::Error>> {
        const DAY: i64 = 86_400;
        let dir = tempfile::tempdir()?;
        let storage = Arc::new(NodeStorage::open(StorageConfig {
            path: dir.path().join("data.sled"),
            ..StorageConfig::default()
        })?);
        let left = |storage| Turns::new(storage, 604_800, |of| of.scrubbed_at).left();
        let week = Duration::from_hours(168);
        let nearly = |wait: Duration, hours| {
            let expected = Duration::from_hours(hours);
            wait <= expected && wait + Duration::from_mins(1) > expected
        };
        assert!(
            nearly(left(&storage), 168),
            "never, and the database is new"
        );
        for (days_ago, hours) in [(1, 144), (6, 24), (7, 0), (400, 0), (-3, 168)] {
            storage.note_upkeep(|of| of.scrubbed_at = Some(now() - days_ago * DAY))?;
            let wait = left(&storage);
            assert!(nearly(wait, hours) && wait <= week, "{days_ago}: {wait:?}");
        }
        Ok(())
    }
}
