//! Compaction: the index made anew from the merged stream, beside the old one, and put in its place.
//!
//! Writers go on while the bulk is written; they wait while the last commits are caught up and the
//! directories are exchanged. Reads that are under way end on the old index. Interrupted anywhere,
//! the next open finds either index, and the journal: nothing is lost. The mark comes after the
//! exchange, so it never speaks of an index that is not there.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use storage_journal::digest::Digests;

use super::inner::{Durable, Inner, let_go, on_a_sound_base, settle};
use super::reading::give_up;
use super::recovery::chain;
use super::{Db, compare};
use crate::error::CoreError;
use crate::index::Index;
use crate::index::overlay::Overlay;
use crate::size;
use crate::sync::atomic::Ordering;
use crate::tree::TreeId;

/// Commits are caught up in so many rounds beside the writers before these have to wait.
const ROUNDS: usize = 3;

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
    /// Makes the index anew, which returns its free space to the disk and heals it, also one that
    /// failed while in use. Where index and journal were the same it makes two checkpoints then, if there is room
    /// for them, and removes what these make needless of the journal; that this fails is only logged. In memory there is
    /// nothing to do.
    ///
    /// # Errors
    ///
    /// [`CoreError::ReadOnly`], [`CoreError::Poisoned`], [`CoreError::Closed`], [`CoreError::DiskFull`]
    /// if the new index would eat into the free-space reserve, [`CoreError::Cancelled`] by the observer,
    /// [`CoreError::Reentrant`] inside the closure of `update`: nothing happened. Errors of the disk or
    /// of the journal before the exchange leave everything as it was, in it the handle is
    /// poisoned and opening again recovers. Behind it, where the observer may cancel as well, the index is new and
    /// the journal whole.
    pub fn compact(&self) -> Result<Compacted, CoreError> {
        self.inner.compact(Old::Remove)
    }

    /// [`compact`](Self::compact), and a fresh checkpoint; everything else that holds records of the past
    /// is overwritten once and removed: the old index, older checkpoints, also those that are kept by
    /// name, segments, what was moved aside. What was deleted or replaced before the call is then in no
    /// file of the database. A reader without a lock that was reading such a file gets an error.
    ///
    /// What a file system that copies on writing, a snapshot or a device keeps is beyond this.
    ///
    /// # Errors
    ///
    /// As `compact`; [`CoreError::Busy`] while a read is under way on the old index. The database is
    /// whole; what is left is removed by the next call.
    pub fn purge(&self) -> Result<Compacted, CoreError> {
        let inner = &self.inner;
        let _alone = inner.alone()?;
        let compacted = inner.compact_alone(Old::Wipe)?;
        let Some(Durable { journal, home, .. }) = &inner.durable else {
            return Ok(compacted);
        };
        home.wipe_aside()?;
        let created_at = (inner.clock)().div_euclid(1000);
        on_a_sound_base(journal, || {
            let mut meter = inner.meter("purge", inner.len());
            journal.purge(inner.schema(), created_at, |records| meter.steps(records))
        })?;
        // The one copy of the past is gone: what is, is marked.
        inner.flush()?;
        Ok(compacted)
    }
}

/// What becomes of the index that was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    Remove,
    /// Overwritten once, and removed.
    Wipe,
}

/// An index that was put in the place of another.
struct Exchanged {
    compacted: Compacted,
    /// The one that was in use, and whether it was what the journal has.
    before: Option<Arc<dyn Index>>,
    is_sound: bool,
}

impl Inner {
    pub(super) fn compact(&self, old: Old) -> Result<Compacted, CoreError> {
        let _alone = self.alone()?;
        self.compact_alone(old)
    }

    fn compact_alone(&self, old: Old) -> Result<Compacted, CoreError> {
        drop(self.index()?);
        if self.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.check_journal()?;
        let Some(durable) = &self.durable else {
            return Ok(Compacted {
                bytes_before: 0,
                bytes_after: 0,
                entries: self.len(),
            });
        };
        self.settle_all(true)?;
        // What an earlier one left may be what fills the disk.
        let tidy = || match old {
            Old::Remove => durable.home.remove_leftovers(),
            Old::Wipe => durable.home.wipe_aside(),
        };
        tidy()?;
        let done = on_a_sound_base(&durable.journal, || self.compact_with(durable));
        // Once the exchange has begun, and poisoned the handle, what lies beside may be the index in use.
        if done.is_err() && self.failed().is_none() {
            tidy()?;
        }
        let Exchanged {
            compacted,
            before,
            is_sound,
        } = done?;
        match (before, old) {
            // It writes to its files until it is closed.
            (Some(before), Old::Wipe) => let_go(before).map_err(|_used| CoreError::Busy)?,
            (Some(before), Old::Remove) => {
                give_up(before);
                durable.home.remove_old()?;
            }
            (None, _) => {}
        }
        // Where index and journal were not the same, the journal keeps what it has.
        if old == Old::Remove
            && is_sound
            && let Err(error) = self.shorten(durable)
        {
            tracing::warn!(reason = %chain(&error), "the journal was not shortened behind the compaction");
        }
        Ok(compacted)
    }

    /// Leaves two checkpoints of the journal that follow each other, and next to nothing between them.
    fn shorten(&self, durable: &Durable) -> Result<(), CoreError> {
        let journal = &durable.journal;
        journal.begin_segment().map_err(|e| self.latch(e.into()))?;
        for _ in 0..2 {
            durable.room_for_checkpoint()?;
            let turn = self.take_turn()?;
            self.check_journal()?;
            // A checkpoint has the name of its commit, whose segment stays: one that changes nothing, in the new segment.
            // Who reads the state at the last commit from the journal finds it there until this is the last.
            let applying = self.applying.write();
            let applying = applying.unwrap_or_else(PoisonError::into_inner);
            let appended = journal.append_changes((self.clock)(), std::iter::empty());
            let number = appended.map_err(|e| self.latch(e.into()))?;
            self.last_commit.store(number, Ordering::Release);
            drop(applying);
            drop(turn);
            self.checkpoint_alone(journal)?;
        }
        // The segment with the last mark is gone.
        self.mark()
    }

    fn compact_with(&self, durable: &Durable) -> Result<Exchanged, CoreError> {
        let started = Instant::now();
        let size = || self.path.as_deref().map_or(Ok(0), size::of);
        let bytes_before = size()?;
        // The engine takes up to three times what a checkpoint does.
        let most = durable.live_bytes().saturating_mul(3);
        durable.reserve.room_for(most.min(bytes_before))?;
        let journal = &durable.journal;

        let new = durable.home.open_beside()?;
        let mut through = self.last_commit();
        let merged = journal.merged(through)?;
        let mut meter = self.meter("compact", merged.at_most());
        let (mut digests, _) = compare::heal(&*new, &merged, &mut meter)?;
        drop(merged);
        new.sync()?;
        for _ in 0..ROUNDS {
            through = self.catch_up(durable, &new, through, &mut digests)?;
        }

        // One mark at a time: both speak of the index as a whole.
        let last_mark = durable.last_mark.lock();
        let mut last_mark = last_mark.unwrap_or_else(PoisonError::into_inner);
        // Writers wait from here on.
        let mut turn = self.take_turn()?;
        self.check_journal()?;
        let number = self.catch_up(durable, &new, through, &mut digests)?;
        let expected = self
            .index()
            .and_then(|index| turn.sequence.settled(&*index));
        // Of an index that failed it is not known what was in it.
        let has_failed = self.index_failure().is_some();
        let is_same = expected.map(|expected| expected == digests);
        let was_wrong = !has_failed && matches!(is_same, Ok(false));
        let is_sound = !has_failed && matches!(is_same, Ok(true));
        journal
            .sync_through(number)
            .map_err(|e| self.latch(e.into()))?;
        durable.make_durable(&*new, number)?;
        let_go(new).map_err(|_used| CoreError::Busy)?;
        let before = self.exchange(durable, &digests)?;
        if was_wrong {
            // The journal is what happened, so it is the old index that was not what it said.
            tracing::error!("the index had lost or changed records; the new one has them");
        }
        if !is_sound {
            self.cache.clear();
            self.window_mut().clear();
        }
        turn.sequence.digests = digests.clone();
        let entries = digests.total();
        let marked = durable.mark(number, digests, (self.clock)());
        marked.map_err(|e| self.latch(e))?;
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
        let compacted = Compacted {
            bytes_before,
            bytes_after,
            entries,
        };
        Ok(Exchanged {
            compacted,
            before,
            is_sound,
        })
    }

    /// Applies what was committed since `after` to the new index; returns through which commit.
    fn catch_up(
        &self,
        durable: &Durable,
        new: &Arc<dyn Index>,
        after: u64,
        digests: &mut Digests,
    ) -> Result<u64, CoreError> {
        let through = self.last_commit();
        if through == after {
            return Ok(through);
        }
        let mut meter = self.meter("catch up", 0);
        // Less than beside it: the index in use holds back as much as it may.
        let over = Overlay::new(Arc::clone(new), self.held_back_bytes / 4);
        durable.journal.replay(after, through, |_, changes| {
            for change in changes {
                meter.step()?;
                let Some(tree) = TreeId::from_number(change.tree) else {
                    continue;
                };
                let Some(digest) = digests.of_mut(change.tree) else {
                    continue;
                };
                over.apply(tree, change.key, change.value, &mut |replaced| {
                    digest.remove(change.key, replaced);
                })?;
                over.make_room_for(change.key, change.value)?;
                if let Some(value) = change.value {
                    digest.add(change.key, value);
                }
            }
            Ok::<_, CoreError>(())
        })?;
        settle(&over, digests)?;
        Ok(through)
    }

    /// Puts the index that was made beside, which holds `digests`, in the place of the one in use, which is returned,
    /// and opens it.
    fn exchange(
        &self,
        durable: &Durable,
        digests: &Digests,
    ) -> Result<Option<Arc<dyn Index>>, CoreError> {
        // Nobody writes to the one in use any more.
        let settling = self.settling.lock();
        let _settling = settling.unwrap_or_else(PoisonError::into_inner);
        let opened = durable.home.swap().and_then(|()| durable.home.open());
        let opened = opened.map_err(|error| self.poison(error))?;
        let opened = Arc::new(Overlay::new(opened, self.held_back_bytes));
        let mut failure = self
            .index_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let before = slot.replace(opened);
        // Who counts records sees both the index and what is counted for it.
        self.set_counts(digests);
        drop(slot);
        *failure = None;
        self.has_given_up.store(false, Ordering::Release);
        Ok(before)
    }
}
