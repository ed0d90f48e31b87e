//! What one process does with one engine on one directory, and tells.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Mode, open};
use crate::error::{Result, failed};
use crate::records::{Peer, peer, peer_id};
use crate::scale::Scale;

mod crash;
mod migration;
mod mixed;
mod reads;
mod upkeep;
mod writes;

/// Buffered records of `crash`.
pub(crate) const UNSYNCED: usize = 20_000;

/// The parts of `load`, which are processes of their own: what is left to do behind the peers is not what samples cost.
pub(crate) const LOAD: [&str; 2] = ["load-peers", "load-metrics"];

/// The parts of `crash`, which are processes of their own.
pub(crate) const CRASH: [&str; 2] = ["crash-write", "crash-open"];

/// The parts of `growth`.
pub(crate) const GROW: [&str; 2] = ["grow", "grow-open"];

/// What a process was told to do.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) engine: String,
    pub(crate) directory: PathBuf,
    pub(crate) scale: Scale,
    /// Which of `GROWTH`.
    pub(crate) size: usize,
}

impl Task {
    fn open(&self, mode: Mode) -> Result<Box<dyn Engine>> {
        open(&self.engine, &self.database(), mode)
    }

    /// An engine that is open once it answers.
    fn open_and_read(&self) -> Result<Box<dyn Engine>> {
        let engine = self.open(Mode::Buffered)?;
        let found = engine.load_peer(&peer_id(0))?;
        found.ok_or_else(|| failed("the first peer is not there"))?;
        Ok(engine)
    }

    fn database(&self) -> PathBuf {
        self.directory.join("database")
    }

    /// Where a backup goes; it is not there.
    fn backup(&self) -> PathBuf {
        self.directory.join("backup")
    }
}

pub(crate) fn run(workload: &str, task: &Task) -> Result<()> {
    match workload {
        "load-peers" => writes::load_peers(task),
        "load-metrics" => writes::load_metrics(task),
        "open" => upkeep::open_clean(task, "open_clean"),
        "read" => reads::run(task),
        "update" => writes::update(task),
        "durable" => writes::durable(task),
        "mixed" => mixed::run(task),
        "upkeep" => upkeep::run(task),
        "crash-write" => crash::write(task),
        "crash-open" => crash::reopen(task),
        "compact" => upkeep::compact(task),
        "burst" => writes::burst(task),
        "grow" => writes::grow(task),
        "grow-open" => upkeep::open_clean(task, &writes::growth_row(task, "open")?),
        "migration" => migration::run(task),
        other => Err(failed(format!("no such workload: {other}"))),
    }
}

/// Tells the value of a row to the process that started this one.
fn tell(row: &str, value: f64) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{row} {value}")?;
    Ok(out.flush()?)
}

fn tell_rate(row: &str, count: usize, took: Duration) -> Result<()> {
    tell(row, number(count) / took.as_secs_f64())
}

fn tell_millis(row: &str, took: Duration) -> Result<()> {
    tell(row, took.as_secs_f64() * 1e3)
}

/// Nothing that is counted here is over 2^32.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn timed<R>(work: impl FnOnce() -> Result<R>) -> Result<(R, Duration)> {
    let started = Instant::now();
    let result = work()?;
    Ok((result, started.elapsed()))
}

/// Made before the clock runs.
fn peers(numbers: impl Iterator<Item = usize>, changes: u32) -> Vec<Peer> {
    numbers.map(|number| peer(number, changes)).collect()
}
