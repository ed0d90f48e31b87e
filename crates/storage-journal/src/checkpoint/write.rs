//! Writing a checkpoint.

use std::io;
use std::path::Path;
use std::sync::Arc;

use blake2::Digest;

use super::index::{BlockIndex, Place};
use super::{About, Blake2b256, Checkpoint, END_MAGIC, Record, block};
use crate::bytes::len_u64;
use crate::digest::{Digests, MAX_TREES};
use crate::disk::{Disk, DiskFile, directory_of, remove_if_there, unpublished};
use crate::error::JournalError;

/// Writes `records`, which come in the order of tree and key, to a file that appears under `path`
/// whole, durable and read back; returns its length in bytes.
///
/// # Errors
///
/// [`JournalError::Io`], [`JournalError::OutOfOrder`], errors of `records`, and
/// [`JournalError::Checkpoint`] if what was read back is not what was written. Nothing is left.
pub fn write<E: From<JournalError>>(
    disk: &dyn Disk,
    path: &Path,
    about: &About,
    records: impl Iterator<Item = Result<Record, E>>,
) -> Result<u64, E> {
    write_if(disk, path, about, records, |_| Ok(()), &mut || Ok(()))
}

/// [`write()`], if `accept` takes the digests of what was written; `pulse` is called while it is read back.
///
/// # Errors
///
/// As [`write()`], and those of `accept` and `pulse`. Nothing is left.
pub fn write_if<E: From<JournalError>>(
    disk: &dyn Disk,
    path: &Path,
    about: &About,
    records: impl Iterator<Item = Result<Record, E>>,
    accept: impl FnOnce(&Digests) -> Result<(), E>,
    pulse: &mut dyn FnMut() -> Result<(), E>,
) -> Result<u64, E> {
    let new = unpublished(path);
    let io = |source| JournalError::io("write", path, source);
    remove_if_there(disk, &new).map_err(io)?;
    let written = write_unpublished(disk, &new, about, records).and_then(|len| {
        let checkpoint = Checkpoint::open(disk, &new)?;
        checkpoint.verify_with(pulse)?;
        accept(checkpoint.digests())?;
        disk.rename(&new, path).map_err(io)?;
        disk.sync_directory(directory_of(path)).map_err(io)?;
        Ok(len)
    });
    if written.is_err() {
        // The error is what the caller must know; what is left has the ending of what is not whole.
        let _removed = remove_if_there(disk, &new);
    }
    written
}

fn write_unpublished<E: From<JournalError>>(
    disk: &dyn Disk,
    path: &Path,
    about: &About,
    records: impl Iterator<Item = Result<Record, E>>,
) -> Result<u64, E> {
    let io = |source| JournalError::io("write", path, source);
    let mut file = Hashed {
        file: disk.create(path).map_err(io)?,
        offset: 0,
        hasher: Blake2b256::new(),
    };
    let mut index = BlockIndex {
        places: Vec::new(),
        digests: Digests::empty(MAX_TREES),
    };
    file.append(&about.encode()).map_err(io)?;
    let mut block: Option<block::Builder> = None;
    let mut last: Option<(u8, Vec<u8>)> = None;
    for record in records {
        let (tree, key, value) = record?;
        let place = (tree, key);
        if last.as_ref().is_some_and(|last| *last >= place) {
            return Err(JournalError::OutOfOrder.into());
        }
        let (tree, key) = &place;
        if let Some(full) = block.take_if(|block| block.is_full() || block.tree() != *tree) {
            file.block(full, &mut index).map_err(io)?;
        }
        block
            .get_or_insert_with(|| block::Builder::new(*tree, key))
            .push(key, &value);
        let digest = index.digests.of_mut(*tree);
        digest.ok_or(JournalError::OutOfOrder)?.add(key, &value);
        last = Some(place);
    }
    if let Some(block) = block {
        file.block(block, &mut index).map_err(io)?;
    }
    let index_offset = file.offset;
    let index = index.encode();
    file.append(&index).map_err(io)?;
    let mut trailer = index_offset.to_le_bytes().to_vec();
    trailer.extend(len_u64(index.len()).to_le_bytes());
    file.append(&trailer).map_err(io)?;
    let mut end = file.hasher.finalize_reset().to_vec();
    end.extend(END_MAGIC);
    file.append(&end).map_err(io)?;
    file.file.sync().map_err(io)?;
    Ok(file.offset)
}

/// A file that is hashed as it is appended to.
struct Hashed {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) offset: u64,
    pub(super) hasher: Blake2b256,
}

impl Hashed {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.offset, bytes)?;
        self.hasher.update(bytes);
        self.offset += len_u64(bytes.len());
        Ok(())
    }

    fn block(&mut self, block: block::Builder, index: &mut BlockIndex) -> io::Result<()> {
        let (offset, tree) = (self.offset, block.tree());
        let (bytes, first_key) = block.finish();
        index.places.push(Place {
            offset,
            tree,
            first_key,
        });
        self.append(&bytes)
    }
}
