//! `RocksDB`: a column family for each tree. Not its defaults: 16 KiB blocks, bloom filters of 10 bits, index
//! and filters in the cache, dynamic levels, six background jobs.
//!
//! What is buffered is written to the log without a sync, and survives a kill.

use std::fs;
use std::path::Path;

use nonos_storage::StoredPeerInfo;
use rocksdb::backup::{BackupEngine, BackupEngineOptions};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, Env,
    Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{CACHE, Engine};
use crate::codec::{self, encode};
use crate::error::{Result, failed};
use crate::records::{Peer, Sample};

const TREES: [&str; 2] = ["peers", "metrics"];

struct RocksDb(DB);

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    Ok(Box::new(RocksDb(open_db(directory)?)))
}

fn open_db(directory: &Path) -> Result<DB> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE)?);
    blocks.set_block_size(16 * 1024);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_max_background_jobs(6);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let families = TREES.map(|tree| ColumnFamilyDescriptor::new(tree, options.clone()));
    Ok(DB::open_cf_descriptors(&options, directory, families)?)
}

/// What was linked writes its version into each database.
pub(super) fn version() -> Result<String> {
    let directory = tempfile::tempdir()?;
    drop(open_db(directory.path())?);
    for entry in fs::read_dir(directory.path())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("OPTIONS-") {
            let options = fs::read_to_string(entry.path())?;
            let mut lines = options.lines();
            let version = lines.find_map(|line| line.trim().strip_prefix("rocksdb_version="));
            return version
                .map(str::to_owned)
                .ok_or_else(|| failed("no version"));
        }
    }
    Err(failed("no version"))
}

fn write(durable: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(durable);
    options
}

impl RocksDb {
    fn flush(&self) -> Result<()> {
        Ok(self.0.flush_wal(true)?)
    }

    fn tree(&self, name: &str) -> Result<&ColumnFamily> {
        let found = self.0.cf_handle(name);
        found.ok_or_else(|| failed(format!("no column family {name}")))
    }
}

impl Engine for RocksDb {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        let tree = self.tree("peers")?;
        let mut batch = WriteBatch::default();
        for (id, peer) in peers {
            batch.put_cf(tree, id, encode(peer)?);
        }
        Ok(self.0.write_opt(batch, &write(durable))?)
    }

    fn store_peer(&self, (id, peer): &Peer, durable: bool) -> Result<()> {
        let tree = self.tree("peers")?;
        Ok(self
            .0
            .put_cf_opt(tree, id, encode(peer)?, &write(durable))?)
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        let (tree, key) = (self.tree("metrics")?, codec::key(*at));
        Ok(self.0.put_cf(tree, key, encode(metrics)?)?)
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        let found = self.0.get_pinned_cf(self.tree("peers")?, id)?;
        found.map(|bytes| codec::peer(&bytes)).transpose()
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_upper_bound(codec::key(end.saturating_add(1)));
        let mut entries = self.0.raw_iterator_cf_opt(self.tree("metrics")?, bounds);
        entries.seek(codec::key(start));
        let mut samples = Vec::new();
        while let Some(found) = sample(&entries)? {
            samples.push(found);
            entries.next();
        }
        entries.status()?;
        Ok(samples)
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        let mut entries = self.0.raw_iterator_cf(self.tree("metrics")?);
        entries.seek_to_last();
        let mut samples = Vec::new();
        while samples.len() < count
            && let Some(found) = sample(&entries)?
        {
            samples.push(found);
            entries.prev();
        }
        entries.status()?;
        samples.reverse();
        Ok(samples)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        let mut entries = self.0.raw_iterator_cf(self.tree("peers")?);
        entries.seek_to_first();
        let mut peers = Vec::new();
        while let Some((id, bytes)) = entries.item() {
            peers.push((codec::id(id), codec::peer(bytes)?));
            entries.next();
        }
        entries.status()?;
        Ok(peers)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.flush()
    }

    fn checkpoint(&self, begins: &dyn Fn()) -> Result<bool> {
        begins();
        for tree in TREES {
            self.0.flush_cf(self.tree(tree)?)?;
        }
        Ok(true)
    }

    fn back_up(&self, to: &Path) -> Result<bool> {
        let options = BackupEngineOptions::new(to)?;
        let mut backups = BackupEngine::open(&options, &Env::new()?)?;
        backups.create_new_backup_flush(&self.0, true)?;
        Ok(true)
    }

    fn compact_beside(&self) -> Result<bool> {
        for tree in TREES {
            self.0
                .compact_range_cf(self.tree(tree)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(true)
    }
}

fn sample(entries: &DBRawIterator<'_>) -> Result<Option<Sample>> {
    let Some((key, bytes)) = entries.item() else {
        return Ok(None);
    };
    Ok(Some((codec::time(key), codec::metrics(bytes)?)))
}
