//! Reading samples: from the window of the newest, and from the index what that lacks.

use std::sync::PoisonError;

use super::inner::Inner;
use super::{Db, View};
use crate::commit::Commit;
use crate::counters;
use crate::error::CoreError;
use crate::sync::{RwLockReadGuard, RwLockWriteGuard};
use crate::tree::TreeId;
use crate::trees::metrics;
use crate::window::{Sample, Window};

/// How many samples the window is filled by, at least.
const LEAST: usize = 256;
/// How many it is filled by beside the callers. A commit waits for as long as these take to be read.
const PIECE: usize = 1024;

impl Db {
    /// The samples from `start`, of 1970 or later, to `end`, both included, oldest first.
    pub(crate) fn samples(&self, start: i64, end: i64) -> Result<Vec<Sample>, CoreError> {
        let inner = &*self.inner;
        inner.check_open()?;
        if start > end {
            return Ok(Vec::new());
        }
        let known = || {
            let window = inner.window();
            window.range(start, end).ok_or_else(|| window.known())
        };
        if let Ok(found) = known() {
            return Ok(inner.count(found));
        }
        let _between = inner.between_commits();
        let known = match known() {
            Ok(found) => return Ok(inner.count(found)),
            Err(known) => known,
        };
        let before = known.from.map_or(i64::MAX, |from| from.saturating_sub(1));
        let mut found = metrics::range(&self.view(), start, end.min(before))?;
        if known.from.is_some() && end >= before {
            inner.window_mut().prepend(known, start, &found);
        } else {
            inner.fill_window(found.len() / 4);
        }
        if let Some(from) = known.from.filter(|from| *from <= end) {
            let newer = inner.window().range(from, end);
            found.extend(match newer {
                Some(newer) => inner.count(newer),
                // Cleared meanwhile.
                None => metrics::range(&self.view(), from, end)?,
            });
        }
        Ok(found)
    }

    /// The newest `count` samples, oldest first.
    pub(crate) fn newest_samples(&self, count: usize) -> Result<Vec<Sample>, CoreError> {
        let inner = &*self.inner;
        inner.check_open()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let newest = inner.window().newest(count);
        if let Some(found) = newest {
            return Ok(inner.count(found));
        }
        let _between = inner.between_commits();
        let known = inner.window().known();
        let found = metrics::latest(&self.view(), count)?;
        let start = begin(&found, count);
        let is_older = |(time, _): &Sample| known.from.is_none_or(|from| *time < from);
        let older = found.get(..found.partition_point(is_older));
        inner
            .window_mut()
            .prepend(known, start, older.unwrap_or_default());
        Ok(found)
    }
}

/// From when on these are all, if they are the newest `count` there are.
fn begin(found: &[Sample], count: usize) -> i64 {
    match found.first() {
        Some((oldest, _)) if found.len() == count => *oldest,
        _ => 0,
    }
}

impl Inner {
    pub(super) fn window(&self) -> RwLockReadGuard<'_, Window> {
        self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn window_mut(&self) -> RwLockWriteGuard<'_, Window> {
        self.window.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the window a piece closer to what it may hold; whether there may be more to bring.
    pub(crate) fn warm_window(&self) -> bool {
        self.fill_window(PIECE)
    }

    /// Lets the window begin so many samples earlier, [`LEAST`] at least: it comes to what is asked for, at a quarter more of
    /// each read that it could not answer. Whether it could begin earlier still.
    fn fill_window(&self, count: usize) -> bool {
        let count = count.max(LEAST);
        let _between = self.between_commits();
        let known = self.window().known();
        if self.window().is_full() || known.from == Some(0) {
            return false;
        }
        let before = known.from.map(|from| from.saturating_sub(1));
        let view = View {
            inner: self,
            counted: false,
        };
        // Whoever asks for what cannot be read is told.
        let Ok(found) = metrics::latest_through(&view, before, count) else {
            return false;
        };
        let start = begin(&found, count);
        self.window_mut().prepend(known, start, &found);
        true
    }

    /// Called while the commit is applied.
    pub(super) fn tell_window(&self, commit: &Commit) {
        let in_order = |samples: &&[Sample]| samples.is_sorted_by_key(|(time, _)| *time);
        if let Some(samples) = commit.samples().filter(in_order) {
            if !samples.is_empty() {
                let mut window = self.window_mut();
                for sample in samples {
                    window.put(sample);
                }
            }
            return;
        }
        let mut changes = commit.changes_of(TreeId::Metrics).peekable();
        if changes.peek().is_some() {
            let mut window = self.window_mut();
            changes.for_each(|(key, frame)| window.apply(key, frame));
        }
    }

    /// Counts samples that came from the window as read.
    fn count(&self, found: Vec<Sample>) -> Vec<Sample> {
        counters::add(&self.counters.reads, found.len());
        counters::add(&self.activity.of(TreeId::Metrics).reads, found.len());
        found
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::db::recovery::Layout;
    use crate::options::DbOptions;

    const COUNT: i64 = 2_500;
    const LONGEST: Duration = Duration::from_mins(1);

    #[test]
    fn after_an_opening_the_samples_come_to_memory_by_themselves()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let options = DbOptions::new(directory.path().join("data.sled"), 2, || 1_770_000_000_000);
        let open = || {
            let layout = |_: &dyn crate::view::Read| {
                Ok(Layout {
                    schema_version: 2,
                    is_framed: true,
                })
            };
            Db::open(&options, &layout)
        };
        let samples: Vec<Sample> = (0..COUNT)
            .map(|time| (time, metrics::StoredMetrics::default()))
            .collect();
        let db = open()?;
        metrics::store_batch(&db, &samples)?;
        drop(db);

        let db = open()?;
        let began = Instant::now();
        while db.inner.window().known().from != Some(0) {
            assert!(began.elapsed() < LONGEST, "{:?}", db.inner.window().known());
            thread::yield_now();
        }
        assert!(!db.inner.warm_window(), "there is no more to bring");
        assert_eq!(db.samples(0, COUNT)?, samples);
        assert_eq!(db.inner.counters.snapshot().read_bytes, 0);
        Ok(())
    }
}
