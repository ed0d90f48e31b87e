//! Writing a checkpoint.

use std::path::Path;
use std::sync::Arc;

use blake2::Digest;

use super::index::{BlockIndex, Place};
use super::packing::{Packed, Packer};
use super::{About, Blake2b256, Checkpoint, END_MAGIC, Record, Threads, block};
use crate::bytes::len_u64;
use crate::digest::{Digests, MAX_TREES};
use crate::disk::{Disk, DiskFile, directory_of, remove_if_there, unpublished};
use crate::error::JournalError;

/// Called with the tree, key and value of one record after the other. Its error ends the file: who puts records returns it.
pub type Put<'a, E> = &'a mut dyn FnMut(u8, &[u8], &[u8]) -> Result<(), E>;

/// Writes `records`, which come in the order of tree and key, to a file that appears under `path`
/// whole, durable and read back; returns its length in bytes.
///
/// # Errors
///
/// [`JournalError::Io`], [`JournalError::OutOfOrder`], errors of `records`, and
/// [`JournalError::Checkpoint`] if what was read back is not what was written. Nothing is left, but for the whole file
/// where only its name could not be made durable.
pub fn write<E: From<JournalError>>(
    disk: &dyn Disk,
    path: &Path,
    about: &About,
    records: impl Iterator<Item = Result<Record, E>>,
) -> Result<u64, E> {
    let accept = |_: &Digests| Ok(());
    let records = each(records);
    write_if(
        disk,
        path,
        about,
        Threads::Two,
        records,
        accept,
        &mut || Ok(()),
    )
}

/// Puts the records of an iterator.
pub fn each<E>(
    mut records: impl Iterator<Item = Result<Record, E>>,
) -> impl FnOnce(Put<'_, E>) -> Result<(), E> {
    move |put| {
        records.try_for_each(|record| {
            let (tree, key, value) = record?;
            put(tree, &key, &value)
        })
    }
}

/// [`write()`] of what `records` puts, if `accept` takes the digests of what was written; `pulse` is called while it is
/// read back.
///
/// # Errors
///
/// As [`write()`], and those of `accept` and `pulse`.
pub fn write_if<E: From<JournalError>>(
    disk: &dyn Disk,
    path: &Path,
    about: &About,
    threads: Threads,
    records: impl FnOnce(Put<'_, E>) -> Result<(), E>,
    accept: impl FnOnce(&Digests) -> Result<(), E>,
    pulse: &mut dyn FnMut() -> Result<(), E>,
) -> Result<u64, E> {
    let new = unpublished(path);
    let io = |source| JournalError::io("write", path, source);
    remove_if_there(disk, &new).map_err(io)?;
    let write = || {
        let mut writing = Writing::begin(disk, &new, about, threads)?;
        records(&mut |tree, key, value| Ok(writing.put(tree, key, value)?))?;
        let len = writing.end()?;
        let checkpoint = Checkpoint::open(disk, &new)?;
        checkpoint.verify_with(threads, pulse)?;
        accept(checkpoint.digests())?;
        disk.rename(&new, path).map_err(io)?;
        disk.sync_directory(directory_of(path)).map_err(io)?;
        Ok(len)
    };
    let written = write();
    if written.is_err() {
        // The error is what the caller must know; what is left has the ending of what is not whole.
        let _removed = remove_if_there(disk, &new);
    }
    written
}

/// A checkpoint in the making.
struct Writing<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    offset: u64,
    index: BlockIndex,
    hasher: Blake2b256,
    block: Option<block::Builder>,
    packer: Packer,
    /// The key of the last record, of the tree of the block.
    last: Vec<u8>,
}

impl<'a> Writing<'a> {
    fn begin(
        disk: &dyn Disk,
        path: &'a Path,
        about: &About,
        threads: Threads,
    ) -> Result<Self, JournalError> {
        let file = disk.create(path);
        let mut writing = Self {
            path,
            file: file.map_err(|source| JournalError::io("write", path, source))?,
            offset: 0,
            index: BlockIndex {
                places: Vec::new(),
                digests: Digests::empty(MAX_TREES),
            },
            hasher: Blake2b256::new(),
            block: None,
            packer: Packer::new(threads),
            last: Vec::new(),
        };
        writing.append(&about.encode())?;
        Ok(writing)
    }

    fn put(&mut self, tree: u8, key: &[u8], value: &[u8]) -> Result<(), JournalError> {
        if let Some(block) = &self.block {
            if (block.tree(), self.last.as_slice()) >= (tree, key) {
                return Err(JournalError::OutOfOrder);
            }
            if block.is_full() || block.tree() != tree {
                self.close_block()?;
            }
        }
        let digest = self.index.digests.of_mut(tree);
        digest.ok_or(JournalError::OutOfOrder)?.add(key, value);
        self.block
            .get_or_insert_with(|| block::Builder::new(tree, key))
            .push(key, value);
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    fn close_block(&mut self) -> Result<(), JournalError> {
        if let Some(block) = self.block.take() {
            self.packer.push(block);
        }
        while let Some(packed) = self.packer.ready() {
            self.append_block(packed)?;
        }
        Ok(())
    }

    /// Makes it durable; returns its length in bytes.
    fn end(mut self) -> Result<u64, JournalError> {
        self.close_block()?;
        while let Some(packed) = self.packer.rest() {
            self.append_block(packed)?;
        }
        drop(self.packer);
        let offset = self.offset;
        let mut end = self.index.encode();
        let len = len_u64(end.len());
        end.extend(offset.to_le_bytes());
        end.extend(len.to_le_bytes());
        self.hasher.update(&end);
        end.extend(self.hasher.finalize_reset());
        end.extend(END_MAGIC);
        let io = |source| JournalError::io("write", self.path, source);
        self.file.write_at(offset, &end).map_err(io)?;
        self.file.sync().map_err(io)?;
        Ok(offset + len_u64(end.len()))
    }

    fn append_block(&mut self, block: Packed) -> Result<(), JournalError> {
        self.index.places.push(Place {
            offset: self.offset,
            tree: block.tree,
            first_key: block.first_key,
        });
        self.append(&block.bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let written = self.file.write_at(self.offset, bytes);
        written.map_err(|source| JournalError::io("write", self.path, source))?;
        self.hasher.update(bytes);
        self.offset += len_u64(bytes.len());
        Ok(())
    }
}
