//! A segment whose first header is lost, with values that look like frames.

use storage_journal::commit::{Change, encode};
use storage_journal::disk::SimulatedDisk;
use storage_journal::{JournalError, Merged, Scan};

use crate::frames::{FRAME_HEADER_LEN, create, put, segment};
use crate::workload::{TestResult, scan};

/// A write is lost by the sector, and the first header is in the first.
const SECTOR: usize = 512;

fn lose_the_first_sector(disk: &SimulatedDisk) {
    disk.damage(&segment(disk), |bytes| bytes[..SECTOR].fill(0));
}

/// The bytes of a frame of a commit, right but for its tag.
fn forged_frame(number: u64, body: &[u8]) -> Vec<u8> {
    let (tag, predecessor, synced_through, time_ms) = (0xdead_beef_u32, 0_u32, 0_u64, 1_i64);
    let len = u32::try_from(body.len()).expect("a short body");
    let mut rest = tag.to_le_bytes().to_vec();
    rest.extend(predecessor.to_le_bytes());
    rest.extend(number.to_le_bytes());
    rest.extend(synced_through.to_le_bytes());
    rest.extend(time_ms.to_le_bytes());
    rest.push(1);
    rest.extend(body);
    let mut frame = len.to_le_bytes().to_vec();
    let checksum = crc32fast::hash(&[&frame[..], &rest[..]].concat());
    frame.extend(checksum.to_le_bytes());
    frame.extend(rest);
    assert_eq!(frame.len(), FRAME_HEADER_LEN + body.len());
    frame
}

/// The numbers and the values of all commits that are replayed.
fn replayed(found: &Scan, disk: &SimulatedDisk) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
    let mut seen = Vec::new();
    let lost = found.replay(disk, 0, |number, changes| {
        let values = changes.filter_map(|change| change.value);
        seen.extend(values.map(|value| (number, value.to_vec())));
        Ok::<_, JournalError>(())
    })?;
    assert!(lost.is_empty(), "lost {lost:?}");
    Ok(seen)
}

#[test]
fn a_value_is_not_taken_for_a_frame() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    let change = Change {
        tree: 1,
        key: b"k2",
        value: Some(b"forged"),
    };
    let mut value = vec![0; 600];
    value.extend(forged_frame(1000, &encode([change].into_iter())));
    put(&journal, "k1", &value)?;
    let mut expected = vec![(1, value)];
    for number in 2..=9 {
        put(&journal, &format!("k{number}"), b"real")?;
        expected.push((number, b"real".to_vec()));
    }
    journal.sync_through(9)?;
    lose_the_first_sector(&disk);
    let seen = replayed(&scan(&disk)?, &disk)?;
    let numbers: Vec<u64> = seen.iter().map(|(number, _)| *number).collect();
    assert!(seen == expected, "other commits, numbered {numbers:?}");
    Ok(())
}

/// At every fourth byte of the value there are a length of about a quarter of it and the kind of a
/// commit: whoever looks for frames without a tag sums up what follows each of them.
#[test]
fn the_second_header_is_enough_to_read_a_segment() -> TestResult {
    for kib in [256_u32, 512, 1024] {
        let disk = SimulatedDisk::default();
        let journal = create(&disk)?;
        let [_, low, high, _] = (kib * 1024 / 4).to_le_bytes();
        let len = usize::try_from(kib * 1024)?;
        let value: Vec<u8> = [1, low | 1, high, 0]
            .into_iter()
            .cycle()
            .take(len)
            .collect();
        put(&journal, "k1", &value)?;
        put(&journal, "k2", b"x")?;
        lose_the_first_sector(&disk);
        let found = scan(&disk)?;
        let damage = found.damage();
        assert!(damage.is_empty(), "{kib} KiB: {damage:?}");
        assert_eq!(found.last(), 2, "{kib} KiB");
        let merged = Merged::of(&found);
        let is_whole = merged.get(1, b"k1")? == Some(value);
        assert!(is_whole, "{kib} KiB: another value");
        let second = merged.get(1, b"k2")?;
        assert_eq!(second.as_deref(), Some(&b"x"[..]), "{kib} KiB");
    }
    Ok(())
}

/// A segment appears with its whole header, so a shorter one was cut off: its commits are not silently gone.
#[test]
fn a_segment_that_is_cut_within_its_header_is_damaged() -> TestResult {
    const HEADER_LEN: usize = 4096 + 52;
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put(&journal, "k1", b"v1")?;
    put(&journal, "k2", b"v2")?;
    journal.sync()?;
    let whole = disk.content(&segment(&disk)).ok_or("no segment")?;
    for len in (0..HEADER_LEN).step_by(7).chain([52, 4096, HEADER_LEN - 1]) {
        disk.damage(&segment(&disk), |bytes| bytes.truncate(len));
        assert!(!scan(&disk)?.damage().is_empty(), "cut to {len}");
        disk.damage(&segment(&disk), |bytes| bytes.clone_from(&whole));
    }
    assert!(scan(&disk)?.damage().is_empty());
    Ok(())
}
