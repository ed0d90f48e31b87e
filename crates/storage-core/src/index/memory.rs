//! An index in memory: gone at drop, or kept by a [`SimulatedHome`] that forgets at a crash what
//! was not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use storage_journal::disk::SimulatedDisk;

use super::{Index, IndexHome, Witness};
use crate::error::CoreError;
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct MemoryIndex {
    trees: PerTree<RwLock<Entries>>,
    witness: Mutex<Option<Witness>>,
    home: Option<SimulatedHome>,
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

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        if let Some(home) = &self.home {
            let change = (tree, key.to_vec(), value.map(<[u8]>::to_vec));
            home.change(|stored| stored.unsynced.push(change));
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

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        Ok(*lock(&self.witness))
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        *lock(&self.witness) = Some(witness);
        Ok(())
    }

    fn sync(&self) -> Result<(), CoreError> {
        if let Some(home) = &self.home {
            home.change(|stored| {
                stored.settle(|_| true);
                stored.witness = *lock(&self.witness);
            });
        }
        Ok(())
    }
}

type Change = (TreeId, Vec<u8>, Option<Vec<u8>>);

/// What a simulated index holds durably, and what it may forget.
#[derive(Clone, Debug, Default)]
struct Stored {
    exists: bool,
    durable: PerTree<Entries>,
    witness: Option<Witness>,
    unsynced: Vec<Change>,
    state: u64,
}

impl Stored {
    /// Keeps those of the unsynced changes that `keep` chooses, in order; forgets the others.
    fn settle(&mut self, mut keep: impl FnMut(&Change) -> bool) {
        for change in std::mem::take(&mut self.unsynced) {
            if keep(&change) {
                let (tree, key, value) = change;
                let entries = self.durable.of_mut(tree);
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
        }
        self.state += 1;
    }
}

/// What was stored when the disk had made so many changes.
type History = Arc<Mutex<Vec<(usize, Stored)>>>;

/// The home of an index in memory that a test can crash. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedHome {
    stored: Arc<Mutex<Stored>>,
    /// The disk whose trace is the clock, and what was stored when.
    history: Option<(SimulatedDisk, History)>,
}

impl SimulatedHome {
    /// A home that keeps its history, so that a crash of `disk` after any prefix of its trace finds
    /// the index as it was then.
    pub fn beside(disk: &SimulatedDisk) -> Self {
        let home = Self {
            stored: Arc::default(),
            history: Some((disk.clone(), Arc::default())),
        };
        home.change(|_| {});
        home
    }

    /// The index as it was when the disk had made so many changes.
    #[must_use]
    pub fn at(&self, prefix: usize) -> Self {
        let Some((_, history)) = &self.history else {
            return self.fork();
        };
        let history = lock(history);
        let then = history.iter().rev().find(|(at, _)| *at <= prefix);
        let stored = then.map(|(_, stored)| stored.clone()).unwrap_or_default();
        Self::of(stored)
    }

    /// The same index, at this moment, apart from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(lock(&self.stored).clone())
    }

    fn of(stored: Stored) -> Self {
        Self {
            stored: Arc::new(Mutex::new(stored)),
            history: None,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Stored)) {
        let mut stored = lock(&self.stored);
        change(&mut stored);
        if let Some((disk, history)) = &self.history {
            lock(history).push((disk.trace_len(), stored.clone()));
        }
    }

    /// The index after a crash: of what was not synced, `keep` chooses by number what is there.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut crashed = lock(&self.stored).clone();
        let mut number = 0;
        crashed.settle(|_| {
            number += 1;
            keep(number)
        });
        Self::of(crashed)
    }

    /// Changes the stored entries of a tree behind everybody's back, as damage does.
    pub fn damage(&self, tree: TreeId, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        self.change(|stored| {
            change(stored.durable.of_mut(tree));
            stored.state += 1;
        });
    }

    /// Removes the index.
    pub fn remove(&self) {
        self.change(|stored| *stored = Stored::default());
    }
}

impl IndexHome for SimulatedHome {
    fn exists(&self) -> Result<bool, CoreError> {
        Ok(lock(&self.stored).exists)
    }

    fn open(&self) -> Result<Arc<dyn Index>, CoreError> {
        self.change(|stored| {
            stored.exists = true;
            // What was written before is with the operating system, and read again.
            stored.settle(|_| true);
        });
        let stored = lock(&self.stored);
        let index = MemoryIndex {
            trees: PerTree::default(),
            witness: Mutex::new(stored.witness),
            home: Some(self.clone()),
        };
        for tree in TreeId::ALL {
            index.write(tree).clone_from(stored.durable.of(tree));
        }
        Ok(Arc::new(index))
    }

    fn fingerprint(&self) -> Result<Vec<u8>, CoreError> {
        Ok(lock(&self.stored).state.to_be_bytes().to_vec())
    }

    fn move_aside(&self, _now: i64) -> Result<PathBuf, CoreError> {
        self.remove();
        Ok(PathBuf::from("aside"))
    }

    fn open_copy(&self) -> Result<Arc<dyn Index>, CoreError> {
        let index = MemoryIndex::default();
        let stored = lock(&self.stored);
        *lock(&index.witness) = stored.witness;
        for tree in TreeId::ALL {
            index.write(tree).clone_from(stored.durable.of(tree));
        }
        Ok(Arc::new(index))
    }

    fn open_beside(&self) -> Result<Arc<dyn Index>, CoreError> {
        self.remove();
        self.open()
    }

    fn swap(&self) -> Result<(), CoreError> {
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<(), CoreError> {
        Ok(())
    }

    fn sibling(&self) -> Result<Option<PathBuf>, CoreError> {
        Ok(None)
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
