//! What is left where something was interrupted or removed: it is neither damage nor an empty database.

use std::io;
use std::path::Path;

use storage_core::history::{Checkpoint, Disk, SimulatedDisk};
use storage_core::{CoreError, Db, Durability, SimulatedHome, TreeId, begin_in};
use storage_journal::disk::{Crash, Fault};

use crate::frames::{checkpoints, kill};
use crate::peers::store_all;
use crate::workload::{State, TestResult, dump, open, options};

const FORMAT: &str = "FORMAT";

/// Removes everything of the journal but what says its format.
fn leave_the_format(disk: &SimulatedDisk) -> TestResult {
    for path in disk.files() {
        if !path.ends_with(FORMAT) {
            disk.remove(&path)?;
        }
    }
    assert_eq!(disk.files().len(), 1, "{:?}", disk.files());
    Ok(())
}

#[test]
fn a_format_alone_is_refused_and_not_taken_for_a_new_database() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Durable)?;
    db.shutdown()?;
    leave_the_format(&disk)?;
    let refused = open(&disk, &SimulatedHome::default());
    let error = refused.err().ok_or("an empty database was made")?;
    assert!(error.to_string().contains(FORMAT), "{error}");
    Ok(())
}

/// FORMAT names a segment behind the checkpoint from which is restored.
#[test]
fn a_database_restored_beside_an_old_format_opens() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    store_all(&db, 1..=10, Durability::Durable)?;
    db.checkpoint()?;
    db.shutdown()?;
    let db = open(&disk, &home)?;
    store_all(&db, 11..=12, Durability::Durable)?;
    db.shutdown()?;
    let checkpoints = checkpoints(&disk);
    let backup = checkpoints.first().ok_or("no checkpoint")?;
    let backup = Checkpoint::open(&disk, backup)?;
    let left = kill(&disk);
    leave_the_format(&left)?;
    let records = backup
        .records()
        .map(|record| record.map_err(CoreError::from));
    let directory = Path::new("data.sled.journal");
    begin_in(&left, directory, backup.about(), records, &options())?;
    let restored = open(&left, &SimulatedHome::default())?;
    assert_eq!(restored.len(TreeId::Peers)?, 10);
    Ok(())
}

/// Records as an index holds them that never had a journal, and so no witness; and what they are.
fn without_a_journal() -> Result<(SimulatedHome, State), Box<dyn std::error::Error>> {
    let model = Db::in_memory(&options())?;
    store_all(&model, 1..=3, Durability::Buffered)?;
    let state = dump(&model)?;
    let home = SimulatedHome::default();
    home.damage(TreeId::Peers, |entries| {
        for ((_, key), value) in &state {
            entries.insert(key.clone(), value.clone());
        }
    });
    Ok((home, state))
}

#[test]
fn a_kill_while_an_index_is_adopted_is_not_reported_as_damage() -> TestResult {
    let (home, state) = without_a_journal()?;
    let disk = SimulatedDisk::default();
    let home = home.watching(&disk);
    // It stays open: what closing it does would belong to no crash.
    let adopting = open(&disk, &home)?;
    let report = adopting.opening_report();
    let is_sound = report.adopted && report.damage.is_empty();
    assert!(is_sound, "uninterrupted: {report:?}");
    for prefix in 0..=disk.trace_len() {
        let case = format!("killed after {prefix} of {}", disk.trace_len());
        let (disk, home) = (disk.crash(prefix, Crash::Kill), home.at(prefix));
        let again = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
        assert_eq!(dump(&again)?, state, "{case}");
        let damage = &again.opening_report().damage;
        assert!(damage.is_empty(), "{case}: {damage:?}");
    }
    drop(adopting);
    Ok(())
}

/// What a call that failed left without a durable name is not built upon.
#[test]
fn a_power_cut_after_an_adoption_that_failed_is_not_reported_as_damage() -> TestResult {
    let (index, state) = without_a_journal()?;
    for call in 0.. {
        let disk = SimulatedDisk::default();
        let home = index.watching(&disk);
        disk.fail(Some(Fault {
            at_call: call,
            kind: io::ErrorKind::Other,
        }));
        let failed = open(&disk, &home);
        disk.fail(None);
        if failed.is_ok() {
            assert!(call > 10, "nothing failed at {call}");
            return Ok(());
        }
        let adopting = open(&disk, &home)?;
        for prefix in 0..=disk.trace_len() {
            let case = format!(
                "failed at {call}, cut after {prefix} of {}",
                disk.trace_len()
            );
            let (disk, home) = (disk.crash(prefix, Crash::Drop), home.at(prefix));
            let again = open(&disk, &home.crash(|_| false)).map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(dump(&again)?, state, "{case}");
            let damage = &again.opening_report().damage;
            assert!(damage.is_empty(), "{case}: {damage:?}");
        }
        drop(adopting);
    }
    Ok(())
}
