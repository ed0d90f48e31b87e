//! The library, by its facade: the typed methods that a node calls.
//!
//! What is buffered survives a kill: it was written to the journal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, thread};

use nonos_storage::{MAX_BATCH_SIZE, NodeStorage, StorageConfig, StoredPeerInfo};

use super::{CACHE, Engine, done};
use crate::error::Result;
use crate::records::{Peer, Sample};

struct Nonos {
    storage: NodeStorage,
    directory: PathBuf,
}

pub(crate) fn config(directory: &Path) -> StorageConfig {
    StorageConfig {
        path: directory.join("data.sled"),
        cache_capacity_bytes: u64::try_from(CACHE).unwrap_or(u64::MAX),
        ..StorageConfig::default()
    }
}

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Nonos {
        storage: NodeStorage::open(config(directory))?,
        directory: directory.to_owned(),
    }))
}

impl Engine for Nonos {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        if durable {
            let stored = self
                .storage
                .update(true, |all| all.store_peers_batch(peers));
            stored?;
        } else {
            self.storage.store_peers_batch(peers)?;
        }
        Ok(())
    }

    fn store_peer(&self, (id, peer): &Peer, durable: bool) -> Result<()> {
        if durable {
            let stored = self.storage.update(true, |all| all.store_peer(id, peer));
            stored?;
        } else {
            self.storage.store_peer(id, peer)?;
        }
        Ok(())
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        Ok(self.storage.store_metrics(*at, metrics)?)
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        Ok(self.storage.load_peer(id)?)
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        Ok(self.storage.load_metrics_range(start, end)?)
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        Ok(self.storage.load_latest_metrics(count)?)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        Ok(self.storage.list_peers()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.storage.close()?)
    }

    /// The library writes checkpoints by itself, once the journal has grown: it is made to grow.
    fn checkpoint(&self, begins: &dyn Fn()) -> Result<bool> {
        let before = checkpoints(&self.directory)?;
        let peers = self.storage.list_peers()?;
        for batch in peers.chunks(MAX_BATCH_SIZE).cycle() {
            let now = checkpoints(&self.directory)?;
            if now != before {
                begins();
                break;
            }
            self.storage.store_peers_batch(batch)?;
        }
        while checkpoints(&self.directory)?
            .iter()
            .any(|(_, is_new)| *is_new)
        {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    fn back_up(&self, to: &Path) -> Result<bool> {
        self.storage.export_backup(to)?;
        Ok(true)
    }

    fn compact_beside(&self) -> Result<bool> {
        self.storage.compact()?;
        Ok(true)
    }

    fn verify(&mut self) -> Result<bool> {
        let report = self.storage.verify_integrity()?;
        done(report.corrupted_entries == 0, "verify_integrity")
    }
}

/// The names of checkpoints in the database, and whether they are still being written.
fn checkpoints(directory: &Path) -> io::Result<Vec<(OsString, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            found.extend(checkpoints(&entry.path())?);
        } else if name.to_string_lossy().starts_with("checkpoint-") {
            let is_new = !name.to_string_lossy().ends_with(".nonos");
            found.push((name, is_new));
        }
    }
    found.sort();
    Ok(found)
}
