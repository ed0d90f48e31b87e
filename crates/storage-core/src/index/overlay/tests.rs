//! The overlay over a simulated index, against a map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use storage_journal::digest::TreeDigest;

use super::{Index, Overlay, WRITERS_PIECE};
use crate::error::CoreError;
use crate::index::simulated::SimulatedHome;
use crate::index::{HeldBack, IndexHome, Witness, held_size};
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Visit};

type Model = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;
type Found = Vec<(Vec<u8>, Vec<u8>)>;
type TestResult = Result<(), Box<dyn std::error::Error>>;

const TREES: [TreeId; 3] = [TreeId::Schema, TreeId::Metrics, TreeId::AuditLog];
const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

struct Random {
    random: storage_testkit::Random,
    /// Most keys come in order, if any do.
    next: Option<u8>,
}

impl Random {
    fn of(seed: u64) -> Self {
        Self {
            random: storage_testkit::Random(seed),
            next: seed.is_multiple_of(2).then_some(0),
        }
    }

    fn below(&mut self, end: u8) -> u8 {
        u8::try_from(self.random.below(end.into())).unwrap_or_default()
    }

    fn tree(&mut self) -> TreeId {
        TREES
            .get(usize::from(self.below(3)))
            .copied()
            .unwrap_or(TreeId::Schema)
    }

    fn key(&mut self) -> Vec<u8> {
        let next = self.next;
        match next {
            Some(next) if next < u8::MAX && self.below(12) > 0 => {
                self.next = Some(next + 1);
                vec![next]
            }
            Some(next) => vec![self.below(next.max(1))],
            None => vec![self.below(24)],
        }
    }

    fn bound(&mut self) -> Bound<Vec<u8>> {
        match self.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(vec![self.below(24)]),
            _ => Bound::Excluded(vec![self.below(24)]),
        }
    }
}

fn read(
    index: &dyn Index,
    tree: TreeId,
    range: &KeyRange,
    order: Order,
    most: usize,
) -> Result<Found, CoreError> {
    let mut found = Found::new();
    index.scan(tree, range, order, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(found.len() < most)
    })?;
    Ok(found)
}

fn expected(model: &Model, tree: TreeId, range: &KeyRange, order: Order, most: usize) -> Found {
    use std::ops::RangeBounds;
    let inside = |key: &Vec<u8>| (range.0.as_ref(), range.1.as_ref()).contains(key);
    let entries = model
        .iter()
        .filter(|((of, key), _)| *of == tree && inside(key));
    let mut found: Found = entries
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    if order == Order::Descending {
        found.reverse();
    }
    found.truncate(most);
    found
}

fn assert_same(index: &dyn Index, model: &Model, case: &str) -> TestResult {
    for tree in TREES {
        let order = Order::Ascending;
        let found = read(index, tree, &EVERYTHING, order, usize::MAX)?;
        assert_eq!(
            found,
            expected(model, tree, &EVERYTHING, order, usize::MAX),
            "{case}"
        );
    }
    Ok(())
}

/// Digests as who applies reckons them: with what was told of replaced values, and without.
type Sums = BTreeMap<TreeId, TreeDigest>;

fn assert_sums(index: &dyn Index, sums: &Sums, model: &Model, case: &str) {
    for tree in TREES {
        let mut expected = TreeDigest::default();
        for ((of, key), value) in model {
            if *of == tree {
                expected.add(key, value);
            }
        }
        let sum = sums.get(&tree).copied().unwrap_or_default();
        let replaced = index.replaced(tree).expect("no call failed");
        let sum = sum.without(replaced);
        assert_eq!(sum, expected, "{case}: the digest of {tree:?}");
    }
}

fn put(
    index: &dyn Index,
    model: &mut Model,
    sums: &mut Sums,
    random: &mut Random,
) -> Result<usize, CoreError> {
    let (tree, key) = (random.tree(), random.key());
    let value =
        (random.below(3) > 0).then(|| vec![random.below(255); usize::from(random.below(60))]);
    let sum = sums.entry(tree).or_default();
    index.apply(tree, &key, value.as_deref(), &mut |before| {
        sum.remove(&key, before);
    })?;
    let size = held_size(&key, value.as_deref());
    match value {
        Some(value) => {
            sum.add(&key, &value);
            model.insert((tree, key), value)
        }
        None => model.remove(&(tree, key)),
    };
    Ok(size)
}

#[test]
fn whatever_is_held_back_is_read_as_if_it_were_written() -> TestResult {
    for seed in 0..2000 {
        let mut random = Random::of(seed);
        let home = SimulatedHome::default();
        let index = home.open()?;
        let (mut model, mut sums) = (Model::new(), Sums::new());
        for _ in 0..random.below(30) {
            put(&*index, &mut model, &mut sums, &mut random)?;
        }
        let capacity = [0, 300, 1000, 3000, 1 << 20];
        let capacity = *capacity.get(usize::from(random.below(5))).ok_or("five")?;
        let over = Overlay::new(Arc::clone(&index), capacity);
        for number in 0..60 {
            let case = format!("seed {seed}, step {number}, capacity {capacity}");
            match random.below(16) {
                0 => {
                    over.set_witness(Witness {
                        store_id: [7; 16],
                        term: 1,
                        durable_through: number,
                    })?;
                    assert_same(&*index, &model, &case)?;
                    assert_sums(&over, &sums, &model, &case);
                }
                1 => {
                    over.sync()?;
                    assert_same(&*home.crash(|_| false).open()?, &model, &case)?;
                }
                2 | 3 => drop(over.settle_some()?),
                4 | 5 => {
                    let (tree, key) = (random.tree(), random.key());
                    let found = over.get(tree, &key)?;
                    assert_eq!(found.as_ref(), model.get(&(tree, key)), "{case}");
                }
                6..9 => {
                    let (tree, range) = (random.tree(), (random.bound(), random.bound()));
                    let most = 1 + usize::from(random.below(30));
                    for order in [Order::Ascending, Order::Descending] {
                        let found = read(&over, tree, &range, order, most)?;
                        let expected = if crate::view::is_empty(&range) {
                            Found::new()
                        } else {
                            expected(&model, tree, &range, order, most)
                        };
                        assert_eq!(found, expected, "{case}: {range:?}, {order:?}");
                    }
                }
                _ => {
                    let size = put(&over, &mut model, &mut sums, &mut random)?;
                    if over.held_back() == HeldBack::TooMuch {
                        over.make_room(size)?;
                    }
                    let held = over.bytes();
                    assert!(
                        held <= usize::try_from(capacity)? + 600,
                        "{case}: {held} bytes"
                    );
                }
            }
        }
        let case = format!("seed {seed}, at the end");
        assert_same(&over, &model, &case)?;
        over.settle()?;
        assert_eq!(over.held_back(), HeldBack::Little, "{case}");
        assert_same(&*index, &model, &case)?;
        assert_sums(&over, &sums, &model, &case);
    }
    Ok(())
}

/// Whatever call fails, what was applied is still read; once no call fails any more all of it is written.
#[test]
fn an_index_that_fails_at_any_call_loses_nothing_that_is_held_back() -> TestResult {
    let (mut failures, mut counted) = (0, 0);
    for calls in 0..300 {
        let mut random = Random::of(calls);
        let home = SimulatedHome::default();
        let index = home.open()?;
        let over = Overlay::new(Arc::clone(&index), 1500);
        let (mut model, mut sums) = (Model::new(), Sums::new());
        home.break_after(calls);
        let mut failed = false;
        for number in 0..250 {
            let case = format!("{calls} calls, step {number}");
            let done = put(&over, &mut model, &mut sums, &mut random)
                .and_then(|size| over.make_room(size));
            if done.is_err() {
                failed = true;
                let is_held = over.bytes() > 0;
                assert_eq!(over.settle().is_err(), is_held, "{case}");
                home.break_after(u64::MAX);
                assert_same(&over, &model, &case)?;
                over.settle()?;
                assert_same(&*index, &model, &case)?;
                // What was told of a piece that failed was told again: it is not said to be known.
                if TREES.iter().all(|tree| over.replaced(*tree).is_ok()) {
                    assert_sums(&over, &sums, &model, &case);
                    counted += 1;
                }
                break;
            }
        }
        failures += u32::from(failed);
    }
    assert!(failures > 200, "{failures} failures");
    assert!(counted < failures, "{counted} of {failures} counted");
    Ok(())
}

/// Alone, so that it writes all there is: from when the lower layer is as large as it gets, too.
#[test]
fn a_writer_without_help_holds_back_no_more_than_it_may() -> TestResult {
    let capacity = 1 << 20;
    let home = SimulatedHome::default();
    let over = Overlay::new(home.open()?, capacity);
    let most = usize::try_from(capacity)? + WRITERS_PIECE;
    let mut highest = 0;
    for number in 0..80_000_u32 {
        // Peers in no order; samples as well from when they are too much, and at last alone.
        let is_sample = number > 60_000 || (number > 30_000 && number % 3 == 0);
        let (tree, key) = if is_sample {
            (TreeId::Metrics, number)
        } else {
            (TreeId::Peers, number.wrapping_mul(0x9e37_79b1))
        };
        let key = key.to_be_bytes();
        over.apply(tree, &key, Some(&[7; 40]), &mut |_| {})?;
        over.make_room_for(&key, Some(&[7; 40]))?;
        highest = highest.max(over.bytes());
    }
    assert!(highest <= most, "{highest} bytes");
    assert!(highest > over.too_much(), "{highest} bytes");
    Ok(())
}

/// An index that holds nothing and says that its files are so long.
#[derive(Debug)]
struct Long(u64);

impl Index for Long {
    fn get(&self, _: TreeId, _: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        Ok(None)
    }

    fn apply(
        &self,
        _: TreeId,
        _: &[u8],
        _: Option<&[u8]>,
        _: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        Ok(())
    }

    fn scan(&self, _: TreeId, _: &KeyRange, _: Order, _: Visit<'_>) -> Result<(), CoreError> {
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.0
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        Ok(None)
    }

    fn set_witness(&self, _: Witness) -> Result<(), CoreError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), CoreError> {
        Ok(())
    }
}

#[test]
fn three_quarters_of_what_is_lent_are_used_less_a_quarter_of_the_files_and_half_of_its_own_stays() {
    for (file_len, lent, most) in [
        (0, 0, 1000),
        (0, 800, 1600),
        (400, 800, 1500),
        (4000, 800, 600),
        (4000, 0, 500),
        (u64::MAX, 800, 500),
    ] {
        let over = Overlay::new(Arc::new(Long(file_len)), 1000);
        over.lend(lent);
        assert_eq!(over.most(), most, "{file_len} bytes of files, {lent} lent");
        over.lend(0);
        assert!(over.most() <= 1000, "what was lent is given back");
    }
}
