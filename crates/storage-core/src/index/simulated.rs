//! The home of an index in memory, which forgets at a crash what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use storage_journal::disk::SimulatedDisk;

use super::memory::{self, MemoryIndex, Trees};
use super::packed::{self, Packed};
use super::{Index, IndexHome, Witness};
use crate::error::CoreError;
use crate::sync::{Mutex, lock};
use crate::tree::{PerTree, TreeId};

pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
pub(super) type Change = (TreeId, Vec<u8>, Option<Vec<u8>>);

/// What an index holds durably, and what it may forget.
#[derive(Clone, Debug, Default)]
struct Stored {
    durable: PerTree<Entries>,
    witness: Option<Witness>,
    /// What was said since, and may be forgotten or kept by itself.
    said: Option<Witness>,
    unsynced: Vec<Change>,
    state: u64,
    /// How many calls succeed before all fail.
    breaks_after: Option<u64>,
    /// Of the index that was opened last.
    open: Weak<Trees>,
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

/// The names that an index may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Live,
    Beside,
    Old,
}

/// Indexes and their names: an open one goes on under another name.
#[derive(Clone, Debug, Default)]
struct Files {
    names: BTreeMap<Name, usize>,
    stored: Vec<Stored>,
    /// How many renames of a swap succeed before one fails.
    renames_left: Option<u64>,
}

impl Files {
    fn live(&self) -> Option<&Stored> {
        self.stored.get(*self.names.get(&Name::Live)?)
    }

    fn rename(&mut self, from: Name, to: Name) {
        if let Some(file) = self.names.remove(&from) {
            self.names.insert(to, file);
        }
    }

    /// The file of a name; an empty one is made where there is none.
    fn file(&mut self, name: Name) -> usize {
        let stored = &mut self.stored;
        *self.names.entry(name).or_insert_with(|| {
            stored.push(Stored::default());
            stored.len() - 1
        })
    }
}

/// What was stored when the disk had made so many changes.
type History = Arc<Mutex<Vec<(usize, Files)>>>;

/// The home of an index in memory that a test can crash. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedHome {
    files: Arc<Mutex<Files>>,
    /// The disk whose trace is the clock, and what was stored when.
    history: Option<(SimulatedDisk, History)>,
}

impl SimulatedHome {
    /// A home that keeps its history, so that a crash of `disk` after any prefix of its trace finds
    /// the index as it was then.
    pub fn beside(disk: &SimulatedDisk) -> Self {
        Self::default().watching(disk)
    }

    /// The same index, which keeps its history from now on beside this disk.
    #[must_use]
    pub fn watching(&self, disk: &SimulatedDisk) -> Self {
        let home = Self {
            files: Arc::new(Mutex::new(lock(&self.files).clone())),
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
        let files = then.map(|(_, files)| files.clone()).unwrap_or_default();
        Self::of(files)
    }

    /// The same index, at this moment, apart from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(lock(&self.files).clone())
    }

    fn of(files: Files) -> Self {
        Self {
            files: Arc::new(Mutex::new(files)),
            history: None,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Files) -> T) -> T {
        let mut files = lock(&self.files);
        let changed = change(&mut files);
        if let Some((disk, history)) = &self.history {
            lock(history).push((disk.trace_len(), files.clone()));
        }
        changed
    }

    /// A change that a crash may come before or after.
    fn step<T>(&self, change: impl FnOnce(&mut Files) -> T) -> T {
        if let Some((disk, _)) = &self.history {
            disk.tick();
        }
        self.change(change)
    }

    /// The index after a crash: of what was not synced, `keep` chooses by number what is there.
    #[must_use]
    pub fn crash(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut files = lock(&self.files).clone();
        let mut number = 0;
        let mut keep = || {
            number += 1;
            keep(number)
        };
        for stored in &mut files.stored {
            stored.settle(|_| keep());
            let said = stored.said.take().filter(|_| keep());
            stored.witness = said.or(stored.witness);
        }
        Self::of(files)
    }

    /// Changes the stored entries of a tree behind everybody's back, as damage does.
    pub fn damage(&self, tree: TreeId, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        self.change(|files| {
            let live = files.file(Name::Live);
            if let Some(stored) = files.stored.get_mut(live) {
                let entries = stored.durable.of_mut(tree);
                *entries = packed::undone(tree, entries);
                change(entries);
                stored.state += 1;
            }
        });
    }

    /// Puts any bytes under a key, as they lie in the index: in a tree of blocks, as one.
    pub fn plant(&self, tree: TreeId, key: &[u8], stored: &[u8]) {
        self.change(|files| {
            let live = files.file(Name::Live);
            if let Some(file) = files.stored.get_mut(live) {
                let entries = file.durable.of_mut(tree);
                entries.insert(key.to_vec(), stored.to_vec());
                file.state += 1;
            }
        });
    }

    /// Changes the entries of a tree in the open index alone, as damage does that it has read. A fork shares it.
    pub fn damage_open(&self, tree: TreeId, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        let open = lock(&self.files).live().map(|stored| stored.open.clone());
        if let Some(trees) = open.and_then(|open| open.upgrade()) {
            let mut entries = memory::write(&trees, tree);
            *entries = packed::undone(tree, &entries);
            change(&mut entries);
        }
    }

    /// Lets every call of the index fail after so many more, until it is opened again.
    pub fn break_after(&self, calls: u64) {
        self.change(|files| {
            let live = files.file(Name::Live);
            if let Some(stored) = files.stored.get_mut(live) {
                stored.breaks_after = Some(calls);
            }
        });
    }

    /// Lets exchanging the index for another fail after so many renames, once.
    pub fn break_swap_after(&self, renames: u64) {
        self.change(|files| files.renames_left = Some(renames));
    }

    fn rename(&self, from: Name, to: Name) -> Result<(), CoreError> {
        self.step(|files| match files.renames_left {
            Some(0) => {
                files.renames_left = None;
                let source = io::Error::other("it was to fail");
                Err(CoreError::io("rename", Path::new("simulated"), source))
            }
            left => {
                files.renames_left = left.map(|left| left - 1);
                files.rename(from, to);
                Ok(())
            }
        })
    }

    /// Removes the index.
    pub fn remove(&self) {
        self.step(|files| files.names.remove(&Name::Live));
    }

    fn open_named(&self, name: Name) -> Arc<dyn Index> {
        let (number, stored) = self.change(|files| {
            let number = files.file(name);
            let stored = files.stored.get_mut(number).map(|stored| {
                // What was written before is with the operating system, and read again.
                stored.settle(|_| true);
                stored.witness = stored.said.or(stored.witness);
                stored.breaks_after = None;
                stored.clone()
            });
            (number, stored.unwrap_or_default())
        });
        let file = SimulatedFile {
            home: self.clone(),
            number,
        };
        let index = MemoryIndex::with(&stored.durable, stored.witness, Some(file));
        self.change(|files| {
            if let Some(stored) = files.stored.get_mut(number) {
                stored.open = index.trees();
            }
        });
        Arc::new(Packed::new(Arc::new(index)))
    }
}

/// Where an open index writes to, whatever its name.
#[derive(Debug)]
pub(super) struct SimulatedFile {
    home: SimulatedHome,
    number: usize,
}

impl SimulatedFile {
    pub(super) fn wrote(&self, change: Change) {
        self.change(|stored| stored.unsynced.push(change));
    }

    /// A crash may come between what was said and its sync.
    pub(super) fn said(&self, witness: Witness) {
        self.change(|stored| stored.said = Some(witness));
        self.home.step(|_| {});
    }

    pub(super) fn synced(&self, witness: Option<Witness>) {
        self.change(|stored| {
            stored.settle(|_| true);
            (stored.witness, stored.said) = (witness, None);
        });
    }

    pub(super) fn call(&self) -> Result<(), CoreError> {
        let mut files = lock(&self.home.files);
        let stored = files.stored.get_mut(self.number);
        match stored.and_then(|stored| stored.breaks_after.as_mut()) {
            Some(0) => Err(CoreError::IndexDamaged {
                path: PathBuf::from("simulated"),
                source: "it was to fail".into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Stored)) {
        self.home.change(|files| {
            if let Some(stored) = files.stored.get_mut(self.number) {
                change(stored);
            }
        });
    }
}

impl IndexHome for SimulatedHome {
    fn exists(&self) -> Result<bool, CoreError> {
        Ok(lock(&self.files).live().is_some())
    }

    fn open(&self) -> Result<Arc<dyn Index>, CoreError> {
        Ok(self.open_named(Name::Live))
    }

    fn fingerprint(&self) -> Result<Vec<u8>, CoreError> {
        let files = lock(&self.files);
        let state = files.live().map_or(0, |stored| stored.state);
        Ok(state.to_be_bytes().to_vec())
    }

    fn move_aside(&self, _now: i64) -> Result<PathBuf, CoreError> {
        self.remove();
        Ok(PathBuf::from("aside"))
    }

    fn open_copy(&self) -> Result<Arc<dyn Index>, CoreError> {
        let stored = lock(&self.files).live().cloned().unwrap_or_default();
        let copy = MemoryIndex::with(&stored.durable, stored.witness, None);
        Ok(Arc::new(Packed::new(Arc::new(copy))))
    }

    fn open_beside(&self) -> Result<Arc<dyn Index>, CoreError> {
        self.step(|files| files.names.remove(&Name::Beside));
        Ok(self.open_named(Name::Beside))
    }

    fn swap(&self) -> Result<(), CoreError> {
        self.step(|files| files.names.remove(&Name::Old));
        self.rename(Name::Live, Name::Old)?;
        self.rename(Name::Beside, Name::Live)
    }

    fn remove_old(&self) -> Result<(), CoreError> {
        self.step(|files| files.names.remove(&Name::Old));
        Ok(())
    }

    fn wipe_aside(&self) -> Result<(), CoreError> {
        self.remove_leftovers()
    }

    fn settle(&self) -> Result<(), CoreError> {
        if !self.exists()? {
            self.step(|files| files.rename(Name::Old, Name::Live));
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<(), CoreError> {
        self.step(|files| files.names.retain(|name, _| *name == Name::Live));
        Ok(())
    }

    fn sibling(&self) -> Result<Option<PathBuf>, CoreError> {
        let files = lock(&self.files);
        let sibling = files.names.keys().find(|name| **name != Name::Live);
        Ok(sibling.map(|name| PathBuf::from(format!("{name:?}"))))
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}
