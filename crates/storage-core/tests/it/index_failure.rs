//! An index that fails while the database is open: reads go on, nothing is lost, it is rebuilt.

use std::num::NonZero;
use std::ops::Bound;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{
    CoreError, Db, Durability, ErrorCode, Health, Order, Read, SimulatedHome, TreeId,
};
use storage_journal::disk::{Crash, Space};

use crate::peers::store;
use crate::workload::{LAYOUT, Random, State, TestResult, dump, open, open_holding, options, step};

fn database() -> Result<(SimulatedDisk, SimulatedHome, Db), CoreError> {
    holding(None)
}

fn holding(held_back: Option<u64>) -> Result<(SimulatedDisk, SimulatedHome, Db), CoreError> {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open_holding(&disk, &home, held_back)?;
    for seed in 0..20 {
        step(&db, &mut Random(seed))?;
    }
    Ok((disk, home, db))
}

/// Works until a write is refused; returns what is there then. A commit that returned is in it, whatever failed while
/// it was applied, and one that was refused is not.
fn work_until_it_fails(db: &Db) -> Result<State, Box<dyn std::error::Error>> {
    let model = Db::in_memory(&options())?;
    let before = dump(db)?;
    model.update(Durability::Buffered, |_, commit| {
        for ((tree, key), value) in before {
            commit.put(tree, key, value);
        }
        Ok::<_, CoreError>(())
    })?;
    let mut random = Random(77);
    for number in 0..40 {
        let mut fork = Random(random.0);
        match step(db, &mut random) {
            Ok(_) => step(&model, &mut fork).map(drop)?,
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Poisoned, "{error}");
                break;
            }
        }
        let (found, expected) = (dump(db)?, dump(&model)?);
        assert!(found == expected, "step {number}: {:?}", db.health());
    }
    Ok(dump(&model)?)
}

#[test]
fn reads_go_on_from_the_journal_wherever_the_index_fails() -> TestResult {
    fail_everywhere(None)
}

/// With so many bytes held back from the index.
pub(crate) fn fail_everywhere(held_back: Option<u64>) -> TestResult {
    let mut failed = 0;
    for calls in 0..400 {
        let (disk, home, db) = holding(held_back)?;
        home.break_after(calls);
        let case = format!("held back {held_back:?}, after {calls} calls");
        let expected = work_until_it_fails(&db).map_err(|e| format!("{case}: {e}"))?;
        let found = dump(&db).map_err(|e| format!("{case}: {e}"))?;
        assert!(found == expected, "{case}");
        for ((tree, key), value) in &found {
            assert_eq!(db.view().get(*tree, key)?.as_ref(), Some(value), "{case}");
        }
        db.flush()?;
        let Health::Degraded { reason } = db.health() else {
            assert_eq!(db.health(), Health::Ok, "{case}");
            continue;
        };
        failed += 1;
        assert!(reason.contains("it was to fail"), "{case}: {reason}");
        assert!(step(&db, &mut Random(1)).is_err(), "{case}: a write");

        // Whatever happens now, everything that was read is there.
        let index = home.fork().crash(|number| number % 2 == 0);
        let crashed = open(&disk.crash(disk.trace_len(), Crash::Drop), &index)?;
        assert_eq!(dump(&crashed)?, found, "{case}, after a power cut");

        // A rebuilt index takes writes again.
        db.compact().map_err(|e| format!("{case}: {e}"))?;
        assert_eq!(db.health(), Health::Ok, "{case}");
        assert_eq!(dump(&db)?, found, "{case}, rebuilt");
        step(&db, &mut Random(2))?;
        let expected = dump(&db)?;
        db.shutdown()?;
        let again = open(&disk, &home)?;
        assert!(
            again.opening_report().clean,
            "{case}: {:?}",
            again.opening_report()
        );
        assert_eq!(dump(&again)?, expected, "{case}, opened again");
    }
    assert!(failed > 300, "{failed} failures");
    Ok(())
}

/// Whatever of the exchange was made, the index that was in use, or the new one, is there: nothing is rebuilt.
#[test]
fn a_compaction_that_fails_in_its_exchange_removes_no_index() -> TestResult {
    for renames in 0..2 {
        let (disk, home, db) = database()?;
        let expected = dump(&db)?;
        home.break_swap_after(renames);
        let failed = db.compact().expect_err("the exchange fails");
        assert_eq!(failed.code(), ErrorCode::Io, "{renames} renames: {failed}");
        assert!(step(&db, &mut Random(1)).is_err(), "{renames} renames");
        drop(db);
        let again = open(&disk, &home)?;
        let report = again.opening_report();
        // One that is made anew has nothing to catch up with.
        assert!(report.replayed_commits > 0, "{renames} renames: {report:?}");
        assert!(report.damage.is_empty(), "{renames} renames: {report:?}");
        assert_eq!(dump(&again)?, expected, "{renames} renames");
        step(&again, &mut Random(2))?;
    }
    Ok(())
}

/// An index that cannot be compared any more is a finding, and given up.
#[test]
fn comparing_an_index_that_fails_says_so_and_gives_it_up() -> TestResult {
    let mut failed = 0;
    for calls in 0..40 {
        let (_, home, db) = database()?;
        let expected = dump(&db)?;
        home.break_after(calls);
        match db.differences(NonZero::<usize>::MIN, &|_, _| Ok(())) {
            Ok(found) => assert_eq!(found, [], "after {calls} calls"),
            Err(error) => {
                failed += 1;
                let is_damage = matches!(error, CoreError::IndexDamaged { .. });
                assert!(is_damage, "after {calls} calls: {error}");
                assert_ne!(db.health(), Health::Ok, "after {calls} calls");
                assert_eq!(dump(&db)?, expected, "after {calls} calls");
                db.compact()?;
                assert_eq!(db.differences(NonZero::<usize>::MIN, &|_, _| Ok(()))?, []);
            }
        }
    }
    assert!(failed > 0);
    Ok(())
}

#[test]
fn a_scan_that_the_index_breaks_off_goes_on_behind_its_last_record() -> TestResult {
    for order in [Order::Ascending, Order::Descending] {
        for calls in 0..12 {
            let (_, home, db) = database()?;
            let everything = (Bound::Unbounded, Bound::Unbounded);
            let scan = || {
                let mut keys = Vec::new();
                let scanned = db
                    .view()
                    .scan(TreeId::Metrics, &everything, order, &mut |key, _| {
                        keys.push(key.to_vec());
                        Ok(true)
                    });
                scanned.map(|()| keys)
            };
            let expected = scan()?;
            home.break_after(calls);
            assert_eq!(scan()?, expected, "{order:?}, {calls}");
        }
    }
    Ok(())
}

/// A scan inside a scan takes no second lock, so a writer that waits between them is no deadlock.
#[test]
fn a_read_inside_a_scan_beside_a_writer_ends() -> TestResult {
    let (_, _, db) = database()?;
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let (started, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let db = &db;
        let writer = scope.spawn(move || {
            waiting.recv().expect("the scan starts");
            for seed in 0..50 {
                step(db, &mut Random(seed)).expect("a commit");
            }
        });
        let mut inside = 0;
        for _ in 0..50 {
            let scanned = db.view().scan(
                TreeId::Metrics,
                &everything,
                Order::Ascending,
                &mut |_, _| {
                    let _told = started.send(());
                    std::thread::yield_now();
                    db.view()
                        .scan(TreeId::Peers, &everything, Order::Ascending, &mut |_, _| {
                            inside += 1;
                            Ok(true)
                        })?;
                    Ok(true)
                },
            );
            scanned.expect("a scan");
        }
        assert!(inside > 0);
        writer.join().expect("the writer ends");
    });
    let refused = db.view().scan(
        TreeId::Metrics,
        &everything,
        Order::Ascending,
        &mut |_, _| step(&db, &mut Random(0)).map(|_| true),
    );
    assert!(matches!(refused, Err(CoreError::Reentrant)), "{refused:?}");
    Ok(())
}

/// The index fails, and there is no room to rebuild it.
#[test]
fn the_timer_makes_durable_what_was_committed_whatever_the_index_does() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let mut options = options();
    options.flush_every_ms = Some(100);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let db = Db::open_simulated(shared, &home, &options, &|_| Ok(LAYOUT))?;
    store(&db, 1, Durability::Buffered)?;
    home.break_after(0);
    let (free, total) = (0, 1 << 40);
    disk.set_space(Some(Space { free, total }));
    let state = dump(&db)?;
    assert_ne!(db.health(), Health::Ok);
    let deadline = Instant::now() + Duration::from_mins(1);
    while db.unsynced_commits() > 0 {
        assert!(Instant::now() < deadline, "it is not synced");
        thread::yield_now();
    }
    let disk = disk.crash(disk.trace_len(), Crash::Drop);
    assert_eq!(dump(&open(&disk, &home.crash(|_| false))?)?, state);
    Ok(())
}
