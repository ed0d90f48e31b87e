//! Checkpoints: the whole state at one commit, sorted, in one file. A backup is the same file.
//!
//! ```text
//! header    magic "NONOSCKP", version u32 = 1, store id 16, term u64, schema version u32, commit u64,
//!           created at i64 (Unix seconds), program len u32, program, crc32 of all that
//! blocks    in the order of tree and key
//! index     see the module of that name
//! trailer   index offset u64, index length u64, BLAKE2b-256 of everything before, magic "NONOSEND"
//! ```
//!
//! # Invariant
//!
//! A checkpoint appears under its name only when it is whole, durable, and was read back.

use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake2::Blake2b;
use blake2::digest::consts::U32;

use crate::bytes::{Fields, len_u64};
use crate::digest::Digests;
use crate::disk::{Disk, DiskFile, UNPUBLISHED};
use crate::error::JournalError;
use crate::tail::is_empty;

mod about;
mod block;
mod index;
mod packing;
pub(crate) mod rest;
mod verify;
mod write;

pub use about::About;
use index::BlockIndex;
pub use write::{Put, each, write, write_if};

/// How many threads may work on a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Threads {
    /// Others are served meanwhile.
    One,
    /// Somebody waits for it.
    Two,
}

pub(crate) type Blake2b256 = Blake2b<U32>;

/// A record with the number of its tree.
pub type Record = (u8, Vec<u8>, Vec<u8>);

const MAGIC: &[u8; 8] = b"NONOSCKP";
const END_MAGIC: &[u8; 8] = b"NONOSEND";
const VERSION: u32 = 1;
const TRAILER_LEN: usize = 8 + 8 + 32 + 8;
/// The header is read in one piece of this length, or what the file has.
const MAX_HEADER_LEN: usize = 512;
const BLOCKS_OF_A_PIECE: usize = 32;
/// No block is longer as it is stored.
const MAX_STORED: usize = block::HEADER_LEN + block::MAX_LEN;
/// A year's index has some thousand entries; this bounds what a damaged length may allocate.
const MAX_INDEX_LEN: u64 = 256 * 1024 * 1024;

/// The name of the checkpoint at a commit.
pub fn name(commit: u64) -> String {
    format!("checkpoint-{commit:020}.nonos")
}

/// Whether this is the name of a checkpoint that is not complete.
pub(crate) fn is_unpublished(name: &str) -> bool {
    let published = name.strip_suffix(UNPUBLISHED);
    published.is_some_and(|name| commit_of(name).is_some())
}

/// The commit of the checkpoint of this name.
pub(crate) fn commit_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("checkpoint-")?.strip_suffix(".nonos")?;
    let commit = digits.parse().ok()?;
    (self::name(commit) == name).then_some(commit)
}

/// The newest checkpoint in `directory` that opens.
///
/// # Errors
///
/// [`JournalError::Io`] if the directory cannot be listed.
pub fn newest(disk: &dyn Disk, directory: &Path) -> Result<Option<Checkpoint>, JournalError> {
    let names = disk.list(directory);
    let names = names.map_err(|source| JournalError::io("list", directory, source))?;
    let mut commits: Vec<u64> = names.iter().filter_map(|name| commit_of(name)).collect();
    commits.sort_unstable_by(|a, b| b.cmp(a));
    let mut paths = commits.iter().map(|commit| directory.join(name(*commit)));
    Ok(paths.find_map(|path| Checkpoint::open(disk, &path).ok()))
}

/// A checkpoint, open for reading.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
    about: About,
    index: Arc<BlockIndex>,
    index_offset: u64,
}

impl Checkpoint {
    /// Opens a checkpoint; reads its header, its index and its trailer.
    ///
    /// # Errors
    ///
    /// [`JournalError::Checkpoint`] if one of these is damaged, [`JournalError::Io`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::io("read", path, source);
        let damaged = |part| JournalError::Checkpoint {
            path: path.to_owned(),
            part,
        };
        let file = disk.open(path).map_err(io)?;
        let size = file.size().map_err(io)?;
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            let read = file.read_at(offset, &mut bytes)?;
            bytes.truncate(read);
            Ok(bytes)
        };
        let header = read(0, MAX_HEADER_LEN).map_err(io)?;
        let (about, header_len) = About::decode(&header).ok_or_else(|| damaged("header"))?;
        let trailer_offset = size.checked_sub(len_u64(TRAILER_LEN));
        let trailer_offset = trailer_offset.ok_or_else(|| damaged("trailer"))?;
        let trailer = read(trailer_offset, TRAILER_LEN).map_err(io)?;
        let mut fields = Fields(&trailer);
        let (offset, len) = fields
            .u64()
            .zip(fields.u64())
            .ok_or_else(|| damaged("trailer"))?;
        let ends = trailer.ends_with(END_MAGIC) && offset.checked_add(len) == Some(trailer_offset);
        if !ends || len > MAX_INDEX_LEN || offset < len_u64(header_len) {
            return Err(damaged("trailer"));
        }
        let index = read(offset, usize::try_from(len).unwrap_or(usize::MAX)).map_err(io)?;
        let index = BlockIndex::decode(&index).ok_or_else(|| damaged("index"))?;
        let offsets = index.places.iter().map(|place| place.offset);
        // By keys in another order, what is there would be sought where it is not.
        let places = index.places.iter();
        let in_order = places.is_sorted_by(|a, b| (a.tree, &a.first_key) < (b.tree, &b.first_key));
        // Each block ends where the next begins, which is seen when it is read.
        let begins = offsets.clone().next().unwrap_or(offset) == len_u64(header_len);
        if !in_order || !begins || !offsets.clone().all(|at| at < offset) || !offsets.is_sorted() {
            return Err(damaged("index"));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            about,
            index: Arc::new(index),
            index_offset: offset,
        })
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Counts and digests of its trees, as it states them.
    pub fn digests(&self) -> &Digests {
        &self.index.digests
    }

    /// The value under a key.
    ///
    /// # Errors
    ///
    /// [`JournalError::Checkpoint`] for a damaged block, [`JournalError::Io`].
    pub fn get(&self, tree: u8, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let number = self.index.find(tree, key);
        if self
            .index
            .places
            .get(number)
            .is_none_or(|place| place.tree != tree)
        {
            return Ok(None);
        }
        let (_, mut entries) = self.block(number)?;
        let found = entries.binary_search_by(|(at, _)| at.as_slice().cmp(key));
        Ok(found.ok().map(|at| entries.swap_remove(at).1))
    }

    /// The entries of a range of a tree, in key order or against it. A reversed range is empty.
    pub(crate) fn entries(
        &self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
    ) -> Entries {
        let (start, end) = range;
        Entries {
            checkpoint: self.clone(),
            tree,
            range: (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec)),
            backwards,
            blocks: self.blocks_in(tree, range),
            block: Vec::new().into_iter(),
        }
    }

    /// The blocks that may hold a part of a range of a tree.
    fn blocks_in(&self, tree: u8, (start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> Range<usize> {
        if is_empty((start, end)) {
            return 0..0;
        }
        let first_of_tree = self.index.first_of(tree);
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) => self.index.find(tree, key),
            Bound::Unbounded => first_of_tree,
        };
        let behind = match end {
            // The block that begins with it has nothing before it.
            Bound::Excluded(key) if self.is_block(self.index.find(tree, key), tree, Some(key)) => {
                self.index.find(tree, key)
            }
            Bound::Included(key) | Bound::Excluded(key) => self.index.find(tree, key) + 1,
            Bound::Unbounded => self.index.first_of(tree.saturating_add(1)),
        };
        first.max(first_of_tree)..behind.min(self.index.first_of(tree.saturating_add(1)))
    }

    /// The records of one tree, in the order of keys.
    ///
    /// # Errors
    ///
    /// Each: [`JournalError::Checkpoint`] for a damaged block, [`JournalError::Io`]; then it ends.
    pub fn records_of(
        &self,
        tree: u8,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), JournalError>> {
        self.entries(tree, (Bound::Unbounded, Bound::Unbounded), false)
    }

    /// All records, in the order of tree and key.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, JournalError>> {
        (0..self.index.places.len()).flat_map(|number| {
            let (tree, entries, error) = match self.block(number) {
                Ok((tree, entries)) => (tree, entries, None),
                Err(error) => (0, Vec::new(), Some(error)),
            };
            let records = entries
                .into_iter()
                .map(move |(key, value)| Ok((tree, key, value)));
            records.chain(error.map(Err))
        })
    }

    /// Visits the records of a range of a tree, in the order of keys.
    pub(crate) fn visit<E: From<JournalError>>(
        &self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let damaged = || self.damaged("block");
        let blocks = self.blocks_in(tree, range);
        for number in blocks.clone() {
            let stored = self.stored(number)?;
            let plain = block::open(&stored).ok_or_else(damaged)?;
            let entries = plain.entries().ok_or_else(damaged)?;
            if !self.is_block(number, plain.tree, entries.first().map(|(key, _)| *key)) {
                return Err(damaged().into());
            }
            let is_inside = blocks.start < number && number + 1 < blocks.end;
            entries
                .into_iter()
                .filter(|(key, _)| is_inside || range.contains(key))
                .try_for_each(|(key, value)| visit(key, value))?;
        }
        Ok(())
    }

    /// Keys at which a tree is cut into pieces of about 2 MiB, for who works on several at once.
    pub fn cuts(&self, tree: u8) -> impl Iterator<Item = &[u8]> {
        let places = self.index.places.get(self.blocks_of(tree));
        let places = places.unwrap_or_default().iter();
        let first_keys = places.map(|place| place.first_key.as_slice());
        first_keys.step_by(BLOCKS_OF_A_PIECE).skip(1)
    }

    fn blocks_of(&self, tree: u8) -> Range<usize> {
        self.index.first_of(tree)..self.index.first_of(tree.saturating_add(1))
    }

    /// Whether a block of this tree that begins with this key is the one of this number. By another first key than its
    /// own, a record of it would not be found.
    fn is_block(&self, number: usize, tree: u8, first: Option<&[u8]>) -> bool {
        let place = self.index.places.get(number);
        place.is_some_and(|place| (place.tree, Some(&*place.first_key)) == (tree, first))
    }

    /// The bytes of a block, as they are stored.
    fn stored(&self, number: usize) -> Result<Vec<u8>, JournalError> {
        let damaged = || self.damaged("block");
        let place = self.index.places.get(number).ok_or_else(damaged)?;
        let next = self.index.places.get(number + 1);
        let end = next.map_or(self.index_offset, |next| next.offset);
        let len = end.checked_sub(place.offset).map(usize::try_from);
        let len = len.and_then(Result::ok).filter(|len| *len <= MAX_STORED);
        let mut bytes = vec![0; len.ok_or_else(damaged)?];
        self.read_exact(place.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn block(&self, number: usize) -> Result<(u8, Vec<block::Entry>), JournalError> {
        let is_it = |(tree, entries): &(u8, Vec<block::Entry>)| {
            let first = entries.first().map(|(key, _)| key.as_slice());
            self.is_block(number, *tree, first)
        };
        block::decode(&self.stored(number)?)
            .filter(is_it)
            .ok_or_else(|| self.damaged("block"))
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), JournalError> {
        match self.file.read_at(offset, buffer) {
            Ok(read) if read == buffer.len() => Ok(()),
            Ok(_) => Err(self.damaged("length")),
            Err(source) => Err(JournalError::io("read", &self.path, source)),
        }
    }

    fn damaged(&self, part: &'static str) -> JournalError {
        JournalError::Checkpoint {
            path: self.path.clone(),
            part,
        }
    }
}

/// Entries of a range of a tree. After an error it ends.
#[derive(Debug)]
pub(crate) struct Entries {
    checkpoint: Checkpoint,
    tree: u8,
    range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    backwards: bool,
    blocks: Range<usize>,
    block: std::vec::IntoIter<block::Entry>,
}

impl Iterator for Entries {
    type Item = Result<block::Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = if self.backwards {
                self.block.next_back()
            } else {
                self.block.next()
            };
            match next {
                Some((key, value)) if self.range.contains(&key) => return Some(Ok((key, value))),
                Some(_) => continue,
                None => {}
            }
            let number = if self.backwards {
                self.blocks.next_back()
            } else {
                self.blocks.next()
            };
            match self.checkpoint.block(number?) {
                Ok((tree, entries)) if tree == self.tree => self.block = entries.into_iter(),
                Ok(_) => {}
                Err(error) => {
                    self.blocks = 0..0;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Whether this name is that of a file that was never completed.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.ends_with(UNPUBLISHED)
}
