//! Plain sled: `insert` and `apply_batch` on two trees, `flush` for what must be on disk.
//!
//! What is buffered is in the process for up to 500 ms, sled's own interval: a kill loses it.

use std::path::Path;

use nonos_storage::StoredPeerInfo;

use super::{CACHE, Engine};
use crate::codec::{self, encode};
use crate::error::Result;
use crate::records::{Peer, Sample};

struct Sled {
    db: sled::Db,
    peers: sled::Tree,
    metrics: sled::Tree,
}

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    let capacity = u64::try_from(CACHE).unwrap_or(u64::MAX);
    let config = sled::Config::new().path(directory);
    let db = config.cache_capacity(capacity).open()?;
    Ok(Box::new(Sled {
        peers: db.open_tree("peers")?,
        metrics: db.open_tree("metrics")?,
        db,
    }))
}

impl Sled {
    fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}

impl Engine for Sled {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (id, peer) in peers {
            batch.insert(id.as_bytes(), encode(peer)?);
        }
        self.peers.apply_batch(batch)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn store_peer(&self, (id, peer): &Peer, durable: bool) -> Result<()> {
        self.peers.insert(id.as_bytes(), encode(peer)?)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        self.metrics.insert(codec::key(*at), encode(metrics)?)?;
        Ok(())
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        let found = self.peers.get(id.as_bytes())?;
        found.map(|bytes| codec::peer(&bytes)).transpose()
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        let range = self.metrics.range(codec::key(start)..=codec::key(end));
        range.map(sample).collect()
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        let newest = self.metrics.iter().rev().take(count).map(sample);
        let mut samples = newest.collect::<Result<Vec<_>>>()?;
        samples.reverse();
        Ok(samples)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        let peers = self.peers.iter().map(|entry| {
            let (id, bytes) = entry?;
            Ok((codec::id(&id), codec::peer(&bytes)?))
        });
        peers.collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()
    }
}

fn sample(entry: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Sample> {
    let (key, bytes) = entry?;
    Ok((codec::time(&key), codec::metrics(&bytes)?))
}
