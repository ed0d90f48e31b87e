//! The index: what answers the reads of an open database.
//!
//! It keeps the current entries of the nine trees and can be rebuilt, so it needs neither
//! transactions nor durability of its own. [`Index`] is all that the rest of the crate knows of it,
//! [`IndexHome`] all that it knows of its files.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_journal::digest::TreeDigest;

use crate::changes::Change;
use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read, Visit};

pub(crate) mod home;
pub(crate) mod memory;
pub(crate) mod merged;
pub(crate) mod overlay;
pub(crate) mod packed;
pub(crate) mod simulated;
mod sled;

/// Which store an index belongs to, and through which commit it was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) store_id: [u8; 16],
    pub(crate) term: u64,
    pub(crate) durable_through: u64,
}

/// Entries that may be what they were, and the key behind them.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) entries: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) next: Option<Vec<u8>>,
}

/// How much of what was applied to an index is not written to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HeldBack {
    /// So much that more may come.
    Little,
    /// So much that some of it is to be written.
    Much,
    /// So much that whoever applies more has to write some of it.
    TooMuch,
}

/// What a change costs beside its key and value where it is held back, in bytes.
const CHANGE_OVERHEAD: usize = 80;

/// What a change takes where it is held back, in bytes.
pub(crate) fn held_size(key: &[u8], value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len) + CHANGE_OVERHEAD
}

/// Called with a key and the value that was under it.
pub(crate) type Replaced<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// Entries of the nine trees, in key order.
pub(crate) trait Index: fmt::Debug + Send + Sync {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError>;

    /// Puts or, without a value, removes an entry; calls `replaced` with the value that was there, now or, where what
    /// is applied is held back, never: then [`replaced`](Self::replaced) has it.
    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError>;

    /// Puts and removes entries that come in key order; calls `replaced` with each key and the value that was there.
    fn apply_sorted(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'_>>,
        replaced: Replaced<'_>,
    ) -> Result<(), CoreError> {
        for (key, value) in changes {
            self.apply(tree, key, value, &mut |before| replaced(key, before))?;
        }
        Ok(())
    }

    /// What writing found to be replaced of which `apply` did not tell, since the index was made: all of it once
    /// everything is settled. Once a call failed that is not known.
    fn replaced(&self, _tree: TreeId) -> Result<TreeDigest, CoreError> {
        Ok(TreeDigest::default())
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError>;

    /// What can be read of what is damaged under a key, in any order, and the key from which on reading goes on, if
    /// that is not the next one.
    fn remains(&self, _tree: TreeId, _key: &[u8]) -> Result<Remains, CoreError> {
        Ok(Remains::default())
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError>;

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError>;

    /// Everything applied before the call survives a power cut once it returns.
    fn sync(&self) -> Result<(), CoreError>;

    /// How long its files are, in bytes; 0 of one without.
    fn file_len(&self) -> u64 {
        0
    }

    /// Lets it hold back so many bytes more than it may, from now on: others do not use theirs.
    fn lend(&self, _bytes: u64) {}

    /// How much it holds back of what was applied. One that writes at once holds nothing back.
    fn held_back(&self) -> HeldBack {
        HeldBack::Little
    }

    /// Writes a piece of what it holds back, if that is more than a little; whether there was one that could be
    /// written beside what others write.
    fn settle_some(&self) -> Result<bool, CoreError> {
        Ok(false)
    }

    /// Writes some of it, for one who applied so many bytes: the more, the more.
    fn make_room(&self, _applied: usize) -> Result<(), CoreError> {
        Ok(())
    }

    /// Writes everything that was applied before the call.
    fn settle(&self) -> Result<(), CoreError> {
        Ok(())
    }
}

/// Where an index is kept. While an index that it opened is in use, only [`path`](Self::path),
/// [`open_beside`](Self::open_beside), [`swap`](Self::swap) and what removes things beside it are called.
pub(crate) trait IndexHome: fmt::Debug + Send + Sync {
    fn exists(&self) -> Result<bool, CoreError>;

    /// Opens the index, and makes an empty one where there is none.
    fn open(&self) -> Result<Arc<dyn Index>, CoreError>;

    /// Tells one state of the closed files from another.
    fn fingerprint(&self) -> Result<Vec<u8>, CoreError>;

    /// Renames the index, so that another can take its place; returns its new path.
    fn move_aside(&self, now: i64) -> Result<PathBuf, CoreError>;

    /// Opens a copy of the index: opening may change it, and the original stays as it is.
    fn open_copy(&self) -> Result<Arc<dyn Index>, CoreError>;

    /// An empty index beside this one.
    fn open_beside(&self) -> Result<Arc<dyn Index>, CoreError>;

    /// Puts the index that was made beside, and is closed, in place of this one, if there is one, which
    /// may be in use until it is dropped, but not written any more.
    fn swap(&self) -> Result<(), CoreError>;

    /// Removes what [`swap`](Self::swap) put aside.
    fn remove_old(&self) -> Result<(), CoreError>;

    /// Overwrites and removes everything beside the index: what was put aside, copies, damaged ones.
    fn wipe_aside(&self) -> Result<(), CoreError>;

    /// Undoes a swap that was interrupted between its two renames.
    fn settle(&self) -> Result<(), CoreError>;

    /// Removes copies and indexes beside that an interruption left.
    fn remove_leftovers(&self) -> Result<(), CoreError>;

    /// Anything beside the path that says that there was a database.
    fn sibling(&self) -> Result<Option<PathBuf>, CoreError>;

    /// The directory of the index; an index in memory has none.
    fn path(&self) -> Option<&Path>;
}

/// Makes all of an index durable, and then that it is: over a power cut an engine keeps neither order nor wholes, so
/// what it says must not be there before what it speaks of.
pub(crate) fn vouch(index: &dyn Index, witness: Witness) -> Result<(), CoreError> {
    index.sync()?;
    index.set_witness(witness)?;
    index.sync()
}

/// An index as a state to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexReader<I>(pub(crate) I);

impl<I: Deref<Target: Index> + fmt::Debug> Read for IndexReader<I> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        self.0.get(tree, key)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.0.scan(tree, range, order, visit)
    }
}
