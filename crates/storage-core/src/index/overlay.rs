//! The index written behind: what commits change is held back in memory, over the index, and written
//! to it in key order by whoever has time.
//!
//! The packed trees are held back in one part, and the others in another: entries of packed trees are written ten times as
//! fast, so first, and by one thread at a time.
//!
//! A part has two layers. Commits change the upper one; once that is full it becomes the lower one,
//! which does not change any more, is written in pieces, by several threads at once, and is let go when
//! all of it is written. So an entry never leaves a layer that somebody reads: a scan holds the layers
//! that it began with.
//!
//! A put to a key that is in no layer does not look for what it replaces: the index tells when it is
//! written. Until then it is *blind*, and what it replaces is counted as if it were still there.
//!
//! # Invariants
//!
//! - What is in neither layer is in the index, whole.
//! - What the index lacks was applied after the witness that it holds: setting one writes everything first.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use held::{Changes, Held};
use layer::either;
use part::{Part, Piece};
use storage_journal::digest::TreeDigest;

use super::packed::is_packed;
use super::{HeldBack, Index, Witness, held_size};
use crate::changes;
use crate::error::CoreError;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};
use crate::tree::{PerTree, TreeId};
use crate::view::{KeyRange, Order, Visit};

/// Bytes that one thread writes in one go: enough that the blocks of the index are not written for one record each.
const PIECE: usize = 16 * 1024;
/// The same of who waits for it.
const WRITERS_PIECE: usize = 8 * 1024;
/// How many bytes are written for each that is applied where too much is held back.
const WRITTEN_FOR_APPLIED: usize = 3;

/// The engine takes memory as its file grows, whatever it may: of what is lent, one byte for so many of the file.
const ENGINES_PART: u64 = 4;

mod held;
mod layer;
mod part;
mod run;
#[cfg(all(test, nonos_shuttle))]
mod schedules;
#[cfg(test)]
mod tests;

#[derive(Debug)]
pub(crate) struct Overlay {
    index: Arc<dyn Index>,
    /// The packed trees: one piece at a time, as each changes the last block.
    packed: Part,
    others: Part,
    greatest: PerTree<Mutex<Greatest>>,
    /// What blind puts were found to replace.
    replaced: PerTree<Mutex<TreeDigest>>,
    /// Bytes of an upper layer from which on it is written.
    full: usize,
    /// What may be held back by itself.
    capacity: usize,
    /// Bytes of all layers from which on those wait who have nothing left to write.
    most: AtomicUsize,
    /// Bytes that writers are yet to write, where too much is held back.
    owed: AtomicUsize,
    /// Why writing failed, if it did once.
    failed: OnceLock<String>,
}

/// A key that none of a tree is above; a removal may leave it too high, which costs a look into the index.
#[derive(Debug, Default)]
enum Greatest {
    #[default]
    NotRead,
    NoKey,
    Key(Vec<u8>),
}

impl Overlay {
    /// Over `index`, which nobody else writes to. It holds back `capacity_bytes` at most, with what is lent, and a few times what a
    /// single commit takes.
    pub(crate) fn new(index: Arc<dyn Index>, capacity_bytes: u64) -> Self {
        let quarter = usize::try_from(capacity_bytes / 4).unwrap_or(usize::MAX);
        let capacity = quarter.saturating_mul(4).max(1);
        Self {
            index,
            packed: Part::new(true),
            others: Part::new(false),
            greatest: PerTree::default(),
            replaced: PerTree::default(),
            full: quarter.max(1),
            capacity,
            most: AtomicUsize::new(capacity),
            owed: AtomicUsize::new(0),
            failed: OnceLock::new(),
        }
    }

    /// For who applies changes with nobody beside it: after each, writes what is too much to be held back.
    pub(crate) fn make_room_for(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), CoreError> {
        match self.held_back() {
            HeldBack::TooMuch => self.make_room(held_size(key, value)),
            _ => Ok(()),
        }
    }

    fn part_of(&self, tree: TreeId) -> &Part {
        if is_packed(tree) {
            &self.packed
        } else {
            &self.others
        }
    }

    /// The one whose bytes are written soonest comes first.
    const fn parts(&self) -> [&Part; 2] {
        [&self.packed, &self.others]
    }

    /// What the layers hold of a key, the upper one first.
    fn held(&self, tree: TreeId, key: &[u8]) -> Option<Held> {
        let layers = self.part_of(tree).layers();
        let held = layers.upper.read(tree).get(key);
        held.or_else(|| layers.lower.as_ref()?.read(tree).get(key))
    }

    fn held_below(&self, tree: TreeId, key: &[u8]) -> Option<Held> {
        let lower = self.part_of(tree).layers().lower.clone()?;
        lower.read(tree).get(key)
    }

    /// Whether a key that neither layer holds is above all of the tree, so that the index need not be asked; notes a
    /// key that is put.
    fn is_above_all(&self, tree: TreeId, key: &[u8], is_put: bool) -> Result<bool, CoreError> {
        let mut greatest = lock(self.greatest.of(tree));
        if matches!(*greatest, Greatest::NotRead) {
            *greatest = Greatest::NoKey;
            let everything = (Bound::Unbounded, Bound::Unbounded);
            let read = self
                .index
                .scan(tree, &everything, Order::Descending, &mut |key, _| {
                    *greatest = Greatest::Key(key.to_vec());
                    Ok(false)
                });
            read.inspect_err(|_| *greatest = Greatest::NotRead)?;
        }
        let is_above = match &*greatest {
            Greatest::Key(greatest) => key > greatest.as_slice(),
            Greatest::NoKey | Greatest::NotRead => true,
        };
        if is_above && is_put {
            match &mut *greatest {
                Greatest::Key(greatest) => key.clone_into(greatest),
                other => *other = Greatest::Key(key.to_vec()),
            }
        }
        Ok(is_above)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Bytes of an upper layer from which on it is written: so many that both may have them before it is too much.
    fn full(&self) -> usize {
        self.full.min(self.most() / 4).max(1)
    }

    /// Bytes of all layers from which on those write who apply more. A lower layer is let go whole. It has so much at
    /// most, so that before it goes a third of that comes to an upper one.
    fn too_much(&self) -> usize {
        (self.most() / 4).saturating_mul(3).max(1)
    }

    fn bytes(&self) -> usize {
        let parts = self.parts().into_iter().map(Part::bytes);
        parts.map(|(upper, lower)| upper + lower).sum()
    }

    /// A piece of what is to be written.
    fn claim(&self, most: usize) -> Option<Piece> {
        let mut parts = self.parts().into_iter();
        parts.find_map(|part| part.claim(self.full(), most))
    }

    /// Writes a piece that was claimed.
    fn write(&self, piece: Piece) -> Result<(), CoreError> {
        let layer = piece.layer.read(piece.tree);
        let mut changes = layer.range(&piece.range(), Order::Ascending);
        let mut replaced = TreeDigest::default();
        let mut told = |key: &[u8], before: &[u8]| {
            if layer.is_blind(key) {
                replaced.add(key, before);
            }
        };
        let index = &self.index;
        let written = index.apply_sorted(piece.tree, &mut changes, &mut told);
        drop(changes);
        drop(layer);
        let mut sum = lock(self.replaced.of(piece.tree));
        *sum = sum.with(replaced);
        drop(sum);
        if let Err(error) = &written {
            self.failed.get_or_init(|| error.to_string());
        }
        self.part_of(piece.tree).note(piece, written.is_ok());
        written
    }
}

impl Index for Overlay {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        match self.held(tree, key) {
            Some(held) => Ok(held.value.map(Into::into)),
            None => self.index.get(tree, key),
        }
    }

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        let part = self.part_of(tree);
        if self.is_above_all(tree, key, value.is_some())? {
            // At most a deletion is held of it.
            let insert = |changes: &mut Changes| changes.insert(key, value, false);
            part.layers().upper.change(tree, insert);
            return Ok(());
        }
        let replace = |changes: &mut Changes| changes.replace(key, value);
        let in_upper = part.layers().upper.change(tree, replace);
        if let Some(before) = in_upper {
            before.value().into_iter().for_each(replaced);
            return Ok(());
        }
        // A layer that took the place of that one meanwhile has nothing of this key either: one writes at a time.
        let held = self.held_below(tree, key);
        // A deletion looks: whether there was something is asked more often than not.
        let is_blind = held.is_none() && value.is_some();
        let before = match held {
            Some(held) => held.value.map(Into::into),
            None if is_blind => None,
            None => self.index.get(tree, key)?,
        };
        if let Some(before) = before {
            replaced(&before);
        }
        let insert = |changes: &mut Changes| changes.insert(key, value, is_blind);
        part.layers().upper.change(tree, insert);
        Ok(())
    }

    fn replaced(&self, tree: TreeId) -> Result<TreeDigest, CoreError> {
        match self.failed.get() {
            // What was told of a piece before it failed is told again when it is written again.
            Some(reason) => Err(CoreError::IndexFailed {
                reason: reason.clone(),
            }),
            None => Ok(*lock(self.replaced.of(tree))),
        }
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let layers = self.part_of(tree).layers().clone();
        let nothing = Changes::default();
        let upper = layers.upper.read(tree);
        let lower = layers.lower.as_ref().map(|lower| lower.read(tree));
        let lower = lower.as_deref().unwrap_or(&nothing);
        let (upper, lower) = (upper.range(range, order), lower.range(range, order));
        changes::over(either(upper, lower, order), order, visit, |visit| {
            self.index.scan(tree, range, order, visit)
        })
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        self.index.witness()
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        self.settle()?;
        self.index.set_witness(witness)
    }

    fn sync(&self) -> Result<(), CoreError> {
        self.settle()?;
        self.index.sync()
    }

    fn file_len(&self) -> u64 {
        self.index.file_len()
    }

    fn lend(&self, bytes: u64) {
        let bytes = bytes / 4 * 3;
        let engines = self.index.file_len() / ENGINES_PART;
        let usize = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let most = self.capacity.saturating_add(usize(bytes));
        let most = most.saturating_sub(usize(engines));
        self.most
            .store(most.max(self.capacity / 2), Ordering::Relaxed);
    }

    fn held_back(&self) -> HeldBack {
        let parts = self.parts().map(Part::bytes);
        let mut both = parts.into_iter();
        if both
            .clone()
            .map(|(upper, lower)| upper + lower)
            .sum::<usize>()
            >= self.too_much()
        {
            HeldBack::TooMuch
        } else if both.any(|(upper, lower)| upper >= self.full() || lower > 0) {
            HeldBack::Much
        } else {
            HeldBack::Little
        }
    }

    fn settle_some(&self) -> Result<bool, CoreError> {
        let piece = self.claim(PIECE);
        piece.map_or(Ok(false), |piece| self.write(piece).map(|()| true))
    }

    fn make_room(&self, applied: usize) -> Result<(), CoreError> {
        let bytes = applied.saturating_mul(WRITTEN_FOR_APPLIED);
        let piece = WRITERS_PIECE.min(self.full);
        let mut owed = self.owed.fetch_add(bytes, Ordering::AcqRel) + bytes;
        while owed >= piece {
            let Some(piece) = self.claim(piece) else {
                let mut parts = self.parts().into_iter();
                if parts.any(|part| part.wait_if(|| self.bytes() >= self.most())) {
                    continue;
                }
                self.owed.store(0, Ordering::Release);
                break;
            };
            owed = owed.saturating_sub(piece.bytes);
            self.owed.store(owed, Ordering::Release);
            self.write(piece)?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<(), CoreError> {
        let mut parts = self.parts().into_iter();
        parts.try_for_each(|part| part.settle(PIECE, |piece| self.write(piece)))
    }
}
