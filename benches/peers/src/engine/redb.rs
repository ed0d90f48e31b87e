//! redb: two typed tables, a transaction for each read and each write.
//!
//! What is buffered is committed with `Durability::None`: a kill loses it until the next durable commit.

use std::path::Path;

use nonos_storage::StoredPeerInfo;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{CACHE, Engine, done};
use crate::codec::{self, encode};
use crate::error::Result;
use crate::records::{Peer, Sample};

const PEERS: TableDefinition<&str, &[u8]> = TableDefinition::new("peers");
const METRICS: TableDefinition<i64, &[u8]> = TableDefinition::new("metrics");

struct Redb(Database);

/// redb has an error for each step; together they are one.
fn whole<T>(result: std::result::Result<T, impl Into<redb::Error>>) -> Result<T> {
    Ok(result.map_err(Into::into)?)
}

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    let path = directory.join("data.redb");
    let is_new = !path.exists();
    let mut builder = Database::builder();
    let database = Redb(whole(builder.set_cache_size(CACHE).create(path))?);
    if is_new {
        // So that reading finds them.
        let write = whole(database.0.begin_write())?;
        whole(write.open_table(PEERS))?;
        whole(write.open_table(METRICS))?;
        whole(write.commit())?;
    }
    Ok(Box::new(database))
}

impl Redb {
    fn flush(&self) -> Result<()> {
        whole(self.write(true)?.commit())
    }

    fn write(&self, durable: bool) -> Result<redb::WriteTransaction> {
        let mut write = whole(self.0.begin_write())?;
        let durability = if durable {
            Durability::Immediate
        } else {
            Durability::None
        };
        whole(write.set_durability(durability).map_err(redb::Error::from))?;
        Ok(write)
    }
}

impl Engine for Redb {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        let write = self.write(durable)?;
        {
            let mut table = whole(write.open_table(PEERS))?;
            for (id, peer) in peers {
                whole(table.insert(id.as_str(), encode(peer)?.as_slice()))?;
            }
        }
        whole(write.commit())
    }

    fn store_peer(&self, peer: &Peer, durable: bool) -> Result<()> {
        self.store_peers(std::slice::from_ref(peer), durable)
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        let write = self.write(false)?;
        whole(whole(write.open_table(METRICS))?.insert(at, encode(metrics)?.as_slice()))?;
        whole(write.commit())
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        let table = whole(whole(self.0.begin_read())?.open_table(PEERS))?;
        let found = whole(table.get(id))?;
        found.map(|bytes| codec::peer(bytes.value())).transpose()
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        let table = whole(whole(self.0.begin_read())?.open_table(METRICS))?;
        let range = whole(table.range(start..=end))?;
        range.map(sample).collect()
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        let table = whole(whole(self.0.begin_read())?.open_table(METRICS))?;
        let newest = whole(table.iter())?.rev().take(count).map(sample);
        let mut samples = newest.collect::<Result<Vec<_>>>()?;
        samples.reverse();
        Ok(samples)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        let table = whole(whole(self.0.begin_read())?.open_table(PEERS))?;
        let peers = whole(table.iter())?.map(|entry| {
            let (id, bytes) = whole(entry)?;
            Ok((id.value().to_owned(), codec::peer(bytes.value())?))
        });
        peers.collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()?;
        whole(self.0.close())
    }

    fn compact(&mut self) -> Result<bool> {
        whole(self.0.compact())?;
        Ok(true)
    }

    fn verify(&mut self) -> Result<bool> {
        done(whole(self.0.check_integrity())?, "check_integrity")
    }
}

type Entry<'a> = (
    redb::AccessGuard<'a, i64>,
    redb::AccessGuard<'a, &'static [u8]>,
);

fn sample(entry: std::result::Result<Entry<'_>, redb::StorageError>) -> Result<Sample> {
    let (at, bytes) = whole(entry)?;
    Ok((at.value(), codec::metrics(bytes.value())?))
}
