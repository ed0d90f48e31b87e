//! The merged stream as an index that is only read: no lock, no write, no engine.

use std::sync::{Arc, PoisonError};

use storage_journal::Merged;

use super::{Index, Witness};
use crate::error::CoreError;
use crate::sync::RwLock;
use crate::tree::TreeId;
use crate::view::{self, KeyRange, Order, Visit};

/// A state of the journal, which can be exchanged for a newer one.
#[derive(Debug)]
pub(crate) struct MergedIndex {
    state: RwLock<Arc<Merged>>,
}

impl MergedIndex {
    pub(crate) fn of(state: Merged) -> Self {
        Self {
            state: RwLock::new(Arc::new(state)),
        }
    }

    pub(crate) fn exchange(&self, newer: Self) {
        let newer = newer.state.into_inner();
        let newer = newer.unwrap_or_else(PoisonError::into_inner);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = newer;
    }

    pub(crate) fn state(&self) -> Arc<Merged> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Index for MergedIndex {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        Ok(self.state().get(tree.number(), key)?)
    }

    fn apply(
        &self,
        _tree: TreeId,
        _key: &[u8],
        _value: Option<&[u8]>,
        _replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        Err(CoreError::ReadOnly)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let state = self.state();
        let backwards = order == Order::Descending;
        for entry in state.entries(tree.number(), view::as_slices(range), backwards) {
            let (key, value) = entry?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        Ok(None)
    }

    fn set_witness(&self, _witness: Witness) -> Result<(), CoreError> {
        Err(CoreError::ReadOnly)
    }

    fn sync(&self) -> Result<(), CoreError> {
        Err(CoreError::ReadOnly)
    }
}
