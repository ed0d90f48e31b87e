//! Closing: the last mark, and the files let go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use storage_journal::Mark;

use super::super::reading::give_up;
use super::super::recovery::chain;
use super::{Inner, Sequence};
use crate::error::CoreError;
use crate::index::Index;
use crate::sync::atomic::Ordering;
use crate::sync::thread;

/// How long closing waits for reads that are under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Inner {
    /// Ends with a clean mark, where nothing stands in the way. Called after the last commit.
    pub(in crate::db) fn close(
        &self,
        index: Arc<dyn Index>,
        sequence: &Sequence,
    ) -> Result<(), CoreError> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        let number = self.last_commit.load(Ordering::Acquire);
        let now_ms = (self.clock)();
        durable.journal.sync_through(number)?;
        if self.index_failure().is_some() {
            // The index on disk is not what the journal answered with: the next open heals it.
            give_up(index);
            return Ok(());
        }
        if durable.is_worth_a_checkpoint() && durable.room_for_checkpoint().is_ok() {
            let settling = self.settle_beside(&index);
            let created_at = now_ms.div_euclid(1000);
            let never = |_| Ok::<_, CoreError>(());
            let written = durable.journal.checkpoint(self.schema(), created_at, never);
            if let Err(error) = written {
                tracing::warn!(error = %chain(&error), "no checkpoint at closing");
            }
            // What it met is met again below.
            let _settled = settling.map(thread::JoinHandle::join);
        }
        durable.make_durable(&*index, number)?;
        let digests = sequence.settled(&*index)?;
        durable.mark(number, digests.clone(), now_ms)?;
        if let_go(index).is_err() {
            // A read is still under way: what it reads must stay. The next open compares.
            tracing::warn!("closing beside a read that does not end: the next opening compares");
            return Ok(durable.journal.sync()?);
        }
        // What the engine wrote since it was opened, it recovers from damage silently wrong; what it
        // found at an opening, never. So it is opened once more.
        let reopened = durable.home.open()?;
        if let_go(reopened).is_err() {
            return Ok(durable.journal.sync()?);
        }
        let mark = Mark {
            digests,
            clean: Some(durable.home.fingerprint()?),
        };
        durable.journal.mark(number, now_ms, &mark)?;
        durable.journal.sync()?;
        // What opening found damaged was told, and is put right.
        Ok(durable.journal.forget_damage()?)
    }
}

impl Inner {
    /// Writes what the index holds back on a thread of its own: a checkpoint reads nothing of it.
    fn settle_beside(&self, index: &Arc<dyn Index>) -> Option<thread::JoinHandle<()>> {
        let index = self.settles_beside.then(|| Arc::clone(index))?;
        let settling = thread::Builder::new().name("nonos-settle".into());
        settling.spawn(move || drop(index.settle())).ok()
    }
}

/// Waits until nobody else uses the index, and drops it; gives it back if somebody still does.
pub(in crate::db) fn let_go(index: Arc<dyn Index>) -> Result<(), Arc<dyn Index>> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    while Arc::strong_count(&index) > 1 {
        if Instant::now() > deadline {
            return Err(index);
        }
        thread::sleep(Duration::from_millis(1));
    }
    drop(index);
    Ok(())
}
