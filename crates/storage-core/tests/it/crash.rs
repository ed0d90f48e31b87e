//! Crashes at every point of what disk and index were told, and errors at every call.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use storage_core::history::{Checkpoint, SimulatedDisk};
use storage_core::{CoreError, Db, Durability, ErrorCode, Health, SimulatedHome, TreeId, begin_in};
use storage_journal::disk::{Crash, Fault};

use crate::workload::{Random, State, TestResult, dump, open, open_holding, options, step};

/// The states that a crash may leave: by number of the last commit.
pub(crate) type States = BTreeMap<u64, State>;

pub(crate) fn check_recovered(
    disk: &SimulatedDisk,
    home: &SimulatedHome,
    states: &States,
    durable: u64,
    case: &str,
) -> TestResult {
    let db = open(disk, home).map_err(|e| format!("{case}: {e}"))?;
    let found = dump(&db)?;
    let matching = states.range(durable..).any(|(_, state)| *state == found);
    assert!(
        matching,
        "{case}: no state from commit {durable} on is what was found"
    );
    assert!(
        db.opening_report().damage.is_empty(),
        "{case}: {:?}",
        db.opening_report()
    );
    // It takes commits again, and closes so that nothing has to be compared.
    let (_, number) = step(&db, &mut Random(1))?;
    assert!(number > durable, "{case}: number {number} again");
    let expected = dump(&db)?;
    db.shutdown()?;
    drop(db);
    let again = open(disk, home).map_err(|e| format!("{case}, again: {e}"))?;
    assert!(
        again.opening_report().clean,
        "{case}: {:?}",
        again.opening_report()
    );
    assert_eq!(dump(&again)?, expected, "{case}, again");
    Ok(())
}

pub(crate) fn keep(seed: u64) -> impl FnMut(usize) -> bool {
    let mut random = Random(seed);
    move |_| random.below(2) == 0
}

#[test]
fn a_crash_at_any_point_leaves_a_state_that_was_and_every_durable_commit() -> TestResult {
    let reopenings = crash_everywhere(0..5, None)?;
    assert!(reopenings >= 20_000, "{reopenings} reopenings");
    Ok(())
}

/// Works with so many bytes held back from the index, crashes at every point; returns how often a database was
/// opened after one.
pub(crate) fn crash_everywhere(
    seeds: Range<u64>,
    held_back: Option<u64>,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut reopenings = 0;
    for seed in seeds {
        let (disk, mut random) = (SimulatedDisk::default(), Random(seed));
        let home = SimulatedHome::beside(&disk);
        let mut db = open_holding(&disk, &home, held_back)?;
        let mut states = States::from([(0, dump(&db)?)]);
        let mut durable = 0;
        for number in 0..24 {
            let (before, durable_before) = (disk.trace_len(), durable);
            match random.below(10) {
                0 => db.flush()?,
                1 => db.checkpoint()?,
                2 => {
                    db.shutdown()?;
                    db = open_holding(&disk, &home, held_back)?;
                }
                3 => {
                    db.compact()?;
                }
                _ => {
                    let (durability, commit) = step(&db, &mut random)?;
                    states.insert(commit, dump(&db)?);
                    if durability == Durability::Durable {
                        durable = commit;
                    }
                }
            }
            let now = disk.trace_len();
            for prefix in before..=now {
                let durable = if prefix == now {
                    durable
                } else {
                    durable_before
                };
                let mut crashes = vec![Crash::Kill, Crash::Drop];
                crashes.extend((0..8).flat_map(|seed| [Crash::Torn(seed), Crash::Reordered(seed)]));
                for (seed, crash) in (0..).zip(crashes) {
                    let case =
                        format!("held back {held_back:?}, step {number}, {crash:?} after {prefix}");
                    let index = home.at(prefix).crash(keep(seed));
                    let disk = disk.crash(prefix, crash);
                    check_recovered(&disk, &index, &states, durable, &case)?;
                    reopenings += 2;
                }
            }
        }
    }
    Ok(reopenings)
}

/// Opens and works until the fault strikes; returns the database if it was opened.
fn until_it_fails(
    disk: &SimulatedDisk,
    home: &SimulatedHome,
    states: &mut States,
    durable: &mut u64,
) -> Option<Db> {
    let db = open(disk, home).ok()?;
    let mut random = Random(5);
    states.insert(0, dump(&db).ok()?);
    for number in 0..14 {
        let done: Result<(), CoreError> = match number % 5 {
            3 => db.flush(),
            4 => db.checkpoint(),
            _ => match step(&db, &mut random) {
                Ok((durability, commit)) => {
                    states.insert(commit, dump(&db).ok()?);
                    if durability == Durability::Durable {
                        *durable = commit;
                    }
                    Ok(())
                }
                Err(error) => {
                    // Whether the commit is there is open: its state is one that may be found.
                    states.insert(db.last_commit() + 1, dump(&db).ok()?);
                    Err(error)
                }
            },
        };
        if done.is_err() {
            break;
        }
    }
    Some(db)
}

#[test]
fn an_error_at_any_call_loses_nothing_that_was_acknowledged() -> TestResult {
    let calls = {
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        until_it_fails(&disk, &home, &mut States::new(), &mut 0).ok_or("did not open")?;
        disk.calls()
    };
    for at_call in 0..calls {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
            disk.fail(Some(Fault { at_call, kind }));
            let (mut states, mut durable) = (States::from([(0, State::new())]), 0);
            let db = until_it_fails(&disk, &home, &mut states, &mut durable);
            let case = format!("{kind:?} at call {at_call}");
            if let Some(db) = &db
                && matches!(db.health(), storage_core::Health::Poisoned { .. })
            {
                assert!(
                    step(db, &mut Random(0)).is_err(),
                    "{case}: a write after an error"
                );
                dump(db).map_err(|e| format!("{case}: reading after an error: {e}"))?;
            }
            disk.fail(None);
            let (disk_then, index_then) = (disk.crash(disk.trace_len(), Crash::Kill), home.fork());
            drop(db);
            // What was in the midst of being written may be there or not, whole.
            let reopened = open(&disk_then, &index_then).map_err(|e| format!("{case}: {e}"))?;
            let found = dump(&reopened)?;
            let known = states.range(durable..).any(|(_, state)| *state == found);
            assert!(
                known || reopened.last_commit() > durable,
                "{case}: not from commit {durable} on"
            );
            assert!(
                reopened.opening_report().damage.is_empty(),
                "{case}: {:?}",
                reopened.opening_report()
            );
        }
    }
    Ok(())
}

/// Until the restore returned there may be nothing, or something that opening refuses to replace by an
/// empty database; restoring again then works. From then on there is everything.
#[test]
fn a_restore_that_crashes_anywhere_is_whole_or_none() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    for seed in 0..30 {
        step(&db, &mut Random(seed))?;
    }
    db.checkpoint()?;
    let expected = dump(&db)?;
    let is_checkpoint = |path: &PathBuf| path.extension().is_some_and(|e| e == "nonos");
    let backup = disk.files().into_iter().find(is_checkpoint);
    let backup = Checkpoint::open(&disk, &backup.ok_or("no checkpoint")?)?;

    let directory = Path::new("data.sled.journal");
    let restored = SimulatedDisk::default();
    let begin = |disk: &SimulatedDisk| {
        let records = backup
            .records()
            .map(|record| record.map_err(CoreError::from));
        begin_in(disk, directory, backup.about(), records, &options())
    };
    begin(&restored)?;
    let mut refused = 0;
    for prefix in 0..=restored.trace_len() {
        let mut crashes = vec![Crash::Kill, Crash::Drop];
        crashes.extend((0..8).flat_map(|seed| [Crash::Torn(seed), Crash::Reordered(seed)]));
        for crash in crashes {
            let case = format!("{crash:?} after {prefix}");
            let disk = restored.crash(prefix, crash);
            let home = SimulatedHome::default();
            match open(&disk, &home) {
                Ok(db) => {
                    let found = dump(&db)?;
                    let is_done = prefix == restored.trace_len();
                    assert!(
                        found == expected || (found.is_empty() && !is_done),
                        "{case}"
                    );
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::IncompleteSwap, "{case}: {error}");
                    refused += 1;
                    begin(&disk)?;
                    assert_eq!(dump(&open(&disk, &home)?)?, expected, "{case}, again");
                }
            }
        }
    }
    assert!(refused > 0);
    Ok(())
}

/// A journal whose directory could not be made durable at first has a durable name before its first commit does.
#[test]
fn a_creation_that_failed_anywhere_leaves_nothing_that_a_power_cut_takes_back() -> TestResult {
    for call in 0.. {
        let disk = SimulatedDisk::default();
        let home = SimulatedHome::beside(&disk);
        disk.fail(Some(Fault {
            at_call: call,
            kind: io::ErrorKind::Other,
        }));
        let is_whole = open(&disk, &home).map(drop).is_ok() && disk.calls() <= call;
        disk.fail(None);
        let case = format!("call {call}");
        let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
        let written = |disk: &SimulatedDisk| (disk.trace_len(), db.last_commit());
        let ((), _) = db.update(Durability::Durable, |_, commit| {
            commit.put(TreeId::Peers, b"one".to_vec(), b"value".to_vec());
            Ok::<_, CoreError>(())
        })?;
        let (at, number) = written(&disk);
        let expected = dump(&db)?;
        drop(db);
        let states = States::from([(number, expected)]);
        let (disk, home) = (disk.crash(at, Crash::Drop), home.at(at).crash(|_| false));
        check_recovered(&disk, &home, &states, number, &case)?;
        if is_whole {
            assert!(call > 20, "{call} calls");
            return Ok(());
        }
    }
    Ok(())
}

/// What reads the journal syncs it first; where that fails, the next write is not the first to know.
#[test]
fn a_sync_that_fails_within_a_checkpoint_is_known_at_once() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    db.update(Durability::Buffered, |_, commit| {
        commit.put(TreeId::Peers, b"one".to_vec(), b"value".to_vec());
        Ok::<_, CoreError>(())
    })?;
    disk.fail(Some(Fault {
        at_call: disk.calls(),
        kind: io::ErrorKind::Other,
    }));
    assert!(db.checkpoint().is_err());
    assert!(!db.accepts_writes());
    let health = db.health();
    assert!(matches!(health, Health::Poisoned { .. }), "{health:?}");
    Ok(())
}

/// Who is told that there is nothing to do goes by what others did, which must not come undone.
#[test]
fn a_durable_update_that_changes_nothing_makes_durable_what_it_saw() -> TestResult {
    let disk = SimulatedDisk::default();
    let home = SimulatedHome::beside(&disk);
    let db = open(&disk, &home)?;
    let remove = |durability| {
        db.update(durability, |view, commit| {
            commit.remove(view, TreeId::Peers, b"one".to_vec())?;
            Ok::<_, CoreError>(())
        })
    };
    db.update(Durability::Durable, |_, commit| {
        commit.put(TreeId::Peers, b"one".to_vec(), b"value".to_vec());
        Ok::<_, CoreError>(())
    })?;
    let ((), number) = remove(Durability::Buffered)?;
    let ((), same) = remove(Durability::Durable)?;
    assert_eq!(same, number);
    let (at, states) = (disk.trace_len(), States::from([(number, dump(&db)?)]));
    drop(db);
    let (disk, home) = (disk.crash(at, Crash::Drop), home.at(at).crash(|_| false));
    check_recovered(&disk, &home, &states, number, "lost")
}
