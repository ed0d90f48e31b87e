//! What chains an entry to the one before: a number and a hash, after the entry in its value.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};

use super::Head;

const LABEL: &[u8] = b"nsec1.audit";
const GENESIS: &[u8] = b"nsec1.audit0";

/// An entry's place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    pub(crate) hash: [u8; 32],
}

impl Link {
    /// How long it is in a value: the number as `u64` BE, and the hash.
    pub(crate) const LEN: usize = 40;

    /// The place of the entry after `head`.
    pub(crate) fn after(head: &Head, key: &[u8], entry: &[u8]) -> Self {
        Self::of(&head.hash, head.next_seq(), key, entry)
    }

    /// The `seq`th place, after an entry of the hash `before`.
    pub(crate) fn of(before: &[u8; 32], seq: u64, key: &[u8], entry: &[u8]) -> Self {
        let mut hash = Blake2b::<U32>::new();
        part(&mut hash, LABEL);
        hash.update(before);
        hash.update(seq.to_le_bytes());
        part(&mut hash, key);
        part(&mut hash, entry);
        Self {
            seq,
            hash: hash.finalize().into(),
        }
    }

    pub(crate) fn push_to(&self, body: &mut Vec<u8>) {
        body.extend(self.seq.to_be_bytes());
        body.extend(self.hash);
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (seq, hash) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            seq: u64::from_be_bytes(*seq),
            hash: hash.try_into().ok()?,
        })
    }
}

/// What stands for the hash before the first entry of a store.
pub(crate) fn genesis(store_id: &[u8; 16]) -> [u8; 32] {
    let mut hash = Blake2b::<U32>::new();
    hash.update(GENESIS);
    hash.update(store_id);
    hash.finalize().into()
}

fn part(hash: &mut Blake2b<U32>, part: &[u8]) {
    hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(part);
}
