//! Whole lives of a node's storage, each the same for its seed: everything that a node does, with crashes, power cuts,
//! errors of the disk, full disks, clocks that jump, damage to either copy, migrations, changes of keys, backups,
//! restores and compactions in between. What is promised in docs/RELIABILITY.md is looked at after each opening.
//!
//! `NONOS_SIMULATION="FIRST COUNT"` says which seeds; `cargo xtask simulate` does. With `NONOS_SIMULATION_TOLD` each
//! life says what it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use storage_testkit::Random;

use crate::TestResult;
use crate::sealed_disk::Fallible;

mod disk;
mod life;
mod operation;
mod state;

use life::{Counts, Life};

/// Seeds that found something once: a failed adoption whose checkpoint lost its name after the index was known as the
/// store's; marks that were left out because nobody could say what is free; a log, and a pair of id and key, that lacks what
/// was lost, as was told.
const REGRESSIONS: [u64; 5] = [1_003_901, 2_019_889, 3_038_048, 5_000_912, 6_002_002];
/// Lives of the normal run.
const NORMAL: u64 = 300;

/// What the clock of a life says at its beginning, in Unix milliseconds.
const BEGINNING: u64 = 1_770_000_000_000;

fn seeds() -> Fallible<Vec<u64>> {
    let Ok(asked) = std::env::var("NONOS_SIMULATION") else {
        return Ok((0..NORMAL).chain(REGRESSIONS).collect());
    };
    let (first, count) = asked.split_once(' ').ok_or("FIRST COUNT")?;
    let first: u64 = first.parse()?;
    Ok((first..first.saturating_add(count.parse()?)).collect())
}

fn live(seed: u64) -> Result<Counts, String> {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let mut random = Random(seed);
        let mut life = Life::begin(&mut random)?;
        for generation in 0..6 {
            let said = |error| format!("generation {generation}: {error}");
            if !life.generation(&mut random).map_err(said)? {
                break;
            }
        }
        Ok(life.counts)
    }));
    let ended: Result<Counts, Box<dyn std::error::Error>> =
        lived.unwrap_or_else(|_panic| Err("it panicked".into()));
    ended.map_err(|error| format!("seed {seed}: {error}"))
}

#[test]
fn whole_lives_keep_what_is_promised() -> TestResult {
    let seeds = seeds()?;
    let next = AtomicU64::new(0);
    let total = Mutex::new((Counts::default(), Vec::new()));
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                    .ok()
                    .and_then(|at| seeds.get(at))
                {
                    let lived = live(*seed);
                    let Ok(mut total) = total.lock() else {
                        return;
                    };
                    match lived {
                        Ok(counts) => total.0.add(&counts),
                        Err(error) => {
                            println!("{error}");
                            total.1.push(error);
                        }
                    }
                }
            });
        }
    });
    let (counts, failures) = total.into_inner()?;
    println!("{} lives: {counts:?}", seeds.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Whatever is never reached proves nothing.
    if seeds.len() >= 300 {
        counts.expect_all()?;
    }
    Ok(())
}
