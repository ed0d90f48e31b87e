//! What compaction leaves of the journal: two checkpoints, either of which has everything.

use std::io;

use storage_core::SimulatedHome;
use storage_core::history::SimulatedDisk;
use storage_journal::disk::{Fault, Space};

use crate::damage::journal_files;
use crate::workload::{Random, State, TestResult, dump, open, step};

/// A database that was compacted after some history.
fn compacted(seed: u64) -> Result<(SimulatedDisk, SimulatedHome, State), storage_core::CoreError> {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    let mut random = Random(seed);
    for number in 0..40 {
        step(&db, &mut random)?;
        if number % 15 == 14 {
            db.checkpoint()?;
        }
    }
    db.compact()?;
    let state = dump(&db)?;
    db.shutdown()?;
    Ok((disk, home, state))
}

fn names(disk: &SimulatedDisk, ending: &str) -> Vec<std::path::PathBuf> {
    let files = journal_files(disk).into_iter();
    files
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect()
}

#[test]
fn it_leaves_two_checkpoints_and_no_commit_of_before() -> TestResult {
    for seed in 0..20 {
        let (disk, _, _) = compacted(seed)?;
        assert_eq!(names(&disk, "nonos").len(), 2, "seed {seed}");
        let segments = names(&disk, "log");
        // The page of its headers, the commits of the checkpoints, marks.
        let bytes = segments
            .iter()
            .map(|path| disk.content(path).unwrap_or_default().len());
        let bytes: usize = bytes.sum();
        assert!(bytes < 8192, "seed {seed}: {bytes} bytes in {segments:?}");
    }
    Ok(())
}

#[test]
fn either_checkpoint_is_enough() -> TestResult {
    for seed in 0..20 {
        let (disk, home, state) = compacted(seed)?;
        home.remove();
        let checkpoints = names(&disk, "nonos");
        for path in &checkpoints {
            let disk = crate::damage::copy(&disk);
            disk.damage(path, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
            });
            let db = open(&disk, &home.fork())?;
            assert_eq!(dump(&db)?, state, "seed {seed}, {}", path.display());
        }
    }
    Ok(())
}

#[test]
fn commits_go_on_behind_it_and_it_can_be_done_again() -> TestResult {
    let (disk, home, _) = compacted(7)?;
    let db = open(&disk, &home)?;
    let mut random = Random(8);
    for _ in 0..3 {
        db.compact()?;
        let (_, number) = step(&db, &mut random)?;
        assert_eq!(db.last_commit(), number);
    }
    let state = dump(&db)?;
    drop(db);
    home.remove();
    assert_eq!(dump(&open(&disk, &home)?)?, state);
    Ok(())
}

#[test]
fn without_room_for_checkpoints_the_index_is_made_anew_all_the_same() -> TestResult {
    // What is looked for is what the journal took since the last checkpoint, which is less than the first one takes, and
    // then that.
    let mut written = Vec::new();
    for room in (0..4000).step_by(50) {
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        let db = open(&disk, &home)?;
        step(&db, &mut Random(9))?;
        let state = dump(&db)?;
        // What is kept free is a twentieth.
        let total = 1 << 30;
        let free = total / 20 + room;
        disk.set_space(Some(Space { free, total }));
        db.compact()?;
        assert_eq!(dump(&db)?, state, "room for {room}");
        written.push(names(&disk, "nonos").len());
    }
    assert!(written.is_sorted(), "{written:?}");
    written.dedup();
    assert_eq!(written, [0, 1, 2]);
    Ok(())
}

/// It succeeded once the index was exchanged, whatever happens to the checkpoints.
#[test]
fn an_error_at_any_call_of_it_loses_nothing() -> TestResult {
    let begun = || -> Result<_, storage_core::CoreError> {
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        let db = open(&disk, &home)?;
        let mut random = Random(3);
        for _ in 0..12 {
            step(&db, &mut random)?;
        }
        db.checkpoint()?;
        step(&db, &mut random)?;
        Ok((disk, home, db))
    };
    let (disk, _, db) = begun()?;
    let before = disk.calls();
    db.compact()?;
    let (mut failed, mut succeeded) = (0, 0);
    for at_call in before..disk.calls() {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let (disk, home, db) = begun()?;
            let state = dump(&db)?;
            disk.fail(Some(Fault { at_call, kind }));
            let compacted = db.compact();
            failed += u32::from(compacted.is_err());
            succeeded += u32::from(compacted.is_ok());
            let case = format!("{kind:?} at call {at_call}: {compacted:?}");
            disk.fail(None);
            assert_eq!(dump(&db)?, state, "{case}");
            let (disk, home) = (crate::damage::copy(&disk), home.fork());
            drop(db);
            let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(dump(&db)?, state, "{case}, opened again");
            home.remove();
        }
    }
    assert!(failed > 5, "{failed} failed");
    assert!(succeeded > 50, "{succeeded} succeeded");
    Ok(())
}

/// What an index lost that failed is healed; what there is of the past may be needed.
#[test]
fn behind_an_index_that_failed_the_journal_keeps_what_it_has() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    let mut random = Random(5);
    for _ in 0..20 {
        step(&db, &mut random)?;
        db.checkpoint()?;
    }
    db.flush()?;
    let before = journal_files(&disk);
    home.break_after(0);
    let state = dump(&db)?;
    db.compact()?;
    assert_eq!(journal_files(&disk), before);
    assert_eq!(dump(&db)?, state);
    Ok(())
}
