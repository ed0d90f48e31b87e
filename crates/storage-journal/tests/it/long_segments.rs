//! Segments longer than what is read of them at a time: commits that end at, before and behind its end, and some that are longer.

use std::io;
use std::sync::Arc;

use storage_journal::commit::{Change, encode};
use storage_journal::disk::{Crash, Fault, SimulatedDisk};
use storage_journal::{Journal, JournalError, Merged, Scan, extract};

use crate::workload::{History, Random, STORE, TestResult, contents, directory, scan};

/// What is read at a time.
const WINDOW: usize = 1024 * 1024;
/// Bytes of a frame and a commit beside a value.
const OVERHEAD: std::ops::Range<u64> = 40..60;

/// How many commits there are, all but the last one durable.
const COMMITS: u64 = 10;

/// A history in one segment, and where each commit ends in that.
fn with_long_history(seed: u64) -> Result<(SimulatedDisk, History, Vec<usize>), JournalError> {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(seed));
    let journal = Journal::create(Arc::new(disk.clone()), directory(), STORE, 1, 2)?;
    let mut ends = vec![segment(&disk).1.len()];
    for number in 1..=COMMITS {
        let overhead = OVERHEAD.start + random.below(OVERHEAD.end - OVERHEAD.start);
        let overhead = usize::try_from(overhead).expect("a small number");
        let len = match random.below(6) {
            0 => 10,
            1 => WINDOW / 3,
            2 => WINDOW - overhead,
            3 => WINDOW,
            4 => WINDOW * 2 - overhead,
            _ => WINDOW / 2 - overhead,
        };
        let byte = u8::try_from(number).expect("a byte");
        let key = format!("key-{}", random.below(5)).into_bytes();
        let (tree, value) = (1, vec![byte; len]);
        let body = encode(std::iter::once(Change {
            tree,
            key: &key,
            value: Some(&value),
        }));
        let mut state = history.last().1.clone();
        state.insert((tree, key), value);
        history.states.insert(number, state);
        let now_ms = i64::try_from(number * 2000).expect("a small number");
        if number == COMMITS {
            journal.sync_through(number - 1)?;
        }
        assert_eq!(journal.append(now_ms, &body)?, number);
        ends.push(segment(&disk).1.len());
    }
    Ok((disk, history, ends))
}

fn segment(disk: &SimulatedDisk) -> (std::path::PathBuf, Vec<u8>) {
    let files = disk.files();
    let mut logs = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "log"));
    let path = logs.next().expect("a segment");
    assert_eq!(logs.next(), None, "it is in one segment");
    let bytes = disk.content(&path).unwrap_or_default();
    (path, bytes)
}

fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.crash(disk.trace_len(), Crash::Kill)
}

#[test]
fn every_commit_is_read_and_the_state_at_each() -> TestResult {
    for seed in 0..4 {
        let (disk, history, _) = with_long_history(seed)?;
        let found = scan(&disk)?;
        assert!(found.damage().is_empty() && found.notes().is_empty());
        assert_eq!(found.last(), history.last().0);
        for (limit, state) in &history.states {
            let merged = Merged::open(&disk, directory(), *limit)?;
            assert!(&contents(&merged)? == state, "seed {seed}, at {limit}");
        }
    }
    Ok(())
}

/// Cut at, before and behind the end of each commit: those that are whole are there.
#[test]
fn a_cut_takes_what_is_behind_it_and_no_more() -> TestResult {
    let (disk, history, ends) = with_long_history(5)?;
    let path = segment(&disk).0;
    let cuts = ends.iter().flat_map(|end| [end - 1, *end, end + 45]);
    for cut in cuts.filter(|cut| *cut >= ends[0]) {
        let damaged = copy(&disk);
        damaged.damage(&path, |bytes| bytes.truncate(cut));
        let found = scan(&damaged)?;
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let last = u64::try_from(whole)?;
        assert!(found.damage().is_empty(), "{cut}: {:?}", found.damage());
        assert_eq!(found.last(), last, "cut to {cut}");
        let state = contents(&Merged::of(&found))?;
        assert!(state == history.states[&last], "cut to {cut}");
    }
    Ok(())
}

/// Of short commits it is corrected; of those that are too long for that it is named.
#[test]
fn a_flipped_bit_is_corrected_or_named_wherever_it_lies() -> TestResult {
    let (mut corrected, mut named) = (0, 0);
    for seed in 6..10 {
        let (disk, history, ends) = with_long_history(seed)?;
        let mut random = Random(seed);
        let path = segment(&disk).0;
        for frame in ends.windows(2).take(ends.len() - 2) {
            let len = frame[1] - frame[0];
            let at = frame[0] + usize::try_from(random.below(u64::try_from(len)?))?;
            let damaged = copy(&disk);
            damaged.damage(&path, |bytes| bytes[at] ^= 1 << random.below(8));
            let found = scan(&damaged)?;
            let case = format!("seed {seed}, byte {at}: {:?}", found.damage());
            if found.damage().is_empty() {
                assert_eq!((found.last(), found.notes().len()), (COMMITS, 1), "{case}");
                let state = contents(&Merged::of(&found))?;
                assert!(&state == history.last().1, "{case}");
                corrected += 1;
            } else {
                assert!(len > 1024, "{case}");
                assert_eq!(found.last(), COMMITS, "{case}");
                named += 1;
            }
        }
    }
    assert!(corrected > 0 && named > 0, "{corrected}, {named}");
    Ok(())
}

/// A call that fails is told, or the state is whole all the same: it is never taken for the end of the journal.
#[test]
fn a_call_that_fails_is_not_the_end() -> TestResult {
    let (disk, history, _) = with_long_history(8)?;
    let calls = |disk: &SimulatedDisk| -> Result<u64, JournalError> {
        let before = disk.calls();
        Scan::read(disk, directory(), u64::MAX)?;
        Ok(disk.calls() - before)
    };
    let calls = calls(&disk)?;
    assert!(calls > 12, "{calls} calls: it is read at once");
    let mut told = 0;
    for at in 0..calls {
        let at_call = disk.calls() + at;
        let kind = io::ErrorKind::TimedOut;
        disk.fail(Some(Fault { at_call, kind }));
        let read = scan(&disk);
        disk.fail(None);
        match read {
            Err(JournalError::Io { .. }) => told += 1,
            Err(e) => panic!("call {at}: {e}"),
            Ok(found) => {
                assert!(found.damage().is_empty(), "call {at}: {:?}", found.damage());
                assert_eq!(found.last(), history.last().0, "call {at}");
                let state = contents(&Merged::of(&found))?;
                assert!(&state == history.last().1, "call {at}");
            }
        }
    }
    assert!(told > 0);
    Ok(())
}

/// A reader with a limit finds the state there, whatever of what follows is written, or can be read.
#[test]
fn what_is_behind_a_limit_is_not_looked_at() -> TestResult {
    let (disk, history, ends) = with_long_history(9)?;
    let path = segment(&disk).0;
    for (at, end) in ends.iter().enumerate().take(ends.len() - 1).skip(1) {
        let limit = u64::try_from(at)?;
        for torn in [1, 40, (ends[at + 1] - end) / 2] {
            let damaged = copy(&disk);
            damaged.damage(&path, |bytes| {
                bytes.truncate(end + torn);
                bytes[end + torn - 1] ^= 1;
            });
            let merged = Merged::open(&damaged, directory(), limit)?;
            assert_eq!(merged.through(), limit);
            assert!(contents(&merged)? == history.states[&limit], "{limit}");
        }
    }
    Ok(())
}

/// What a purge overwrites under a reader is not taken for the end of the journal.
#[test]
fn a_segment_that_is_wiped_while_it_is_read_is_no_end() -> TestResult {
    let (disk, ..) = with_long_history(10)?;
    let path = segment(&disk).0;
    let mut visited = 0;
    let read = extract::visit_puts(&disk, directory(), 1, |_, _, _| {
        visited += 1;
        disk.damage(&path, |bytes| bytes.fill(0));
    });
    assert!(visited > 0 && visited < COMMITS, "{visited} commits");
    assert!(
        matches!(read, Err(JournalError::Damaged { .. })),
        "{read:?}"
    );
    Ok(())
}
