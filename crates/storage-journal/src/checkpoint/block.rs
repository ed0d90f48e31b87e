//! Blocks of a checkpoint: some 64 KiB of records of one tree, in key order.
//!
//! ```text
//!  0  1  tree                     10  4  length as stored
//!  1  1  1 if LZ4, else 0         14  4  crc32 of bytes 0 to 14 and what is stored
//!  2  4  records                  18  -  stored: one LZ4 block, or the plain bytes
//!  6  4  length when plain
//!
//! plain, repeated:  key len u32, key, value len u32, value
//! ```

use std::borrow::Cow;

use crate::bytes::{Fields, len_u32, len_u64, put_sized};
use crate::digest::MAX_TREES;

/// Bytes before what is stored.
pub(crate) const HEADER_LEN: usize = 18;
/// A block is closed once it has so many plain bytes.
pub(crate) const TARGET_LEN: usize = 64 * 1024;
/// No block is longer: it is closed after the record that fills it.
pub(crate) const MAX_LEN: usize = 96 * 1024 * 1024;

/// One byte of an LZ4 block stands for so many at most, so that a stated length is nothing to allocate by.
const MAX_RATIO: usize = 255;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// A block in the making.
#[derive(Debug)]
pub(crate) struct Builder {
    tree: u8,
    records: u32,
    first_key: Vec<u8>,
    plain: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(tree: u8, first_key: &[u8]) -> Self {
        Self {
            tree,
            records: 0,
            first_key: first_key.to_vec(),
            plain: Vec::with_capacity(TARGET_LEN + TARGET_LEN / 4),
        }
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        put_sized(&mut self.plain, key);
        put_sized(&mut self.plain, value);
        self.records = self.records.saturating_add(1);
    }

    pub(crate) fn tree(&self) -> u8 {
        self.tree
    }

    /// How long it is when plain.
    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= TARGET_LEN
    }

    /// The block's bytes and its first key.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let packed = Some(lz4_flex::compress(&self.plain))
            .filter(|packed| packed.len() <= self.plain.len() - self.plain.len() / 8);
        let stored = packed.as_deref().unwrap_or(&self.plain);
        let mut bytes = Vec::with_capacity(HEADER_LEN + stored.len());
        bytes.push(self.tree);
        bytes.push(u8::from(packed.is_some()));
        bytes.extend(self.records.to_le_bytes());
        bytes.extend(len_u32(self.plain.len()).to_le_bytes());
        bytes.extend(len_u32(stored.len()).to_le_bytes());
        let checksum = checksum(&bytes, stored);
        bytes.extend(checksum.to_le_bytes());
        bytes.extend_from_slice(stored);
        (bytes, self.first_key)
    }
}

/// The stated length of the stored part of a block that begins with `header`.
pub(crate) fn stored_len(header: &[u8]) -> Option<usize> {
    let mut fields = Fields(header.get(10..)?);
    let len = usize::try_from(fields.u32()?).ok()?;
    Some(len).filter(|len| *len <= MAX_LEN)
}

/// Whether these may be the first bytes of a block, of which `left` are there: far from every place is
/// worth a checksum.
pub(crate) fn is_likely(header: &[u8], left: u64) -> bool {
    let mut fields = Fields(header);
    let (Some(tree), Some(packed)) = (fields.u8(), fields.u8()) else {
        return false;
    };
    let (Some(records), Some(plain), Some(stored)) = (fields.u32(), fields.u32(), fields.u32())
    else {
        return false;
    };
    let lengths = match packed {
        0 => plain == stored,
        1 => stored < plain,
        _ => false,
    };
    let fits = u64::from(stored) + len_u64(HEADER_LEN) <= left;
    usize::from(tree) < MAX_TREES && lengths && fits && records > 0 && plain / 8 >= records
}

/// A block that is whole and undamaged, as it is when plain.
#[derive(Debug)]
pub(crate) struct Plain<'a> {
    pub(crate) tree: u8,
    records: u32,
    bytes: Cow<'a, [u8]>,
}

impl Plain<'_> {
    /// Its entries; `None` if these are not so many.
    pub(crate) fn entries(&self) -> Option<Vec<(&[u8], &[u8])>> {
        let mut fields = Fields(&self.bytes);
        let mut entries = Vec::new();
        while !fields.is_empty() {
            entries.push((fields.sized()?, fields.sized()?));
        }
        (len_u32(entries.len()) == self.records).then_some(entries)
    }
}

/// What these bytes hold; `None` if they are no block, whole and undamaged.
pub(crate) fn open(bytes: &[u8]) -> Option<Plain<'_>> {
    let mut fields = Fields(bytes);
    let tree = fields.u8()?;
    let packed = match fields.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let records = fields.u32()?;
    let plain_len = usize::try_from(fields.u32()?).ok()?;
    let stored_len = usize::try_from(fields.u32()?).ok()?;
    let stated = fields.u32()?;
    let stored = fields.take(stored_len)?;
    let sound = fields.is_empty() && checksum(bytes.get(..14)?, stored) == stated;
    if !sound || plain_len > MAX_LEN || plain_len.div_ceil(MAX_RATIO) > stored_len {
        return None;
    }
    let bytes = if packed {
        Cow::Owned(lz4_flex::decompress(stored, plain_len).ok()?)
    } else {
        Cow::Borrowed(stored)
    };
    (bytes.len() == plain_len).then_some(Plain {
        tree,
        records,
        bytes,
    })
}

/// The tree and the records of a block; `None` if it is not one, whole and undamaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u8, Vec<Entry>)> {
    let plain = open(bytes)?;
    let entries = plain.entries()?.into_iter();
    let owned = entries.map(|(key, value)| (key.to_vec(), value.to_vec()));
    Some((plain.tree, owned.collect()))
}

fn checksum(header: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(stored);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_length_that_no_block_expands_to_allocates_nothing() {
        let mut builder = Builder::new(3, b"key");
        builder.push(b"key", &vec![7; 100_000]);
        let (block, _) = builder.finish();
        assert_eq!(block[1], 1, "it is compressed");
        assert!(decode(&block).is_some_and(|(_, entries)| entries.len() == 1));
        let stored_len = block.len() - HEADER_LEN;
        for plain_len in [stored_len * MAX_RATIO + 1, MAX_LEN] {
            let mut forged = block.clone();
            forged[6..10].copy_from_slice(&len_u32(plain_len).to_le_bytes());
            let sum = checksum(&forged[..14], &forged[HEADER_LEN..]);
            forged[14..18].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(decode(&forged), None, "{plain_len}");
        }
    }
}
