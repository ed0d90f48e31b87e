//! Opening, backups, verifying and compaction.

use std::fs;
use std::path::Path;

use super::{Task, tell, tell_millis, timed};
use crate::engine::Mode;
use crate::error::Result;
use crate::memory::disk;

pub(super) fn open_clean(task: &Task, row: &str) -> Result<()> {
    let (engine, took) = timed(|| task.open_and_read())?;
    tell_millis(row, took)?;
    engine.close()
}

pub(super) fn run(task: &Task) -> Result<()> {
    let mut engine = task.open(Mode::Buffered)?;
    let backup = task.backup();
    let (is_done, took) = timed(|| engine.back_up(&backup))?;
    if is_done {
        tell_millis("backup", took)?;
        remove(&backup)?;
    }
    let (is_done, took) = timed(|| engine.verify())?;
    if is_done {
        tell_millis("verify", took)?;
    }
    engine.close()
}

pub(super) fn compact(task: &Task) -> Result<()> {
    let mut engine = task.open(Mode::Buffered)?;
    let (is_done, took) = timed(|| engine.compact())?;
    engine.close()?;
    if is_done {
        tell_millis("compaction", took)?;
        tell("disk_compacted", disk(&task.database())?)?;
    }
    Ok(())
}

/// A backup is a file, or a directory.
pub(super) fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(())
}
