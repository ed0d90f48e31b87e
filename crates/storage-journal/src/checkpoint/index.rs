//! The index of a checkpoint: where each block is and with which key it begins.
//!
//! ```text
//! block count u32, then for each:  offset u64, tree u8, first key len u32, first key
//! tree count u8, then for each:    records u64, digest u128
//! crc32 of all that
//! ```

use crate::bytes::{Fields, len_u32, put_sized};
use crate::digest::Digests;

/// A block's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) tree: u8,
    pub(crate) first_key: Vec<u8>,
}

/// All blocks in order, and what the trees hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockIndex {
    pub(crate) places: Vec<Place>,
    pub(crate) digests: Digests,
}

impl BlockIndex {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = len_u32(self.places.len()).to_le_bytes().to_vec();
        for place in &self.places {
            bytes.extend(place.offset.to_le_bytes());
            bytes.push(place.tree);
            put_sized(&mut bytes, &place.first_key);
        }
        self.digests.write(&mut bytes);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (message, stored) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(message) != u32::from_le_bytes(*stored) {
            return None;
        }
        let mut fields = Fields(message);
        let mut places = Vec::new();
        for _ in 0..fields.u32()? {
            places.push(Place {
                offset: fields.u64()?,
                tree: fields.u8()?,
                first_key: fields.sized()?.to_vec(),
            });
        }
        let digests = Digests::read(&mut fields)?;
        fields.is_empty().then_some(Self { places, digests })
    }

    /// The first block of a tree, or where it would be.
    pub(crate) fn first_of(&self, tree: u8) -> usize {
        self.places.partition_point(|place| place.tree < tree)
    }

    /// The block that may hold a key: the last that begins with it or before it.
    pub(crate) fn find(&self, tree: u8, key: &[u8]) -> usize {
        let after = self
            .places
            .partition_point(|place| (place.tree, place.first_key.as_slice()) <= (tree, key));
        after.saturating_sub(1)
    }
}
