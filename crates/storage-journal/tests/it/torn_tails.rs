//! What a power cut leaves at the end of a segment, and the numbers of the commits in it.

use std::collections::HashSet;
use std::sync::Arc;

use storage_journal::disk::{Crash, SimulatedDisk};
use storage_journal::{Journal, Merged};

use crate::frames::{create, destroy, put, put_all, segment};
use crate::workload::{TestResult, scan};

/// The CRC-32 polynomial of IEEE 802.3, reflected.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// Bytes of the frame's end that the power cut turns into zeros.
const TORN_LEN: usize = 500;
/// The first seed whose value is one that a single flipped bit would explain.
const UNLUCKY_SEED: u64 = 160_559;

/// By how much a checksum differs for one flipped bit, at each distance from the end.
fn differences_of_one_bit(bytes: usize) -> HashSet<u32> {
    let step = |difference: &u32| {
        let carry = if difference & 1 == 1 { POLYNOMIAL } else { 0 };
        Some(difference >> 1 ^ carry)
    };
    std::iter::successors(Some(1), step)
        .skip(1)
        .take(bytes * 8)
        .collect()
}

/// Zeros with a random end, by xorshift.
fn value_of(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = vec![0; 6000];
    for byte in value.iter_mut().rev().take(TORN_LEN).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        [*byte, ..] = state.to_le_bytes();
    }
    value
}

/// Of one value in some 47,000, the checksum of the torn frame differs as if one bit were flipped.
#[test]
fn a_torn_frame_is_not_corrected_to_what_never_was() -> TestResult {
    let explained = differences_of_one_bit(5900);
    let zeros = crc32fast::hash(&[0; TORN_LEN]);
    let is_explained = |value: &Vec<u8>| {
        let (_, torn) = value.split_at(value.len() - TORN_LEN);
        explained.contains(&(crc32fast::hash(torn) ^ zeros))
    };
    let value = (UNLUCKY_SEED..4_000_000).map(value_of).find(is_explained);
    let value = value.ok_or("no seed makes such a value")?;

    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put(&journal, "key", b"durable")?;
    journal.sync_through(1)?;
    put(&journal, "key", &value)?;
    let crashed = disk.crash(disk.trace_len(), Crash::Kill);
    crashed.damage(&segment(&disk), |bytes| {
        let end = bytes.len() - TORN_LEN;
        bytes[end..].fill(0);
    });
    let found = scan(&crashed)?;
    let read = Merged::of(&found).get(1, b"key")?;
    let read = read.ok_or("the durable value is gone")?;
    assert!(
        read == b"durable" || read == value,
        "neither the durable value nor the new one, at commit {}: {:?}",
        found.last(),
        found.notes()
    );
    Ok(())
}

/// Nothing was synced, so the damaged first commit is a torn tail, and those behind it do not count.
#[test]
fn a_second_opening_after_a_torn_tail_gives_no_number_again() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put_all(&journal, 1..=3)?;
    drop(journal);
    let disk = disk.crash(disk.trace_len(), Crash::Kill);
    destroy(&disk, 1);
    let mut next = Vec::new();
    for opening in 0..2 {
        let found = scan(&disk)?;
        let damage = found.damage();
        assert!(damage.is_empty(), "opening {opening}: {damage:?}");
        let journal = Journal::open(Arc::new(disk.clone()), &found, 5, 2)?;
        next.push(journal.next_number());
    }
    assert!(
        next.is_sorted(),
        "the next number at each opening: {next:?}"
    );
    Ok(())
}
