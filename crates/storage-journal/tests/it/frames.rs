//! Commits in a single segment, and the damage of one of them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use storage_journal::commit::{Change, encode};
use storage_journal::disk::SimulatedDisk;
use storage_journal::{Journal, JournalError};

use crate::workload::{STORE, directory};

/// Where the first frame of a segment begins, behind both headers.
const FIRST_FRAME_AT: usize = 4148;
/// The bytes of a frame before its body.
pub(crate) const FRAME_HEADER_LEN: usize = 41;
/// Its low half is the tag of the frames.
const TERM: u64 = 0x1122_3344_5566_7788;

pub(crate) const VALUE: &[u8] = b"a value of some length";

/// A journal whose segment takes everything that a test writes.
pub(crate) fn create(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    Journal::create(Arc::new(disk.clone()), directory(), STORE, TERM, 2)
}

/// One commit of one record; returns its number.
pub(crate) fn put(journal: &Journal, key: &str, value: &[u8]) -> Result<u64, JournalError> {
    let put = Change {
        tree: 1,
        key: key.as_bytes(),
        value: Some(value),
    };
    journal.append(1, &encode([put].into_iter()))
}

/// Commits with these numbers.
pub(crate) fn put_all(
    journal: &Journal,
    numbers: impl Iterator<Item = u64>,
) -> Result<(), JournalError> {
    for number in numbers {
        let put = put(journal, &format!("k{number}"), VALUE)?;
        assert_eq!(put, number);
    }
    Ok(())
}

pub(crate) fn checkpoint(journal: &Journal) -> Result<(), JournalError> {
    journal
        .checkpoint(2, 0, |_| Ok::<_, JournalError>(()))
        .map(drop)
}

/// The path of the first segment.
pub(crate) fn segment(disk: &SimulatedDisk) -> PathBuf {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "log");
    let segment = disk.files().into_iter().find(is_segment);
    segment.expect("a journal has a segment")
}

/// Destroys the body of the frame of a commit, where there is a frame of each commit and no other.
pub(crate) fn destroy(disk: &SimulatedDisk, commit: usize) {
    let path = segment(disk);
    let bytes = disk.content(&path).unwrap_or_default();
    let body = bodies(&bytes)[commit - 1].clone();
    disk.damage(&path, |bytes| {
        bytes[body].iter_mut().for_each(|byte| *byte ^= 0x5a);
    });
}

fn bodies(segment: &[u8]) -> Vec<Range<usize>> {
    let mut bodies = Vec::new();
    let mut start = FIRST_FRAME_AT;
    while start + FRAME_HEADER_LEN <= segment.len() {
        let len = segment[start..].first_chunk().expect("a length");
        let len = usize::try_from(u32::from_le_bytes(*len)).expect("a length in memory");
        let body = start + FRAME_HEADER_LEN..start + FRAME_HEADER_LEN + len;
        start = body.end;
        bodies.push(body);
    }
    bodies
}
