//! Reading: what a commit starts from, and what lists and ranges go through.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound;

use crate::error::CoreError;
use crate::tree::TreeId;

/// A range of keys of one tree.
pub type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Called with each key and stored frame; `Ok(false)` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, CoreError>;

/// The direction of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// In key order.
    Ascending,
    /// Against it.
    Descending,
}

impl Order {
    /// Compares two keys as a scan in this order meets them.
    pub(crate) fn of(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Ascending => a.cmp(b),
            Self::Descending => b.cmp(a),
        }
    }
}

/// A state of the nine trees that can be read.
pub trait Read: fmt::Debug {
    /// The stored frame under `key`.
    ///
    /// # Errors
    ///
    /// Errors of the index.
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError>;

    /// Visits the entries of a range in the given order, until `visit` ends it. A reversed range
    /// is empty.
    ///
    /// # Errors
    ///
    /// Errors of the index and those that `visit` returns.
    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError>;
}

/// Whether no key can be in the range. `BTreeMap` and sled panic or misbehave on such a range.
pub(crate) fn is_empty((start, end): &KeyRange) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (start, end) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
    }
}

/// What of a range a scan in this order has not met once it met `key`.
pub(crate) fn behind(range: &KeyRange, order: Order, key: Vec<u8>) -> KeyRange {
    let (start, end) = range.clone();
    match order {
        Order::Ascending => (Bound::Excluded(key), end),
        Order::Descending => (start, Bound::Excluded(key)),
    }
}

/// The range with borrowed ends, as `BTreeMap` and sled take it.
pub(crate) fn as_slices((start, end): &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let slice = |end| Bound::map(end, Vec::as_slice);
    (slice(start.as_ref()), slice(end.as_ref()))
}
