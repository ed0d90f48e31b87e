//! What happens in each tree, and how long writers wait: for those who watch a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tree::TreeId;

/// Counters of each tree, and the latencies of commits, since the database was opened.
#[derive(Debug, Default)]
pub struct Activity {
    trees: [TreeActivity; TreeId::ALL.len()],
    /// From the call of an update to its return, where it need not survive a power cut.
    pub buffered: Latencies,
    /// The same, where it must: with the sync of the journal.
    pub durable: Latencies,
}

/// Counters of one tree.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TreeActivity {
    /// Reads by key, and records read in ranges.
    pub reads: AtomicU64,
    /// Records put by commits that were applied.
    pub writes: AtomicU64,
    /// Records removed by commits that were applied.
    pub deletes: AtomicU64,
}

impl Activity {
    /// The counters of a tree.
    pub fn of(&self, tree: TreeId) -> &TreeActivity {
        let [first, ..] = &self.trees;
        self.trees.get(usize::from(tree.number())).unwrap_or(first)
    }
}

/// How many buckets there are: the last one has what took a minute or longer.
const BUCKETS: usize = 27;

/// Durations, counted in buckets that are twice as wide each: the first has what took less than a microsecond.
#[derive(Debug)]
pub struct Latencies {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
        }
    }
}

impl Latencies {
    pub(crate) fn note(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanoseconds / 1000;
        let at = usize::try_from(u64::BITS - micros.leading_zeros()).unwrap_or(BUCKETS);
        if let Some(bucket) = self.buckets.get(at.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many took less than each bound, in seconds, but not less than the one before; the last bound is infinity.
    #[expect(clippy::as_conversions, reason = "u64 to f64 has no other conversion")]
    #[expect(clippy::cast_precision_loss, reason = "bounds are powers of two")]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let count = |(at, bucket): (usize, &AtomicU64)| {
            let bound = if at + 1 == BUCKETS {
                f64::INFINITY
            } else {
                (1_u64 << at) as f64 / 1e6
            };
            (bound, bucket.load(Ordering::Relaxed))
        };
        self.buckets.iter().enumerate().map(count).collect()
    }

    /// How long all took together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_below_whose_bound_it_is() {
        let latencies = Latencies::default();
        for micros in [0, 1, 2, 3, 4, 1023, 1024, u64::MAX / 1000] {
            latencies.note(Duration::from_micros(micros));
        }
        let found = latencies.buckets();
        let of = |bound: f64| {
            found
                .iter()
                .find(|(at, _)| (at - bound).abs() < 1e-9)
                .map(|(_, n)| *n)
        };
        assert_eq!(found.len(), BUCKETS);
        assert_eq!(of(1e-6), Some(1));
        assert_eq!(of(2e-6), Some(1));
        assert_eq!(of(4e-6), Some(2));
        assert_eq!(of(8e-6), Some(1));
        assert_eq!(of(1024e-6), Some(1));
        assert_eq!(of(2048e-6), Some(1));
        assert_eq!(found.last().map(|(_, n)| *n), Some(1));
        assert_eq!(found.iter().map(|(_, n)| n).sum::<u64>(), 8);
    }
}
