//! Crashes at every point of the trace, and errors at every call.

use std::io;
use std::sync::Arc;

use storage_journal::commit::{Change, encode};
use storage_journal::disk::{Crash, Disk, Fault, SimulatedDisk};
use storage_journal::{Journal, JournalError, Merged};

use crate::workload::{
    History, Random, TestResult, contents, create, directory, run, scan, with_history,
};

/// What a machine finds after a crash holds every durable commit, whole commits only, and the state
/// of the last one; then it takes another commit under a number that was never seen.
fn check_recovered(
    disk: &SimulatedDisk,
    history: &History,
    durable: u64,
    case: &str,
) -> TestResult {
    let found = match scan(disk) {
        Err(JournalError::Missing { .. }) if durable == 0 => return Ok(()),
        found => found.map_err(|e| format!("{case}: {e}"))?,
    };
    assert!(found.damage().is_empty(), "{case}: {:?}", found.damage());
    let last = found.last();
    assert!(
        last >= durable,
        "{case}: {durable} was durable, {last} is the last"
    );
    let journal = Journal::open(Arc::new(disk.clone()), &found, 99, 2)?;
    let state = contents(&Merged::of(&found))?;
    assert_eq!(
        Some(&state),
        history.states.get(&last),
        "{case}: state of {last}"
    );

    let number = journal.next_number();
    assert!(number > last, "{case}");
    let put = Change {
        tree: 0,
        key: b"after",
        value: Some(b"the crash"),
    };
    assert_eq!(
        journal.append(0, &encode([put].into_iter()))?,
        number,
        "{case}"
    );
    journal.sync_through(number)?;
    let again = disk.crash(disk.trace_len(), Crash::Drop);
    let merged = Merged::open(&again, directory(), u64::MAX).map_err(|e| format!("{case}: {e}"))?;
    assert_eq!(merged.through(), number, "{case}");
    let mut expected = state;
    expected.insert((0, b"after".to_vec()), b"the crash".to_vec());
    assert_eq!(
        contents(&merged)?,
        expected,
        "{case}: after the next commit"
    );
    Ok(())
}

fn every_crash(
    disk: &SimulatedDisk,
    history: &History,
    seeds: u64,
) -> Result<usize, Box<dyn std::error::Error>> {
    let mut reopenings = 0;
    for prefix in 0..=disk.trace_len() {
        let durable = history.durable_at(prefix);
        let mut crashes = vec![Crash::Kill, Crash::Drop];
        crashes.extend((0..seeds).map(Crash::Torn));
        crashes.extend((0..seeds).map(Crash::Reordered));
        for crash in crashes {
            let case = format!("{crash:?} after {prefix} changes");
            check_recovered(&disk.crash(prefix, crash), history, durable, &case)?;
            reopenings += 1;
        }
    }
    Ok(reopenings)
}

#[test]
fn a_crash_at_any_point_keeps_what_was_durable_and_whole_commits_only() -> TestResult {
    let mut reopenings = 0;
    for seed in 0..9 {
        let (disk, history) = with_history(seed)?;
        reopenings += every_crash(&disk, &history, 4)?;
    }
    assert!(reopenings >= 20_000, "{reopenings} reopenings");
    Ok(())
}

#[test]
fn an_error_at_any_call_loses_nothing_that_was_acknowledged() -> TestResult {
    let calls = {
        let disk = SimulatedDisk::default();
        run(
            &create(&disk)?,
            &disk,
            &mut History::new(),
            &mut Random(7),
            30,
        )?;
        disk.calls()
    };
    for at_call in 0..calls {
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            let disk = SimulatedDisk::default();
            disk.fail(Some(Fault { at_call, kind }));
            let mut history = History::new();
            let case = format!("{kind:?} at call {at_call}");
            let Ok(journal) = create(&disk) else {
                check_recovered(
                    &disk.crash(disk.trace_len(), Crash::Drop),
                    &history,
                    0,
                    &case,
                )?;
                continue;
            };
            let _failed = run(&journal, &disk, &mut history, &mut Random(7), 30);
            if journal.failure().is_some() {
                assert!(
                    journal.append(0, &[]).is_err(),
                    "{case}: a write after an error"
                );
                assert!(
                    journal.sync_through(u64::MAX).is_err(),
                    "{case}: a sync after an error"
                );
            }
            let durable = history.durable_at(disk.trace_len());
            for crash in [
                Crash::Kill,
                Crash::Drop,
                Crash::Torn(at_call),
                Crash::Reordered(at_call),
            ] {
                let crashed = disk.crash(disk.trace_len(), crash);
                check_recovered(&crashed, &history, durable, &format!("{case}, {crash:?}"))?;
            }
        }
    }
    Ok(())
}

/// An open that is itself interrupted, at any point, changes nothing of what was recovered.
#[test]
fn a_crash_during_recovery_is_recovered_from() -> TestResult {
    let (disk, history) = with_history(11)?;
    for prefix in (0..=disk.trace_len()).step_by(7) {
        let crashed = disk.crash(prefix, Crash::Torn(1));
        let Ok(found) = scan(&crashed) else { continue };
        let last = found.last();
        let shared: Arc<dyn Disk> = Arc::new(crashed.clone());
        Journal::open(shared, &found, 50, 2)?;
        for second in 0..=crashed.trace_len() {
            for crash in [Crash::Kill, Crash::Drop, Crash::Reordered(3)] {
                let case = format!("prefix {prefix}, then {crash:?} after {second}");
                check_recovered(&crashed.crash(second, crash), &history, last, &case)?;
            }
        }
    }
    Ok(())
}
