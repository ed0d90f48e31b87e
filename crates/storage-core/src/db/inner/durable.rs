//! What makes commits durable: syncs, marks, and checkpoints when they are worth it.

use std::sync::{Arc, PoisonError};

use storage_journal::digest::Digests;
use storage_journal::{Journal, Mark};

use super::super::recovery::chain;
use super::super::reserve::Reserve;
use super::Inner;
use crate::counters;
use crate::error::CoreError;
use crate::index::{Index, IndexHome, Witness, vouch};
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;

/// The journal, and the place of the index that it can rebuild.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) journal: Journal,
    pub(crate) home: Arc<dyn IndexHome>,
    pub(crate) reserve: Reserve,
    /// The commit of the last mark. Held while marking.
    pub(crate) last_mark: Mutex<u64>,
}

impl Durable {
    /// Makes the index durable, which says itself that it is so through commit `number`.
    pub(crate) fn make_durable(&self, index: &dyn Index, number: u64) -> Result<(), CoreError> {
        let witness = Witness {
            store_id: self.journal.store_id(),
            term: self.journal.term(),
            durable_through: number,
        };
        vouch(index, witness)
    }

    /// Says in the journal that the index is durable through commit `number`.
    pub(crate) fn mark(&self, number: u64, digests: Digests, now_ms: i64) -> Result<(), CoreError> {
        let mark = Mark {
            digests,
            clean: None,
        };
        Ok(self.journal.mark(number, now_ms, &mark)?)
    }

    /// When what came since the last checkpoint is more than min(64 MiB, max(8 MiB, its size)).
    pub(crate) fn checkpoint_is_due(&self) -> bool {
        self.journal.since_checkpoint() > self.checkpoint_limit()
    }

    /// When closing writes a checkpoint: at a quarter of what makes one due.
    pub(super) fn is_worth_a_checkpoint(&self) -> bool {
        self.journal.since_checkpoint() > self.checkpoint_limit() / 4
    }

    fn checkpoint_limit(&self) -> u64 {
        self.journal.checkpoint_size().clamp(8 * MIB, 64 * MIB)
    }

    /// What the live records take at most in a checkpoint, in bytes.
    pub(crate) fn live_bytes(&self) -> u64 {
        let since = self.journal.since_checkpoint();
        self.journal.checkpoint_size().saturating_add(since)
    }

    /// Whether a checkpoint can be written without eating into the reserve.
    pub(in crate::db) fn room_for_checkpoint(&self) -> Result<(), CoreError> {
        self.reserve.room_for(self.live_bytes())
    }
}

const MIB: u64 = 1024 * 1024;

/// What the engine and the journal may write for a mark.
const MARK_ROOM: u64 = MIB;

/// Does what reads the merged stream; where its checkpoint turns out to be damaged, that one is set
/// aside, and it is done again from the one before.
pub(crate) fn on_a_sound_base<R>(
    journal: &Journal,
    work: impl Fn() -> Result<R, CoreError>,
) -> Result<R, CoreError> {
    match work() {
        Err(CoreError::Journal(error)) if journal.set_damaged_aside(&error)? => {
            let reason = chain(&error);
            tracing::error!(%reason, "set a damaged checkpoint aside");
            work()
        }
        done => done,
    }
}

impl Inner {
    /// Makes everything durable, in the journal and in the index.
    pub(crate) fn flush(&self) -> Result<(), CoreError> {
        let _index = self.index()?;
        if self.merged.is_some() {
            return Err(CoreError::ReadOnly);
        }
        self.check_journal()?;
        self.sync_through(self.last_commit.load(Ordering::Acquire))?;
        // Inside the closure of `update` the digests are not this commit's nor the last one's.
        if !self.is_in_update() && !self.is_reading() {
            self.mark()?;
        }
        counters::add(&self.counters.flushes, 1);
        Ok(())
    }

    /// Syncs the journal if so many bytes wait for it.
    pub(crate) fn sync_ahead(&self, bytes: u64) {
        let Some(Durable { journal, .. }) = &self.durable else {
            return;
        };
        if journal.unsynced_bytes() >= bytes
            && self.check_journal().is_ok()
            && let Err(error) = journal.sync_through(self.last_commit.load(Ordering::Acquire))
        {
            self.latch(error.into());
        }
    }

    /// Returns once commit `number` is durable.
    pub(crate) fn sync_through(&self, number: u64) -> Result<(), CoreError> {
        let Some(Durable { journal, .. }) = &self.durable else {
            return Ok(());
        };
        // What is durable stays so, whatever failed or was closed since.
        if journal.synced() < number {
            self.check_journal()?;
            let synced = journal.sync_through(number);
            synced.map_err(|e| self.latch(e.into()))?;
            counters::add(&self.counters.flushes, 1);
        }
        Ok(())
    }

    /// Makes the index durable and says so in the journal, if there is a commit since it was said.
    pub(crate) fn mark(&self) -> Result<(), CoreError> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        self.check_journal()?;
        // First, and whatever the index does: what was committed is to be durable in time.
        self.sync_through(self.last_commit())?;
        let mut last_mark = durable
            .last_mark
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last_mark == self.last_commit() {
            return Ok(());
        }
        // Most of what is held back is written beside the writers, the rest while they wait.
        self.settle_all(false)?;
        let index = self.index()?;
        let turn = self.take_turn()?;
        let number = self.last_commit();
        let digests = turn.sequence.settled(&*index);
        drop(turn);
        let digests = match digests {
            Ok(digests) => digests,
            Err(error) => {
                let _between = self.between_commits();
                self.fall_back(&index, error)?;
                return Ok(());
            }
        };
        // What the journal answers for is not in the index.
        if self.index_failure().is_some() {
            return Ok(());
        }
        self.sync_through(number)?;
        // A mark is not worth the last of the disk: without it the next open compares more. Where nobody can say what is
        // free, it is tried.
        if let Ok(false) = durable.reserve.has_room(MARK_ROOM) {
            return Ok(());
        }
        if let Err(error) = durable.make_durable(&*index, number) {
            let _between = self.between_commits();
            self.fall_back(&index, error)?;
            return Ok(());
        }
        durable
            .mark(number, digests, (self.clock)())
            .map_err(|e| self.latch(e))?;
        *last_mark = number;
        Ok(())
    }

    /// For the background: writes a checkpoint where the policy asks for one; whether none was due, or
    /// it succeeded.
    pub(crate) fn checkpoint_if_needed(&self) -> bool {
        let Some(durable) = &self.durable else {
            return true;
        };
        if self.failed().is_some() || !durable.checkpoint_is_due() {
            return true;
        }
        let written = durable
            .room_for_checkpoint()
            .and_then(|()| self.checkpoint());
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok((commit, bytes)) => {
                tracing::info!(commit, bytes, "wrote a checkpoint");
                *degraded = None;
                true
            }
            Err(CoreError::Closed) => true,
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(%reason, "no checkpoint could be written");
                *degraded = Some(format!("no checkpoint could be written: {reason}"));
                false
            }
        }
    }

    /// Writes a checkpoint into the journal; returns its commit and length in bytes.
    pub(crate) fn checkpoint(&self) -> Result<(u64, u64), CoreError> {
        let Some(Durable { journal, .. }) = &self.durable else {
            return Ok((0, 0));
        };
        let _alone = self.alone()?;
        self.checkpoint_alone(journal)
    }

    /// The same of who has its turn at maintenance.
    pub(in crate::db) fn checkpoint_alone(
        &self,
        journal: &Journal,
    ) -> Result<(u64, u64), CoreError> {
        let created_at = (self.clock)().div_euclid(1000);
        on_a_sound_base(journal, || {
            let mut meter = self.meter("write a checkpoint", 0);
            journal.checkpoint(self.schema(), created_at, |records| meter.steps(records))
        })
    }
}
