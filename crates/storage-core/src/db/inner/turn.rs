//! Whose turn it is to write.

use std::cell::RefCell;
use std::sync::PoisonError;

use super::{Inner, Sequence};
use crate::error::CoreError;
use crate::sync::{MutexGuard, thread_local};

/// A thread's turn to write; ends at drop, on a panic as well.
#[derive(Debug)]
pub(in crate::db) struct Turn<'a> {
    pub(in crate::db) sequence: MutexGuard<'a, Sequence>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        IN_UPDATE.with(|inside| inside.borrow_mut().pop());
    }
}

thread_local! {
    /// The databases whose `update` this thread is inside of.
    static IN_UPDATE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Outlives every execution of the model checker, so it is none of its own.
pub(super) static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Inner {
    /// Whether this thread is inside the closure of an update of this database.
    pub(in crate::db) fn is_in_update(&self) -> bool {
        IN_UPDATE.with(|inside| inside.borrow().contains(&self.id))
    }

    /// Waits for this thread's turn to write.
    pub(in crate::db) fn take_turn(&self) -> Result<Turn<'_>, CoreError> {
        if self.is_in_update() || self.is_reading() {
            return Err(CoreError::Reentrant);
        }
        // A panic in a closure poisons the mutex and nothing else: its commit was never applied.
        let sequencer = self.sequencer.lock();
        let sequencer = sequencer.unwrap_or_else(PoisonError::into_inner);
        IN_UPDATE.with(|inside| inside.borrow_mut().push(self.id));
        Ok(Turn {
            sequence: sequencer,
        })
    }
}
