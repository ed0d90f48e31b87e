//! What is left of a checkpoint that may be damaged anywhere: each block has a checksum of its own.
//!
//! With a sound index, a bad block is a stretch of keys of which nothing is known, and everything else is as
//! in a sound checkpoint: a key that is not there was not there. Without it, blocks are followed one after
//! the other; behind a bad one the next whole one is looked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{self, Entry};
use super::index::BlockIndex;
use super::{About, END_MAGIC, MAX_HEADER_LEN, MAX_INDEX_LEN, TRAILER_LEN};
use crate::bytes::{Fields, len_u64};
use crate::disk::{Disk, DiskFile};
use crate::error::{JournalError, is_bad_sector};
use crate::salvage::{Damaged, TellDamaged};

/// Bytes that are searched at a time, and that are told at a time.
const PIECE_LEN: usize = 256 * 1024;
const PAGE_LEN: usize = 4096;

/// A place in the order of tree and key.
pub type Place = (u8, Vec<u8>);

/// Places of which a checkpoint tells nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a stretch is its two ends")]
pub struct Stretch {
    /// The place behind which it begins, and whether it is in it; `None`: the beginning.
    pub from: Option<(Place, bool)>,
    /// The place before which it ends; `None`: the end.
    pub to: Option<Place>,
}

impl Stretch {
    /// Whether a place lies in it.
    pub fn contains(&self, tree: u8, key: &[u8]) -> bool {
        let place = (tree, key);
        let begun = self.from.as_ref().is_none_or(|((tree, key), included)| {
            let from = (*tree, key.as_slice());
            place > from || (*included && place == from)
        });
        let to = self.to.as_ref();
        begun && to.is_none_or(|(tree, key)| place < (*tree, key.as_slice()))
    }
}

/// A checkpoint of which anything may be damaged.
#[derive(Clone, Debug)]
pub struct RestOf {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
    about: Option<(About, u64)>,
    named: Option<u64>,
    index: Option<Arc<(BlockIndex, u64)>>,
    /// Where the blocks end, as the trailer says.
    blocks_end: Option<u64>,
}

impl RestOf {
    /// Opens a checkpoint; `named` is the commit that its name says.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        named: Option<u64>,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::io("read", path, source);
        let file = disk.open(path).map_err(io)?;
        let size = file.size().map_err(io)?;
        let mut rest = Self {
            path: path.to_owned(),
            file,
            size,
            about: None,
            named,
            index: None,
            blocks_end: None,
        };
        let header = rest.read(0, MAX_HEADER_LEN)?;
        let about = About::decode(&header).map(|(about, len)| (about, len_u64(len)));
        // A header with another number is one that is damaged, or of a renamed file.
        rest.about = about.filter(|(about, _)| named.is_none_or(|named| named == about.commit));
        rest.blocks_end = rest.trailer()?;
        if let (Some(offset), Some(end)) = (rest.blocks_end, rest.end()) {
            let index = rest.decode_index(offset, end)?;
            rest.index = index.map(|index| Arc::new((index, offset)));
        }
        Ok(rest)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit whose state it holds; 0 if neither the file nor its name tells.
    pub fn commit(&self) -> u64 {
        let said = self.about.as_ref().map(|(about, _)| about.commit);
        said.or(self.named).unwrap_or(0)
    }

    /// The store whose state it holds.
    pub fn store_id(&self) -> Option<[u8; 16]> {
        self.about.as_ref().map(|(about, _)| about.store_id)
    }

    /// The schema of its records.
    pub fn schema(&self) -> Option<u32> {
        self.about.as_ref().map(|(about, _)| about.schema_version)
    }

    /// Shows the records that can be read, block by block in order, and what is damaged; returns the
    /// stretches of which it tells nothing. None: the checkpoint is whole.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], and those of `visit` and `tell`.
    pub fn records<E: From<JournalError>>(
        &self,
        visit: &mut dyn FnMut(u8, Vec<Entry>) -> Result<(), E>,
        tell: TellDamaged<'_, E>,
    ) -> Result<Vec<Stretch>, E> {
        if self.about.is_none() {
            let header = self.read(0, self.first_block().map_or(64, to_usize))?;
            tell(self.damaged(0, "the header of a checkpoint", &header))?;
        }
        match &self.index {
            Some(index) => self.by_index(index, visit, tell),
            None => self.one_by_one(visit, tell),
        }
    }

    fn by_index<E: From<JournalError>>(
        &self,
        (index, index_offset): &(BlockIndex, u64),
        visit: &mut dyn FnMut(u8, Vec<Entry>) -> Result<(), E>,
        tell: TellDamaged<'_, E>,
    ) -> Result<Vec<Stretch>, E> {
        let mut unknown = Vec::new();
        for (number, place) in index.places.iter().enumerate() {
            let next = index.places.get(number + 1);
            let end = next.map_or(*index_offset, |next| next.offset);
            let len = end.saturating_sub(place.offset);
            let found = self.block(place.offset, Some(len))?;
            let first = |entries: &[Entry]| entries.first().map(|(key, _)| key.clone());
            let found = found.filter(|(tree, entries, _)| {
                *tree == place.tree && first(entries).as_ref() == Some(&place.first_key)
            });
            if let Some((tree, entries, _)) = found {
                visit(tree, entries)?;
                continue;
            }
            self.tell_stretch(place.offset, end, "a block of a checkpoint", tell)?;
            unknown.push(Stretch {
                from: Some(((place.tree, place.first_key.clone()), true)),
                to: next.map(|next| (next.tree, next.first_key.clone())),
            });
        }
        Ok(unknown)
    }

    fn one_by_one<E: From<JournalError>>(
        &self,
        visit: &mut dyn FnMut(u8, Vec<Entry>) -> Result<(), E>,
        tell: TellDamaged<'_, E>,
    ) -> Result<Vec<Stretch>, E> {
        let mut unknown = Vec::new();
        let mut last: Option<Place> = None;
        let mut is_gap = self.about.is_none();
        let mut offset = self.first_block().unwrap_or(0);
        while offset < self.size {
            if let Some((tree, entries, len)) = self.block(offset, None)?
                && let Some((first, _)) = entries.first()
                && let Some((end, _)) = entries.last()
                && last
                    .as_ref()
                    .is_none_or(|last| *last < (tree, first.clone()))
            {
                if is_gap {
                    let to = Some((tree, first.clone()));
                    let from = last.take().map(|last| (last, false));
                    unknown.push(Stretch { from, to });
                }
                is_gap = false;
                last = Some((tree, end.clone()));
                visit(tree, entries)?;
                offset += len;
                continue;
            }
            if self.blocks_end == Some(offset) || self.index_at(offset, last.is_none())?.is_some() {
                if is_gap {
                    let from = last.take().map(|last| (last, false));
                    unknown.push(Stretch { from, to: None });
                }
                let end = self.size;
                self.tell_stretch(offset, end, "the end of a checkpoint", tell)?;
                return Ok(unknown);
            }
            is_gap = true;
            let next = self.next_block(offset)?;
            self.tell_stretch(offset, next, "a block of a checkpoint", tell)?;
            offset = next;
        }
        let from = last.map(|last| (last, false));
        unknown.push(Stretch { from, to: None });
        Ok(unknown)
    }

    /// The next block behind a bad one, or the end.
    fn next_block(&self, bad: u64) -> Result<u64, JournalError> {
        // Where only what is stored is damaged, its length tells.
        let header = self.read(bad, block::HEADER_LEN)?;
        if let Some(len) = block::stored_len(&header) {
            let next = bad + len_u64(block::HEADER_LEN + len);
            if self.block(next, None)?.is_some() || self.index_at(next, false)?.is_some() {
                return Ok(next);
            }
        }
        let mut offset = bad + 1;
        while offset < self.size {
            let piece = self.read(offset, PIECE_LEN + block::HEADER_LEN)?;
            for at in 0..piece.len().min(PIECE_LEN) {
                let here = offset + len_u64(at);
                let header = piece.get(at..).unwrap_or_default();
                let is_block =
                    block::is_likely(header, self.size - here) && self.block(here, None)?.is_some();
                if is_block || (self.may_be_index(header) && self.index_at(here, false)?.is_some())
                {
                    return Ok(here);
                }
            }
            offset += len_u64(PIECE_LEN);
        }
        Ok(self.size)
    }

    /// Where the first block must be.
    fn first_block(&self) -> Option<u64> {
        let of_index = self.index.as_ref().and_then(|index| index.0.places.first());
        let said = self.about.as_ref().map(|(_, len)| *len);
        said.or(of_index.map(|place| place.offset))
    }

    /// The block at an offset, which has `len` bytes if that is known.
    fn block(
        &self,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Option<(u8, Vec<Entry>, u64)>, JournalError> {
        let header = self.read(offset, block::HEADER_LEN)?;
        let Some(stored) = block::stored_len(&header) else {
            return Ok(None);
        };
        let whole = len_u64(block::HEADER_LEN + stored);
        if len.is_some_and(|len| len != whole) || whole > self.size.saturating_sub(offset) {
            return Ok(None);
        }
        let bytes = self.read(offset, to_usize(whole))?;
        let decoded = block::decode(&bytes);
        Ok(decoded.map(|(tree, entries)| (tree, entries, whole)))
    }

    fn end(&self) -> Option<u64> {
        self.size.checked_sub(len_u64(TRAILER_LEN))
    }

    /// Where the trailer says that the index begins.
    fn trailer(&self) -> Result<Option<u64>, JournalError> {
        let Some(end) = self.end() else {
            return Ok(None);
        };
        let trailer = self.read(end, TRAILER_LEN)?;
        let mut fields = Fields(&trailer);
        let said = fields.u64().zip(fields.u64());
        let said = said.filter(|(offset, len)| offset.checked_add(*len) == Some(end));
        Ok(said
            .filter(|_| trailer.ends_with(END_MAGIC))
            .map(|(offset, _)| offset))
    }

    /// The index at an offset; `is_first` if no block was found before it.
    fn index_at(&self, offset: u64, is_first: bool) -> Result<Option<BlockIndex>, JournalError> {
        let end = self.end().unwrap_or(0);
        let begin = self.read(offset, 12)?;
        if offset >= end || !(self.may_be_index(&begin) || is_first) {
            return Ok(None);
        }
        self.decode_index(offset, end)
    }

    /// Whether these may be the first bytes of the index: it names the first block.
    fn may_be_index(&self, bytes: &[u8]) -> bool {
        let mut fields = Fields(bytes);
        let named = fields.u32().and_then(|_| fields.u64());
        let first = self.about.as_ref().map(|(_, len)| *len);
        first.is_some() && named == first
    }

    fn decode_index(&self, offset: u64, end: u64) -> Result<Option<BlockIndex>, JournalError> {
        let len = end.saturating_sub(offset);
        if len > MAX_INDEX_LEN {
            return Ok(None);
        }
        let bytes = self.read(offset, to_usize(len))?;
        let index = BlockIndex::decode(&bytes);
        Ok(index.filter(|index| {
            let offsets = index.places.iter().map(|place| place.offset);
            offsets.clone().is_sorted() && offsets.clone().all(|at| at < offset)
        }))
    }

    /// What can be read from an offset on; what cannot is zeros, which is damage to who decodes it.
    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, JournalError> {
        let left = to_usize(self.size.saturating_sub(offset));
        let mut bytes = vec![0; len.min(left)];
        let io = |source: io::Error| JournalError::io("read", &self.path, source);
        match self.file.read_at(offset, &mut bytes) {
            Ok(read) => bytes.truncate(read),
            Err(e) if is_bad_sector(&e) => {
                for (at, page) in bytes.chunks_mut(PAGE_LEN).enumerate() {
                    let from = offset + len_u64(at * PAGE_LEN);
                    if self.file.read_at(from, page).is_err() {
                        page.fill(0);
                    }
                }
            }
            Err(e) => return Err(io(e)),
        }
        Ok(bytes)
    }

    fn tell_stretch<E: From<JournalError>>(
        &self,
        from: u64,
        to: u64,
        what: &'static str,
        tell: TellDamaged<'_, E>,
    ) -> Result<(), E> {
        let mut offset = from;
        while offset < to {
            let bytes = self.read(offset, to_usize(to - offset).min(PIECE_LEN))?;
            if bytes.is_empty() {
                break;
            }
            tell(self.damaged(offset, what, &bytes))?;
            offset += len_u64(bytes.len());
        }
        Ok(())
    }

    fn damaged<'a>(&'a self, offset: u64, what: &'static str, bytes: &'a [u8]) -> Damaged<'a> {
        Damaged {
            path: &self.path,
            offset,
            what,
            bytes,
        }
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
