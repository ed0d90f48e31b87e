//! Small records packed: the index below has blocks of them, under one key each.
//!
//! The engine takes about as long for an entry of two kilobytes as for one of a hundred bytes, and as
//! much memory and disk beside it. So the trees that grow at their end are kept in blocks. A block holds
//! every entry from its own key up to the key of the next one; what else may be in it is not read. An
//! entry that is alone is kept as it is, so a tree without blocks, as the first implementation wrote it,
//! is a packed one as well.
//!
//! ```text
//! 0  8  FE 'PACKED' 01
//! 8  4  crc32, LE, of what follows
//!    -  entries in key order: key length u32 LE, value length u32 LE, key, value
//! ```
//!
//! # Invariants
//!
//! A block that grew too long is cut: its later entries go to blocks of their own. After a crash the index
//! below may have kept any of what was not synced, so:
//!
//! - The index holds what it held when it was last synced, whatever of the later changes it kept. The
//!   block that was cut, and those that are cut from it, keep what they give away, behind their ends,
//!   until the others are synced; and a block keeps its key, whatever becomes of the entry there. The key
//!   is removed once nothing is left, when the block before has nothing behind its end that would come to
//!   light.
//! - Whoever reads meanwhile misses no entry that is not being changed, meets none twice, and none that was removed before:
//!   blocks are read some at a time, and not while one of them is changed.
//! - A block that is not whole is an error, never an entry that is not there.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::simulated::Entries;
use super::{Index, Remains, Replaced, Witness};
use crate::changes::Change;
use crate::error::CoreError;
use crate::index::sled::PIECE_LEN;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock, lock};
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

mod block;
mod reading;
#[cfg(test)]
mod tests;

use block::{Block, cut, pack, pieces, size, unpack};

/// No frame begins so, and no value of the first implementation: it would be a text or a number of 2^56 and more.
const MARK: &[u8] = b"\xfePACKED\x01";
const HEADER_LEN: usize = MARK.len() + 4;
/// What a block takes at most, unless it is one entry. The engine keeps up to 16 of them in a page.
const FULL: usize = 2048;
/// How many blocks there may be that are not known to be synced.
const MOST_FRESH: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Packed {
    index: Arc<dyn Index>,
    /// Held for writing while a block of a tree is changed, with those that it is cut into; for reading while some are
    /// read, as the index below may show what was there before beside what is there now.
    changing: PerTree<RwLock<()>>,
    /// Keys that became those of a block since the last sync, with the number of syncs that were begun before.
    fresh: PerTree<Mutex<BTreeMap<Vec<u8>, u64>>>,
    syncs: AtomicU64,
}

/// What is under a key.
type Entry<'a> = (&'a [u8], &'a [u8]);

/// The trees whose keys come in order: their blocks are full, and changed one after the other.
pub(super) fn is_packed(tree: TreeId) -> bool {
    use TreeId::{AuditLog, Claims, Epochs, Metrics};
    matches!(tree, Metrics | Epochs | Claims | AuditLog)
}

impl Packed {
    /// Over `index`, which nobody else writes to.
    pub(crate) fn new(index: Arc<dyn Index>) -> Self {
        Self {
            index,
            changing: PerTree::default(),
            fresh: PerTree::default(),
            syncs: AtomicU64::new(0),
        }
    }

    /// The first block of a range in this order.
    fn first(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
    ) -> Result<Option<Block>, CoreError> {
        let mut found = None;
        self.index.scan(tree, range, order, &mut |key, stored| {
            let (key, stored) = (key.to_vec(), stored.to_vec());
            found = Some(Block { key, stored });
            Ok(false)
        })?;
        Ok(found)
    }

    /// The block that has this key, if one does.
    fn block_of(&self, tree: TreeId, key: &[u8]) -> Result<Option<Block>, CoreError> {
        let through = (Bound::Unbounded, Bound::Included(key.to_vec()));
        self.first(tree, &through, Order::Descending)
    }

    fn block_behind(&self, tree: TreeId, key: &[u8]) -> Result<Option<Block>, CoreError> {
        let behind = (Bound::Excluded(key.to_vec()), Bound::Unbounded);
        self.first(tree, &behind, Order::Ascending)
    }

    /// Changes entries that come in key order, block by block.
    fn change(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'_>>,
        replaced: Replaced<'_>,
    ) -> Result<(), CoreError> {
        let mut changes = changes.peekable();
        while let Some((first, _)) = changes.peek() {
            let changing = self.changing.of(tree).write();
            let _changing = changing.unwrap_or_else(PoisonError::into_inner);
            let block = self.block_of(tree, first)?;
            let next = self.block_behind(tree, first)?;
            let end = next.as_ref().map(|next| next.key.as_slice());
            let is_inside = |(key, _): &Change<'_>| end.is_none_or(|end| *key < end);
            let inside: Vec<_> = std::iter::from_fn(|| changes.next_if(is_inside)).collect();
            self.rewrite(tree, block.as_ref(), &inside, end, replaced)?;
        }
        Ok(())
    }

    /// Puts what `changed` makes of a block, or of none, where the next one begins at `end`.
    fn rewrite(
        &self,
        tree: TreeId,
        block: Option<&Block>,
        changed: &[Change<'_>],
        end: Option<&[u8]>,
        replaced: Replaced<'_>,
    ) -> Result<(), CoreError> {
        let (own, given_away) = match block {
            Some(block) => self.parts(tree, block, end)?,
            None => (Vec::new(), Vec::new()),
        };
        let mut entries: BTreeMap<&[u8], &[u8]> = own.iter().copied().collect();
        for (key, value) in changed {
            let before = match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(key),
            };
            if let Some(before) = before {
                replaced(key, before);
            }
        }
        let entries: Vec<Entry<'_>> = entries.into_iter().collect();
        let runs = cut(&entries, end.is_none());
        let Some((first, others)) = runs.split_first() else {
            return match block {
                Some(block) => self.remove(tree, block, &given_away, end),
                None => Ok(()),
            };
        };
        // What was there already is in each block from which on it may be sought if a later one is lost.
        let behind = |next: Option<&&[Entry<'_>]>| -> Vec<Entry<'_>> {
            let start = next.and_then(|run| run.first()).map(|(key, _)| *key);
            let moved = own
                .iter()
                .filter(|(key, _)| start.is_some_and(|start| *key >= start));
            moved.chain(&given_away).copied().collect()
        };
        for (number, run) in others.iter().enumerate().rev() {
            let behind = self.in_one_piece(run, behind(others.get(number + 1)))?;
            self.put_fresh(tree, run, &behind)?;
        }
        let behind = self.in_one_piece(first, behind(others.first()))?;
        let Some(block) = block else {
            return self.put_fresh(tree, first, &behind);
        };
        let stored = pack(&block.key, first, &behind);
        if stored == block.stored {
            return Ok(());
        }
        self.index
            .apply(tree, &block.key, Some(&stored), &mut |_| {})
    }

    /// What a block keeps of what it gives away: nothing, if it would not go into one piece of the index below, of which
    /// a crash keeps all or nothing. Then the blocks behind, which are put by now, are synced first.
    fn in_one_piece<'a>(
        &self,
        own: &[Entry<'_>],
        given_away: Vec<Entry<'a>>,
    ) -> Result<Vec<Entry<'a>>, CoreError> {
        let len = |entries: &[Entry<'_>]| entries.iter().map(size).sum::<usize>();
        if given_away.is_empty() || HEADER_LEN + len(own) + len(&given_away) <= PIECE_LEN {
            return Ok(given_away);
        }
        self.sync()?;
        Ok(Vec::new())
    }

    /// What is in a block, and what it gave away to blocks of which it is not known whether they are synced.
    fn parts<'a>(
        &self,
        tree: TreeId,
        block: &'a Block,
        end: Option<&[u8]>,
    ) -> Result<(Vec<Entry<'a>>, Vec<Entry<'a>>), CoreError> {
        let mut own = unpack(tree, &block.key, &block.stored, None)?;
        let Some(end) = end else {
            return Ok((own, Vec::new()));
        };
        let mut behind = own.split_off(own.partition_point(|(key, _)| *key < end));
        if !lock(self.fresh.of(tree)).contains_key(end) {
            behind.clear();
        }
        Ok((own, behind))
    }

    /// Puts a block under the key of its first entry, which was none of a block.
    fn put_fresh(
        &self,
        tree: TreeId,
        run: &[Entry<'_>],
        behind: &[Entry<'_>],
    ) -> Result<(), CoreError> {
        let Some((key, _)) = run.first() else {
            return Ok(());
        };
        let stored = pack(key, run, behind);
        self.index.apply(tree, key, Some(&stored), &mut |_| {})?;
        // After it is put: a sync that begins before does not count.
        let mut fresh = lock(self.fresh.of(tree));
        fresh.insert(key.to_vec(), self.syncs.load(Ordering::Acquire));
        let is_much = fresh.len() > MOST_FRESH;
        drop(fresh);
        if is_much { self.sync() } else { Ok(()) }
    }

    /// Removes a block in which nothing is left but what it gave away.
    fn remove(
        &self,
        tree: TreeId,
        block: &Block,
        given_away: &[Entry<'_>],
        end: Option<&[u8]>,
    ) -> Result<(), CoreError> {
        if !given_away.is_empty() {
            let stored = pack(&block.key, &[], given_away);
            return self
                .index
                .apply(tree, &block.key, Some(&stored), &mut |_| {});
        }
        let before = (Bound::Unbounded, Bound::Excluded(block.key.clone()));
        if let Some(before) = self.first(tree, &before, Order::Descending)? {
            let (own, _) = self.parts(tree, &before, Some(&block.key))?;
            let (_, behind) = self.parts(tree, &before, end)?;
            let stored = pack(&before.key, &own, &behind);
            if stored != before.stored {
                self.index
                    .apply(tree, &before.key, Some(&stored), &mut |_| {})?;
                // It may have been given away long ago.
                self.sync()?;
            }
        }
        self.index.apply(tree, &block.key, None, &mut |_| {})?;
        lock(self.fresh.of(tree)).remove(&block.key);
        Ok(())
    }
}

/// The entries of a tree without blocks, for a test that changes some of them. What is in no block that is whole stays.
pub(super) fn undone(tree: TreeId, stored: &Entries) -> Entries {
    let mut entries = Entries::new();
    let mut end: Option<&[u8]> = None;
    for (key, stored) in stored.iter().rev() {
        let alone = || vec![(key.as_slice(), stored.as_slice())];
        let found = unpack(tree, key, stored, end).unwrap_or_else(|_| alone());
        let owned = |(key, value): Entry<'_>| (key.to_vec(), value.to_vec());
        entries.extend(found.into_iter().map(owned));
        end = Some(key);
    }
    entries
}

impl Index for Packed {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        if !is_packed(tree) {
            return self.index.get(tree, key);
        }
        let between = self.between(tree);
        let Some(block) = self.block_of(tree, key)? else {
            return Ok(None);
        };
        drop(between);
        let entries = unpack(tree, &block.key, &block.stored, None)?;
        let found = entries.binary_search_by_key(&key, |(key, _)| key).ok();
        let found = found.and_then(|at| entries.get(at));
        Ok(found.map(|(_, value)| value.to_vec()))
    }

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        if is_packed(tree) {
            let one = &mut std::iter::once((key, value));
            self.change(tree, one, &mut |_, before| replaced(before))
        } else {
            self.index.apply(tree, key, value, replaced)
        }
    }

    fn apply_sorted(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'_>>,
        replaced: Replaced<'_>,
    ) -> Result<(), CoreError> {
        if is_packed(tree) {
            self.change(tree, changes, replaced)
        } else {
            self.index.apply_sorted(tree, changes, replaced)
        }
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        if !is_packed(tree) || view::is_empty(range) {
            return self.index.scan(tree, range, order, visit);
        }
        self.scan_blocks(tree, range, order, visit)
    }

    fn remains(&self, tree: TreeId, key: &[u8]) -> Result<Remains, CoreError> {
        if !is_packed(tree) {
            return self.index.remains(tree, key);
        }
        let next = self.block_behind(tree, key)?.map(|next| next.key);
        let stored = self.index.get(tree, key)?.unwrap_or_default();
        let mut entries = pieces(&stored);
        // Behind its end are copies.
        entries.retain(|(of, _)| *of >= key && next.as_deref().is_none_or(|next| *of < next));
        let owned = |(key, value): Entry<'_>| (key.to_vec(), value.to_vec());
        let entries = entries.into_iter().map(owned).collect();
        Ok(Remains { entries, next })
    }

    fn file_len(&self) -> u64 {
        self.index.file_len()
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        self.index.witness()
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        self.index.set_witness(witness)
    }

    fn sync(&self) -> Result<(), CoreError> {
        let before = self.syncs.fetch_add(1, Ordering::AcqRel);
        self.index.sync()?;
        for tree in TreeId::ALL {
            lock(self.fresh.of(tree)).retain(|_, put| *put > before);
        }
        Ok(())
    }
}
