//! Damage to either copy, and to both.

use std::path::PathBuf;

use storage_core::history::SimulatedDisk;
use storage_core::{CoreError, ErrorCode, SimulatedHome, TreeId};
use storage_journal::disk::Crash;

use crate::workload::{Random, State, TestResult, dump, open, step};

/// Where the frames of a segment begin.
const FRAMES_AT: usize = 4148;

/// A database with a checkpoint and commits after it, closed cleanly or not.
fn database(clean: bool) -> Result<(SimulatedDisk, SimulatedHome, State), CoreError> {
    let (disk, home, mut random) = (
        SimulatedDisk::default(),
        SimulatedHome::default(),
        Random(9),
    );
    let db = open(&disk, &home)?;
    for number in 0..30 {
        step(&db, &mut random)?;
        if number == 15 {
            db.checkpoint()?;
        }
    }
    db.flush()?;
    let state = dump(&db)?;
    if clean {
        db.shutdown()?;
    }
    let crashed = (disk.crash(disk.trace_len(), Crash::Kill), home.fork());
    Ok((crashed.0, crashed.1, state))
}

pub(crate) fn journal_files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.files()
}

pub(crate) fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.crash(disk.trace_len(), Crash::Kill)
}

#[test]
fn whatever_happens_to_the_index_is_healed_from_the_journal() -> TestResult {
    for clean in [false, true] {
        let (disk, home, state) = database(clean)?;
        for tree in [TreeId::Peers, TreeId::Metrics, TreeId::Claims] {
            for kind in 0..4 {
                let (disk, home) = (copy(&disk), home.fork());
                home.damage(tree, |entries| match kind {
                    0 => entries.clear(),
                    1 => entries.values_mut().for_each(|value| value[0] ^= 1),
                    2 => drop(entries.pop_first()),
                    _ => drop(entries.insert(b"never".to_vec(), b"stored".to_vec())),
                });
                // A clean mark is compared with the fingerprint of files, which damage changes.
                let home = home.crash(|_| true);
                let db = open(&disk, &home)?;
                let case = format!("{tree:?}, kind {kind}, clean {clean}");
                assert_eq!(dump(&db)?, state, "{case}");
                assert!(db.opening_report().healed_records > 0, "{case}");
            }
        }
        home.remove();
        assert_eq!(
            dump(&open(&disk, &home)?)?,
            state,
            "without an index, clean {clean}"
        );
    }
    Ok(())
}

#[test]
fn every_flipped_bit_of_the_journal_is_healed() -> TestResult {
    for clean in [false, true] {
        let (disk, home, state) = database(clean)?;
        for path in journal_files(&disk) {
            let len = disk.content(&path).unwrap_or_default().len();
            let is_padding = |bit: &usize| {
                path.extension().is_some_and(|e| e == "log") && (60 * 8..4090 * 8).contains(bit)
            };
            for bit in (0..len * 8).step_by(5).filter(|bit| !is_padding(bit)) {
                let (disk, home) = (copy(&disk), home.fork());
                disk.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                let case = format!("bit {bit} of {}, clean {clean}", path.display());
                let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
                assert_eq!(dump(&db)?, state, "{case}");
                db.shutdown()?;
                drop(db);
                let again = open(&disk, &home).map_err(|e| format!("{case}, again: {e}"))?;
                assert_eq!(dump(&again)?, state, "{case}, again");
            }
        }
    }
    Ok(())
}

/// Everything was marked, so the index is whole through the end: nothing may be lost.
#[test]
fn a_damaged_or_missing_file_of_the_journal_is_healed_from_the_index() -> TestResult {
    for clean in [false, true] {
        let (disk, home, state) = database(clean)?;
        for path in journal_files(&disk) {
            let len = disk.content(&path).unwrap_or_default().len();
            // Between the two headers of a segment there are zeros.
            let is_padding = |start: &usize| {
                path.extension().is_some_and(|e| e == "log") && (200..4000).contains(start)
            };
            for start in (0..len).step_by(97).filter(|start| !is_padding(start)) {
                for truncate in [false, true] {
                    let (disk, home) = (copy(&disk), home.fork());
                    disk.damage(&path, |bytes| {
                        if truncate {
                            bytes.truncate(start);
                        } else {
                            bytes[start..]
                                .iter_mut()
                                .take(64)
                                .for_each(|byte| *byte = 0);
                        }
                    });
                    let case = format!(
                        "{} at {start}, cut {truncate}, clean {clean}",
                        path.display()
                    );
                    let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
                    assert_eq!(dump(&db)?, state, "{case}: {:?}", db.opening_report());
                }
            }
        }
    }
    Ok(())
}

#[test]
fn damage_to_both_copies_is_refused_and_named() -> TestResult {
    let (disk, home, _) = database(false)?;
    home.damage(TreeId::Peers, |entries| {
        for value in entries.values_mut() {
            value[0] ^= 1;
        }
    });
    let segments = journal_files(&disk);
    let first = segments
        .iter()
        .find(|path| path.extension().is_some_and(|e| e == "log"));
    let checkpoints = segments
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "nonos"));
    for path in checkpoints {
        disk.damage(path, |bytes| {
            bytes[60..].iter_mut().take(300).for_each(|byte| *byte = 0);
        });
    }
    disk.damage(first.ok_or("no segment")?, |bytes| {
        let frames = bytes[FRAMES_AT..].iter_mut();
        frames.take(300).for_each(|byte| *byte = 0);
    });
    let error = open(&disk, &home).err().ok_or("opened")?;
    assert_eq!(error.code(), ErrorCode::Corrupt);
    assert!(error.to_string().contains("damaged"), "{error}");
    Ok(())
}

/// The last two checkpoints are kept with the segments between, so the older one serves.
#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_older_one() -> TestResult {
    let (disk, home, mut random) = (
        SimulatedDisk::default(),
        SimulatedHome::default(),
        Random(9),
    );
    let db = open(&disk, &home)?;
    for number in 0..60 {
        step(&db, &mut random)?;
        if number % 12 == 11 {
            db.checkpoint()?;
        }
    }
    db.flush()?;
    let state = dump(&db)?;
    db.shutdown()?;
    drop(db);
    let files = disk.files();
    let is_checkpoint = |path: &&PathBuf| path.extension().is_some_and(|e| e == "nonos");
    let newest = files.iter().rfind(is_checkpoint).ok_or("no checkpoint")?;
    let len = disk.content(newest).unwrap_or_default().len();
    for at in (0..len).step_by(31) {
        let (disk, home) = (copy(&disk), home.fork());
        disk.damage(newest, |bytes| bytes[at] ^= 0x55);
        home.remove();
        let db = open(&disk, &home).map_err(|e| format!("byte {at}: {e}"))?;
        assert_eq!(dump(&db)?, state, "byte {at}");
        assert!(
            !db.opening_report().damage.is_empty(),
            "byte {at} is not named"
        );
        db.checkpoint()?;
        db.shutdown()?;
        drop(db);
        let again = open(&disk, &home)?;
        assert!(again.opening_report().damage.is_empty(), "byte {at}, again");
        assert_eq!(dump(&again)?, state, "byte {at}, again");
    }
    Ok(())
}

/// The new base then has the name of the damaged one.
#[test]
fn a_damaged_checkpoint_at_the_last_commit_is_made_anew_from_the_index() -> TestResult {
    for clean in [false, true] {
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        let mut db = open(&disk, &home)?;
        for seed in 0..40 {
            step(&db, &mut Random(seed))?;
            // Each open begins a segment, so those before the older checkpoint go.
            if seed % 10 == 0 {
                db.shutdown()?;
                db = open(&disk, &home)?;
            }
            if seed % 10 == 9 {
                db.checkpoint()?;
            }
        }
        db.flush()?;
        let state = dump(&db)?;
        if clean {
            db.shutdown()?;
        }
        let (disk, home) = (copy(&disk), home.fork());
        for path in disk.files() {
            if path.extension().is_some_and(|e| e == "nonos") {
                disk.damage(&path, |bytes| bytes[30] ^= 0x55);
            }
        }
        for _ in 0..2 {
            let db = open(&disk, &home)?;
            assert_eq!(dump(&db)?, state, "clean {clean}");
            db.shutdown()?;
        }
    }
    Ok(())
}

#[test]
fn the_index_of_another_store_does_not_stand_in_for_a_damaged_journal() -> TestResult {
    let (disk, _, _) = database(false)?;
    let (_, other, _) = database(false)?;
    let files = disk.files();
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|e| e == "log");
    let first = files.iter().find(is_segment).ok_or("no segment")?;
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "nonos"))
    {
        disk.damage(path, |bytes| bytes[30] ^= 0x55);
    }
    disk.damage(first, |bytes| {
        let frames = bytes[FRAMES_AT..].iter_mut();
        frames.take(300).for_each(|byte| *byte = 0);
    });
    let error = open(&disk, &other).err().ok_or("opened")?;
    assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
    Ok(())
}

#[test]
fn compacting_inside_an_update_is_refused() -> TestResult {
    let db = open(&SimulatedDisk::default(), &SimulatedHome::default())?;
    for db in [
        db,
        storage_core::Db::in_memory(&crate::workload::options())?,
    ] {
        let refused = db.update(storage_core::Durability::Buffered, |_, _| {
            db.compact().map(drop)
        });
        assert!(matches!(refused, Err(CoreError::Reentrant)), "{refused:?}");
    }
    Ok(())
}
