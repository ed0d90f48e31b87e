//! A process that is killed after buffered writes, and one that opens what it left.

use std::thread;

use super::{Task, UNSYNCED, number, tell, tell_millis, timed};
use crate::engine::Mode;
use crate::error::Result;
use crate::records::{sample, time};

/// Samples after those of `load`.
pub(super) fn write(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    let first = task.scale.metrics;
    let samples: Vec<_> = (first..first + UNSYNCED).map(sample).collect();
    samples
        .iter()
        .try_for_each(|one| engine.store_sample(one))?;
    // The kill comes for this word.
    tell("stored", number(UNSYNCED))?;
    loop {
        thread::park();
    }
}

pub(super) fn reopen(task: &Task) -> Result<()> {
    let (engine, took) = timed(|| task.open_and_read())?;
    tell_millis("open_crash", took)?;
    let first = task.scale.metrics;
    let found = engine.load_range(time(first), time(first + UNSYNCED - 1))?;
    tell("lost", number(UNSYNCED - found.len()))?;
    engine.close()
}
