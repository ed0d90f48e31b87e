//! Nine reads of any peer to one buffered update, and how long each takes while something else runs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Task, peers, tell, upkeep};
use crate::engine::{Engine, Mode};
use crate::error::{Result, failed};
use crate::records::{any, peer_id};
use crate::rows::{BESIDE, OPERATIONS, PERCENTILES, latency_id};

/// Of so many operations one is an update.
const ONE_OF: usize = 10;

#[derive(Default)]
struct Signals {
    /// Whether what runs beside does so now: only then operations count.
    runs: AtomicBool,
    over: AtomicBool,
}

pub(super) fn run(task: &Task) -> Result<()> {
    let engine = task.open(Mode::Buffered)?;
    // What is read for the first time is another thing, and the first of these would have it alone.
    for number in 0..task.scale.peers {
        engine.load_peer(&peer_id(number))?;
    }
    for beside in BESIDE {
        let mut latencies = [Vec::new(), Vec::new()];
        let signals = Signals::default();
        let is_there = thread::scope(|scope| {
            let other = scope.spawn(|| {
                let done = repeat(
                    &*engine,
                    beside,
                    &task.backup(),
                    &signals,
                    task.scale.window,
                );
                signals.over.store(true, Ordering::Release);
                done
            });
            let worked = operate(&*engine, task, &signals, &mut latencies);
            let done = other.join().map_err(|_panic| failed("a thread panicked"))?;
            worked.and(done)
        })?;
        if !is_there {
            continue;
        }
        for (name, latencies) in OPERATIONS.into_iter().zip(&mut latencies) {
            latencies.sort_unstable();
            for (percentile, of_1000) in PERCENTILES {
                let at = latencies.len() * of_1000 / 1000;
                if let Some(latency) = latencies.get(at) {
                    let micros = latency.as_secs_f64() * 1e6;
                    tell(&latency_id(beside, name, percentile), micros)?;
                }
            }
        }
    }
    engine.close()
}

/// Does what runs beside, again and again; whether the engine has it.
fn repeat(
    engine: &dyn Engine,
    beside: &str,
    backup: &Path,
    signals: &Signals,
    window: Duration,
) -> Result<bool> {
    let begins = || signals.runs.store(true, Ordering::Release);
    let started = Instant::now();
    while started.elapsed() < window {
        let is_there = match beside {
            "alone" => {
                begins();
                thread::sleep(window);
                true
            }
            "checkpoints" => engine.checkpoint(&begins)?,
            "backups" => {
                begins();
                let is_there = engine.back_up(backup)?;
                if is_there {
                    upkeep::remove(backup)?;
                }
                is_there
            }
            _ => {
                begins();
                engine.compact_beside()?
            }
        };
        signals.runs.store(false, Ordering::Release);
        if !is_there {
            return Ok(false);
        }
    }
    Ok(true)
}

fn operate(
    engine: &dyn Engine,
    task: &Task,
    signals: &Signals,
    [reads, updates]: &mut [Vec<Duration>; 2],
) -> Result<()> {
    let ids: Vec<_> = (0..task.scale.peers).map(peer_id).collect();
    let changed = peers(0..task.scale.peers, 3);
    for (step, at) in any(ids.len()).enumerate() {
        if signals.over.load(Ordering::Acquire) {
            break;
        }
        let counts = signals.runs.load(Ordering::Acquire);
        let (Some(id), Some(peer)) = (ids.get(at), changed.get(at)) else {
            continue;
        };
        let is_update = step % ONE_OF == 0;
        let started = Instant::now();
        if is_update {
            engine.store_peer(peer, false)?;
        } else {
            let found = engine.load_peer(id)?;
            found.ok_or_else(|| failed("a peer is not there"))?;
        }
        let took = started.elapsed();
        if counts {
            let latencies = if is_update {
                &mut *updates
            } else {
                &mut *reads
            };
            latencies.push(took);
        }
    }
    Ok(())
}
