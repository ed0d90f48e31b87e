//! A segment of the journal, the only one or behind another: read, gone on with, salvaged.
//!
//! An input has the first header once, and no zeros behind it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use storage_core::history::SimulatedDisk;
use storage_journal::commit::{Change, encode};
use storage_journal::digest::Digests;
use storage_journal::disk::Disk;
use storage_journal::salvage::{Commits, Remains};
use storage_journal::{Journal, JournalError, Mark, Merged, Scan, extract};

use crate::disk::{JOURNAL, NOW_MS, disk_with};
use crate::input::{Input, MENDED, SECOND, mend_crc, put_at, u32_at, u64_at};

const HEADER_LEN: usize = 52;
const HEADER_AGAIN_AT: usize = 4096;
const FRAME_HEADER_LEN: usize = 41;
const COMMIT: u8 = 1;

type State = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

/// The segment, and the number of its first commit.
fn segment(data: &[u8]) -> Option<(u64, Vec<u8>)> {
    let input = Input::of(data)?;
    let mut bytes = input.bytes.to_vec();
    if input.is(MENDED) {
        mend(&mut bytes, input.is(SECOND))?;
    }
    let first = u64_at(&bytes, 36)?;
    let (header, frames) = bytes.split_at_checked(HEADER_LEN)?;
    let mut whole = header.to_vec();
    whole.resize(HEADER_AGAIN_AT, 0);
    whole.extend(header);
    whole.extend(frames);
    Some((first, whole))
}

/// Puts the sums right; `is_chained` has each frame go on from the one before as well.
fn mend(bytes: &mut [u8], is_chained: bool) -> Option<()> {
    mend_crc(bytes, HEADER_LEN - 4, 0..HEADER_LEN - 4);
    let tag = u32_at(bytes, 28)?;
    let mut number = u64_at(bytes, 36)?;
    let mut predecessor = u32_at(bytes, 44)?;
    let mut rest = bytes.get_mut(HEADER_LEN..)?;
    while let Some(len) = u32_at(rest, 0) {
        let len = usize::try_from(len).ok()?.checked_add(FRAME_HEADER_LEN)?;
        let (frame, after) = rest.split_at_mut_checked(len)?;
        put_at(frame, 8, &tag.to_le_bytes());
        let is_commit = frame.get(FRAME_HEADER_LEN - 1) == Some(&COMMIT);
        if is_chained {
            put_at(frame, 12, &predecessor.to_le_bytes());
            let numbered = if is_commit {
                number
            } else {
                number.checked_sub(1)?
            };
            put_at(frame, 16, &numbered.to_le_bytes());
        }
        mend_crc(frame, 4, 0..len);
        if is_commit {
            predecessor = u32_at(frame, 4)?;
            number = number.checked_add(1)?;
        }
        rest = after;
    }
    Some(())
}

pub(crate) fn run(data: &[u8]) {
    if let Some((first, bytes)) = segment(data) {
        let disk = disk_with(&[(&extract::name(first), &bytes)]);
        read(&disk, first).expect("a disk without faults");
    }
}

fn read(disk: &SimulatedDisk, first: u64) -> Result<(), JournalError> {
    let directory = Path::new(JOURNAL);
    let scan = Scan::read(disk, directory, u64::MAX)?;
    let mut last = 0;
    let missing = scan.replay(disk, 0, |number, changes| {
        assert!(number > last && number <= scan.last(), "commits in order");
        last = number;
        changes.for_each(drop);
        Ok::<_, JournalError>(())
    })?;
    assert!(missing.iter().is_sorted_by_key(|range| *range.start()));
    salvage(disk, directory)?;
    // What an extract of it says is an error or not, and no panic.
    let _any = (
        extract::visit_puts(disk, directory, first, |_, _, _| {}),
        extract::commit_at(disk, directory, NOW_MS),
    );
    if scan.damage().is_empty() {
        assert!(missing.is_empty(), "lost without damage: {missing:?}");
        let before = state(&Merged::of(&scan))?;
        go_on(disk, &scan, before)?;
    }
    Ok(())
}

/// The records in order, each of which is found by its key as well.
fn state(merged: &Merged) -> Result<State, JournalError> {
    let mut state = State::new();
    for record in merged.records() {
        let (tree, key, value) = record?;
        assert_eq!(merged.get(tree, &key)?.as_deref(), Some(&*value));
        let place = (tree, key);
        let is_behind = state.last_key_value().is_none_or(|(last, _)| *last < place);
        assert!(is_behind, "records in order");
        state.insert(place, value);
    }
    Ok(state)
}

/// A journal without damage opens, takes a commit, and is the same with it.
fn go_on(disk: &SimulatedDisk, scan: &Scan, mut state_before: State) -> Result<(), JournalError> {
    let directory = Path::new(JOURNAL);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let journal = Journal::open(shared, scan, 9, 2)?;
    let change = Change {
        tree: 3,
        key: b"a new key",
        value: Some(b"a new value"),
    };
    let number = journal.append(NOW_MS, &encode([change].into_iter()))?;
    assert!(number > scan.last(), "a new number");
    journal.sync_through(number)?;
    state_before.insert((3, b"a new key".to_vec()), b"a new value".to_vec());
    let again = Scan::read(disk, directory, u64::MAX)?;
    assert_eq!(again.damage(), [""; 0], "after it was opened");
    assert_eq!(again.last(), number);
    assert_eq!(state(&Merged::of(&again))?, state_before);
    Ok(())
}

fn salvage(disk: &SimulatedDisk, directory: &Path) -> Result<(), JournalError> {
    let remains = Remains::find(disk, directory)?;
    let tell = &mut |_: storage_journal::salvage::Damaged<'_>| Ok::<_, JournalError>(());
    let commits = Commits::read(disk, &remains, 0, tell)?;
    let mut last = 0;
    commits.replay(disk, 0, u64::MAX, &mut |number, _| {
        assert!(number >= last, "commits in order");
        last = number;
        Ok::<_, JournalError>(())
    })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let disk = SimulatedDisk::default();
    let directory = Path::new(JOURNAL);
    let write = || {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = Journal::create(shared, directory, [7; 16], 1, 2)?;
        let mut bodies = vec![];
        for key in [&b"first"[..], b"second", b"third"] {
            for value in [Some(&b"value"[..]), None] {
                bodies.push(encode(
                    [Change {
                        tree: 2,
                        key,
                        value,
                    }]
                    .into_iter(),
                ));
            }
        }
        for body in &bodies {
            let number = journal.append(NOW_MS, body)?;
            journal.sync_through(number)?;
            if number == 3 {
                let mark = Mark {
                    digests: Digests::default(),
                    clean: None,
                };
                journal.mark(number, NOW_MS, &mark)?;
            }
        }
        Ok::<_, JournalError>(())
    };
    write().expect("a disk without faults");
    let mut seeds = Vec::new();
    for path in disk.files() {
        let bytes = disk.content(&path).unwrap_or_default();
        if path.extension().is_none_or(|ending| ending != "log") {
            continue;
        }
        let mut compact = bytes.get(..HEADER_LEN).unwrap_or_default().to_vec();
        compact.extend(
            bytes
                .get(HEADER_AGAIN_AT + HEADER_LEN..)
                .unwrap_or_default(),
        );
        for mode in [0, MENDED, MENDED | SECOND] {
            let mut seed = vec![mode];
            seed.extend(&compact);
            seeds.push(seed);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_commit_is_in_a_journal_without_damage() -> Result<(), JournalError> {
        let mut seed = seeds().pop().expect("a segment");
        let at = seed.windows(5).position(|window| window == b"value");
        // One bit would be corrected.
        seed[at.expect("a value")] ^= 3;
        for (mode, is_whole) in [(0, false), (MENDED, true), (MENDED | SECOND, true)] {
            seed[0] = mode;
            let (first, bytes) = segment(&seed).expect("a segment");
            let disk = disk_with(&[(&extract::name(first), &bytes)]);
            let scan = Scan::read(&disk, Path::new(JOURNAL), u64::MAX)?;
            let is_read = scan.damage().is_empty() && scan.last() == 6;
            assert_eq!(is_read, is_whole, "mode {mode}: {:?}", scan.damage());
        }
        Ok(())
    }
}
