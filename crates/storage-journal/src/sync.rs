//! What threads meet at: the standard library's, or the model checker's (`cargo xtask shuttle`).

use std::time::Duration;

#[cfg(nonos_shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(nonos_shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

/// Waits for a change while `condition` is true, for so long at most.
#[cfg(not(nonos_shuttle))]
pub(crate) fn wait_at_most<'a, T>(
    changed: &Condvar,
    _of: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    patience: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    let waited = changed.wait_timeout_while(guard, patience, condition);
    waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
}

/// The model checker knows no time, and its waits never end by themselves: this one does whenever the schedule goes on
/// with its thread.
#[cfg(nonos_shuttle)]
pub(crate) fn wait_at_most<'a, T>(
    _changed: &Condvar,
    of: &'a Mutex<T>,
    mut guard: MutexGuard<'a, T>,
    _patience: Duration,
    mut condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    if !condition(&mut guard) {
        return guard;
    }
    drop(guard);
    shuttle::thread::yield_now();
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
