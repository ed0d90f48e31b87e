//! The entry of a value that is too long for one piece.

use crate::tree::TreeId;

/// The longest value stored in one piece.
pub(in crate::index) const PIECE_LEN: usize = 4096;
/// First byte of the entry of a split value. No frame begins with it; a value that did would be
/// split as well, so the mark is never mistaken.
pub(super) const SPLIT: u8 = 0xff;

/// The entry of a split value.
pub(super) struct Split {
    pub(super) len: usize,
    pub(super) generation: u64,
}

impl Split {
    pub(super) fn parse(stored: &[u8]) -> Option<Self> {
        let (&[mark, a, b, c, d], rest) = stored.split_first_chunk::<5>()?;
        if mark != SPLIT {
            return None;
        }
        Some(Self {
            len: usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?,
            generation: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        let mut bytes = vec![SPLIT];
        bytes.extend(len.to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes
    }

    pub(super) fn pieces(&self) -> u32 {
        u32::try_from(self.len.div_ceil(PIECE_LEN)).unwrap_or(u32::MAX)
    }
}

/// Where a piece of a value lies.
pub(super) fn piece_key(tree: TreeId, key: &[u8], generation: u64, number: u32) -> Vec<u8> {
    let mut bytes = vec![tree.number()];
    bytes.extend(key);
    bytes.extend(generation.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes
}
