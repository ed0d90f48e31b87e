//! A block of the index, in the place of one or beside it, while the journal is whole.

use std::fmt;

use storage_core::history::SimulatedDisk;
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::{CoreError, Durability, SimulatedHome, TreeId};

use crate::disk::{NOW_MS, State, dump, open};
use crate::input::{Input, MENDED, mend_crc, output};

/// What a block begins with; a checksum of what follows is behind it.
const MARK: &[u8] = b"\xfePACKED\x01";
const SUM_LEN: usize = 4;
const TREES: [TreeId; 4] = [
    TreeId::Metrics,
    TreeId::Epochs,
    TreeId::Claims,
    TreeId::AuditLog,
];
/// Samples that there are: some blocks of them.
const SAMPLES: i64 = 60;

/// The tree, the key, and what lies under it.
fn planted(data: &[u8]) -> Option<(TreeId, &[u8], Vec<u8>)> {
    let mut input = Input::of(data)?;
    let is_mended = input.is(MENDED);
    let tree = *TREES.get(usize::from(input.byte()?) % TREES.len())?;
    let key = input.short()?;
    let mut stored = Vec::new();
    if is_mended {
        stored.extend(MARK);
        stored.extend([0; SUM_LEN]);
    }
    stored.extend(input.bytes);
    if is_mended {
        let end = stored.len();
        mend_crc(&mut stored, MARK.len(), MARK.len() + SUM_LEN..end);
    }
    Some((tree, key, stored))
}

pub(crate) fn run(data: &[u8]) {
    if let Some((tree, key, stored)) = planted(data) {
        healed(tree, key, &stored).expect("a disk without faults");
    }
}

/// Whatever the index says, the database is what the journal holds, and goes on.
fn healed(tree: TreeId, key: &[u8], stored: &[u8]) -> Result<(), CoreError> {
    let (disk, home, mut expected) = whole()?;
    home.plant(tree, key, stored);
    let db = open(&disk, &home)?;
    same(&db, &expected, format_args!("{:?}", db.opening_report()))?;
    add(&db, NOW_MS / 1000 + SAMPLES)?;
    expected = added(&db, &expected)?;
    db.shutdown()?;
    drop(db);
    let again = open(&disk, &home)?;
    same(&again, &expected, format_args!("another time"))
}

fn same(
    db: &storage_core::Db,
    expected: &State,
    case: fmt::Arguments<'_>,
) -> Result<(), CoreError> {
    let found = dump(db)?;
    assert!(found == *expected, "{case}: {} records", found.len());
    Ok(())
}

fn add(db: &storage_core::Db, at: i64) -> Result<(), CoreError> {
    let sample = StoredMetrics {
        total_requests: at.unsigned_abs(),
        ..Default::default()
    };
    let stored = db.update(Durability::Buffered, |_, commit| {
        metrics::store(commit, at, &sample)
    });
    stored.map(drop)
}

/// What there was, and one record more.
fn added(db: &storage_core::Db, before: &State) -> Result<State, CoreError> {
    let state = dump(db)?;
    let is_kept = before
        .iter()
        .all(|(key, value)| state.get(key) == Some(value));
    assert!(is_kept && state.len() == before.len() + 1, "after a commit");
    Ok(state)
}

/// A database whose samples lie in blocks, as it was closed.
fn whole() -> Result<(SimulatedDisk, SimulatedHome, State), CoreError> {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    crate::record::fill(&db)?;
    for number in 1..SAMPLES {
        add(&db, NOW_MS / 1000 + number)?;
    }
    let state = dump(&db)?;
    db.shutdown()?;
    Ok((disk, home, state))
}

/// A block with these entries.
fn block(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut packed = Vec::new();
    for (key, value) in entries {
        packed.extend(len(key));
        packed.extend(len(value));
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
    }
    packed
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (_, _, state) = whole().expect("a disk without faults");
    let samples = state
        .iter()
        .filter(|((tree, _), _)| *tree == TreeId::Metrics);
    let samples: Vec<(&[u8], &[u8])> = samples
        .map(|((_, key), value)| (key.as_slice(), value.as_slice()))
        .collect();
    let (few, many) = (samples.get(..3), samples.get(5..25));
    let (few, many) = (few.expect("samples"), many.expect("samples"));
    let of = |mode, tree: u8, key: &[u8], bytes: &[u8]| {
        let mut data = output(mode, &[], &[tree]);
        data.extend(output(0, &[key], bytes).split_off(1));
        data
    };
    let first =
        |entries: &[(&[u8], &[u8])]| entries.first().map_or(Vec::new(), |(key, _)| key.to_vec());
    let backwards: Vec<_> = few.iter().rev().copied().collect();
    vec![
        of(MENDED, 0, &first(few), &block(few)),
        of(MENDED, 0, &first(many), &block(many)),
        of(MENDED, 0, &[], &block(many)),
        of(MENDED, 0, &first(few), &block(&backwards)),
        of(MENDED, 3, b"\0\0\0\0\0\0\0\x01", &block(few)),
        of(
            0,
            0,
            &first(few),
            few.first().map_or(&[], |(_, value)| *value),
        ),
        of(0, 2, b"", b""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::u32_at;

    #[test]
    fn a_seed_is_a_block_whose_checksum_is_right() {
        let seeds = seeds();
        let (tree, _, stored) = planted(seeds.first().expect("a seed")).expect("a block");
        assert_eq!(tree, TreeId::Metrics);
        let rest = stored.get(MARK.len() + SUM_LEN..).expect("entries");
        assert_eq!(u32_at(&stored, MARK.len()), Some(crc32fast::hash(rest)));
        assert_eq!(u32_at(rest, 0), Some(8), "the length of a key");
    }
}
