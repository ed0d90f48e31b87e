//! LMDB by heed: two databases in one environment, a transaction for each read and each write; records are
//! decoded from the map, without a copy.
//!
//! What is buffered is committed with `MDB_NOSYNC`, and survives a kill: the pages are the kernel's.

use std::fs;
use std::path::{Path, PathBuf};

use heed::byteorder::BigEndian;
use heed::types::{Bytes, I64, Str};
use heed::{CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions};
use nonos_storage::StoredPeerInfo;

use super::{Engine, Mode};
use crate::codec::{self, encode};
use crate::error::{Result, failed};
use crate::records::{Peer, Sample};

/// Address space, of which only what is written is taken.
const MAP: usize = 8 << 30;

type Peers = Database<'static, Str, Bytes>;
type Metrics = Database<'static, I64<BigEndian>, Bytes>;

struct Lmdb {
    env: Env,
    peers: Peers,
    metrics: Metrics,
    mode: Mode,
    directory: PathBuf,
}

#[expect(
    unsafe_code,
    reason = "others could change the mapped file, and NO_SYNC gives up a power cut; here nobody does, and that is said"
)]
pub(super) fn open(directory: &Path, mode: Mode) -> Result<Box<dyn Engine>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP).max_dbs(2);
    let env = unsafe {
        if mode == Mode::Buffered {
            options.flags(EnvFlags::NO_SYNC);
        }
        options.open(directory)?
    };
    let write = env.write_txn()?;
    let opened = env.create_databases_and_commit(write, |here, write| {
        let peers = here.create_database(write, Some("peers"))?;
        let metrics = here.create_database(write, Some("metrics"))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((peers, metrics)))
    })?;
    let CommitOrAbort::Commit((peers, metrics)) = opened else {
        return Err(failed("LMDB did not make its databases"));
    };
    Ok(Box::new(Lmdb {
        env,
        peers,
        metrics,
        mode,
        directory: directory.to_owned(),
    }))
}

pub(super) fn version() -> String {
    let version = heed::lmdb_version();
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}

impl Lmdb {
    fn flush(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    /// A commit of an environment that does not sync is made durable afterwards.
    fn sync(&self, durable: bool) -> Result<()> {
        if durable && self.mode == Mode::Buffered {
            self.env.force_sync()?;
        }
        Ok(())
    }

    fn copy(&self, to: &Path, compaction: CompactionOption) -> Result<bool> {
        self.env.copy_to_path(to, compaction)?.sync_all()?;
        Ok(true)
    }

    fn compacted(&self) -> PathBuf {
        self.directory.join("compacted.mdb")
    }
}

impl Engine for Lmdb {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        let mut write = self.env.write_txn()?;
        for (id, peer) in peers {
            self.peers.put(&mut write, id, &encode(peer)?)?;
        }
        write.commit()?;
        self.sync(durable)
    }

    fn store_peer(&self, peer: &Peer, durable: bool) -> Result<()> {
        self.store_peers(std::slice::from_ref(peer), durable)
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        let mut write = self.env.write_txn()?;
        self.metrics.put(&mut write, at, &encode(metrics)?)?;
        Ok(write.commit()?)
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        let read = self.env.read_txn()?;
        let found = self.peers.get(&read, id)?;
        found.map(codec::peer).transpose()
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        let read = self.env.read_txn()?;
        let range = self.metrics.range(&read, &(start..=end))?;
        range.map(sample).collect()
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        let read = self.env.read_txn()?;
        let newest = self.metrics.rev_iter(&read)?.take(count).map(sample);
        let mut samples = newest.collect::<Result<Vec<_>>>()?;
        samples.reverse();
        Ok(samples)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        let read = self.env.read_txn()?;
        let peers = self.peers.iter(&read)?.map(|entry| {
            let (id, bytes) = entry?;
            Ok((id.to_owned(), codec::peer(bytes)?))
        });
        peers.collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()?;
        let (compacted, data) = (self.compacted(), self.directory.join("data.mdb"));
        let closed = self.env.prepare_for_closing();
        closed.wait();
        if compacted.exists() {
            fs::rename(compacted, data)?;
        }
        Ok(())
    }

    /// The pages that the kernel has not written yet.
    fn checkpoint(&self, begins: &dyn Fn()) -> Result<bool> {
        begins();
        self.flush()?;
        Ok(true)
    }

    fn back_up(&self, to: &Path) -> Result<bool> {
        self.copy(to, CompactionOption::Disabled)
    }

    /// A copy without free pages, which is in the way of nobody, and thrown away.
    fn compact_beside(&self) -> Result<bool> {
        self.copy(&self.compacted(), CompactionOption::Enabled)?;
        fs::remove_file(self.compacted())?;
        Ok(true)
    }

    /// A copy without free pages, which takes the place of the original when that is closed.
    fn compact(&mut self) -> Result<bool> {
        self.copy(&self.compacted(), CompactionOption::Enabled)
    }
}

fn sample(entry: heed::Result<(i64, &[u8])>) -> Result<Sample> {
    let (at, bytes) = entry?;
    Ok((at, codec::metrics(bytes)?))
}
