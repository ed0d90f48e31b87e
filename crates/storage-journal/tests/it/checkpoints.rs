//! Checkpoints at the edge of what they may hold, and of several blocks: who packs and reads them takes turns.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use storage_journal::checkpoint::{About, Checkpoint, Record, write};
use storage_journal::commit::{Change, encode};
use storage_journal::disk::{Fault, SimulatedDisk};
use storage_journal::{JournalError, Merged};

use crate::frames::{checkpoint, create};
use crate::workload::{Random, STORE, TestResult, scan};

const VALUE_LEN: usize = 1024;
/// About a block.
const OF_A_BLOCK: u64 = 62;

fn path() -> &'static Path {
    Path::new("backup.nonos")
}

fn about() -> About {
    About {
        store_id: STORE,
        term: 1,
        schema_version: 2,
        commit: 7,
        created_at: 1_770_000_000,
        program: "a test".to_owned(),
    }
}

/// So many records of two trees, of values that hardly compress; the middle one is as long as some blocks.
fn records(count: u64) -> Vec<Record> {
    let record = |number: u64| {
        let mut random = Random(number);
        let is_long = number == count / 2 && count > 4 * OF_A_BLOCK;
        let len = if is_long { 3 << 20 } else { VALUE_LEN };
        let value = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
        let tree = u8::from(number >= count / 3);
        (tree, number.to_be_bytes().to_vec(), value)
    };
    (0..count).map(record).collect()
}

fn write_all(disk: &SimulatedDisk, records: &[Record]) -> Result<u64, JournalError> {
    let records = records.iter().cloned().map(Ok);
    write(disk, path(), &about(), records)
}

#[test]
fn a_range_of_an_empty_checkpoint_is_empty() -> TestResult {
    let disk = SimulatedDisk::default();
    checkpoint(&create(&disk)?)?;
    let merged = Merged::of(&scan(&disk)?);
    assert!(merged.base().is_some(), "there is no checkpoint");
    let range = (Bound::Included(&b"a"[..]), Bound::Included(&b"b"[..]));
    for backwards in [false, true] {
        let entries = merged.entries(1, range, backwards);
        let found = entries.collect::<Result<Vec<_>, _>>()?;
        assert!(found.is_empty(), "backwards {backwards}: {found:?}");
    }
    Ok(())
}

#[test]
fn as_many_blocks_as_there_are_come_back_whole() -> TestResult {
    // None, one, those that one thread packs, one more than wait for the other, many.
    let blocks = [0, 1, 4, 5, 8, 9, 10, 40];
    let counts = blocks.map(|blocks| blocks * OF_A_BLOCK);
    let around = counts
        .into_iter()
        .flat_map(|count| [count.saturating_sub(1), count, count + 1]);
    for count in around {
        let (disk, records) = (SimulatedDisk::default(), records(count));
        let len = write_all(&disk, &records)?;
        let checkpoint = Checkpoint::open(&disk, path())?;
        assert_eq!(checkpoint.size(), len, "{count}");
        checkpoint.verify()?;
        let found = checkpoint.records().collect::<Result<Vec<_>, _>>()?;
        assert!(found == records, "{count}");
    }
    Ok(())
}

#[test]
fn any_range_over_many_blocks_and_later_changes_is_what_is_in_it() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    let mut model = BTreeMap::new();
    let mut random = Random(1);
    let mut put = |records: &[Record]| {
        let changes = records.iter().map(|(tree, key, value)| Change {
            tree: *tree,
            key,
            value: (!value.is_empty()).then_some(value),
        });
        for (tree, key, value) in records {
            model.insert((*tree, key.clone()), value.clone());
        }
        journal.append(0, &encode(changes))
    };
    let mut records = records(12 * OF_A_BLOCK);
    // The first tree has none, nor has the last.
    for (tree, ..) in &mut records {
        *tree += 1;
    }
    put(&records)?;
    checkpoint(&journal)?;
    let mut changed: Vec<Record> = Vec::new();
    for (tree, key, value) in &mut records {
        // Deleted, changed, and new ones beside those that stay.
        match random.below(6) {
            0 => changed.push((*tree, key.clone(), Vec::new())),
            1 => changed.push((*tree, key.clone(), value.split_off(value.len() / 2))),
            2 => changed.push((*tree, [key.as_slice(), b"+"].concat(), b"new".to_vec())),
            _ => {}
        }
    }
    put(&changed)?;
    let merged = Merged::of(&scan(&disk)?);
    assert!(merged.base().is_some_and(|base| base.size() > 12 << 16));
    for _ in 0..400 {
        let mut bound = || {
            let (_, key, _) = &records[usize::try_from(random.below(12 * OF_A_BLOCK))?];
            Ok::<_, std::num::TryFromIntError>(match random.below(5) {
                0 | 1 => Bound::Included(key.as_slice()),
                2 | 3 => Bound::Excluded(key.as_slice()),
                _ => Bound::Unbounded,
            })
        };
        let range = (bound()?, bound()?);
        for tree in 0..4 {
            let all = model.iter().filter(|((of, key), value)| {
                *of == tree && range.contains(&key.as_slice()) && !value.is_empty()
            });
            let mut expected: Vec<_> = all
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            let mut visited = Vec::new();
            merged.visit_range(tree, range, &mut |key, value| {
                visited.push((key.to_vec(), value.to_vec()));
                Ok::<_, JournalError>(())
            })?;
            assert!(visited == expected, "visited {tree} {range:?}");
            for backwards in [false, true] {
                let found = merged.entries(tree, range, backwards);
                let found = found.collect::<Result<Vec<_>, _>>()?;
                assert!(found == expected, "{tree} {range:?} {backwards}");
                expected.reverse();
            }
        }
    }
    Ok(())
}

#[test]
fn a_byte_that_differs_anywhere_is_found() -> TestResult {
    let (disk, records) = (SimulatedDisk::default(), records(20 * OF_A_BLOCK));
    let len = usize::try_from(write_all(&disk, &records)?)?;
    for at in (0..len).step_by(len / 100) {
        disk.damage(path(), |bytes| bytes[at] ^= 1);
        let verified = Checkpoint::open(&disk, path()).and_then(|damaged| damaged.verify());
        assert!(
            matches!(verified, Err(JournalError::Checkpoint { .. })),
            "at {at}: {verified:?}"
        );
        disk.damage(path(), |bytes| bytes[at] ^= 1);
    }
    Checkpoint::open(&disk, path())?.verify()?;
    Ok(())
}

#[test]
fn an_error_at_any_call_or_record_leaves_no_part_of_a_file() -> TestResult {
    let records = records(14 * OF_A_BLOCK);
    let disk = SimulatedDisk::default();
    write_all(&disk, &records)?;
    let calls = disk.calls();
    assert!(calls > 30, "{calls} calls");
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for at_call in 0..calls {
            let disk = SimulatedDisk::default();
            disk.fail(Some(Fault { at_call, kind }));
            let written = write_all(&disk, &records);
            disk.fail(None);
            // The last call makes the name durable: it is there by then, and the file is whole.
            let is_there = disk.files() == [path()];
            let case = format!("{kind:?} at call {at_call}: {written:?}");
            assert!(is_there || disk.files().is_empty(), "{case}");
            let is_last = at_call + 1 == calls;
            assert_eq!(is_there, written.is_ok() || is_last, "{case}");
            if is_there {
                Checkpoint::open(&disk, path())?.verify()?;
            }
        }
    }
    for good in (0..records.len()).step_by(50) {
        let disk = SimulatedDisk::default();
        let bad = [Err(JournalError::OutOfOrder)];
        let some = records.iter().take(good).cloned().map(Ok).chain(bad);
        let written = write(&disk, path(), &about(), some);
        assert!(matches!(written, Err(JournalError::OutOfOrder)), "{good}");
        assert!(disk.files().is_empty(), "{good}");
        let twice = records.iter().take(good).chain(records.first());
        let written = write_all(&disk, &twice.cloned().collect::<Vec<_>>());
        assert_eq!(written.is_ok(), good == 0, "{good}");
        assert_eq!(disk.files().is_empty(), good > 0, "{good}");
    }
    Ok(())
}

#[test]
fn an_index_whose_keys_are_out_of_order_is_refused_though_its_sums_are_right() -> TestResult {
    const TRAILER_LEN: usize = 56;
    const KEY_LEN: usize = 8;
    /// Offset, tree, length of the key, key.
    const PLACE_LEN: usize = 8 + 1 + 4 + KEY_LEN;
    let (disk, records) = (SimulatedDisk::default(), records(20 * OF_A_BLOCK));
    write_all(&disk, &records)?;
    let part = |swapped: [usize; 2], overlaps: bool| {
        disk.damage(path(), |bytes| {
            let trailer = bytes.len() - TRAILER_LEN;
            let index = bytes[trailer..]
                .first_chunk()
                .map(|at| u64::from_le_bytes(*at));
            let index = usize::try_from(index.unwrap_or_default()).unwrap_or_default();
            let [one, other] = swapped.map(|place| index + 4 + (place + 1) * PLACE_LEN - KEY_LEN);
            if overlaps {
                // The second of them is said to begin within the first.
                bytes.copy_within(one..one + KEY_LEN, other);
                bytes[other + KEY_LEN - 1] += 1;
            } else {
                for byte in 0..KEY_LEN {
                    bytes.swap(one + byte, other + byte);
                }
            }
            let sum = crc32fast::hash(&bytes[index..trailer - 4]).to_le_bytes();
            bytes[trailer - 4..trailer].copy_from_slice(&sum);
            let hash = Blake2b::<U32>::digest(&bytes[..trailer + 16]);
            bytes[trailer + 16..trailer + 48].copy_from_slice(&hash);
        });
        match Checkpoint::open(&disk, path()).and_then(|opened| opened.verify()) {
            Err(JournalError::Checkpoint { part, .. }) => Some(part),
            _ => None,
        }
    };
    assert_eq!(part([8, 9], false), Some("index"));
    assert_eq!(part([8, 9], false), None, "it is as it was written");
    assert_eq!(part([8, 9], true), Some("order"));
    Ok(())
}
