//! Damage to files of index and journal, a thousand times, with a table of what became of it.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use storage_testkit::damage::{self, Ended};

use crate::{Error, number};

/// The hidden name under which this program writes the database that is damaged.
pub(crate) const NAME: &str = "write-to-be-damaged";

const TRIALS: usize = 1000;

/// Makes the trials and prints the table.
pub(crate) fn run(trials: Option<&str>) -> Result<bool, Error> {
    let trials = number("trials", trials, TRIALS)?;
    let table = damage::run(trials, make).map_err(|e| Error::Failed(e.to_string()))?;
    println!("{table}\n{}", table.faults.join("\n"));
    println!(
        "damage: {} trials, {} faults",
        table.trials(),
        table.faults.len()
    );
    Ok(table.faults.is_empty())
}

/// Lets another process write the database, which ends as asked.
fn make(ended: Ended, path: &Path) -> io::Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args([NAME, ended.name()])
        .arg(path)
        .stderr(Stdio::null())
        .status()?;
    let should_close = ended == Ended::Cleanly;
    if status.success() == should_close {
        Ok(())
    } else {
        Err(io::Error::other(format!("the writer ended with {status}")))
    }
}

/// Writes the database, and aborts where it is not to be closed.
pub(crate) fn write(ended: Option<&str>, path: Option<&str>) -> Result<bool, Error> {
    let wrong = || Error::Failed("how to end, and a path".into());
    let ended = Ended::ALL
        .into_iter()
        .find(|known| Some(known.name()) == ended);
    let (ended, path) = ended.zip(path).ok_or_else(wrong)?;
    let written = damage::write(Path::new(path), ended);
    match written.map_err(|e| Error::Failed(e.to_string()))? {
        Some(_open) => std::process::abort(),
        None => Ok(true),
    }
}
