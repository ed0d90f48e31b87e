//! Purging: crashes at every point of it, errors at every call, and what is in no file afterwards.

use std::io;
use std::ops::Bound;
use std::sync::Barrier;
use std::thread;

use storage_core::history::SimulatedDisk;
use storage_core::trees::secrets::{self, Stored};
use storage_core::{CoreError, Db, Durability, Order, Read, SimulatedHome, TreeId};
use storage_journal::disk::{Crash, Fault};

use crate::crash::{States, check_recovered, keep};
use crate::workload::{Random, TestResult, dump, open, step};

const NOW_MS: i64 = 1_770_000_000_000;

/// Bytes that are nowhere else.
fn canary(seed: u64) -> Vec<u8> {
    let mut random = Random(seed ^ 0x5eed_cafe);
    (0..4)
        .flat_map(|_| random.below(u64::MAX).to_le_bytes())
        .collect()
}

fn store(db: &Db, name: &str, value: &[u8]) -> Result<(), CoreError> {
    storage_testkit::logs::forbid(value);
    db.update(Durability::Durable, |view, commit| {
        secrets::store(view, commit, NOW_MS, ("store", name), Stored::Plain(value))
    })
    .map(drop)
}

fn delete(db: &Db, name: &str) -> Result<(), CoreError> {
    db.update(Durability::Durable, |view, commit| {
        secrets::delete(view, commit, NOW_MS, name)
    })
    .map(drop)
}

/// A database with a history in every kind of file: what was deleted and what was replaced is in a kept
/// checkpoint, in two others, in closed segments, and in the one that is written to.
fn with_a_past(disk: &SimulatedDisk, home: &SimulatedHome, seed: u64) -> Result<Db, CoreError> {
    let mut random = Random(seed);
    let db = open(disk, home)?;
    store(&db, "deleted", &canary(seed))?;
    store(&db, "replaced", &canary(seed + 1000))?;
    store(&db, "live", &canary(seed + 2000))?;
    for number in 0..6 {
        step(&db, &mut random)?;
        match number {
            1 => db.keep_checkpoint("kept")?,
            2 | 4 => db.checkpoint()?,
            _ => {}
        }
    }
    db.shutdown()?;
    drop(db);
    let db = open(disk, home)?;
    delete(&db, "deleted")?;
    store(&db, "replaced", b"another")?;
    step(&db, &mut random)?;
    Ok(db)
}

/// How many files hold these bytes.
fn holders(disk: &SimulatedDisk, bytes: &[u8]) -> usize {
    let files = disk.files().into_iter();
    files
        .filter_map(|path| disk.content(&path))
        .filter(|content| content.windows(bytes.len()).any(|window| window == bytes))
        .count()
}

fn assert_clean(disk: &SimulatedDisk, seed: u64, case: &str) {
    for (what, canary) in [("deleted", canary(seed)), ("replaced", canary(seed + 1000))] {
        assert_eq!(
            holders(disk, &canary),
            0,
            "{case}: files with what was {what}"
        );
    }
    assert!(
        holders(disk, &canary(seed + 2000)) > 0,
        "{case}: what is live"
    );
}

#[test]
fn a_crash_at_any_point_of_a_purge_loses_nothing_and_the_next_one_finishes_it() -> TestResult {
    let mut trials = 0;
    for seed in 0..3 {
        let (made, made_home) = (SimulatedDisk::default(), SimulatedHome::default());
        drop(with_a_past(&made, &made_home, seed)?);
        let disk = made.crash(made.trace_len(), Crash::Kill);
        let home = made_home.watching(&disk);
        let db = open(&disk, &home)?;
        let expected = dump(&db)?;
        let last = db.last_commit();
        assert!(
            holders(&disk, &canary(seed)) > 1,
            "there is nothing to purge"
        );
        let before = disk.trace_len();
        db.purge()?;
        assert_clean(&disk, seed, "not crashed");
        assert_eq!(dump(&db)?, expected);
        let states = States::from([(last, expected.clone())]);
        for prefix in before..=disk.trace_len() {
            let mut crashes = vec![Crash::Kill, Crash::Drop];
            crashes.extend((0..3).flat_map(|seed| [Crash::Torn(seed), Crash::Reordered(seed)]));
            for (number, crash) in (0..).zip(crashes) {
                let case = format!("seed {seed}, {crash:?} after {prefix}");
                let index = home.at(prefix).crash(keep(number));
                let then = disk.crash(prefix, crash);
                {
                    let db = open(&then, &index).map_err(|e| format!("{case}: {e}"))?;
                    assert_eq!(dump(&db)?, expected, "{case}");
                    db.purge().map_err(|e| format!("{case}: {e}"))?;
                    assert_clean(&then, seed, &case);
                    db.shutdown()?;
                    assert_clean(&then, seed, &format!("{case}, closed"));
                }
                check_recovered(&then, &index, &states, last, &case)?;
                trials += 1;
            }
        }
    }
    assert!(trials > 300, "{trials} crashes");
    Ok(())
}

#[test]
fn an_error_at_any_call_of_a_purge_loses_nothing_and_the_next_one_finishes_it() -> TestResult {
    let seed = 7;
    let calls = {
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        let db = with_a_past(&disk, &home, seed)?;
        let before = disk.calls();
        db.purge()?;
        before..disk.calls()
    };
    let mut failed = 0;
    for at_call in calls {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let case = format!("{kind:?} at call {at_call}");
            let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
            let db = with_a_past(&disk, &home, seed)?;
            let expected = dump(&db)?;
            disk.fail(Some(Fault { at_call, kind }));
            failed += u32::from(db.purge().is_err());
            disk.fail(None);
            assert_eq!(dump(&db)?, expected, "{case}");
            // The same handle, unless it takes no more writes; another one in any case.
            if db.purge().is_ok() {
                assert_clean(&disk, seed, &case);
            }
            // What it could not make durable at closing, the next opening looks at.
            let _closed = db.shutdown();
            drop(db);
            let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(dump(&db)?, expected, "{case}, reopened");
            db.purge().map_err(|e| format!("{case}, reopened: {e}"))?;
            assert_clean(&disk, seed, &format!("{case}, reopened"));
            assert!(
                db.opening_report().damage.is_empty(),
                "{case}: {:?}",
                db.opening_report()
            );
        }
    }
    assert!(failed > 20, "{failed} purges failed");
    Ok(())
}

/// A read that does not end keeps the old index: the purge says so, and the next one finishes.
#[test]
fn a_purge_that_a_read_holds_up_is_finished_by_the_next_one() -> TestResult {
    let seed = 9;
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = with_a_past(&disk, &home, seed)?;
    let expected = dump(&db)?;
    let (reading, ended) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| -> TestResult {
        let reader = scope.spawn(|| {
            let everything = (Bound::Unbounded, Bound::Unbounded);
            db.view().scan(
                TreeId::Secrets,
                &everything,
                Order::Ascending,
                &mut |_, _| {
                    reading.wait();
                    ended.wait();
                    Ok(false)
                },
            )
        });
        reading.wait();
        let purged = db.purge();
        ended.wait();
        assert!(matches!(purged, Err(CoreError::Busy)), "{purged:?}");
        Ok(reader.join().map_err(|_panic| "the reader panicked")??)
    })?;
    assert_eq!(dump(&db)?, expected);
    db.purge()?;
    assert_clean(&disk, seed, "purged again");
    assert_eq!(dump(&db)?, expected);
    Ok(())
}
