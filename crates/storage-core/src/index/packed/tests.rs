//! Packed records against a map: as they are changed, between any two changes of the index below, and after a crash
//! that kept any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{FULL, HEADER_LEN, MARK, Packed, is_packed};
use crate::changes::Change;
use crate::error::CoreError;
use crate::index::memory::MemoryIndex;
use crate::index::simulated::SimulatedHome;
use crate::index::sled::PIECE_LEN;
use crate::index::{Index, IndexHome};
use crate::tree::TreeId;
use crate::view::{self, KeyRange, Order};

mod watched;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Found = Vec<(Vec<u8>, Vec<u8>)>;
type TestResult = Result<(), Box<dyn std::error::Error>>;

const TREE: TreeId = TreeId::Metrics;
const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

struct Random(storage_testkit::Random);

impl Random {
    fn of(seed: u64) -> Self {
        Self(storage_testkit::Random(seed))
    }

    fn below(&mut self, end: u16) -> u16 {
        u16::try_from(self.0.below(end.into())).unwrap_or_default()
    }

    fn key(&mut self) -> Vec<u8> {
        self.below(300).to_be_bytes().to_vec()
    }

    /// Mostly of a sample's size, now and then of more than a block's; one in thirty looks like a block.
    fn value(&mut self) -> Vec<u8> {
        let len = match self.below(30) {
            0 => 3000,
            1 => 0,
            2 => return [MARK, b"and what is no block"].concat(),
            _ => 40 + self.below(300),
        };
        let byte = u8::try_from(self.below(250)).unwrap_or_default();
        vec![byte; usize::from(len)]
    }

    fn bound(&mut self) -> Bound<Vec<u8>> {
        match self.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.key()),
            _ => Bound::Excluded(self.key()),
        }
    }

    /// Changes with a key each: anywhere, of one stretch, or deletions of one.
    fn changes(&mut self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let (from, len, most) = match self.below(3) {
            0 => (0, 300, 40),
            _ => (self.below(260), 40, 40),
        };
        let deletes = [0, 3, 9][usize::from(self.below(3))];
        (0..=self.below(most))
            .map(|_| {
                let key = (from + self.below(len)).to_be_bytes().to_vec();
                let value = (self.below(10) >= deletes).then(|| self.value());
                (key, value)
            })
            .collect()
    }
}

fn sorted(changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> impl Iterator<Item = Change<'_>> {
    changes
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_deref()))
}

fn take(model: &mut Model, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn read(
    index: &dyn Index,
    range: &KeyRange,
    order: Order,
    most: usize,
) -> Result<Found, CoreError> {
    let mut found = Found::new();
    index.scan(TREE, range, order, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(found.len() < most)
    })?;
    Ok(found)
}

fn assert_same(index: &dyn Index, model: &Model, case: &str) -> TestResult {
    let expected: Vec<_> = model.clone().into_iter().collect();
    let found = read(index, &EVERYTHING, Order::Ascending, usize::MAX)?;
    assert!(found == expected, "{case}: forwards");
    let mut found = read(index, &EVERYTHING, Order::Descending, usize::MAX)?;
    found.reverse();
    assert!(found == expected, "{case}: backwards");
    for number in 0..300_u16 {
        let key = number.to_be_bytes();
        assert_eq!(
            index.get(TREE, &key)?.as_ref(),
            model.get(key.as_slice()),
            "{case}: {number}"
        );
    }
    Ok(())
}

#[test]
fn packed_records_are_read_as_they_were_applied() -> TestResult {
    let mut blocks = 0;
    for seed in 0..300 {
        let mut random = Random::of(seed);
        let below = Arc::new(MemoryIndex::default());
        let packed = Packed::new(Arc::<MemoryIndex>::clone(&below));
        let mut model = Model::new();
        // As the first implementation left it.
        for _ in 0..random.below(100) {
            let (key, value) = (random.key(), random.value());
            if !value.starts_with(MARK) {
                below.apply(TREE, &key, Some(&value), &mut |_| {})?;
                model.insert(key, value);
            }
        }
        for number in 0..40 {
            let case = format!("seed {seed}, step {number}");
            if random.below(3) == 0 {
                let key = random.key();
                let value = (random.below(4) > 0).then(|| random.value());
                let mut replaced = None;
                packed.apply(TREE, &key, value.as_deref(), &mut |before| {
                    replaced = Some(before.to_vec());
                })?;
                let before = model.get(&key).cloned();
                assert_eq!(replaced, before, "{case}: what was replaced");
                take(&mut model, &BTreeMap::from([(key, value)]));
            } else {
                let changes = random.changes();
                packed.apply_sorted(TREE, &mut sorted(&changes), &mut |_, _| {})?;
                take(&mut model, &changes);
            }
            let (range, most) = ((random.bound(), random.bound()), 1 + random.below(50));
            for order in [Order::Ascending, Order::Descending] {
                let found = read(&packed, &range, order, most.into())?;
                let mut expected: Vec<_> = if view::is_empty(&range) {
                    Vec::new()
                } else {
                    let inside = model.range::<[u8], _>(view::as_slices(&range));
                    inside
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect()
                };
                if order == Order::Descending {
                    expected.reverse();
                }
                expected.truncate(most.into());
                assert!(found == expected, "{case}: {range:?}, {order:?}");
            }
        }
        assert_same(&packed, &model, &format!("seed {seed}"))?;
        let stored = read(&*below, &EVERYTHING, Order::Ascending, usize::MAX)?;
        blocks += stored.len();
        // With what it gave away: a crash keeps all of a block or nothing. No record here is longer.
        let longest = stored.iter().map(|(_, value)| value.len()).max();
        assert!(longest <= Some(PIECE_LEN), "seed {seed}: {longest:?} bytes");
    }
    assert!(blocks > 300 * 5, "{blocks} blocks");
    Ok(())
}

#[test]
fn records_that_come_in_order_fill_their_blocks() -> TestResult {
    let below = Arc::new(MemoryIndex::default());
    let packed = Packed::new(Arc::<MemoryIndex>::clone(&below));
    for number in 0..5000_u16 {
        packed.apply(TREE, &number.to_be_bytes(), Some(&[7; 90]), &mut |_| {})?;
    }
    let stored = read(&*below, &EVERYTHING, Order::Ascending, usize::MAX)?;
    let in_a_block = (FULL - HEADER_LEN) / 100;
    assert_eq!(stored.len(), 5000_usize.div_ceil(in_a_block));
    Ok(())
}

/// Whatever the crash kept of what was not synced, what was synced is there, and mending what a comparison finds makes
/// it right.
#[test]
fn a_crash_takes_nothing_that_was_synced_and_leaves_what_a_comparison_mends() -> TestResult {
    let mut mended = 0;
    for seed in 0..800 {
        let mut random = Random::of(seed);
        let home = SimulatedHome::default();
        let index = home.open()?;
        let mut model = Model::new();
        for _ in 0..random.below(6) {
            let changes = random.changes();
            index.apply_sorted(TREE, &mut sorted(&changes), &mut |_, _| {})?;
            take(&mut model, &changes);
        }
        index.sync()?;
        let (synced, mut touched) = (model.clone(), BTreeSet::new());
        for _ in 0..=random.below(6) {
            let changes = random.changes();
            index.apply_sorted(TREE, &mut sorted(&changes), &mut |_, _| {})?;
            take(&mut model, &changes);
            touched.extend(changes.into_keys());
        }
        let crashed = home.crash(|_| random.below(2) == 0).open()?;
        let found: Model = read(&*crashed, &EVERYTHING, Order::Ascending, usize::MAX)?
            .into_iter()
            .collect();
        for (key, value) in &synced {
            if !touched.contains(key) {
                let read = crashed.get(TREE, key)?;
                assert_eq!(read.as_ref(), Some(value), "seed {seed}: {key:?}");
                assert_eq!(
                    found.get(key),
                    Some(value),
                    "seed {seed}: {key:?} in a scan"
                );
            }
        }
        let keys: BTreeSet<_> = found.keys().chain(model.keys()).cloned().collect();
        let wrong: BTreeMap<_, _> = keys
            .into_iter()
            .filter(|key| found.get(key) != model.get(key))
            .map(|key| (key.clone(), model.get(&key).cloned()))
            .collect();
        mended += wrong.len();
        crashed.apply_sorted(TREE, &mut sorted(&wrong), &mut |_, _| {})?;
        let case = format!("seed {seed}");
        assert_same(&*crashed, &model, &case)?;
        // What is behind the end of a block is brought to light by nothing that comes later.
        while let Some(key) = model.keys().nth(random.below(40).into()).cloned() {
            let from = random.below(u16::from(*key.last().ok_or("a key")?) + 1);
            let deleted = model.keys().skip(from.into()).take(30);
            let deleted: BTreeMap<_, _> = deleted.map(|key| (key.clone(), None)).collect();
            crashed.apply_sorted(TREE, &mut sorted(&deleted), &mut |_, _| {})?;
            take(&mut model, &deleted);
            assert_same(&*crashed, &model, &case)?;
        }
    }
    assert!(mended > 1000, "{mended} mended");
    Ok(())
}

#[test]
fn a_damaged_block_is_an_error_and_never_an_absent_record() -> TestResult {
    let below = Arc::new(MemoryIndex::default());
    let packed = Packed::new(Arc::<MemoryIndex>::clone(&below));
    for number in 0..10_u16 {
        packed.apply(TREE, &number.to_be_bytes(), Some(&[7; 90]), &mut |_| {})?;
    }
    let stored = read(&*below, &EVERYTHING, Order::Ascending, 1)?;
    let (key, block) = stored.first().ok_or("a block")?;
    for at in MARK.len()..block.len() {
        let mut damaged = block.clone();
        *damaged.get_mut(at).ok_or("a byte")? ^= 4;
        below.apply(TREE, key, Some(&damaged), &mut |_| {})?;
        let found = packed.get(TREE, &5_u16.to_be_bytes());
        assert!(
            matches!(found, Err(CoreError::Corrupt { .. })),
            "byte {at}: {found:?}"
        );
        assert!(
            read(&packed, &EVERYTHING, Order::Descending, 1).is_err(),
            "byte {at}"
        );
        let put = packed.apply(TREE, &5_u16.to_be_bytes(), Some(b"new"), &mut |_| {});
        assert!(put.is_err(), "byte {at}");
    }
    Ok(())
}

#[test]
fn trees_of_few_records_are_as_they_are_given() -> TestResult {
    let below = Arc::new(MemoryIndex::default());
    let packed = Packed::new(Arc::<MemoryIndex>::clone(&below));
    for tree in TreeId::ALL {
        for key in [b"a", b"b", b"c"] {
            packed.apply(tree, key, Some(b"value"), &mut |_| {})?;
        }
        let mut stored = 0;
        below.scan(tree, &EVERYTHING, Order::Ascending, &mut |_, _| {
            stored += 1;
            Ok(true)
        })?;
        assert_eq!(stored, if is_packed(tree) { 1 } else { 3 }, "{tree:?}");
    }
    Ok(())
}
