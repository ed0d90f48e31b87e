//! Small records packed: the index below has blocks of them under one key each, the smallest one's.
//!
//! The engine takes about as long for an entry of two kilobytes as for one of a hundred bytes, and as
//! much memory and disk beside it. So the trees that grow are kept in blocks. A block holds every entry
//! from its own key up to the key of the next one; what else may be in it is not read. An entry that is
//! alone is kept as it is, so a tree without blocks, as the first implementation wrote it, is a packed
//! one as well.
//!
//! ```text
//! 0  8  FE 'PACKED' 01
//! 8  4  crc32, LE, of what follows
//!    -  entries in key order: key length u32 LE, value length u32 LE, key, value
//! ```
//!
//! # Invariants
//!
//! - Whoever reads meanwhile misses no entry that is not being changed, and meets none twice: blocks are
//!   put from the last to the first, and keys that are none any more are removed after that. In between,
//!   and after a crash that kept some of it, entries are in two blocks; those of the one behind are read.
//! - A block that is not whole is an error, never an entry that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError};

use super::simulated::Entries;
use super::{Index, Witness};
use crate::changes::Change;
use crate::error::CoreError;
use crate::sync::Mutex;
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

#[cfg(test)]
mod tests;

/// No frame begins so, and no value of the first implementation: it would be a text or a number of 2^56 and more.
const MARK: &[u8] = b"\xfePACKED\x01";
const HEADER_LEN: usize = MARK.len() + 4;
/// What a block takes at most, unless it is one entry. The engine keeps up to 16 of them in a page.
const FULL: usize = 2048;

#[derive(Debug)]
pub(crate) struct Packed {
    index: Arc<dyn Index>,
    /// Held while blocks of a tree are read, changed and put.
    writing: PerTree<Mutex<()>>,
}

/// A block as it is in the index below, or an entry that is alone.
#[derive(Debug)]
struct Block {
    key: Vec<u8>,
    stored: Vec<u8>,
}

/// The trees that have many small records.
fn is_packed(tree: TreeId) -> bool {
    use TreeId::{AuditLog, Claims, Epochs, Metrics, Peers};
    matches!(tree, Peers | Metrics | Epochs | Claims | AuditLog)
}

impl Packed {
    /// Over `index`, which nobody else writes to.
    pub(crate) fn new(index: Arc<dyn Index>) -> Self {
        Self {
            index,
            writing: PerTree::default(),
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
    fn change<'a>(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'a>>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        let one = self.writing.of(tree).lock();
        let _one = one.unwrap_or_else(PoisonError::into_inner);
        let mut changes = changes.peekable();
        while let Some((first, _)) = changes.peek() {
            let mut blocks: Vec<Block> = self.block_of(tree, first)?.into_iter().collect();
            let mut next = self.block_behind(tree, first)?;
            let mut changed: Vec<Change<'a>> = Vec::new();
            let mut size = blocks.iter().map(|block| block.stored.len()).sum::<usize>();
            loop {
                let end = next.as_ref().map(|next| next.key.as_slice());
                while let Some((key, value)) =
                    changes.next_if(|(key, _)| end.is_none_or(|end| *key < end))
                {
                    size += value.map_or(0, |value| key.len() + value.len());
                    changed.push((key, value));
                }
                // Blocks that others left small are put together with what is changed before them.
                let is_small = size < FULL / 2 && next.as_ref().is_some_and(Block::is_small);
                let Some(small) = next.take_if(|_| is_small) else {
                    break;
                };
                next = self.block_behind(tree, &small.key)?;
                size += small.stored.len();
                blocks.push(small);
            }
            let end = next.map(|next| next.key);
            self.rewrite(tree, &blocks, &changed, end.as_deref(), replaced)?;
        }
        Ok(())
    }

    /// Puts what `changed` makes of blocks that follow one another, the next of which begins at `end`.
    fn rewrite(
        &self,
        tree: TreeId,
        blocks: &[Block],
        changed: &[Change<'_>],
        end: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        let mut entries = BTreeMap::new();
        let ends = blocks.iter().skip(1).map(|next| Some(next.key.as_slice()));
        for (block, end) in blocks.iter().zip(ends.chain([end])) {
            entries.extend(unpack(tree, &block.key, &block.stored, end)?);
        }
        for (key, value) in changed {
            let before = match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(key),
            };
            before.into_iter().for_each(&mut *replaced);
        }
        let entries: Vec<(&[u8], &[u8])> = entries.into_iter().collect();
        let packed = cut(&entries, end.is_none());
        let mut gone: BTreeSet<&[u8]> = blocks.iter().map(|block| block.key.as_slice()).collect();
        for entries in packed.iter().rev() {
            if let Some((key, _)) = entries.first() {
                let stored = pack(entries);
                let was = blocks.iter().find(|block| block.key == *key);
                if was.is_none_or(|was| was.stored != stored) {
                    self.index.apply(tree, key, Some(&stored), &mut |_| {})?;
                }
                gone.remove(key);
            }
        }
        gone.into_iter()
            .try_for_each(|key| self.index.apply(tree, key, None, &mut |_| {}))
    }
}

impl Block {
    fn is_small(&self) -> bool {
        self.stored.len() < FULL / 2
    }
}

/// Entries in as many runs as they need blocks: of one size each, or all but the last full where more are to come behind
/// them, as they do to the end of a tree.
fn cut<'a, 'b>(
    entries: &'b [(&'a [u8], &'a [u8])],
    is_last: bool,
) -> Vec<&'b [(&'a [u8], &'a [u8])]> {
    let room = FULL - HEADER_LEN;
    let total: usize = entries.iter().map(size).sum();
    let most = if is_last {
        room
    } else {
        total.div_ceil(total.div_ceil(room).max(1))
    };
    let mut runs = Vec::new();
    let mut rest = entries;
    while let Some((first, _)) = rest.split_first() {
        let mut len = 1;
        let mut held = size(first);
        while let Some(next) = rest.get(len).map(size)
            && held < most
            && held + next <= room
        {
            held += next;
            len += 1;
        }
        let (run, behind) = rest.split_at(len);
        runs.push(run);
        rest = behind;
    }
    runs
}

fn size((key, value): &(&[u8], &[u8])) -> usize {
    8 + key.len() + value.len()
}

/// What is stored for a run of entries, under the key of the first one.
fn pack(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    if let [(_, value)] = entries
        && !value.starts_with(MARK)
    {
        return value.to_vec();
    }
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut packed = Vec::with_capacity(HEADER_LEN + entries.iter().map(size).sum::<usize>());
    packed.extend(MARK);
    packed.extend([0; 4]);
    for (key, value) in entries {
        packed.extend(len(key));
        packed.extend(len(value));
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
    }
    let checksum = packed.get(HEADER_LEN..).map_or(0, crc32fast::hash);
    if let Some(place) = packed.get_mut(MARK.len()..HEADER_LEN) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    packed
}

/// The entries of what is stored under a key, where the next block begins at `end`.
fn unpack<'a>(
    tree: TreeId,
    key: &'a [u8],
    stored: &'a [u8],
    end: Option<&[u8]>,
) -> Result<Vec<(&'a [u8], &'a [u8])>, CoreError> {
    let Some(block) = stored.strip_prefix(MARK) else {
        return Ok(vec![(key, stored)]);
    };
    let entries = parse(block).ok_or_else(|| CoreError::corrupt(tree, key, NotWhole))?;
    let own = end.map_or(entries.len(), |end| {
        entries.partition_point(|(key, _)| *key < end)
    });
    Ok(entries.into_iter().take(own).collect())
}

fn parse(block: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (checksum, mut rest) = block.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut entries = Vec::with_capacity(rest.len() / 64);
    while !rest.is_empty() {
        let (key_len, behind) = rest.split_first_chunk()?;
        let (value_len, behind) = behind.split_first_chunk()?;
        let len = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
        let (key, behind) = behind.split_at_checked(len(key_len)?)?;
        let (value, behind) = behind.split_at_checked(len(value_len)?)?;
        entries.push((key, value));
        rest = behind;
    }
    Some(entries)
}

/// The entries of a tree without blocks, for a test that changes some of them. What is in no block that is whole stays.
pub(super) fn undone(tree: TreeId, stored: &Entries) -> Entries {
    let mut entries = Entries::new();
    let mut end: Option<&[u8]> = None;
    for (key, stored) in stored.iter().rev() {
        let alone = || vec![(key.as_slice(), stored.as_slice())];
        let found = unpack(tree, key, stored, end).unwrap_or_else(|_| alone());
        let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        entries.extend(found.into_iter().map(owned));
        end = Some(key);
    }
    entries
}

/// A block whose bytes are not those that were stored.
#[derive(Debug, thiserror::Error)]
#[error("the block of records is damaged")]
struct NotWhole;

impl Index for Packed {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        if !is_packed(tree) {
            return self.index.get(tree, key);
        }
        let Some(block) = self.block_of(tree, key)? else {
            return Ok(None);
        };
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
            self.change(tree, &mut std::iter::once((key, value)), replaced)
        } else {
            self.index.apply(tree, key, value, replaced)
        }
    }

    fn apply_sorted<'a>(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'a>>,
    ) -> Result<(), CoreError> {
        if is_packed(tree) {
            self.change(tree, changes, &mut |_| {})
        } else {
            self.index.apply_sorted(tree, changes)
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
        let (start, end) = range.clone();
        let start = match start {
            Bound::Included(key) | Bound::Excluded(key) => {
                let block = self.block_of(tree, &key)?;
                Bound::Included(block.map_or(key, |block| block.key))
            }
            Bound::Unbounded => Bound::Unbounded,
        };
        let range = view::as_slices(range);
        let mut show = |key: &[u8], stored: &[u8], end: Option<&[u8]>| {
            let mut entries = unpack(tree, key, stored, end)?;
            entries.retain(|(key, _)| range.contains(*key));
            if order == Order::Descending {
                entries.reverse();
            }
            for (key, value) in entries {
                if !visit(key, value)? {
                    return Ok::<_, CoreError>(false);
                }
            }
            Ok(true)
        };
        // Where a block ends is known from the next one.
        let blocks = (start, end);
        if order == Order::Descending {
            let mut end: Option<Vec<u8>> = None;
            return self.index.scan(tree, &blocks, order, &mut |key, stored| {
                let on = show(key, stored, end.as_deref())?;
                end = Some(key.to_vec());
                Ok(on)
            });
        }
        let mut held: Option<Block> = None;
        let mut on = true;
        self.index.scan(tree, &blocks, order, &mut |key, stored| {
            let (next, stored) = (key.to_vec(), stored.to_vec());
            let block = held.replace(Block { key: next, stored });
            if let Some(block) = block {
                on = show(&block.key, &block.stored, Some(key))?;
            }
            Ok(on)
        })?;
        if on && let Some(block) = held {
            show(&block.key, &block.stored, None)?;
        }
        Ok(())
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        self.index.witness()
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        self.index.set_witness(witness)
    }

    fn sync(&self) -> Result<(), CoreError> {
        self.index.sync()
    }
}
