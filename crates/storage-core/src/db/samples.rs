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
            self.fill_window(found.len() / 4);
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

    /// Lets the window begin so many samples earlier: it comes to what is asked for, at a quarter more of each read that it
    /// could not answer, and of [`LEAST`] at least.
    fn fill_window(&self, count: usize) {
        let count = count.max(LEAST);
        let known = self.inner.window().known();
        if self.inner.window().is_full() || known.from == Some(0) {
            return;
        }
        let before = known.from.map(|from| from.saturating_sub(1));
        let view = View {
            inner: &self.inner,
            counted: false,
        };
        // Whoever asks for what cannot be read is told.
        if let Ok(found) = metrics::latest_through(&view, before, count) {
            let start = begin(&found, count);
            self.inner.window_mut().prepend(known, start, &found);
        }
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
