//! A process that writes linked records until it is stopped, and the check of what it left.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use nonos_storage::{
    EpochNumber, NodeStorage, NonosResult, StorageConfig, StoredClaim, StoredEpochSummary,
    StoredMetrics, StoredPeerInfo,
};

use crate::Error;

/// The hidden name under which this program is the writer.
pub(crate) const NAME: &str = "write-until-stopped";
/// The same with compactions beside it.
pub(crate) const COMPACTING: &str = "write-and-compact-until-stopped";

/// Every so many rounds one is durable.
const DURABLE_EVERY: u64 = 5;

pub(crate) fn config(path: &Path) -> StorageConfig {
    StorageConfig {
        path: path.join("data.sled"),
        flush_every_ms: Some(50),
        ..Default::default()
    }
}

/// Writes rounds and says each that returned.
pub(crate) fn run(path: Option<&str>, compacting: bool) -> Result<bool, Error> {
    let path = path.ok_or_else(|| Error::Failed("no path".into()))?;
    let storage = Arc::new(NodeStorage::open(config(Path::new(path)))?);
    if compacting {
        let storage = Arc::clone(&storage);
        std::thread::spawn(move || {
            while let Ok(_compacted) = storage.compact() {}
            eprintln!("a compaction failed");
            std::process::exit(1);
        });
    }
    let mut stdout = std::io::stdout().lock();
    for round in u64::try_from(storage.tree_sizes()?.epochs).unwrap_or(0).. {
        if let Err(error) = write_round(&storage, round) {
            eprintln!("stopped at round {round}: {error}");
            return Ok(false);
        }
        let said = writeln!(stdout, "{round}").and_then(|()| stdout.flush());
        if said.is_err() {
            break;
        }
    }
    Ok(true)
}

pub(crate) fn write_round(storage: &NodeStorage, round: u64) -> NonosResult<()> {
    let durable = round.is_multiple_of(DURABLE_EVERY);
    let time = i64::try_from(round).unwrap_or(i64::MAX);
    let ((), _) = storage.update(durable, |update| {
        let epoch = EpochNumber(round);
        update.store_epoch(
            epoch,
            &StoredEpochSummary {
                epoch: round,
                ..Default::default()
            },
        )?;
        let metrics = StoredMetrics {
            total_requests: round,
            ..Default::default()
        };
        update.store_metrics(time, &metrics)?;
        let connection_count = u32::try_from(round).unwrap_or(u32::MAX);
        let peer_id = format!("peer-{}", round % 40);
        let peer = StoredPeerInfo {
            peer_id,
            connection_count,
            ..Default::default()
        };
        update.store_peer(&peer.peer_id, &peer)?;
        if durable {
            update.store_claim(
                epoch,
                &StoredClaim {
                    epoch: round,
                    ..Default::default()
                },
            )?;
        }
        Ok(())
    })?;
    Ok(())
}

/// A running writer, killed at drop. What it says is heard at once, on a thread.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    heard: Receiver<u64>,
    last: Arc<AtomicU64>,
}

/// Before the first round.
const NONE: u64 = u64::MAX;

impl Writer {
    pub(crate) fn start(path: &Path) -> Result<Self, Error> {
        Self::start_named(NAME, path)
    }

    pub(crate) fn start_compacting(path: &Path) -> Result<Self, Error> {
        Self::start_named(COMPACTING, path)
    }

    /// This program under one of its hidden names.
    pub(crate) fn start_named(name: &str, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Process {
            what: "starting the writer",
            source,
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg(name)
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let said = child.stdout.take();
        let said = said.ok_or_else(|| Error::Failed("the writer has no output".into()))?;
        let last = Arc::new(AtomicU64::new(NONE));
        let (tell, heard) = channel();
        let newest = Arc::clone(&last);
        std::thread::spawn(move || {
            let (mut said, mut line) = (BufReader::new(said), String::new());
            while said.read_line(&mut line).is_ok_and(|read| read > 0) {
                // The last line may be cut by the end of the writer.
                if let Some(Ok(round)) = line.strip_suffix('\n').map(str::parse) {
                    newest.store(round, Ordering::Release);
                    let _nobody_waits = tell.send(round);
                }
                line.clear();
            }
        });
        Ok(Self { child, heard, last })
    }

    /// Waits for one more round; `false` if the writer ended.
    pub(crate) fn next_round(&mut self) -> bool {
        self.heard.recv().is_ok()
    }

    /// The last round that it said it had written.
    pub(crate) fn last_round(&self) -> Option<u64> {
        Some(self.last.load(Ordering::Acquire)).filter(|round| *round != NONE)
    }

    /// Kills the writer; returns the last round that it said, also while it was killed.
    pub(crate) fn kill(mut self) -> Option<u64> {
        let _gone = self.child.kill();
        while self.next_round() {}
        self.last_round()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What was found after the writer ended, however it did.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rounds: u64,
    pub(crate) faults: Vec<String>,
}

/// Opens what a writer left and compares it with the rounds that must be there: all that are durable,
/// of the others a beginning, each whole.
pub(crate) fn check(path: &Path, returned: Option<u64>, keeps_all: bool) -> Found {
    let storage = match NodeStorage::open(config(path)) {
        Ok(storage) => storage,
        Err(error) => {
            let faults = vec![format!("does not open: {error}")];
            return Found { rounds: 0, faults };
        }
    };
    compare(&storage, returned, keeps_all).unwrap_or_else(|error| Found {
        rounds: 0,
        faults: vec![format!("cannot be read: {error}")],
    })
}

fn compare(storage: &NodeStorage, returned: Option<u64>, keeps_all: bool) -> NonosResult<Found> {
    let mut faults = Vec::new();
    let everything = (EpochNumber(0), EpochNumber(u64::MAX));
    let epochs = storage.load_epoch_range(everything.0, everything.1)?;
    let rounds = u64::try_from(epochs.len()).unwrap_or(u64::MAX);
    let must = returned.map_or(0, |last| {
        if keeps_all {
            last + 1
        } else {
            last / DURABLE_EVERY * DURABLE_EVERY + 1
        }
    });
    if rounds < must {
        faults.push(format!("{must} rounds had to be there, {rounds} are"));
    }
    if !epochs.iter().map(|epoch| epoch.epoch).eq(0..rounds) {
        faults.push("a round in the midst is missing".into());
    }
    let metrics = storage.load_metrics_range(0, i64::MAX)?;
    if !metrics.iter().map(|(_, m)| m.total_requests).eq(0..rounds) {
        faults.push("metrics and epochs differ".into());
    }
    let claims = storage.load_claims()?.into_iter().map(|(epoch, _)| epoch.0);
    if !claims.eq((0..rounds).step_by(5)) {
        faults.push("claims and epochs differ".into());
    }
    for (_, peer) in storage.list_peers()? {
        let round = u64::from(peer.connection_count);
        if round >= rounds || round + 40 < rounds {
            faults.push(format!("{} is of round {round} of {rounds}", peer.peer_id));
        }
    }
    let report = storage.opening_report();
    if !report.damage.is_empty() {
        faults.push(format!("false alarm: {:?}", report.damage));
    }
    Ok(Found { rounds, faults })
}
