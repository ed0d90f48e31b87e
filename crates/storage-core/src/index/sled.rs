//! The index on disk: the one place that calls sled, and translates its errors.
//!
//! sled is used for what it does well: plain inserts, reads, ranges. No transaction, no batch
//! (both take a lock of the whole process), no compression (zstd, fixed for ever). Its `flush` does
//! not fsync on Linux, so [`sync`](SledIndex::sync) fsyncs its files itself.
//!
//! # Split values
//!
//! A page of large values would go to `blobs/`, which sled neither fsyncs nor survives a full disk
//! with. So a value over 4 KiB is split: its entry holds [`SPLIT`], the length and a generation, and
//! the pieces lie in a private tree under tree number, key, generation and piece number. A reader
//! beside a writer meets either generation whole, or looks again.

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Index, Replaced, Witness};
use crate::changes::Change;
use crate::error::CoreError;
use crate::paths::{create_directory, directory_of};
use crate::tree::{PerTree, TreeId};
use crate::view::{self, KeyRange, Order, Visit};

mod split;

pub(super) use split::PIECE_LEN;
use split::{SPLIT, Split, piece_key};

/// How long an open waits for sled's own lock: it outlives the handle that held it.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// sled's segment collection runs in its flusher thread, so that thread must exist.
pub(super) const ENGINE_FLUSH_MS: u64 = 500;
/// The same of an index that is being made: what is free is written again before the file grows, by which that stays a
/// fifth smaller.
pub(super) const MAKING_FLUSH_MS: u64 = 5;

/// From so many bytes of its file on the engine may not have all of its pages in memory.
const LARGE: u64 = 128 * 1024 * 1024;
/// How often a page of a large index is touched when it is written, in the trees whose keys come in no order: what is in
/// memory is looked at only after 64 accesses to one of 256 parts of it, however many pages that makes.
const TOUCHES: usize = 4;

const PIECES_TREE: &str = "__nonos_pieces";
const META_TREE: &str = "__nonos_meta";
const WITNESS: &str = "witness";
const GENERATION: &str = "generation";

#[derive(Debug)]
pub(crate) struct SledIndex {
    path: PathBuf,
    db: sled::Db,
    trees: PerTree<sled::Tree>,
    pieces: sled::Tree,
    meta: sled::Tree,
    /// Held while a generation is taken.
    generations: Mutex<()>,
    /// Our own descriptor of sled's log, for fsync.
    log: File,
}

impl SledIndex {
    /// Opens or creates the index in the directory `path`. Our own lock is held by the caller.
    pub(super) fn open(
        path: &Path,
        cache_capacity_bytes: u64,
        flush_every_ms: u64,
    ) -> Result<Self, CoreError> {
        create_directory(path)?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_capacity_bytes)
            .flush_every_ms(Some(flush_every_ms))
            .use_compression(false);
        let db = open_patiently(&config, path)?;
        let io = |action, path: &Path, source| CoreError::io(action, path, source);
        let tree = |name: &str| {
            db.open_tree(name)
                .map_err(|e| engine("open a tree", path, e))
        };
        let log_path = path.join("db");
        let index = Self {
            trees: PerTree::try_new(|id| tree(id.name()))?,
            pieces: tree(PIECES_TREE)?,
            meta: tree(META_TREE)?,
            log: File::open(&log_path).map_err(|e| io("open", &log_path, e))?,
            generations: Mutex::new(()),
            path: path.to_owned(),
            db,
        };
        index.sync()?;
        index.sync_directories()?;
        Ok(index)
    }

    /// Names of files are durable only after this: once, as sled makes its files while opening.
    fn sync_directories(&self) -> Result<(), CoreError> {
        let conf = self.path.join("conf");
        for path in [conf.as_path(), &self.path, directory_of(&self.path)] {
            File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|e| CoreError::io("sync", path, e))?;
        }
        Ok(())
    }

    /// A value as stored, put together where it is split; `None` if the pieces were replaced
    /// between the entry and them.
    fn join(&self, tree: TreeId, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let Some(split) = Split::parse(stored) else {
            return Ok(Some(stored.to_vec()));
        };
        let mut value = Vec::with_capacity(split.len.min(tree.max_body_size() + PIECE_LEN));
        for number in 0..split.pieces() {
            let piece = self
                .pieces
                .get(piece_key(tree, key, split.generation, number));
            match piece.map_err(|e| engine("read", &self.path, e))? {
                Some(piece) => value.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// The entry of a value to be stored; the pieces of a long one are put first.
    fn split(&self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        if value.len() <= PIECE_LEN && value.first() != Some(&SPLIT) {
            return Ok(None);
        }
        let split = Split {
            len: value.len(),
            generation: self.next_generation()?,
        };
        for (number, piece) in (0..).zip(value.chunks(PIECE_LEN)) {
            let key = piece_key(tree, key, split.generation, number);
            let put = self.pieces.insert(key, piece);
            put.map_err(|e| engine("write", &self.path, e))?;
        }
        Ok(Some(split.to_bytes()))
    }

    fn remove_pieces(&self, tree: TreeId, key: &[u8], stored: &[u8]) -> Result<(), CoreError> {
        let Some(split) = Split::parse(stored) else {
            return Ok(());
        };
        for number in 0..split.pieces() {
            let key = piece_key(tree, key, split.generation, number);
            let removed = self.pieces.remove(key);
            removed.map_err(|e| engine("write", &self.path, e))?;
        }
        Ok(())
    }

    /// A number that a crash made forgotten may come again: then its pieces are overwritten.
    fn next_generation(&self) -> Result<u64, CoreError> {
        let one = self.generations.lock();
        let _one = one.unwrap_or_else(PoisonError::into_inner);
        let stored = self.meta.get(GENERATION);
        let stored = stored.map_err(|e| engine("read", &self.path, e))?;
        let last =
            stored.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
        let generation = last.unwrap_or(0).wrapping_add(1);
        let put = self.meta.insert(GENERATION, &generation.to_be_bytes());
        put.map_err(|e| engine("write", &self.path, e))?;
        Ok(generation)
    }
}

impl SledIndex {
    fn find(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let mut before: Option<sled::IVec> = None;
        loop {
            let stored = self.trees.of(tree).get(key);
            let Some(stored) = stored.map_err(|e| engine("read", &self.path, e))? else {
                return Ok(None);
            };
            if let Some(value) = self.join(tree, key, &stored)? {
                return Ok(Some(value));
            }
            // Pieces are missing. The entry either changes meanwhile, or they are lost.
            if before.as_ref() == Some(&stored) {
                return Err(CoreError::corrupt(tree, key, MissingPieces));
            }
            before = Some(stored);
        }
    }

    fn change(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        let entries = self.trees.of(tree);
        let before = match value {
            Some(value) => match self.split(tree, key, value)? {
                Some(entry) => entries.insert(key, entry),
                None => entries.insert(key, value),
            },
            None => entries.remove(key),
        };
        let before = before.map_err(|e| engine("write", &self.path, e))?;
        if let Some(before) = &before {
            if before.first() == Some(&SPLIT) {
                let whole = self.join(tree, key, before)?;
                replaced(&whole.ok_or_else(|| CoreError::corrupt(tree, key, MissingPieces))?);
                self.remove_pieces(tree, key, before)?;
            } else {
                replaced(before);
            }
        }
        Ok(())
    }
}

impl Index for SledIndex {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        caught(|| self.find(tree, key))
    }

    fn apply(
        &self,
        tree: TreeId,
        key: &[u8],
        value: Option<&[u8]>,
        replaced: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CoreError> {
        caught(|| self.change(tree, key, value, replaced))
    }

    fn apply_sorted(
        &self,
        tree: TreeId,
        changes: &mut dyn Iterator<Item = Change<'_>>,
        replaced: Replaced<'_>,
    ) -> Result<(), CoreError> {
        let touches = if self.file_len() > LARGE { TOUCHES } else { 0 };
        for (key, value) in changes {
            self.apply(tree, key, value, &mut |before| replaced(key, before))?;
            for _ in 0..touches {
                caught(|| {
                    self.trees
                        .of(tree)
                        .get(key)
                        .map_err(|e| engine("read", &self.path, e))
                })?;
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        if view::is_empty(range) {
            return Ok(());
        }
        let mut entries = self
            .trees
            .of(tree)
            .range::<&[u8], _>(view::as_slices(range));
        let mut next = || {
            caught(|| {
                let entry = match order {
                    Order::Ascending => entries.next(),
                    Order::Descending => entries.next_back(),
                };
                entry.transpose().map_err(|e| engine("read", &self.path, e))
            })
        };
        // After an error the iterator would not advance, so the first one ends the scan.
        while let Some((key, stored)) = next()? {
            let on = if stored.first() == Some(&SPLIT) {
                match self.get(tree, &key)? {
                    Some(value) => visit(&key, &value)?,
                    None => true,
                }
            } else {
                visit(&key, &stored)?
            };
            if !on {
                break;
            }
        }
        Ok(())
    }

    fn file_len(&self) -> u64 {
        self.log.metadata().map_or(0, |about| about.len())
    }

    fn witness(&self) -> Result<Option<Witness>, CoreError> {
        let stored = caught(|| Ok(self.meta.get(WITNESS)))?;
        let Some(stored) = stored.map_err(|e| engine("read", &self.path, e))? else {
            return Ok(None);
        };
        let witness = Witness::decode(&stored);
        witness.map(Some).ok_or_else(|| CoreError::IndexDamaged {
            path: self.path.clone(),
            source: "its witness does not decode".into(),
        })
    }

    fn set_witness(&self, witness: Witness) -> Result<(), CoreError> {
        let put = caught(|| Ok(self.meta.insert(WITNESS, witness.encode())))?;
        put.map_err(|e| engine("write", &self.path, e))?;
        Ok(())
    }

    fn sync(&self) -> Result<(), CoreError> {
        let flushed = caught(|| Ok(self.db.flush()))?;
        flushed.map_err(|e| engine("flush", &self.path, e))?;
        let synced = self.log.sync_data();
        synced.map_err(|e| CoreError::io("sync", &self.path, e))
    }
}

impl Witness {
    /// Store id, term and number, then a CRC-32 of them; the numbers big-endian.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.store_id.to_vec();
        bytes.extend(self.term.to_be_bytes());
        bytes.extend(self.durable_through.to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (message, checksum) = bytes.split_last_chunk::<4>()?;
        let (store_id, rest) = message.split_first_chunk::<16>()?;
        let (term, rest) = rest.split_first_chunk::<8>()?;
        let sound = crc32fast::hash(message) == u32::from_be_bytes(*checksum);
        let durable_through = u64::from_be_bytes(rest.try_into().ok()?);
        sound.then_some(Self {
            store_id: *store_id,
            term: u64::from_be_bytes(*term),
            durable_through,
        })
    }
}

/// A split value whose pieces are gone.
#[derive(Debug, thiserror::Error)]
#[error("pieces of the value are missing")]
struct MissingPieces;

/// Opens sled; waits while another handle still holds its lock.
fn open_patiently(config: &sled::Config, path: &Path) -> Result<sled::Db, CoreError> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut pause = Duration::from_millis(1);
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(e)) if is_lock_error(&e) && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(e) => return Err(engine("open", path, e)),
        }
    }
}

/// The engine panics on some damage that it meets while it reads or writes.
fn caught<T>(call: impl FnOnce() -> Result<T, CoreError>) -> Result<T, CoreError> {
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(CoreError::EnginePanic))
}

/// sled reports its lock as an error of kind `Other`: only the text tells it.
fn is_lock_error(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn engine(action: &'static str, path: &Path, error: sled::Error) -> CoreError {
    match error {
        sled::Error::Io(source) if is_lock_error(&source) => CoreError::IndexLocked { source },
        sled::Error::Io(source) => CoreError::io(action, path, source),
        error => CoreError::IndexDamaged {
            path: path.to_owned(),
            source: Box::new(error),
        },
    }
}
