//! An index in memory, gone at drop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Index;
use crate::error::CoreError;
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct MemoryIndex {
    trees: PerTree<RwLock<Entries>>,
    last_commit: AtomicU64,
}

impl MemoryIndex {
    fn read(&self, tree: TreeId) -> RwLockReadGuard<'_, Entries> {
        let entries = self.trees.of(tree).read();
        entries.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, tree: TreeId) -> RwLockWriteGuard<'_, Entries> {
        let entries = self.trees.of(tree).write();
        entries.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        Ok(self.read(tree).get(key).cloned())
    }

    fn apply(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>) -> Result<bool, CoreError> {
        let mut entries = self.write(tree);
        let before = match value {
            Some(value) => entries.insert(key.to_vec(), value.to_vec()),
            None => entries.remove(key),
        };
        Ok(before.is_some())
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        if view::is_empty(range) {
            return Ok(());
        }
        let entries = self.read(tree);
        let mut found = entries.range::<[u8], _>(view::as_slices(range));
        let mut next = || match order {
            Order::Ascending => found.next(),
            Order::Descending => found.next_back(),
        };
        while let Some((key, value)) = next() {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn last_commit(&self) -> Result<u64, CoreError> {
        Ok(self.last_commit.load(Ordering::Acquire))
    }

    fn set_last_commit(&self, number: u64) -> Result<(), CoreError> {
        self.last_commit.store(number, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> Result<(), CoreError> {
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}
