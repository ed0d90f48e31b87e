//! A migration that crashes anywhere, and the run that was never stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::config;
use storage_core::{Db, ErrorCode, Observer, SimulatedHome};
use storage_journal::disk::Crash;
use storage_schema::{SchemaError, abort_with};
use storage_testkit::first_home::home;

use crate::TestResult;
use crate::old::{dump, expect_chained, how, open, options};

const PEERS: u32 = 300;

#[test]
fn a_migration_that_crashes_anywhere_ends_as_one_that_never_did() -> TestResult {
    let expected = dump(
        &open(&SimulatedDisk::default(), &home(PEERS), Some(&how()))?
            .db
            .view(),
    )?;
    let before = dump_raw(&home(PEERS))?;
    let disk = SimulatedDisk::default();
    let home = home(PEERS).watching(&disk);
    let opened = open(&disk, &home, Some(&how()))?;
    let mut crashes = 0;
    for prefix in 0..=disk.trace_len() {
        let mut kinds = vec![Crash::Kill, Crash::Drop];
        kinds.extend((0..4).flat_map(|seed| [Crash::Torn(seed), Crash::Reordered(seed)]));
        for (seed, kind) in (0..).zip(kinds) {
            let case = format!("{kind:?} after {prefix}");
            let mut random = seed + prefix;
            let index = home.at(prefix).crash(|_| {
                random = random.wrapping_mul(31).wrapping_add(7);
                random % 2 == 0
            });
            let disk = disk.crash(prefix, kind);
            // Undone, or gone on with.
            if prefix % 3 == 0 {
                let (disk, index) = (disk.crash(disk.trace_len(), Crash::Kill), index.fork());
                match abort_with(&how(), |accept| {
                    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
                    Db::open_simulated(disk, &index, &options(), accept)
                }) {
                    Ok(()) => assert_eq!(dump_raw(&index)?, before, "{case}, undone"),
                    Err(SchemaError::NothingToAbort) => {}
                    Err(error) => return Err(format!("{case}, undoing: {error}").into()),
                }
            }
            let again = open(&disk, &index, Some(&how())).map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(dump(&again.db.view())?, expected, "{case}");
            expect_chained(&again.db, &case)?;
            let report = again.db.opening_report();
            assert!(report.damage.is_empty(), "{case}: {report:?}");
            assert_eq!(again.info.version, 2, "{case}");
            let history = &again.info.migrations_applied;
            let done = history.iter().filter(|record| record.success).count();
            assert_eq!(done, 1, "{case}: {history:?}");
            crashes += 1;
        }
    }
    assert!(crashes > 900, "{crashes} crashes");
    drop(opened);
    Ok(())
}

/// What an index holds, without a handle of the current schema on it.
fn dump_raw(home: &SimulatedHome) -> Result<crate::old::State, Box<dyn std::error::Error>> {
    let raw = Mutex::new(None);
    let _refused = open_raw(home, &raw);
    raw.into_inner()?.ok_or_else(|| "nothing was shown".into())
}

fn open_raw(
    home: &SimulatedHome,
    raw: &Mutex<Option<crate::old::State>>,
) -> Result<Db, storage_core::CoreError> {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
    Db::open_simulated(disk, &home.fork(), &options(), &|records| {
        *raw.lock().expect("one thread") = Some(dump(records)?);
        Err(storage_core::CoreError::NotAccepted)
    })
}

#[test]
fn a_cancelled_migration_goes_on_and_an_aborted_one_is_as_before() -> TestResult {
    let expected = dump(
        &open(&SimulatedDisk::default(), &home(PEERS), Some(&how()))?
            .db
            .view(),
    )?;
    for commits in 1..12 {
        let (disk, home) = (SimulatedDisk::default(), home(PEERS));
        let before = dump_raw(&home)?;
        let told = Arc::new(AtomicUsize::new(0));
        let mut cancelling = how();
        let counter = Arc::clone(&told);
        cancelling.observer = Observer::new(move |progress| {
            let is_commit = progress.operation == "migrate" && progress.done > 0;
            let count = counter.fetch_add(usize::from(is_commit), Ordering::Relaxed);
            if is_commit && count + 1 == commits {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let error = open(&disk, &home, Some(&cancelling)).expect_err("it is cancelled");
        assert_eq!(error.code(), ErrorCode::Cancelled, "{error}");
        let refused = open(&disk, &home, None).expect_err("it may not migrate");
        assert_eq!(refused.code(), ErrorCode::MigrationNeeded);
        if commits % 2 == 0 {
            abort_with(&how(), |accept| {
                let disk: Arc<dyn Disk> = Arc::new(disk.clone());
                Db::open_simulated(disk, &home, &options(), accept)
            })?;
            assert_eq!(dump_raw(&home)?, before, "after {commits} commits");
        }
        let opened = open(&disk, &home, Some(&how()))?;
        assert_eq!(
            dump(&opened.db.view())?,
            expected,
            "after {commits} commits"
        );
        assert_eq!(opened.climbed.len(), 1);
        assert_eq!(opened.climbed[0].resumed, commits % 2 == 1);
        assert_eq!(
            opened.info.migrations_applied.len(),
            if commits % 2 == 1 { 2 } else { 1 }
        );
        let nodes: Option<Vec<String>> = config::get(&opened.db.view(), "nodes")?;
        assert_eq!(nodes, Some(vec!["a".to_owned(), "b".to_owned()]));
    }
    Ok(())
}
