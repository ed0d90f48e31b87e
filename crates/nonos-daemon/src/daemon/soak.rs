//! A node's work, for `cargo xtask daemon-soak`: peers and samples, buffered, 200 of them a second, each noted once it is
//! acknowledged. Only in a program built with the feature `soak`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nonos_storage::{NodeStorage, NonosResult, StoredMetrics, StoredPeerInfo};

use crate::error::CliError;

/// The file that acknowledged numbers are appended to; without it there is no work.
const NOTES: &str = "NONOS_SOAK_NOTES";
/// Records take turns, so that most writes replace something and the database has the size of a node's that prunes.
const RECORDS: u64 = 10_000;
const EVERY: Duration = Duration::from_millis(5);

/// Writes on a thread of its own until the database takes no more.
pub(crate) fn start(storage: &Arc<NodeStorage>) -> Result<(), CliError> {
    let Some(path) = std::env::var_os(NOTES).map(PathBuf::from) else {
        return Ok(());
    };
    let setup = |source| CliError::Setup {
        what: "the soak",
        source,
    };
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let last: u64 = written
        .lines()
        .last()
        .map_or(Ok(0), str::parse)
        .unwrap_or(0);
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(setup)?;
    let storage = Arc::clone(storage);
    let working = std::thread::Builder::new().name("soak".into());
    let thread = working.spawn(move || {
        let mut due = Instant::now();
        // The one that was not acknowledged may be there; it is written again.
        for number in last + 1.. {
            if let Err(error) = write(&storage, number) {
                tracing::info!(%error, number, "the soak ends");
                return;
            }
            // A line in one write: a kill leaves it whole or not at all.
            if notes.write_all(format!("{number}\n").as_bytes()).is_err() {
                return;
            }
            due += EVERY;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    thread.map(drop).map_err(setup)
}

fn write(storage: &NodeStorage, number: u64) -> NonosResult<()> {
    let turn = number % RECORDS;
    let peer_id = format!("soak-{turn:05}");
    let peer = StoredPeerInfo {
        peer_id: peer_id.clone(),
        addresses: vec![format!("/ip4/10.0.0.{}/tcp/9000", number % 250)],
        last_seen: i64::try_from(number).unwrap_or(i64::MAX),
        ..StoredPeerInfo::default()
    };
    if number.is_multiple_of(2) {
        return storage.store_peer(&peer_id, &peer);
    }
    let sample = StoredMetrics {
        total_requests: number,
        ..StoredMetrics::default()
    };
    // Long before now: the daemon's own samples are the newest.
    let time = i64::try_from(turn).unwrap_or(i64::MAX);
    storage.store_metrics(time, &sample)
}
