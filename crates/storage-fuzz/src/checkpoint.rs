//! A checkpoint: its header, index, blocks and trailer, read and looked up.

use std::path::Path;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use storage_core::history::{Checkpoint, Digests, JournalError, SimulatedDisk};
use storage_journal::checkpoint::{About, Record, write};
use storage_journal::digest::MAX_TREES;

use crate::disk::{JOURNAL, NOW_MS, disk_with};
use crate::input::{Input, MENDED, SECOND, mend_crc, put_at, u32_at, u64_at};

pub(crate) const NAME: &str = "checkpoint-00000000000000000001.nonos";
/// Magic, version, store, term, schema, commit, time.
const PROGRAM_AT: usize = 8 + 4 + 16 + 8 + 4 + 8 + 8;
const BLOCK_HEADER_LEN: usize = 18;
const TRAILER_LEN: usize = 56;
const DIGESTS_LEN: usize = MAX_TREES * 24;

/// The file, with its sums put right if that was asked for.
pub(crate) fn file(input: &Input<'_>) -> Vec<u8> {
    let mut bytes = input.bytes.to_vec();
    if input.is(MENDED) {
        // What is cut off anywhere has no more sums.
        let _whole = mend(&mut bytes);
        if input.is(SECOND) {
            let _counted = mend_digests(&mut bytes);
            let _whole = mend(&mut bytes);
        }
    }
    bytes
}

/// Puts the sums of header, blocks, index and file right, as far as their lengths say where those are.
fn mend(bytes: &mut [u8]) -> Option<()> {
    let program_len = usize::try_from(u32_at(bytes, PROGRAM_AT)?).ok()?;
    let header_sum_at = PROGRAM_AT.checked_add(4)?.checked_add(program_len)?;
    mend_crc(bytes, header_sum_at, 0..header_sum_at);
    let trailer_at = bytes.len().checked_sub(TRAILER_LEN)?;
    let index_at = usize::try_from(u64_at(bytes, trailer_at)?).ok()?;
    let index_len = u64::try_from(trailer_at.checked_sub(index_at)?).ok()?;
    let mut at = header_sum_at.checked_add(4)?;
    while at < index_at {
        let stored = usize::try_from(u32_at(bytes, at + 10)?).ok()?;
        let end = at.checked_add(BLOCK_HEADER_LEN)?.checked_add(stored)?;
        mend_crc(bytes, at + 14, at..end);
        at = end;
    }
    let index_sum_at = trailer_at.checked_sub(4)?;
    mend_crc(bytes, index_sum_at, index_at..index_sum_at);
    put_at(bytes, trailer_at + 8, &index_len.to_le_bytes());
    let hash = Blake2b::<U32>::digest(bytes.get(..trailer_at + 16)?);
    put_at(bytes, trailer_at + 16, &hash);
    put_at(bytes, trailer_at + 48, b"NONOSEND");
    Some(())
}

/// Puts the counts and digests of what the blocks hold into the index.
fn mend_digests(bytes: &mut [u8]) -> Option<()> {
    let disk = disk_with(&[(NAME, bytes)]);
    let checkpoint = Checkpoint::open(&disk, &Path::new(JOURNAL).join(NAME)).ok()?;
    let mut digests = Digests::empty(MAX_TREES);
    for record in checkpoint.records() {
        let (tree, key, value) = record.ok()?;
        digests.of_mut(tree)?.add(&key, &value);
    }
    let mut at = bytes.len().checked_sub(TRAILER_LEN + 4 + DIGESTS_LEN)?;
    for digest in digests.iter() {
        put_at(bytes, at, &digest.count().to_le_bytes());
        put_at(bytes, at + 8, &digest.sum().to_le_bytes());
        at += 24;
    }
    Some(())
}

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let disk = disk_with(&[(NAME, &file(&input))]);
    // Damage is an error of its own kind, and no other is possible here.
    if let Err(error) = read(&disk, &Path::new(JOURNAL).join(NAME)) {
        assert!(
            matches!(error, JournalError::Checkpoint { .. }),
            "{error:?}"
        );
    }
}

fn read(disk: &SimulatedDisk, path: &Path) -> Result<(), JournalError> {
    let checkpoint = Checkpoint::open(disk, path)?;
    let verified = checkpoint.verify();
    if verified.is_err() {
        // What can be read of it is read all the same, by a salvage.
        for tree in 0..=u8::MAX {
            let _any = (
                checkpoint.records_of(tree).count(),
                checkpoint.get(tree, b"k"),
            );
        }
        checkpoint.records().for_each(drop);
        return verified;
    }
    verify(&checkpoint).expect("what was verified is read");
    Ok(())
}

/// What was verified is in order, counted, and found by its keys.
fn verify(checkpoint: &Checkpoint) -> Result<(), JournalError> {
    let mut count = 0;
    let mut last = None;
    let mut of_trees = 0;
    for record in checkpoint.records() {
        let (tree, key, value) = record?;
        let found = checkpoint.get(tree, &key)?;
        assert_eq!(
            found.as_deref(),
            Some(&*value),
            "each record is found by its key"
        );
        let mut behind = key.clone();
        behind.push(0);
        let place = Some((tree, key));
        assert!(last < place, "records in order");
        last = place;
        count += 1;
        // The next possible key is there only if it is the next record: never a wrong one.
        let _any = checkpoint.get(tree, &behind)?;
    }
    for tree in 0..u8::try_from(MAX_TREES).unwrap_or(0) {
        of_trees += checkpoint.records_of(tree).count();
    }
    assert_eq!(
        checkpoint.digests().total(),
        count,
        "the count that it states"
    );
    assert_eq!(u64::try_from(of_trees), Ok(count), "tree by tree");
    Ok(())
}

/// Small checkpoints as files.
pub(crate) fn files() -> Vec<Vec<u8>> {
    let about = About {
        store_id: [7; 16],
        term: 1,
        schema_version: 2,
        commit: 1,
        created_at: NOW_MS / 1000,
        program: "nonos 0.1.0".to_owned(),
    };
    let one = vec![(2, b"key".to_vec(), b"value".to_vec())];
    let many = (0..20_u8).map(|n| (n / 4, vec![n], vec![n; 40])).collect();
    // Two blocks, as each is closed behind 64 KiB.
    let large = (0..4_u8)
        .map(|n| (3, vec![n; 8], vec![n; 40_000]))
        .collect();
    let lists: [Vec<Record>; 4] = [Vec::new(), one, many, large];
    let file = |records: Vec<_>| {
        let (disk, path) = (disk_with(&[]), Path::new(JOURNAL).join(NAME));
        let records = records.into_iter().map(Ok::<_, JournalError>);
        write(&disk, &path, &about, records).expect("a disk without faults");
        disk.content(&path).unwrap_or_default()
    };
    lists.map(file).into()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let with_mode = |file: Vec<u8>| {
        [0, MENDED, MENDED | SECOND].map(|mode| [&[mode], file.as_slice()].concat())
    };
    files().into_iter().flat_map(with_mode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_records_are_behind_right_sums_and_digests() {
        for (mode, verifies) in [(0, false), (MENDED, false), (MENDED | SECOND, true)] {
            let file = files().swap_remove(1);
            let mut data = [&[mode], file.as_slice()].concat();
            let at = data.windows(5).position(|window| window == b"value");
            data[at.expect("a plain record")] ^= 1;
            let bytes = self::file(&Input::of(&data).expect("an input"));
            let disk = disk_with(&[(NAME, &bytes)]);
            let opened = Checkpoint::open(&disk, &Path::new(JOURNAL).join(NAME));
            let verified = opened.and_then(|checkpoint| checkpoint.verify());
            assert_eq!(verified.is_ok(), verifies, "mode {mode}: {verified:?}");
        }
    }
}
