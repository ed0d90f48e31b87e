//! Commits whose frames are damaged: what another copy holds is not lost, and what is lost is named.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{Db, Durability, Read, SimulatedHome, TreeId};
use storage_journal::disk::Crash;

use crate::frames::{destroy, kill};
use crate::peers::{id, store, store_all};
use crate::workload::{LAYOUT, TestResult, dump, open, options};

#[test]
fn damage_below_the_checkpoint_costs_nothing_without_an_index() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Durable)?;
    db.checkpoint()?;
    store_all(&db, 11..=20, Durability::Durable)?;
    let state = dump(&db)?;
    let disk = kill(&disk);
    destroy(&disk, 5);
    let again = open(&disk, &SimulatedHome::default())?;
    assert_eq!(dump(&again)?, state);
    Ok(())
}

#[test]
fn damage_below_the_checkpoint_loses_nothing_silently_after_a_kill() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Buffered)?;
    db.checkpoint()?;
    store_all(&db, 11..=20, Durability::Buffered)?;
    let state = dump(&db)?;
    let (disk, home) = (kill(&disk), home.fork());
    destroy(&disk, 5);
    let again = open(&disk, &home)?;
    let (report, found) = (again.opening_report(), dump(&again)?);
    assert!(
        found == state || !report.damage.is_empty(),
        "{} of 20 records, silently: {report:?}",
        found.len()
    );
    Ok(())
}

#[test]
fn two_damaged_stretches_lose_no_durable_commit_silently() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=3, Durability::Durable)?;
    store_all(&db, 4..=8, Durability::Buffered)?;
    store_all(&db, 9..=12, Durability::Durable)?;
    let (disk, home) = (kill(&disk), home.fork());
    destroy(&disk, 5);
    destroy(&disk, 8);
    let again = open(&disk, &home)?;
    let (report, found) = (again.opening_report(), again.len(TreeId::Peers)?);
    assert!(
        found == 12 || !report.damage.is_empty(),
        "{found} of 12 durable records, silently: {report:?}"
    );
    Ok(())
}

/// Opening makes the journal anew from the index, and the evidence of the damage goes with the old one.
#[test]
fn a_kill_while_a_damaged_journal_is_made_anew_loses_nothing_silently() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Durable)?;
    // What of the index was not marked is gone.
    let home = home.crash(|_| false);
    let state = dump(&db)?;
    let disk = kill(&disk);
    destroy(&disk, 5);
    let home = home.watching(&disk);
    // It stays open: what closing it does would belong to no crash.
    let opened = open(&disk, &home)?;
    let report = opened.opening_report();
    assert!(!report.damage.is_empty(), "uninterrupted: {report:?}");
    for prefix in 0..=disk.trace_len() {
        let case = format!("killed after {prefix} of {}", disk.trace_len());
        let (disk, home) = (disk.crash(prefix, Crash::Kill), home.at(prefix));
        let again = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
        let (report, found) = (again.opening_report(), dump(&again)?);
        assert!(
            found == state || !report.damage.is_empty(),
            "{case}: {} of 10 records, silently, last {}",
            found.len(),
            again.last_commit()
        );
    }
    drop(opened);
    Ok(())
}

thread_local! {
    /// What happens when this thread reads the clock the next time.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn clock() -> i64 {
    if let Some(meanwhile) = MEANWHILE.take() {
        meanwhile();
    }
    1_770_000_000_000
}

/// A flush reads the clock between the index's sync and the mark, and there another thread commits:
/// the mark lies behind a commit that the index does not hold durably.
#[test]
fn a_commit_beside_a_mark_is_not_taken_for_what_the_index_holds() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let mut options = options();
    options.clock = clock;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let db = Db::open_simulated(shared, &home, &options, &|_| Ok(LAYOUT))?;
    let db = Arc::new(db);
    store_all(&db, 1..=10, Durability::Buffered)?;
    let beside = Arc::clone(&db);
    MEANWHILE.set(Some(Box::new(move || {
        let committing = thread::spawn(move || store(&beside, 11, Durability::Buffered));
        let stored = committing.join().expect("the other thread ends");
        assert_eq!(stored.expect("a commit beside a mark"), 11);
    })));
    db.flush()?;
    assert_eq!(db.last_commit(), 11, "nobody committed beside the mark");
    // Makes 11 durable as well.
    store(&db, 12, Durability::Durable)?;
    store(&db, 13, Durability::Durable)?;
    // The index forgets what was not synced.
    let (disk, home) = (kill(&disk), home.crash(|_| false));
    destroy(&disk, 11);
    let again = open(&disk, &home)?;
    let is_there = again
        .view()
        .get(TreeId::Peers, id(11).as_bytes())?
        .is_some();
    let damage = &again.opening_report().damage;
    let is_named = damage
        .iter()
        .any(|line| line.starts_with("lost") && line.contains("commit 11"));
    assert!(is_there || is_named, "11 was durable: {damage:#?}");
    Ok(())
}

/// The index says through which commit it is durable, and the power goes before all of that is.
#[test]
fn an_index_that_says_more_than_it_holds_is_not_believed() -> TestResult {
    let disk = SimulatedDisk::default();
    let home = SimulatedHome::beside(&disk);
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Durable)?;
    db.flush()?;
    store_all(&db, 11..=20, Durability::Durable)?;
    let state = dump(&db)?;
    let before = disk.trace_len();
    db.flush()?;
    for prefix in before..=disk.trace_len() {
        // What is kept of the changes, and of what it says: one of them, or all but one.
        for number in 0..16 {
            for alone in [false, true] {
                let case = format!("after {prefix}, {number} alone {alone}");
                let home = home.at(prefix).crash(|of| (of == number) == alone);
                let disk = disk.crash(prefix, Crash::Drop);
                destroy(&disk, 5);
                let again = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
                let found = dump(&again)?;
                let report = again.opening_report();
                assert!(found == state, "{case}: {} of 20, {report:?}", found.len());
            }
        }
    }
    Ok(())
}
