//! An index in memory: gone at drop, or kept by a simulated home that forgets at a crash what was
//! not synced.

use std::sync::{Arc, PoisonError, Weak};

use super::simulated::{Entries, SimulatedFile};
use super::{Index, Witness};
use crate::error::CoreError;
use crate::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, lock};
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

/// Entries that a scan copies in one go.
const PAGE: usize = 16;

pub(super) type Trees = PerTree<RwLock<Entries>>;

#[derive(Debug, Default)]
pub(crate) struct MemoryIndex {
    trees: Arc<Trees>,
    witness: Mutex<Option<Witness>>,
    file: Option<SimulatedFile>,
}

impl MemoryIndex {
    /// One that holds these entries, and tells a file of what is done to it.
    pub(super) fn with(
        durable: &PerTree<Entries>,
        witness: Option<Witness>,
        file: Option<SimulatedFile>,
    ) -> Self {
        let index = Self {
            trees: Arc::default(),
            witness: Mutex::new(witness),
            file,
        };
        for tree in TreeId::ALL {
            index.write(tree).clone_from(durable.of(tree));
        }
        index
    }

    /// Counts a call of a simulated index, which fails if that was asked for.
    fn call(&self) -> Result<(), CoreError> {
        self.file.as_ref().map_or(Ok(()), SimulatedFile::call)
    }

    fn read(&self, tree: TreeId) -> RwLockReadGuard<'_, Entries> {
        let entries = self.trees.of(tree).read();
        entries.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, tree: TreeId) -> RwLockWriteGuard<'_, Entries> {
        write(&self.trees, tree)
    }

    /// The first entries of a range, as a scan in this order meets them.
    fn page(&self, tree: TreeId, range: &KeyRange, order: Order) -> Vec<(Vec<u8>, Vec<u8>)> {
        if view::is_empty(range) {
            return Vec::new();
        }
        let entries = self.read(tree);
        let found = entries.range::<[u8], _>(view::as_slices(range));
        let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        match order {
            Order::Ascending => found.take(PAGE).map(copy).collect(),
            Order::Descending => found.rev().take(PAGE).map(copy).collect(),
        }
    }

    /// What it holds, for damage.
    pub(super) fn trees(&self) -> Weak<Trees> {
        Arc::downgrade(&self.trees)
    }
}

pub(super) fn write(trees: &Trees, tree: TreeId) -> RwLockWriteGuard<'_, Entries> {
    let entries = trees.of(tree).write();
    entries.unwrap_or_else(PoisonError::into_inner)
}

impl Index for MemoryIndex {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        self.call()?;
        Ok(self.read(tree).get(key).cloned())
    }

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        self.call()?;
        if let Some(file) = &self.file {
            file.wrote((tree, key.to_vec(), value.map(<[u8]>::to_vec)));
        }
        let mut entries = self.write(tree);
        let before = match value {
            Some(value) => entries.insert(key.to_vec(), value.to_vec()),
            None => entries.remove(key),
        };
        if let Some(before) = before {
            replaced(&before);
        }
        Ok(())
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
        self.call()?;
        let mut rest = range.clone();
        loop {
            // No lock while it is visited: the engine has none either, and others write meanwhile.
            let page = self.page(tree, &rest, order);
            let is_last = page.len() < PAGE;
            for (key, value) in &page {
                if !visit(key, value)? {
                    return Ok(());
                }
                self.call()?;
            }
            match page.into_iter().next_back() {
                Some((last, _)) if !is_last => rest = view::behind(&rest, order, last),
                _ => return Ok(()),
            }
        }
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        Ok(*lock(&self.witness))
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        *lock(&self.witness) = Some(witness);
        if let Some(file) = &self.file {
            file.said(witness);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), CoreError> {
        self.call()?;
        if let Some(file) = &self.file {
            file.synced(*lock(&self.witness));
        }
        Ok(())
    }
}
