//! Batches, single records and durable ones.

use std::time::Duration;

use nonos_storage::MAX_BATCH_SIZE;

use super::{Task, peers, tell, tell_millis, tell_rate, timed};
use crate::engine::{Engine, Mode};
use crate::error::{Result, failed};
use crate::memory::{disk, resident};
use crate::records::{Peer, Sample, any, peer_id, sample};
use crate::rows::{GROWTH, growth_id};

/// All buffered but the last, where the whole is to be durable once it is over.
fn store_batches(engine: &dyn Engine, peers: &[Peer], durable: bool) -> Result<()> {
    let mut batches = peers.chunks(MAX_BATCH_SIZE).peekable();
    while let Some(batch) = batches.next() {
        engine.store_peers(batch, durable && batches.peek().is_none())?;
    }
    Ok(())
}

pub(super) fn load_peers(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    let all = peers(0..task.scale.peers, 0);
    let ((), took) = timed(|| store_batches(&*engine, &all, true))?;
    tell_rate("batches", task.scale.peers, took)?;
    engine.close()
}

pub(super) fn load_metrics(task: &Task) -> Result<()> {
    let samples = samples(task);
    let engine = task.open(Mode::Buffered)?;
    tell_samples(&*engine, &samples, "metrics")?;
    engine.close()?;
    tell("disk", disk(&task.database())?)
}

/// Samples while what is behind the peers is still to be done.
pub(super) fn burst(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    let all = peers(0..task.scale.peers, 0);
    let samples = samples(task);
    store_batches(&*engine, &all, true)?;
    tell_samples(&*engine, &samples, "metrics_behind")?;
    engine.close()
}

fn samples(task: &Task) -> Vec<Sample> {
    (0..task.scale.metrics).map(sample).collect()
}

fn tell_samples(engine: &dyn Engine, samples: &[Sample], row: &str) -> Result<()> {
    let all = || samples.iter().try_for_each(|one| engine.store_sample(one));
    let ((), took) = timed(all)?;
    tell_rate(row, samples.len(), took)
}

pub(super) fn update(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    let scale = task.scale;
    let changed = peers(any(scale.peers).take(scale.updates), 1);
    let all = || {
        changed
            .iter()
            .try_for_each(|one| engine.store_peer(one, false))
    };
    let ((), took) = timed(all)?;
    tell_rate("update", scale.updates, took)?;
    let ((), took) = timed(|| engine.close())?;
    tell_millis("close", took)
}

pub(super) fn durable(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Durable)?;
    for threads in [1, 8] {
        let count = task.scale.durable;
        let changed = peers(any(task.scale.peers).take(threads * count), 2);
        let store = |part: &[Peer]| part.iter().try_for_each(|one| engine.store_peer(one, true));
        let ((), took) = timed(|| {
            std::thread::scope(|scope| {
                let store = &store;
                let parts = changed
                    .chunks(count)
                    .map(|part| scope.spawn(move || store(part)));
                let running: Vec<_> = parts.collect();
                running.into_iter().try_for_each(|thread| {
                    let stored = thread.join();
                    stored.map_err(|_panic| failed("a thread panicked"))?
                })
            })
        })?;
        tell_rate(&format!("durable_{threads}"), changed.len(), took)?;
    }
    engine.close()
}

/// The row of the size that this task is about.
pub(super) fn growth_row(task: &Task, what: &str) -> Result<String> {
    let (name, _) = GROWTH
        .get(task.size)
        .ok_or_else(|| failed("no such size"))?;
    Ok(growth_id(what, name))
}

pub(super) fn grow(task: &Task) -> Result<()> {
    let (_, size) = GROWTH
        .get(task.size)
        .ok_or_else(|| failed("no such size"))?;
    let engine = task.open(Mode::Buffered)?;
    let mut spent = Duration::ZERO;
    // Piece by piece, so that what is measured as memory is the engine's.
    let mut first = 0;
    while first < *size {
        let last = (first + 10 * MAX_BATCH_SIZE).min(*size);
        let piece = peers(first..last, 0);
        let ((), took) = timed(|| store_batches(&*engine, &piece, last == *size))?;
        spent += took;
        first = last;
    }
    tell_rate(&growth_row(task, "rate")?, *size, spent)?;
    for number in any(*size).take(task.scale.reads / 4) {
        let found = engine.load_peer(&peer_id(number))?;
        found.ok_or_else(|| failed("a peer is not there"))?;
    }
    let (now, peak) = resident()?;
    tell(&growth_row(task, "after")?, now)?;
    tell(&growth_row(task, "peak")?, peak)?;
    engine.close()
}
