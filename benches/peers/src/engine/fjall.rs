//! fjall: a keyspace for each tree; its journal goes to the operating system with each write, and to the
//! disk by `persist`.

use std::path::Path;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};
use nonos_storage::StoredPeerInfo;

use super::{CACHE, Engine};
use crate::codec::{self, encode};
use crate::error::Result;
use crate::records::{Peer, Sample};

struct Fjall {
    database: Database,
    peers: Keyspace,
    metrics: Keyspace,
}

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    let capacity = u64::try_from(CACHE).unwrap_or(u64::MAX);
    let database = Database::builder(directory).cache_size(capacity).open()?;
    let hits = || KeyspaceCreateOptions::default().expect_point_read_hits(true);
    Ok(Box::new(Fjall {
        peers: database.keyspace("peers", hits)?,
        metrics: database.keyspace("metrics", hits)?,
        database,
    }))
}

impl Fjall {
    fn flush(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}

impl Engine for Fjall {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        let mode = durable.then_some(PersistMode::SyncData);
        let mut batch = self.database.batch().durability(mode);
        for (id, peer) in peers {
            batch.insert(&self.peers, id.as_bytes(), encode(peer)?);
        }
        Ok(batch.commit()?)
    }

    fn store_peer(&self, (id, peer): &Peer, durable: bool) -> Result<()> {
        self.peers.insert(id.as_bytes(), encode(peer)?)?;
        if durable { self.flush() } else { Ok(()) }
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        Ok(self.metrics.insert(codec::key(*at), encode(metrics)?)?)
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
        let peers = self.peers.iter().map(|guard| {
            let (id, bytes) = guard.into_inner()?;
            Ok((codec::id(&id), codec::peer(&bytes)?))
        });
        peers.collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()
    }
}

fn sample(guard: Guard) -> Result<Sample> {
    let (key, bytes) = guard.into_inner()?;
    Ok((codec::time(&key), codec::metrics(&bytes)?))
}
