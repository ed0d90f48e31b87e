//! Changes by key against a map, with keys that come in order and others.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use storage_testkit::Random;

use super::Changes;
use crate::view::{KeyRange, Order, is_empty};

type Model = BTreeMap<Vec<u8>, (Option<Vec<u8>>, bool)>;

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn bound(random: &mut Random, end: u64) -> Bound<Vec<u8>> {
    match random.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key(random.below(end))),
        _ => Bound::Excluded(key(random.below(end))),
    }
}

fn assert_same(changes: &Changes, model: &Model, random: &mut Random, end: u64, case: &str) {
    for number in 0..end {
        let key = key(number);
        let held = changes.get(&key);
        let held = held.map(|held| (held.value.map(Vec::from), held.is_blind));
        assert_eq!(held.as_ref(), model.get(&key), "{case}: {number}");
        let is_blind = held.is_some_and(|(_, is_blind)| is_blind);
        assert_eq!(changes.is_blind(&key), is_blind, "{case}: {number}");
    }
    for order in [Order::Ascending, Order::Descending] {
        let range: KeyRange = (bound(random, end), bound(random, end));
        let inside = |key: &Vec<u8>| (range.0.as_ref(), range.1.as_ref()).contains(key);
        let mut expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| inside(key) && !is_empty(&range))
            .map(|(key, (value, _))| (key.as_slice(), value.as_deref()))
            .collect();
        if order == Order::Descending {
            expected.reverse();
        }
        let found: Vec<_> = changes.range(&range, order).collect();
        assert_eq!(found, expected, "{case}: {range:?}, {order:?}");
    }
}

#[test]
fn what_came_in_order_and_what_did_not_is_found_as_it_was_put() {
    let (mut runs, mut both) = (0, 0);
    for seed in 0..3000 {
        let mut random = Random(seed);
        let (mut changes, mut model) = (Changes::default(), Model::new());
        let mut next = 0;
        // From hardly any to every second key out of order.
        let seldom = 2 + random.below(60);
        for step in 0..random.below(150) {
            let number = if next == 0 || random.below(seldom) > 0 {
                next += 1 + random.below(3);
                next
            } else {
                random.below(next)
            };
            let key = key(number);
            let value = (random.below(5) > 0).then(|| {
                let len = if random.below(50) == 0 { 3000 } else { 40 };
                vec![
                    u8::try_from(step).unwrap_or_default();
                    usize::try_from(random.below(len)).unwrap_or_default()
                ]
            });
            // As the overlay does it, which puts blindly at a key that is not there.
            let before = changes.replace(&key, value.as_deref());
            let before = before.map(|held| (held.value.map(Vec::from), held.is_blind));
            assert_eq!(before.as_ref(), model.get(&key), "seed {seed}, step {step}");
            let is_blind = before.as_ref().map_or_else(
                || value.is_some() && random.below(2) == 0,
                |(_, is_blind)| *is_blind,
            );
            if before.is_none() {
                changes.insert(&key, value.as_deref(), is_blind);
            }
            model.insert(key, (value, is_blind));
        }
        let case = format!("seed {seed}");
        assert_same(&changes, &model, &mut random, next + 2, &case);
        let content: usize = model
            .iter()
            .map(|(key, (value, _))| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        assert!(changes.bytes() >= content, "{case}");
        runs += u32::from(!changes.run.is_empty());
        both += u32::from(!changes.run.is_empty() && !changes.others.is_empty());
    }
    assert!(runs > 1000, "{runs} runs");
    assert!(both > 500, "{both} runs beside others");
}

/// A key above all is put without a look at what is held of it, which may be a deletion.
#[test]
fn a_put_takes_the_place_of_a_deletion_wherever_that_is() {
    for others in [false, true] {
        let mut changes = Changes::default();
        for number in 0..100 {
            changes.insert(&key(number), Some(b"value"), false);
        }
        if others {
            changes.insert(&key(200), Some(b"value"), false);
            changes.insert(&key(150), None, false);
        } else {
            changes.insert(&key(150), None, false);
        }
        let before = changes.bytes();
        changes.insert(&key(150), Some(b"put"), false);
        let found = changes.get(&key(150)).and_then(|held| held.value);
        assert_eq!(found.as_deref(), Some(b"put".as_slice()));
        assert_eq!(changes.bytes(), before + if others { 3 } else { 11 });
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let keys = changes
            .range(&everything, Order::Ascending)
            .map(|(key, _)| key);
        let keys: Vec<_> = keys.collect();
        assert!(keys.is_sorted(), "in order, each once");
        assert_eq!(keys.len(), 101 + usize::from(others));
    }
}
