//! Reading: between two commits, from the index; from the journal once the index failed.
//!
//! An index that returns an error while the database is open is given up. The merged stream of the
//! journal answers in its place, at the same commit, until the index is rebuilt.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError};

use storage_journal::digest::Digests;
use storage_journal::{Journal, JournalError, Merged};

use super::compare;
use super::inner::{Inner, Sequence};
use super::recovery::chain;
use crate::error::CoreError;
use crate::index::Index;
use crate::index::merged::MergedIndex;
use crate::sync::atomic::Ordering;
use crate::sync::{RwLockReadGuard, lock, thread, thread_local};
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Visit, behind};

/// How often a state is read again that checkpoints overtook.
const TRIES: usize = 10;

thread_local! {
    /// The databases that this thread keeps between two commits.
    static READING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// While it lives no commit is applied.
#[derive(Debug)]
pub(super) struct Between<'a> {
    _guard: Option<RwLockReadGuard<'a, ()>>,
}

impl Drop for Between<'_> {
    fn drop(&mut self) {
        READING.with(|reading| reading.borrow_mut().pop());
    }
}

impl Inner {
    /// Holds commits off. Inside another of this thread it takes no lock: a writer that waits between
    /// the two would wait for ever.
    pub(super) fn between_commits(&self) -> Between<'_> {
        let guard = (!self.is_reading()).then(|| {
            let guard = self.applying.read();
            guard.unwrap_or_else(PoisonError::into_inner)
        });
        READING.with(|reading| reading.borrow_mut().push(self.id));
        Between { _guard: guard }
    }

    /// Whether this thread holds commits off, so that it must not make one.
    pub(super) fn is_reading(&self) -> bool {
        READING.with(|reading| reading.borrow().contains(&self.id))
    }

    pub(super) fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let index = self.index()?;
        match index.get(tree, key) {
            Err(error) => {
                let _between = self.between_commits();
                self.fall_back(&index, error)?.get(tree, key)
            }
            found => found,
        }
    }

    pub(super) fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let _between = self.between_commits();
        let index = self.index()?;
        let mut last: Option<Vec<u8>> = None;
        let mut refused = None;
        let scanned = index.scan(tree, range, order, &mut |key, value| {
            let seen = last.get_or_insert_default();
            seen.clear();
            seen.extend_from_slice(key);
            visit(key, value).or_else(|error| {
                refused = Some(error);
                Ok(false)
            })
        });
        match (scanned, refused) {
            (_, Some(error)) => Err(error),
            (Ok(()), None) => Ok(()),
            (Err(error), None) => {
                let journal = self.fall_back(&index, error)?;
                match last {
                    Some(last) => journal.scan(tree, &behind(range, order, last), order, visit),
                    None => journal.scan(tree, range, order, visit),
                }
            }
        }
    }

    /// The state at the last commit, beside the writers. Where two checkpoints are written between the look at its number
    /// and the reading, nothing reaches back to it any more. That reads as damage, and is none.
    pub(super) fn merged_at_last(&self, journal: &Journal) -> Result<Merged, CoreError> {
        let mut tries = 0;
        loop {
            let last = self.last_commit();
            match journal.merged(last) {
                Err(JournalError::Damaged { .. }) if self.last_commit() > last && tries < TRIES => {
                    tries += 1;
                }
                merged => return Ok(merged?),
            }
        }
    }

    /// Gives up the index that failed; returns what answers from now on, or the error where nothing
    /// else can. Called between two commits.
    pub(super) fn fall_back(
        &self,
        failed: &Arc<dyn Index>,
        error: CoreError,
    ) -> Result<Arc<dyn Index>, CoreError> {
        let failure = self.index_failure.lock();
        let mut failure = failure.unwrap_or_else(PoisonError::into_inner);
        let now = self.index()?;
        if !Arc::ptr_eq(&now, failed) {
            return Ok(now);
        }
        if failure.is_some() {
            return Err(error);
        }
        let reason = chain(&error);
        let (answering, digests) = self
            .answer_from_journal(&mut failure, &reason)
            .ok_or(error)?;
        if let Err(error) = digests {
            tracing::error!(error = %chain(&error), "records could not be counted");
        }
        Ok(answering)
    }

    /// Lets the journal answer with the state at the last commit, which the index has in part at
    /// most. Called while no commit is applied but this one.
    ///
    /// # Errors
    ///
    /// What makes that impossible, which poisons the handle.
    pub(super) fn applied_in_part(
        &self,
        error: CoreError,
        sequence: &mut Sequence,
    ) -> Result<(), CoreError> {
        let reason = chain(&error);
        let failure = self.index_failure.lock();
        let mut failure = failure.unwrap_or_else(PoisonError::into_inner);
        let answering = self.answer_from_journal(&mut failure, &reason);
        match answering.ok_or(error).and_then(|(_, digests)| digests) {
            Ok(digests) => {
                sequence.digests = digests;
                Ok(())
            }
            // Nothing can answer with the whole of it.
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Returns also counts and digests of what answers, or why not all of it can be read: of the index that is given up
    /// nobody knows what blind puts replaced.
    fn answer_from_journal(
        &self,
        failure: &mut Option<String>,
        reason: &str,
    ) -> Option<(Arc<dyn Index>, Result<Digests, CoreError>)> {
        let journal = &self.durable.as_ref()?.journal;
        let open = || Merged::open(&**journal.disk(), journal.directory(), self.last_commit());
        let merged = match open() {
            Err(error) if journal.set_damaged_aside(&error).unwrap_or(false) => open(),
            merged => merged,
        };
        let answering: Arc<dyn Index> = match merged {
            Ok(merged) => Arc::new(MergedIndex::of(merged)),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the journal cannot answer for the index");
                return None;
            }
        };
        tracing::error!(
            reason,
            "the index failed; the journal answers until it is rebuilt"
        );
        let digests = compare::digests(&*answering);
        let mut slot = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // Closed meanwhile: nothing answers any more.
        slot.as_ref()?;
        // Who sees it asks for the reason, and waits until that is there.
        self.has_given_up.store(true, Ordering::Release);
        let given_up = slot.replace(Arc::clone(&answering));
        if let Ok(digests) = &digests {
            self.set_counts(digests);
        }
        drop(slot);
        self.cache.clear();
        self.window_mut().clear();
        failure.get_or_insert_with(|| reason.to_owned());
        if let Some(index) = given_up {
            give_up(index);
        }
        Some((answering, digests))
    }

    /// Why the index is given up, if it is.
    pub(super) fn index_failure(&self) -> Option<String> {
        if !self.has_given_up.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.index_failure).clone()
    }
}

/// Drops an index on a thread of its own: an engine that failed may hang in it.
pub(super) fn give_up(index: Arc<dyn Index>) {
    let dropping = thread::Builder::new().name("nonos-drop-index".into());
    // Without a thread it is dropped here, with the closure.
    let _dropped = dropping.spawn(move || drop(index));
}
