//! Turns of work that are a period apart, whichever run of the daemon did the last one: a node that restarts every day
//! has its weekly work done all the same.

use std::sync::Arc;
use std::time::Duration;

use nonos_storage::{NodeStorage, Upkeep};

use super::node::{EARLIEST, now};

/// No turn comes sooner after the start, or after the configuration was read again.
const FIRST: Duration = Duration::from_mins(1);
/// So long it sleeps at most, as the clock can be set.
const LONGEST: Duration = Duration::from_hours(1);
/// How far ahead of the clock the last turn may be; one that is further was noted by a clock that was wrong.
const AHEAD: i64 = 86_400;
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
        tokio::time::sleep(self.least.min(self.period)).await;
        self.least = AGAIN;
        // Reckoned anew: the clock may be set meanwhile.
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST)).await;
        }
    }

    /// What is left of the period. A database that cannot be read is due: the work says why.
    fn left(&self) -> Duration {
        let upkeep = self.storage.upkeep().unwrap_or_default();
        let last = (self.last)(&upkeep).or_else(|| {
            let info = self.storage.schema_info();
            info.ok().map(|info| info.created_at)
        });
        // A clock that was not set yet says nothing of when anything was.
        if now() < EARLIEST {
            return LONGEST;
        }
        let gone = now().saturating_sub(last.unwrap_or_default());
        if gone < -AHEAD {
            return Duration::ZERO;
        }
        let gone = Duration::from_secs(u64::try_from(gone).unwrap_or(0));
        self.period.saturating_sub(gone)
    }
}

#[cfg(test)]
mod tests {
    use nonos_storage::StorageConfig;

    use super::*;

    /// Restarts do not put off what is due, nor does a clock that was ahead.
    #[test]
    fn a_turn_is_due_a_period_after_the_last_one() -> Result<(), Box<dyn std::error::Error>> {
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
        for (hours_ago, hours) in [
            (24, 144),
            (144, 24),
            (168, 0),
            (9600, 0),
            (-12, 168),
            (-25, 0),
        ] {
            storage.note_upkeep(|of| of.scrubbed_at = Some(now() - hours_ago * 3600))?;
            let wait = left(&storage);
            assert!(nearly(wait, hours) && wait <= week, "{hours_ago}: {wait:?}");
        }
        Ok(())
    }
}
