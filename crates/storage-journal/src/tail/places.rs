//! The changed keys of a tree in order, with the places of their values.
//!
//! A map of leaves: an entry of its own for each key would take as much memory again as the key.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Place;
use super::leaf::Leaf;

/// A leaf has the keys from the one on that it is under, up to that of the next; the first is under the empty one.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    leaves: BTreeMap<Box<[u8]>, Leaf>,
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.leaves.values().map(Leaf::len).sum()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Place> {
        self.leaf_of(key)?.1.get(key)
    }

    /// Puts a place under a key; `None` if keys are longer than any commit.
    pub(super) fn insert(&mut self, key: &[u8], place: Place) -> Option<()> {
        if self.leaves.is_empty() {
            self.leaves.insert(Box::default(), Leaf::default());
        }
        let through = (Bound::Unbounded, Bound::Included(key));
        let (_, leaf) = self.leaves.range_mut::<[u8], _>(through).next_back()?;
        leaf.insert(key, place)?;
        let behind = leaf.split();
        self.leaves.extend(behind);
        Some(())
    }

    /// The keys of a range that is not [empty](super::is_empty).
    pub(super) fn range(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&[u8], &Place)> + use<'_> {
        let (start, end) = range;
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) => self.leaf_of(key),
            Bound::Unbounded => None,
        };
        let from = first.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
        let leaves = self
            .leaves
            .range::<[u8], _>((from, end))
            .map(|(_, leaf)| leaf);
        let first = leaves.clone().next();
        let last = leaves.clone().next_back();
        let before = first.map_or(0, |leaf| leaf.before(start));
        let behind = last.map_or(0, |leaf| leaf.behind(end));
        let mut entries = leaves.flat_map(Leaf::entries);
        if let Some(skipped) = before.checked_sub(1) {
            entries.nth(skipped);
        }
        if let Some(skipped) = behind.checked_sub(1) {
            entries.nth_back(skipped);
        }
        entries
    }

    fn leaf_of(&self, key: &[u8]) -> Option<(&[u8], &Leaf)> {
        let through = (Bound::Unbounded, Bound::Included(key));
        let (first, leaf) = self.leaves.range::<[u8], _>(through).next_back()?;
        Some((first, leaf))
    }
}
