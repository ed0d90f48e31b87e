//! Reading between any two changes of what lies below.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use super::super::Packed;
use super::{EVERYTHING, Found, Model, Random, TREE, TestResult, assert_same, read, sorted, take};
use crate::error::CoreError;
use crate::index::memory::MemoryIndex;
use crate::index::{Index, Witness};
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Visit};

/// An index that lets somebody read the packed one over it after each of its changes.
struct Watched {
    pub(super) index: MemoryIndex,
    pub(super) over: Mutex<Weak<Packed>>,
    /// What was there before the changes that are made, and which keys they change.
    pub(super) now: Mutex<(Model, BTreeSet<Vec<u8>>)>,
    pub(super) looks: Mutex<u32>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    fn look(&self) -> Result<(), CoreError> {
        let over = self.over.lock().expect("nobody panicked").upgrade();
        let Some(over) = over else { return Ok(()) };
        let now = self.now.lock().expect("nobody panicked");
        let (model, changed) = &*now;
        *self.looks.lock().expect("nobody panicked") += 1;
        let rest = |found: Found| -> Found {
            let mut keys = found.iter().map(|(key, _)| key).collect::<Vec<_>>();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), found.len(), "a record twice");
            found
                .into_iter()
                .filter(|(key, _)| !changed.contains(key))
                .collect()
        };
        let expected = rest(model.clone().into_iter().collect());
        let found = read(&*over, &EVERYTHING, Order::Ascending, usize::MAX)?;
        assert!(rest(found) == expected, "forwards");
        let mut found = read(&*over, &EVERYTHING, Order::Descending, usize::MAX)?;
        found.reverse();
        assert!(rest(found) == expected, "backwards");
        for (key, value) in &expected {
            assert_eq!(
                over.get(TREE, key)?.as_ref(),
                Some(value),
                "a record is gone"
            );
        }
        Ok(())
    }
}

impl Index for Watched {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        self.index.get(tree, key)
    }

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        self.index.apply(tree, key, value, replaced)?;
        self.look()
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.index.scan(tree, range, order, visit)
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        self.index.witness()
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        self.index.set_witness(witness)
    }

    fn sync(&self) -> Result<(), CoreError> {
        self.index.sync()
    }
}

/// What is not changed is there at any moment, once.
#[test]
fn between_any_two_changes_below_every_other_record_is_read_once() -> TestResult {
    let mut looks = 0;
    for seed in 0..60 {
        let mut random = Random::of(seed);
        let watched = Arc::new(Watched {
            index: MemoryIndex::default(),
            over: Mutex::default(),
            now: Mutex::default(),
            looks: Mutex::default(),
        });
        let packed = Arc::new(Packed::new(Arc::<Watched>::clone(&watched)));
        *watched.over.lock().expect("nobody panicked") = Arc::downgrade(&packed);
        let mut model = Model::new();
        for _ in 0..25 {
            let changes = random.changes();
            let keys = changes.keys().cloned().collect();
            *watched.now.lock().expect("nobody panicked") = (model.clone(), keys);
            packed.apply_sorted(TREE, &mut sorted(&changes), &mut |_, _| {})?;
            take(&mut model, &changes);
        }
        assert_same(&*packed, &model, &format!("seed {seed}"))?;
        looks += *watched.looks.lock().expect("nobody panicked");
    }
    assert!(looks > 3000, "{looks} looks");
    Ok(())
}
