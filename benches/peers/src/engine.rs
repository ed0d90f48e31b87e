//! What every engine does here, each in the idioms of its own documentation.

use std::path::Path;

use nonos_storage::StoredPeerInfo;

use crate::error::{Result, failed};
use crate::records::{Peer, Sample};

mod fjall;
mod lmdb;
mod nonos;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;
mod sqlite;

/// What each may keep in memory of its data, in bytes.
pub(crate) const CACHE: usize = 64 * 1024 * 1024;

pub(crate) use nonos::config;

/// What commits are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Most survive a kill of the process, where the engine can do that, and a power cut only later.
    Buffered,
    /// Most survive a power cut once they have returned.
    Durable,
}

/// An open database with two trees: peers by id, metrics by time.
pub(crate) trait Engine: Send + Sync {
    /// Stores all or none; with `durable` these, and what was stored before, survive a power cut.
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()>;
    fn store_peer(&self, peer: &Peer, durable: bool) -> Result<()>;
    /// Buffered.
    fn store_sample(&self, sample: &Sample) -> Result<()>;
    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>>;
    /// Both ends are included.
    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>>;
    /// The newest so many, oldest first.
    fn load_newest(&self, count: usize) -> Result<Vec<Sample>>;
    fn list_peers(&self) -> Result<Vec<Peer>>;
    /// What was stored is durable then.
    fn close(self: Box<Self>) -> Result<()>;

    // What follows returns whether the engine has such a thing.

    /// Moves what was logged to where it stays. `begins` is called when the work itself begins.
    fn checkpoint(&self, begins: &dyn Fn()) -> Result<bool> {
        let _ = begins;
        Ok(false)
    }

    /// Writes everything, synced, to a path at which nothing is.
    fn back_up(&self, to: &Path) -> Result<bool> {
        let _ = to;
        Ok(false)
    }

    /// Compacts while others read and write.
    fn compact_beside(&self) -> Result<bool> {
        Ok(false)
    }

    /// Compacts alone.
    fn compact(&mut self) -> Result<bool> {
        self.compact_beside()
    }

    /// Reads everything and says whether it is sound.
    fn verify(&mut self) -> Result<bool> {
        Ok(false)
    }
}

/// Opens the database of an engine in a directory of its own; makes it if there is none.
pub(crate) fn open(engine: &str, directory: &Path, mode: Mode) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(directory)?;
    match engine {
        "nonos" => nonos::open(directory),
        "sled" => sled::open(directory),
        "redb" => redb::open(directory),
        "fjall" => fjall::open(directory),
        "lmdb" => lmdb::open(directory, mode),
        "sqlite" => sqlite::open(directory),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => rocksdb::open(directory),
        other => Err(failed(format!("no such engine was built in: {other}"))),
    }
}

/// Whether it was built in, and its version: that of the engine, not of its Rust binding.
pub(crate) fn version(engine: &str) -> Option<String> {
    match engine {
        "lmdb" => Some(lmdb::version()),
        "sqlite" => Some(rusqlite::version().to_owned()),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => rocksdb::version().ok(),
        "nonos" => locked("nonos-storage"),
        "sled" | "redb" | "fjall" => locked(engine),
        _ => None,
    }
}

/// The version of a crate in Cargo.lock.
fn locked(name: &str) -> Option<String> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next().map(str::to_owned)
}

fn done(found: bool, what: &str) -> Result<bool> {
    found
        .then_some(true)
        .ok_or_else(|| failed(format!("{what} found damage")))
}
