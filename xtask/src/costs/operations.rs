//! What operations on a whole database move in a second, beside a copy of as many bytes and one core's LZ4.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nonos_storage::{NodeStorage, StorageConfig, StoredPeerInfo};
use storage_journal::checkpoint::Checkpoint;
use storage_journal::disk::RealDisk;

use super::median;
use crate::{Error, failed};

const PEERS: usize = 200_000;
const REPEATS: usize = 5;
const PIECE_LEN: usize = 64 * 1024;

/// Medians of five rounds, turn about, of MB of records a second: keys and values as they are stored.
pub(crate) fn run(directory: &Path) -> Result<(), Error> {
    let config = StorageConfig {
        path: directory.join("operations.sled"),
        // So that values are as large as they are counted.
        compression_enabled: false,
        ..Default::default()
    };
    let storage = NodeStorage::open(config.clone())?;
    for start in (0..PEERS).step_by(10_000) {
        let peers: Vec<_> = (start..start + 10_000).map(peer).collect();
        storage.store_peers_batch(&peers)?;
    }
    storage.flush()?;
    let backup = directory.join("backup.nonos");
    let bytes = storage.export_backup(&backup)?;
    let records = records_of(&backup)?;
    let mut times: [Vec<Duration>; 7] = Default::default();
    let [copies, lz4, exports, verifies, backups, restores, rebuilds] = &mut times;
    for round in 0..REPEATS {
        let copy = directory.join("copy");
        copies.push(timed(|| copy_durably(&backup, &copy).map_err(failed))?);
        lz4.push(timed(|| {
            // In pieces, as a backup has them.
            let pieces = records.chunks(PIECE_LEN).map(lz4_flex::block::compress);
            let compressed: usize = pieces.map(|piece| piece.len()).sum();
            (0 < compressed && compressed < records.len())
                .then_some(())
                .ok_or_else(|| failed("LZ4"))
        })?);
        exports.push(timed(|| Ok(storage.export_backup(&backup).map(drop)?))?);
        verifies.push(timed(|| Ok(storage.verify_integrity().map(drop)?))?);
        backups.push(timed(
            || Ok(NodeStorage::verify_backup(&backup).map(drop)?),
        )?);
        let made = StorageConfig {
            path: directory.join(format!("restored-{round}.sled")),
            ..config.clone()
        };
        restores.push(timed(|| {
            Ok(NodeStorage::restore_backup(&backup, made.clone()).map(drop)?)
        })?);
        fs::remove_dir_all(&made.path).map_err(failed)?;
        rebuilds.push(timed(|| Ok(NodeStorage::open(made.clone()).map(drop)?))?);
    }
    storage.close()?;
    let per_second =
        |bytes: u64, times: &[Duration]| megabytes(bytes) / median(times.to_vec()).as_secs_f64();
    let live = u64::try_from(records.len()).unwrap_or(u64::MAX);
    let one_core = per_second(live, lz4);
    println!(
        "operations on {PEERS} peers, {live} bytes of records, {bytes} in a backup, medians of {REPEATS}:"
    );
    println!(
        "  copy of the backup, synced    {:8.1} MB/s of the file",
        per_second(bytes, copies)
    );
    println!("  LZ4, one core                 {one_core:8.1} MB/s");
    for (name, times) in [
        ("backup, read back", &*exports),
        ("verify, all records, deep", &*verifies),
        ("verify of a backup", &*backups),
        ("restore, with its index", &*restores),
        ("rebuild of the index, opening", &*rebuilds),
    ] {
        let rate = per_second(live, times);
        let records = per_second(u64::try_from(PEERS).unwrap_or(u64::MAX), times) * 1e3;
        println!(
            "  {name:<29} {rate:8.1} MB/s, {:5.2} x LZ4; {records:.0} k records/s",
            rate / one_core
        );
    }
    Ok(())
}

pub(super) fn peer(number: usize) -> (String, StoredPeerInfo) {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Of the length of libp2p's, and as little alike.
    let parts = [mixed, mixed.rotate_left(21) ^ number, mixed.rotate_left(42)];
    let [first, second, third] = parts.map(|part| part.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let peer_id = format!("12D3KooW{first:016x}{second:016x}{:012x}", third >> 16);
    let peer = StoredPeerInfo {
        peer_id: peer_id.clone(),
        addresses: vec![format!(
            "/ip4/10.{}.{}.{}/tcp/9000",
            mixed % 251,
            mixed % 241,
            mixed % 239
        )],
        last_seen: 1_770_000_000 + i64::try_from(mixed % 1_000_000).unwrap_or(0),
        reputation: 50,
        ..StoredPeerInfo::default()
    };
    (peer_id, peer)
}

/// Keys and values as they are stored, one behind the other.
fn records_of(backup: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for record in Checkpoint::open(&RealDisk, backup)?.records() {
        let (_, key, value) = record?;
        bytes.extend([key, value].concat());
    }
    Ok(bytes)
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

fn timed(work: impl FnOnce() -> Result<(), Error>) -> Result<Duration, Error> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 52 bits"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
