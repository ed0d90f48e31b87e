//! Trees that are held back together: their two layers, how far the lower one is written, and by whom.

use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::super::held_size;
use super::layer::{Layer, Layers};
use crate::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, lock};
use crate::tree::TreeId;
use crate::view::{KeyRange, Order};

#[derive(Debug, Default)]
pub(super) struct Part {
    layers: RwLock<Layers>,
    settling: Mutex<Settling>,
    /// Told when some of the lower layer is written, or could not be.
    settled: Condvar,
    /// Whether who writes a piece holds off who would write another.
    is_written_alone: bool,
}

/// How far the lower layer is written.
#[derive(Debug, Default)]
struct Settling {
    /// What is before it is written, or being written.
    next: Place,
    /// Pieces that are being written.
    writing: usize,
}

/// A tree by its place in [`TreeId::ALL`], and a key that the place is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tree: usize,
    after: Option<Vec<u8>>,
}

/// A piece of a tree of a layer: what is behind the place, through a key.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) layer: Arc<Layer>,
    pub(super) tree: TreeId,
    behind: Place,
    through: Option<Vec<u8>>,
    pub(super) bytes: usize,
}

impl Piece {
    pub(super) fn range(&self) -> KeyRange {
        let (start, _) = self.behind.range();
        let end = self.through.clone();
        (start, end.map_or(Bound::Unbounded, Bound::Included))
    }
}

impl Part {
    pub(super) fn new(is_written_alone: bool) -> Self {
        Self {
            is_written_alone,
            ..Self::default()
        }
    }

    pub(super) fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the upper layer and of the lower one.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let layers = self.layers();
        let lower = layers.lower.as_ref().map_or(0, |lower| lower.bytes());
        (layers.upper.bytes(), lower)
    }

    /// A piece of the layer that is to be written, of so many bytes at most; `None` if the upper one is not as full
    /// as `from`, or if others write what is left, or the one piece that may be written at a time.
    pub(super) fn claim(&self, from: usize, most: usize) -> Option<Piece> {
        self.claim_with(&mut lock(&self.settling), from, most)
    }

    fn claim_with(&self, settling: &mut Settling, from: usize, most: usize) -> Option<Piece> {
        if self.is_written_alone && settling.writing > 0 {
            return None;
        }
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

    /// The layer that is to be written: the lower one, or the upper one, if it is as full as `from`, which gives its
    /// place to an empty one. Called by who holds `settling`.
    fn lower(&self, from: usize) -> Option<Arc<Layer>> {
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

    /// Notes that a piece was written, or that it is to be written once more; lets the layer go if it was the last one.
    pub(super) fn note(&self, piece: Piece, is_written: bool) {
        let mut settling = lock(&self.settling);
        settling.writing -= 1;
        if !is_written && piece.behind < settling.next {
            settling.next = piece.behind;
        }
        if settling.writing == 0 && settling.is_through(&piece.layer) {
            settling.next = Place::default();
            let layers = self.layers.write();
            layers.unwrap_or_else(PoisonError::into_inner).lower = None;
        }
        drop(settling);
        self.settled.notify_all();
    }

    /// Has everything written that is held back now: `write` is given the pieces that nobody else writes.
    pub(super) fn settle<E>(
        &self,
        most: usize,
        write: impl Fn(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let then = self.layers().clone();
        let mut settling = lock(&self.settling);
        while self.layers().have_any_of(&then) {
            if let Some(piece) = self.claim_with(&mut settling, 1, most) {
                drop(settling);
                write(piece)?;
                settling = lock(&self.settling);
            } else {
                settling = self.wait(settling);
            }
        }
        Ok(())
    }

    /// Waits for one of those who write pieces, if there is one and `too_much` says so; whether it did.
    pub(super) fn wait_if(&self, too_much: impl Fn() -> bool) -> bool {
        let settling = lock(&self.settling);
        let waits = settling.writing > 0 && too_much();
        if waits {
            drop(self.wait(settling));
        }
        waits
    }

    fn wait<'a>(&self, settling: MutexGuard<'a, Settling>) -> MutexGuard<'a, Settling> {
        let told = self.settled.wait(settling);
        told.unwrap_or_else(PoisonError::into_inner)
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
