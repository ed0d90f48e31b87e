//! Kills in the midst of compacting and restoring, on real files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nonos_storage::{ErrorCode, NodeStorage, NonosError, NonosResult, StorageConfig};

use crate::writer::{Writer, check, config, write_round};
use crate::{Error, number};

/// The hidden name under which this program restores one backup again and again.
pub(crate) const RESTORE: &str = "restore-until-stopped";

const TRIALS: u64 = 200;
const ROUNDS_IN_BACKUP: u64 = 400;

/// Half of the trials kill a process that compacts beside a writer, half one that restores.
pub(crate) fn run(trials: Option<&str>) -> Result<bool, Error> {
    let trials = number("trials", trials, TRIALS)?;
    let mut faults = compacting(trials / 2)?;
    faults.extend(restoring(trials / 2)?);
    for fault in &faults {
        println!("{fault}");
    }
    println!("kills: {trials} trials, {} faults", faults.len());
    Ok(faults.is_empty())
}

fn compacting(trials: u64) -> Result<Vec<String>, Error> {
    let directory = temporary()?;
    let (mut faults, mut rounds) = (Vec::new(), 0);
    for trial in 0..trials {
        let mut writer = Writer::start_compacting(directory.path())?;
        for _ in 0..=(trial * 7919 % 1201) {
            if !writer.next_round() {
                break;
            }
        }
        let returned = writer.kill();
        let found = check(directory.path(), returned, true);
        rounds = found.rounds;
        let found = found.faults.into_iter();
        faults.extend(found.map(|fault| format!("compacting, kill {trial}: {fault}")));
    }
    println!("compacting: {trials} kills, {rounds} rounds at the end");
    Ok(faults)
}

fn restoring(trials: u64) -> Result<Vec<String>, Error> {
    let directory = temporary()?;
    let backup = directory.path().join("backup.nonos");
    let source = NodeStorage::open(config(&directory.path().join("source")))?;
    for round in 0..ROUNDS_IN_BACKUP {
        write_round(&source, round)?;
    }
    source.export_backup(&backup)?;
    source.close()?;
    let (mut faults, mut whole, mut none) = (Vec::new(), 0, 0);
    for trial in 0..trials {
        let root = directory.path().join(format!("trial-{trial}"));
        let mut writer = Writer::start_named(RESTORE, &root)?;
        writer.next_round();
        // From the first change of a restore to behind its end.
        std::thread::sleep(Duration::from_micros(trial * 7919 % 60_000));
        writer.kill();
        let last = std::fs::read_dir(&root).map_or(0, Iterator::count);
        let at = root.join(last.saturating_sub(1).to_string());
        match after_a_kill(&backup, config(&at)) {
            Ok(true) => whole += 1,
            Ok(false) => none += 1,
            Err(fault) => faults.push(format!("restoring, kill {trial}: {fault}")),
        }
    }
    println!(
        "restoring: {trials} kills, {whole} left a database, {none} none; each was whole then"
    );
    Ok(faults)
}

/// There is everything, or restoring again brings it; returns whether it was there.
fn after_a_kill(backup: &Path, config: StorageConfig) -> Result<bool, String> {
    let was_there = match NodeStorage::restore_backup(backup, config.clone()) {
        Ok(_) => false,
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::InvalidArgument => true,
        Err(error) => return Err(format!("does not restore: {error}")),
    };
    let epochs = |storage: &NodeStorage| Ok::<_, NonosError>(storage.tree_sizes()?.epochs);
    let storage = NodeStorage::open(config).map_err(|e| format!("does not open: {e}"))?;
    let found = epochs(&storage).map_err(|e| format!("cannot be read: {e}"))?;
    let damage = &storage.opening_report().damage;
    if u64::try_from(found) != Ok(ROUNDS_IN_BACKUP) || !damage.is_empty() {
        return Err(format!(
            "{found} epochs of {ROUNDS_IN_BACKUP}, damage {damage:?}"
        ));
    }
    Ok(was_there)
}

/// Restores the backup beside `root` into one directory after the other.
pub(crate) fn restore_until_stopped(root: Option<&str>) -> Result<bool, Error> {
    let root = PathBuf::from(root.ok_or_else(|| Error::Failed("no path".into()))?);
    let backup = root.with_file_name("backup.nonos");
    for number in 0_u64.. {
        let at = root.join(number.to_string());
        println!("{number}");
        let restored: NonosResult<_> = NodeStorage::restore_backup(&backup, config(&at));
        restored?;
    }
    Ok(true)
}

fn temporary() -> Result<tempfile::TempDir, Error> {
    tempfile::tempdir().map_err(|source| Error::Process {
        what: "a temporary directory",
        source,
    })
}
