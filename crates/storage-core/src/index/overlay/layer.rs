//! The two layers of the overlay, and how a scan meets them.

use std::cmp::Ordering as Met;
use std::fmt;
use std::sync::{Arc, PoisonError};

use super::held::Changes;
use crate::changes::Change;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{RwLock, RwLockReadGuard};
use crate::tree::{PerTree, TreeId};
use crate::view::Order;

#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    pub(super) upper: Arc<Layer>,
    pub(super) lower: Option<Arc<Layer>>,
}

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

    /// Changes what the layer holds of a tree.
    pub(super) fn change<R>(&self, tree: TreeId, change: impl FnOnce(&mut Changes) -> R) -> R {
        let changes = self.changes.of(tree).write();
        let mut changes = changes.unwrap_or_else(PoisonError::into_inner);
        let before = changes.bytes();
        let result = change(&mut changes);
        let more = changes.bytes().wrapping_sub(before);
        // It wraps as well: what is taken may have become less.
        self.bytes.fetch_add(more, Ordering::AcqRel);
        result
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
