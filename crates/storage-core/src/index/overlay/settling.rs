//! How far the lower layer is written, and by whom, a piece at a time.

use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use storage_journal::digest::TreeDigest;

use super::super::held_size;
use super::Overlay;
use super::layer::Layer;
use crate::error::CoreError;
use crate::sync::{MutexGuard, lock};
use crate::tree::TreeId;
use crate::view::{KeyRange, Order};

/// How far the lower layer is written.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// What is before it is written, or being written.
    next: Place,
    /// Pieces that are being written.
    writing: usize,
}

/// A tree by its place in [`TreeId::ALL`], and a key that the place is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    tree: usize,
    after: Option<Vec<u8>>,
}

/// A part of a tree of a layer: what is behind the place, through a key.
#[derive(Debug)]
pub(super) struct Piece {
    layer: Arc<Layer>,
    tree: TreeId,
    behind: Place,
    through: Option<Vec<u8>>,
    pub(super) bytes: usize,
}

impl Overlay {
    /// The layer that is to be written: the lower one, or the upper one, if it is as full as `from`, which gives its
    /// place to an empty one. Called by who holds `settling`.
    pub(super) fn lower(&self, from: usize) -> Option<Arc<Layer>> {
        let layers = self.layers();
        if layers.lower.is_some() {
            return layers.lower.clone();
        }
        if layers.upper.bytes() < from {
            return None;
        }
        drop(layers);
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let full = std::mem::take(&mut layers.upper);
        layers.lower = Some(Arc::clone(&full));
        Some(full)
    }

    /// A piece of the layer that is to be written, of so many bytes at most; `None` if the upper one is not as full
    /// as `from`, or if others write what is left.
    pub(super) fn claim(&self, settling: &mut Settling, from: usize, most: usize) -> Option<Piece> {
        let layer = self.lower(from)?;
        while let Some(&tree) = TreeId::ALL.get(settling.next.tree) {
            let behind = settling.next.clone();
            let (mut through, mut bytes) = (None, 0);
            let changes = layer.read(tree);
            for (key, value) in changes.range(&behind.range(), Order::Ascending) {
                bytes += held_size(key, value);
                through = Some(key);
                if bytes >= most {
                    break;
                }
            }
            let through = through.map(<[u8]>::to_vec);
            drop(changes);
            if through.is_some() {
                settling.next.after.clone_from(&through);
                settling.writing += 1;
                return Some(Piece {
                    layer,
                    tree,
                    behind,
                    through,
                    bytes,
                });
            }
            settling.next = Place {
                tree: behind.tree + 1,
                after: None,
            };
        }
        None
    }

    /// Writes a piece that was claimed, and lets the layer go if it was the last one.
    pub(super) fn write(&self, piece: Piece) -> Result<(), CoreError> {
        let (start, _) = piece.behind.range();
        let end = piece.through.map_or(Bound::Unbounded, Bound::Included);
        let layer = piece.layer.read(piece.tree);
        let mut changes = layer.range(&(start, end), Order::Ascending);
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
        let mut settling = lock(&self.settling);
        settling.writing -= 1;
        if written.is_err() && piece.behind < settling.next {
            // Written once more by whoever tries next.
            settling.next = piece.behind;
        }
        if settling.writing == 0 && settling.is_through(&piece.layer) {
            settling.next = Place::default();
            let layers = self.layers.write();
            layers.unwrap_or_else(PoisonError::into_inner).lower = None;
        }
        drop(settling);
        self.settled.notify_all();
        written
    }

    /// Others write the rest of the lower layer: who applies more waits for them once that is all that may be held back.
    pub(super) fn wait_for_others(&self, settling: MutexGuard<'_, Settling>) {
        let mut settling = settling;
        while settling.writing > 0 && self.bytes() >= self.most() {
            let told = self.settled.wait(settling);
            settling = told.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Settling {
    /// Whether nothing of the layer is behind the place.
    fn is_through(&self, layer: &Layer) -> bool {
        let mut trees = TreeId::ALL.iter().enumerate().skip(self.next.tree);
        trees.all(|(number, tree)| {
            let range = if number == self.next.tree {
                self.next.range()
            } else {
                (Bound::Unbounded, Bound::Unbounded)
            };
            let changes = layer.read(*tree);
            changes.range(&range, Order::Ascending).next().is_none()
        })
    }
}

impl Place {
    /// The keys of the tree that are behind it.
    fn range(&self) -> KeyRange {
        let after = self.after.clone();
        (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        )
    }
}
