//! Reading while blocks are changed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::Packed;
use super::{EVERYTHING, Found, Model, Random, TREE, TestResult, assert_same, sorted, take};
use crate::index::Index;
use crate::index::memory::MemoryIndex;
use crate::view::Order;

/// What was not changed since a scan began is in it, once, and nothing else, whatever changes in the midst of it: cuts,
/// deletions, blocks that are emptied.
#[test]
fn a_scan_in_whose_midst_blocks_change_has_every_other_record_once() -> TestResult {
    let mut changes_within = 0;
    for seed in 0..400 {
        let mut random = Random::of(seed);
        let packed = Packed::new(Arc::new(MemoryIndex::default()));
        let mut model = Model::new();
        let change = |random: &mut Random, model: &mut Model| {
            let changes = random.changes();
            packed.apply_sorted(TREE, &mut sorted(&changes), &mut |_, _| {})?;
            take(model, &changes);
            Ok::<_, crate::error::CoreError>(changes)
        };
        for number in 0..12 {
            change(&mut random, &mut model)?;
            let before = model.clone();
            let order = [Order::Ascending, Order::Descending][number % 2];
            let mut touched = BTreeSet::new();
            let found = RefCell::new(Found::new());
            packed.scan(TREE, &EVERYTHING, order, &mut |key, value| {
                found.borrow_mut().push((key.to_vec(), value.to_vec()));
                if random.below(12) == 0 {
                    touched.extend(change(&mut random, &mut model)?.into_keys());
                    changes_within += 1;
                }
                Ok(true)
            })?;
            let mut found = found.into_inner();
            if order == Order::Descending {
                found.reverse();
            }
            let case = format!("seed {seed}, scan {number}, {order:?}");
            let is_sorted = found.is_sorted_by(|(one, _), (next, _)| one < next);
            assert!(is_sorted, "{case}: out of order, or twice");
            found.retain(|(key, _)| !touched.contains(key));
            let mut expected: Found = before.into_iter().collect();
            expected.retain(|(key, _)| !touched.contains(key));
            assert!(
                found == expected,
                "{case}: {} instead of {}",
                found.len(),
                expected.len()
            );
        }
        assert_same(&packed, &model, &format!("seed {seed}"))?;
    }
    assert!(changes_within > 10_000, "{changes_within} changes");
    Ok(())
}
