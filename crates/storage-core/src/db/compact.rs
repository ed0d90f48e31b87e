//! Compaction: the index made anew from the merged stream, beside the old one, and put in its place.
//!
//! Writers go on while the bulk is written; they wait while the last commits are caught up and the
//! directories are exchanged. Interrupted anywhere, the next open finds either index or none, and
//! the journal: nothing is lost.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::inner::{Inner, let_go};
use super::{Db, compare};
use crate::error::CoreError;
use crate::size;

/// What compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The index's size before, in bytes.
    pub bytes_before: u64,
    /// The index's size after, in bytes.
    pub bytes_after: u64,
    /// Records in it.
    pub entries: u64,
}

impl Db {
    /// Makes the index anew, which returns its free space to the disk and heals it. In memory there
    /// is nothing to do.
    ///
    /// # Errors
    ///
    /// [`CoreError::ReadOnly`], [`CoreError::Poisoned`], [`CoreError::Closed`],
    /// [`CoreError::Reentrant`] inside the closure of `update`: nothing happened. Errors of the disk or
    /// of the journal before the exchange leave everything as it was, after it the handle is
    /// poisoned and opening again recovers.
    pub fn compact(&self) -> Result<Compacted, CoreError> {
        let inner = &*self.inner;
        if inner.is_in_update() {
            return Err(CoreError::Reentrant);
        }
        inner.check_writable()?;
        let Some(durable) = &inner.durable else {
            return Ok(Compacted {
                bytes_before: 0,
                bytes_after: 0,
                entries: inner.total(),
            });
        };
        let started = Instant::now();
        // One mark or compaction at a time: both speak of the index as a whole.
        let last_mark = durable.last_mark.lock();
        let mut last_mark = last_mark.unwrap_or_else(PoisonError::into_inner);
        let size = || inner.path.as_deref().map_or(Ok(0), size::of);
        let bytes_before = size()?;
        let journal = &durable.journal;
        let new = durable.home.open_beside()?;
        let merged = journal.merged(inner.last_commit.load(Ordering::Acquire))?;
        compare::heal(&*new, &merged)?;
        new.sync()?;

        let turn = inner.take_turn()?;
        inner.check_writable()?;
        let number = inner.last_commit.load(Ordering::Acquire);
        // Writers wait from here on.
        let last = journal.merged(number)?;
        let (digests, _) = compare::heal(&*new, &last)?;
        if digests != turn.sequence.digests {
            return Err(inner.poison(CoreError::Diverged));
        }
        durable.mark(&*new, number, digests, (inner.clock)())?;
        let entries = turn.sequence.digests.total();
        let_go(new).map_err(|_used| CoreError::Busy)?;
        inner.exchange()?;
        *last_mark = number;
        drop(turn);
        let bytes_after = size()?;
        let seconds = started.elapsed().as_secs();
        tracing::info!(
            bytes_before,
            bytes_after,
            entries,
            seconds,
            "compacted the index"
        );
        Ok(Compacted {
            bytes_before,
            bytes_after,
            entries,
        })
    }
}

impl Inner {
    /// Closes the index, puts the one that was made beside in its place, and opens that.
    fn exchange(&self) -> Result<(), CoreError> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        // Readers wait here: those that hold the index are waited for, new ones find the slot locked.
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.take() else {
            return Err(CoreError::Closed);
        };
        if let Err(busy) = let_go(index) {
            *slot = Some(busy);
            return Err(CoreError::Busy);
        }
        let opened = durable.home.swap().and_then(|()| durable.home.open());
        match opened {
            Ok(opened) => {
                *slot = Some(opened);
                Ok(())
            }
            Err(error) => Err(self.poison(error)),
        }
    }

    fn total(&self) -> u64 {
        let sequence = self
            .sequencer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sequence.digests.total()
    }
}
