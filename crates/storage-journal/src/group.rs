//! Group commit: threads that wait for durability share one sync.
//!
//! One of the waiting threads syncs for all. Without more, groups alternate between one thread and
//! all others, as those that were just released miss the next sync by microseconds. So the one that
//! syncs first waits for as many as the last group had, for at most a quarter of what a sync takes.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, wait_at_most};

#[cfg(all(test, nonos_shuttle))]
mod schedules;

/// The longest wait for others, whatever a sync takes.
const MAX_GATHERING: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The last number known durable; changed while the state is locked.
    synced: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    syncing: bool,
    /// Threads that came since the last sync began.
    arrived: usize,
    last_group: usize,
    last_cost: Duration,
}

impl Group {
    pub(crate) fn new(synced: u64) -> Self {
        Self {
            synced: AtomicU64::new(synced),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The last number known durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Notes that everything through `number` is durable.
    pub(crate) fn note(&self, number: u64) {
        let _state = self.lock();
        self.synced.fetch_max(number, Ordering::AcqRel);
        self.changed.notify_all();
    }

    /// Returns once `number` is durable. `sync` makes durable what there is and returns through
    /// which number; it runs in one thread at a time, for all that wait.
    pub(crate) fn wait_for<E>(
        &self,
        number: u64,
        sync: impl Fn() -> Result<u64, E>,
    ) -> Result<(), E> {
        if self.synced() >= number {
            return Ok(());
        }
        let mut state = self.lock();
        state.arrived += 1;
        self.changed.notify_all();
        let result = loop {
            if self.synced() >= number {
                break Ok(());
            }
            if state.syncing {
                state = self.wait(state);
                continue;
            }
            state.syncing = true;
            state = self.gather(state);
            let group = std::mem::take(&mut state.arrived);
            drop(state);
            let started = Instant::now();
            let synced = sync();
            state = self.lock();
            state.syncing = false;
            state.last_group = group;
            state.last_cost = started.elapsed();
            match synced {
                Ok(through) => {
                    self.synced.fetch_max(through, Ordering::AcqRel);
                }
                Err(error) => break Err(error),
            }
        };
        drop(state);
        self.changed.notify_all();
        result
    }

    fn gather<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let patience = (state.last_cost / 4).min(MAX_GATHERING);
        let expected = state.last_group;
        wait_at_most(&self.changed, &self.state, state, patience, |state| {
            state.arrived < expected
        })
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
