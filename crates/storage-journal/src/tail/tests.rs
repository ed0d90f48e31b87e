//! The tail against a map of values.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::commit::{Change, encode};
use crate::disk::{Disk, SimulatedDisk};

type Model = BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>;
type Entry = (Vec<u8>, Option<Vec<u8>>);
type Changed = (u8, Vec<u8>, Option<Vec<u8>>);
type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

const TREES: u8 = 3;

/// Few that are repeated often, many that come in order, some that are long.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(0..4_u8, 0..4),
        8 => any::<u16>().prop_map(|number| number.to_be_bytes().to_vec()),
        1 => (0..4_u8, 1_000..9_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn as_slices((start, end): &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Range<'_> {
    let start = start.as_ref().map(Vec::as_slice);
    (start, end.as_ref().map(Vec::as_slice))
}

#[derive(Clone, Debug)]
struct Commit {
    changes: Vec<Changed>,
    is_corrected: bool,
    /// Whether it is the first of another segment.
    is_first: bool,
    tree: u8,
    range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
}

fn change() -> impl Strategy<Value = Changed> {
    let value = prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..9));
    (0..TREES, key(), value)
}

fn commit() -> impl Strategy<Value = Commit> {
    let changes = prop_oneof![
        4 => prop::collection::vec(change(), 1..4),
        1 => prop::collection::vec(change(), 100..300),
    ];
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (changes, flags, 0..=TREES, (bound(), bound())).prop_map(
        |(changes, (is_corrected, is_first), tree, range)| Commit {
            changes,
            is_corrected,
            is_first,
            tree,
            range,
        },
    )
}

fn body(changes: &[Changed]) -> Vec<u8> {
    encode(changes.iter().map(|(tree, key, value)| Change {
        tree: *tree,
        key,
        value: value.as_deref(),
    }))
}

fn file(name: usize) -> io::Result<Arc<dyn DiskFile>> {
    SimulatedDisk::default().create(Path::new(&format!("/{name}")))
}

/// What the tail has in a range, with the values.
fn entries(tail: &Tail, tree: u8, range: Range<'_>, backwards: bool) -> io::Result<Vec<Entry>> {
    let mut ahead = Ahead::default();
    tail.entries(tree, range, backwards)
        .map(|(key, place)| Ok((key.to_vec(), tail.read(place, &mut ahead)?)))
        .collect()
}

fn entries_of(model: &Model, tree: u8, range: Range<'_>) -> Vec<Entry> {
    let (start, end) = range;
    let inside = |key: &[u8]| {
        let from = match start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        };
        let to = match end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        };
        from && to
    };
    let inside = model
        .iter()
        .filter(|((of, key), _)| *of == tree && inside(key));
    inside
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

proptest! {
    /// After every commit: its keys, and a range both ways, also one that is reversed or of a tree without keys.
    #[test]
    fn the_tail_has_the_last_value_of_every_key(commits in prop::collection::vec(commit(), 1..16)) {
        let mut tail = Tail::default();
        let mut model = Model::new();
        let (mut segment, mut offset) = (file(0)?, 0);
        for (number, commit) in commits.iter().enumerate() {
            if commit.is_first {
                (segment, offset) = (file(number)?, 0);
            }
            let body = body(&commit.changes);
            // Of a commit that was corrected the file has other bytes.
            let flip = u8::from(commit.is_corrected);
            let written: Vec<u8> = body.iter().map(|byte| byte ^ flip).collect();
            segment.write_at(len_u64(offset), &written)?;
            prop_assert!(tail.apply(&segment, offset, &body, commit.is_corrected));
            offset += body.len();
            for (tree, key, value) in &commit.changes {
                model.insert((*tree, key.clone()), value.clone());
            }
            for (tree, key, _) in &commit.changes {
                let place = tail.get(*tree, key);
                let value = place.map(|place| tail.read(place, &mut Ahead::default()));
                let expected = model.get(&(*tree, key.clone())).cloned();
                prop_assert_eq!(value.transpose()?, expected);
            }
            let range = as_slices(&commit.range);
            let mut expected = entries_of(&model, commit.tree, range);
            prop_assert_eq!(entries(&tail, commit.tree, range, false)?, expected.clone());
            expected.reverse();
            prop_assert_eq!(entries(&tail, commit.tree, range, true)?, expected);
            for key in [commit.range.0.clone(), commit.range.1.clone()] {
                if let Bound::Included(key) | Bound::Excluded(key) = key {
                    let is_there = tail.get(commit.tree, &key).is_some();
                    prop_assert_eq!(is_there, model.contains_key(&(commit.tree, key)));
                }
            }
        }
        prop_assert_eq!(tail.len(), len_u64(model.len()));
        for tree in 0..TREES {
            let all = (Bound::Unbounded, Bound::Unbounded);
            prop_assert_eq!(entries(&tail, tree, all, false)?, entries_of(&model, tree, all));
        }
    }
}

/// As of a file that no segment is: its places have more bits than there are for them.
#[test]
fn values_too_far_behind_are_kept() -> io::Result<()> {
    let file = file(0)?;
    let changes = [(1, b"key".to_vec(), Some(b"value".to_vec()))];
    let mut tail = Tail::default();
    for offset in [usize::MAX, usize::try_from(u32::MAX).unwrap_or(0)] {
        assert!(tail.apply(&file, offset, &body(&changes), false));
        let value = tail
            .get(1, b"key")
            .map(|place| tail.read(place, &mut Ahead::default()));
        assert_eq!(
            value.transpose()?.flatten().as_deref(),
            Some(&b"value"[..]),
            "{offset}"
        );
    }
    Ok(())
}

#[test]
fn malformed_commits_are_told() -> io::Result<()> {
    let file = file(0)?;
    let mut tail = Tail::default();
    let whole = body(&[(1, b"key".to_vec(), Some(b"value".to_vec()))]);
    let torn = whole.split_last().map_or(&[][..], |(_, torn)| torn);
    assert!(!tail.apply(&file, 0, torn, false));
    let unknown = body(&[(16, b"key".to_vec(), None)]);
    assert!(!tail.apply(&file, 0, &unknown, false));
    assert!(tail.apply(&file, 0, &whole, false));
    assert_eq!(tail.len(), 1);
    Ok(())
}
