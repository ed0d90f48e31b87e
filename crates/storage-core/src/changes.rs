//! Changes to a tree that lie over a state of it, and the state that both make.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{self, KeyRange, Order, Visit};

/// Puts and, without a value, deletions, by tree and key. A single one, as most commits have, takes no search tree.
#[derive(Default)]
pub(crate) struct Changes {
    /// None where there are more.
    one: Option<(TreeId, Vec<u8>, Option<Vec<u8>>)>,
    more: BTreeMap<TreeId, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_none() && self.more.is_empty()
    }

    pub(crate) fn get(&self, tree: TreeId, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        match &self.one {
            Some((of, one, value)) => (*of == tree && one == key).then_some(value),
            None => self.more.get(&tree)?.get(key),
        }
    }

    pub(crate) fn insert(&mut self, tree: TreeId, key: Vec<u8>, value: Option<Vec<u8>>) {
        match &mut self.one {
            None if self.more.is_empty() => self.one = Some((tree, key, value)),
            Some((of, one, there)) if *of == tree && *one == key => *there = value,
            _ => {
                if let Some((of, one, there)) = self.one.take() {
                    self.more.entry(of).or_default().insert(one, there);
                }
                self.more.entry(tree).or_default().insert(key, value);
            }
        }
    }

    /// In the order of tree and key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TreeId, &[u8], Option<&[u8]>)> + Clone {
        let one = self.one.iter();
        let one = one.map(|(tree, key, value)| (*tree, key.as_slice(), value.as_deref()));
        let more = self.more.iter().flat_map(|(tree, changes)| {
            let changes = changes.iter();
            changes.map(|(key, value)| (*tree, key.as_slice(), value.as_deref()))
        });
        one.chain(more)
    }

    /// Those of a tree, in the order of keys.
    pub(crate) fn of(&self, tree: TreeId) -> impl Iterator<Item = Change<'_>> {
        let more = self.more.get(&tree).into_iter().flatten();
        let more = more.map(|(key, value)| (key.as_slice(), value.as_deref()));
        self.one_of(tree).chain(more)
    }

    /// Those of a range, as a scan in this order meets them.
    pub(crate) fn range<'a>(
        &'a self,
        tree: TreeId,
        range: &'a KeyRange,
        order: Order,
    ) -> impl Iterator<Item = Change<'a>> {
        let one = self.one_of(tree);
        let one = one.filter(|(key, _)| view::as_slices(range).contains(key));
        let more = self.more.get(&tree).into_iter();
        one.chain(more.flat_map(move |more| of_range(more, range, order, Option::as_deref)))
    }

    fn one_of(&self, tree: TreeId) -> impl Iterator<Item = Change<'_>> {
        let one = self.one.iter().filter(move |(of, ..)| *of == tree);
        one.map(|(_, key, value)| (key.as_slice(), value.as_deref()))
    }
}

/// One of them.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Those of a range, as a scan in this order meets them; `value` is what one of them puts.
pub(crate) fn of_range<'a, K: Borrow<[u8]> + Ord, T>(
    changes: &'a BTreeMap<K, T>,
    range: &KeyRange,
    order: Order,
    value: impl Fn(&'a T) -> Option<&'a [u8]> + 'a,
) -> Box<dyn Iterator<Item = Change<'a>> + 'a> {
    if view::is_empty(range) {
        return Box::new(std::iter::empty());
    }
    let found = changes
        .range::<[u8], _>(view::as_slices(range))
        .map(move |(key, change)| (key.borrow(), value(change)));
    match order {
        Order::Ascending => Box::new(found),
        Order::Descending => Box::new(found.rev()),
    }
}

/// Visits what `changes` make of the state that `scan` reads; both come in this order.
pub(crate) fn over<'a>(
    changes: impl Iterator<Item = Change<'a>>,
    order: Order,
    visit: Visit<'_>,
    scan: impl FnOnce(Visit<'_>) -> Result<(), CoreError>,
) -> Result<(), CoreError> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return scan(visit);
    }
    let mut stopped = false;
    scan(&mut |key, value| {
        while let Some((changed, change)) =
            changes.next_if(|(changed, _)| order.of(changed, key).is_le())
        {
            if let Some(value) = change
                && !visit(changed, value)?
            {
                stopped = true;
                return Ok(false);
            }
            if changed == key {
                return Ok(true);
            }
        }
        let on = visit(key, value)?;
        stopped = !on;
        Ok(on)
    })?;
    for (key, change) in changes {
        if stopped {
            break;
        }
        if let Some(value) = change {
            stopped = !visit(key, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    #[test]
    fn one_change_or_more_are_found_as_they_were_made() {
        const TREES: [TreeId; 2] = [TreeId::Peers, TreeId::Config];
        for seed in 0..2000 {
            let mut random = storage_testkit::Random(seed);
            let mut byte = |end| vec![u8::try_from(random.below(end)).unwrap_or_default()];
            let (mut changes, mut model) = (Changes::default(), BTreeMap::new());
            for _ in 0..seed % 7 {
                let (tree, key, value) = (byte(3), byte(6), byte(3));
                let tree = if tree == [0] { TREES[1] } else { TREES[0] };
                let value = (value != [0]).then_some(value);
                changes.insert(tree, key.clone(), value.clone());
                model.insert((tree, key), value);
            }
            assert_eq!(changes.is_empty(), model.is_empty(), "seed {seed}");
            let all = model.iter();
            let all = all.map(|((tree, key), value)| (*tree, key.as_slice(), value.as_deref()));
            assert!(changes.iter().eq(all.clone()), "seed {seed}");
            for tree in TREES {
                for key in 0..6 {
                    let expected = model.get(&(tree, vec![key]));
                    assert_eq!(changes.get(tree, &[key]), expected, "{seed}");
                }
                let expected = |range: &KeyRange| -> Vec<_> {
                    let inside = |key: &[u8]| view::as_slices(range).contains(&key);
                    all.clone()
                        .filter(|(of, ..)| *of == tree)
                        .map(|(_, key, value)| (key, value))
                        .filter(|(key, _)| !view::is_empty(range) && inside(key))
                        .collect()
                };
                let everything = (Bound::Unbounded, Bound::Unbounded);
                assert!(changes.of(tree).eq(expected(&everything)), "seed {seed}");
                let ends = [
                    Bound::Included(byte(6)),
                    Bound::Excluded(byte(6)),
                    Bound::Unbounded,
                ];
                for start in &ends {
                    for end in &ends {
                        let range = (start.clone(), end.clone());
                        let found = changes.range(tree, &range, Order::Descending);
                        let mut found: Vec<_> = found.collect();
                        found.reverse();
                        assert_eq!(found, expected(&range), "seed {seed}: {range:?}");
                        let found = changes.range(tree, &range, Order::Ascending);
                        let found: Vec<_> = found.collect();
                        assert_eq!(found, expected(&range), "seed {seed}: {range:?}");
                    }
                }
            }
        }
    }
}
