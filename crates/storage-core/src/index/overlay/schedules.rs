//! The overlay under many schedules: who reads, who settles and who writes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;
use storage_journal::schedules::check;

use storage_journal::digest::TreeDigest;

use super::{Index, Overlay};
use crate::index::memory::MemoryIndex;
use crate::index::packed::Packed;
use crate::index::{HeldBack, held_size};
use crate::sync::{Mutex, lock};
use crate::tree::{PerTree, TreeId};
use crate::view::{KeyRange, Order};

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);
/// Three changes are a full layer.
const CAPACITY: u64 = 4 * 140;

type Change = (TreeId, u8, Option<u8>);

/// What is applied, one after another: keys that are put, replaced, removed and put again, in two trees.
const SCRIPT: [Change; 12] = [
    (TreeId::Peers, 1, Some(1)),
    (TreeId::Peers, 2, Some(2)),
    (TreeId::Metrics, 1, Some(3)),
    (TreeId::Peers, 1, Some(4)),
    (TreeId::Peers, 2, None),
    (TreeId::Peers, 3, Some(6)),
    (TreeId::Metrics, 1, None),
    (TreeId::Peers, 2, Some(8)),
    (TreeId::Peers, 3, None),
    (TreeId::Peers, 1, Some(10)),
    (TreeId::Metrics, 2, Some(11)),
    (TreeId::Peers, 2, Some(12)),
];

/// What a key is after so many changes.
fn state(tree: TreeId, key: u8, changes: usize) -> Option<u8> {
    let mut made = SCRIPT.iter().take(changes).rev();
    let last = made.find(|(of, at, _)| (*of, *at) == (tree, key));
    last.and_then(|(_, _, value)| *value)
}

fn value(of: u8) -> Vec<u8> {
    vec![of; 20]
}

/// The script, and how far its writer is.
#[derive(Default)]
struct Course {
    begun: AtomicUsize,
    done: AtomicUsize,
    is_over: AtomicBool,
    /// Digests as the writer reckons them.
    sums: PerTree<Mutex<TreeDigest>>,
}

impl Course {
    /// A read gives what was there at some moment of it.
    fn assert_read(&self, what: &str, read: impl FnOnce() -> BTreeMap<(TreeId, u8), u8>) {
        let from = self.done.load(Ordering::SeqCst);
        let found = read();
        let to = self.begun.load(Ordering::SeqCst);
        for (tree, key) in KEYS {
            let found = found.get(&(tree, key)).copied();
            let is_possible = (from..=to).any(|changes| state(tree, key, changes) == found);
            assert!(
                is_possible,
                "{what}: {tree:?} {key} is {found:?} between {from} and {to}"
            );
        }
    }
}

const KEYS: [(TreeId, u8); 5] = [
    (TreeId::Peers, 1),
    (TreeId::Peers, 2),
    (TreeId::Peers, 3),
    (TreeId::Metrics, 1),
    (TreeId::Metrics, 2),
];

fn get_all(index: &dyn Index) -> BTreeMap<(TreeId, u8), u8> {
    let get = |(tree, key): (TreeId, u8)| {
        let found = index.get(tree, &[key]).expect("a key is read")?;
        Some(((tree, key), *found.first()?))
    };
    KEYS.into_iter().filter_map(get).collect()
}

fn scan_all(index: &dyn Index, order: Order) -> BTreeMap<(TreeId, u8), u8> {
    let mut all = BTreeMap::new();
    for tree in [TreeId::Peers, TreeId::Metrics] {
        let mut found = Vec::new();
        let scanned = index.scan(tree, &EVERYTHING, order, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(true)
        });
        scanned.expect("a tree is scanned");
        let is_ordered = |pair: &[(Vec<u8>, Vec<u8>)]| match (pair, order) {
            ([(first, _), (next, _)], Order::Ascending) => first < next,
            ([(first, _), (next, _)], Order::Descending) => first > next,
            _ => true,
        };
        assert!(
            found.windows(2).all(is_ordered),
            "a key twice, or out of order: {found:?}"
        );
        all.extend(found.iter().map(|(key, value)| ((tree, key[0]), value[0])));
    }
    all
}

/// Writes the script, and some of what is held back when that is too much.
fn write(overlay: &Overlay, course: &Course) {
    for (number, (tree, key, put)) in SCRIPT.into_iter().enumerate() {
        course.begun.store(number + 1, Ordering::SeqCst);
        let put = put.map(value);
        let mut sum = lock(course.sums.of(tree));
        let applied = overlay.apply(tree, &[key], put.as_deref(), &mut |before| {
            sum.remove(&[key], before);
        });
        applied.expect("a change is applied");
        if let Some(put) = &put {
            sum.add(&[key], put);
        }
        drop(sum);
        course.done.store(number + 1, Ordering::SeqCst);
        if overlay.held_back() == HeldBack::TooMuch {
            let size = held_size(&[key], put.as_deref());
            overlay.make_room(size).expect("room is made");
        }
    }
    course.is_over.store(true, Ordering::SeqCst);
}

/// Whoever applies more than is written waits: what is held back stays bounded, however slow who writes it is.
#[test]
fn a_writer_waits_for_who_settles() {
    check(|| {
        let size = held_size(&[0], Some(&value(0)));
        let index: Arc<dyn Index> = Arc::new(Packed::new(Arc::new(MemoryIndex::default())));
        let overlay = Arc::new(Overlay::new(index, u64::try_from(3 * size).expect("small")));
        let is_over = Arc::new(AtomicBool::new(false));
        let settlers = [(); 2].map(|()| {
            let (overlay, is_over) = (Arc::clone(&overlay), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    overlay.settle_some().expect("a piece is settled");
                    thread::yield_now();
                }
            })
        });
        for key in 0..20 {
            let put = value(key);
            let applied = overlay.apply(TreeId::Peers, &[key], Some(&put), &mut |_| {});
            applied.expect("a change is applied");
            if overlay.held_back() == HeldBack::TooMuch {
                overlay.make_room(size).expect("room is made");
            }
            let held = overlay.bytes();
            assert!(held <= overlay.most() + size, "{held} bytes at {key}");
        }
        is_over.store(true, Ordering::SeqCst);
        for settler in settlers {
            settler.join().expect("a settler ends");
        }
    });
}

#[test]
fn readers_beside_writer_and_settlers_miss_nothing_and_see_nothing_twice() {
    check(|| {
        let index: Arc<dyn Index> = Arc::new(Packed::new(Arc::new(MemoryIndex::default())));
        let overlay = Arc::new(Overlay::new(Arc::clone(&index), CAPACITY));
        let course = Arc::new(Course::default());
        let spawn = |work: fn(&Overlay, &dyn Index, &Course)| {
            let (overlay, course) = (Arc::clone(&overlay), Arc::clone(&course));
            let index = Arc::clone(&index);
            thread::spawn(move || work(&overlay, &*index, &course))
        };
        let threads = [
            spawn(|overlay, _, course| write(overlay, course)),
            spawn(|overlay, _, course| {
                while !course.is_over.load(Ordering::SeqCst) {
                    overlay.settle_some().expect("a piece is settled");
                    thread::yield_now();
                }
            }),
            spawn(|overlay, index, course| {
                for _ in 0..2 {
                    course.assert_read("settled", || {
                        overlay.settle().expect("all is settled");
                        get_all(index)
                    });
                }
            }),
            spawn(|overlay, _, course| {
                for order in [Order::Ascending, Order::Descending, Order::Ascending] {
                    course.assert_read("a scan", || scan_all(overlay, order));
                    course.assert_read("a get", || get_all(overlay));
                }
            }),
        ];
        for thread in threads {
            thread.join().expect("a thread ends");
        }
        overlay.settle().expect("all is settled");
        assert_eq!(overlay.held_back(), HeldBack::Little);
        for tree in [TreeId::Peers, TreeId::Metrics] {
            let mut expected = TreeDigest::default();
            for (of, key) in KEYS {
                let put = state(tree, key, SCRIPT.len()).filter(|_| of == tree);
                put.into_iter()
                    .for_each(|put| expected.add(&[key], &value(put)));
            }
            let sum =
                lock(course.sums.of(tree)).without(overlay.replaced(tree).expect("no call fails"));
            assert_eq!(sum, expected, "the digest of {tree:?}");
        }
        for (tree, key) in KEYS {
            let found = index.get(tree, &[key]).expect("a key is read");
            assert_eq!(
                found,
                state(tree, key, SCRIPT.len()).map(value),
                "{tree:?} {key}"
            );
        }
    });
}
