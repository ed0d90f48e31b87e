//! What a writer at full load notices of backups, and of a scrub, that run beside it.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nonos_storage::{BackupDirectory, NodeStorage, NonosResult, StorageConfig};

use super::operations::peer;
use crate::{Error, failed};

const PEERS: usize = 50_000;
const REPEATS: usize = 5;
/// How long a piece lasts, at least.
const PIECE: Duration = Duration::from_secs(4);
/// No writer is to wait for longer; how many do is printed.
const PAUSE: Duration = Duration::from_millis(5);
/// What the daemon's scrub reads by default, in bytes a second.
const RATE: NonZero<u64> = NonZero::new(1_048_576).unwrap();

/// What was seen in all pieces of one kind.
struct Seen {
    name: &'static str,
    latencies: Vec<Duration>,
    /// Commits a second, of each piece.
    rates: Vec<f64>,
    /// Backups, or scrubs, that ended within.
    done: usize,
}

impl Seen {
    fn of(name: &'static str) -> Self {
        Self {
            name,
            latencies: Vec::new(),
            rates: Vec::new(),
            done: 0,
        }
    }
}

/// Pieces turn about, as the machine is shared.
pub(crate) fn run(directory: &Path) -> Result<(), Error> {
    let config = StorageConfig {
        path: directory.join("beside.sled"),
        ..StorageConfig::default()
    };
    let storage = NodeStorage::open(config)?;
    let peers: Vec<_> = (0..PEERS).map(peer).collect();
    for batch in peers.chunks(10_000) {
        storage.store_peers_batch(batch)?;
    }
    let target = BackupDirectory::new(&directory.join("beside-backups")).map_err(failed)?;
    let mut alone = Seen::of("alone");
    let mut backing_up = Seen::of("beside full backups, one after the other");
    let mut scrubbing = Seen::of("beside a scrub of 1 MiB a second");
    for _ in 0..REPEATS {
        piece(&storage, &mut alone, || {
            std::thread::sleep(PIECE);
            Ok(0)
        })?;
        piece(&storage, &mut backing_up, || {
            let started = Instant::now();
            let mut made = 0;
            while started.elapsed() < PIECE {
                made += storage.back_up(&target, false)?.len();
            }
            Ok(made)
        })?;
        piece(&storage, &mut scrubbing, || {
            let found = storage.scrub(RATE)?;
            Ok(usize::from(found.errors == 0))
        })?;
    }
    storage.close()?;
    println!("a writer of single peers at full load, {REPEATS} pieces of each, turn about:");
    let base = middle(&alone.rates);
    for seen in [alone, backing_up, scrubbing] {
        print(seen, base);
    }
    Ok(())
}

/// Writes for as long as `beside` runs.
fn piece(
    storage: &NodeStorage,
    seen: &mut Seen,
    beside: impl FnOnce() -> NonosResult<usize> + Send,
) -> Result<(), Error> {
    let is_over = AtomicBool::new(false);
    let (done, latencies, took) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let done = beside();
            is_over.store(true, Ordering::Release);
            done
        });
        let started = Instant::now();
        let mut latencies = Vec::new();
        for number in (0..PEERS).cycle() {
            if is_over.load(Ordering::Acquire) {
                break;
            }
            let (id, peer) = peer(number);
            let before = Instant::now();
            storage.store_peer(&id, &peer)?;
            latencies.push(before.elapsed());
        }
        let took = started.elapsed();
        let done = other.join().map_err(|_panic| failed("a thread panicked"))?;
        Ok::<_, Error>((done?, latencies, took))
    })?;
    let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    seen.rates.push(f64::from(count) / took.as_secs_f64());
    seen.latencies.extend(latencies);
    seen.done += done;
    Ok(())
}

fn print(mut seen: Seen, base: f64) {
    seen.latencies.sort_unstable();
    let all = seen.latencies.len();
    let at = |of_1000: usize| {
        let at = all.saturating_mul(of_1000) / 1000;
        seen.latencies.get(at.min(all.saturating_sub(1)))
    };
    let paused = all - seen.latencies.partition_point(|latency| *latency <= PAUSE);
    let rate = middle(&seen.rates);
    println!(
        "  {}: {rate:.0} commits/s, {:.3} x alone; {} done",
        seen.name,
        rate / base,
        seen.done
    );
    println!(
        "    median {:?}, 99 % {:?}, 99.9 % {:?}, longest {:?}; {paused} of {all} over {PAUSE:?}",
        at(500).unwrap_or(&Duration::ZERO),
        at(990).unwrap_or(&Duration::ZERO),
        at(999).unwrap_or(&Duration::ZERO),
        seen.latencies.last().unwrap_or(&Duration::ZERO),
    );
}

fn middle(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
