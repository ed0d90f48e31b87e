//! The two layers of the overlay, and how a scan meets them.

use std::cmp::Ordering as Met;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::changes::Change;
use crate::index::held_size;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::tree::{PerTree, TreeId};
use crate::view::Order;

#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    pub(super) upper: Arc<Layer>,
    pub(super) lower: Option<Arc<Layer>>,
}

/// What is put under a key, or that it is deleted.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) value: Option<Box<[u8]>>,
    /// Whether it is not known yet what it replaces in the index.
    pub(super) is_blind: bool,
}

impl Held {
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

/// By key.
pub(super) type Changes = BTreeMap<Box<[u8]>, Held>;

#[derive(Default)]
pub(super) struct Layer {
    changes: PerTree<RwLock<Changes>>,
    bytes: AtomicUsize,
}

/// Says how much it is, not what: values may be secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer of {} bytes", self.bytes())
    }
}

impl Layer {
    pub(super) fn read(&self, tree: TreeId) -> RwLockReadGuard<'_, Changes> {
        let changes = self.changes.of(tree).read();
        changes.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Changes a key that this layer has; returns what was under it. `None`: it has not, and nothing is changed. What is
    /// not known yet of what the key replaces in the index stays so.
    pub(super) fn replace(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>) -> Option<Held> {
        let mut changes = self.write(tree);
        let held = changes.get_mut(key)?;
        let is_blind = held.is_blind;
        let new = value.map(Box::from);
        let before = std::mem::replace(
            held,
            Held {
                value: new,
                is_blind,
            },
        );
        self.bytes
            .fetch_add(held_size(key, value), Ordering::AcqRel);
        self.bytes
            .fetch_sub(held_size(key, before.value()), Ordering::AcqRel);
        Some(before)
    }

    /// Puts a change to a key of which this layer has no put.
    pub(super) fn insert(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>, is_blind: bool) {
        self.bytes
            .fetch_add(held_size(key, value), Ordering::AcqRel);
        let value = value.map(Box::from);
        let held = Held { value, is_blind };
        let before = self.write(tree).insert(key.into(), held);
        if before.is_some() {
            self.bytes.fetch_sub(held_size(key, None), Ordering::AcqRel);
        }
    }

    fn write(&self, tree: TreeId) -> RwLockWriteGuard<'_, Changes> {
        let changes = self.changes.of(tree).write();
        changes.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layers {
    /// Whether anything of these layers, as they were, may not be written.
    pub(super) fn have_any_of(&self, then: &Self) -> bool {
        let is_then = |layer: &Arc<Layer>| {
            let lower = then.lower.as_ref();
            Arc::ptr_eq(layer, &then.upper) || lower.is_some_and(|lower| Arc::ptr_eq(layer, lower))
        };
        let has_upper = is_then(&self.upper) && self.upper.bytes() > 0;
        has_upper || self.lower.as_ref().is_some_and(is_then)
    }
}

/// The changes of both layers in this order; of two to a key, the upper one.
pub(super) fn either<'a>(
    upper: impl Iterator<Item = Change<'a>>,
    lower: impl Iterator<Item = Change<'a>>,
    order: Order,
) -> impl Iterator<Item = Change<'a>> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    std::iter::from_fn(move || {
        let met = match (upper.peek(), lower.peek()) {
            (Some((upper, _)), Some((lower, _))) => order.of(upper, lower),
            (Some(_), None) => Met::Less,
            (None, _) => Met::Greater,
        };
        let below = if met.is_ge() { lower.next() } else { None };
        if met.is_le() { upper.next() } else { below }
    })
}
