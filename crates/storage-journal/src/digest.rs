//! Counts and digests of trees: two states with the same ones are the same.
//!
//! The digest of a tree is the sum, modulo 2^128, of the XXH3-128 of each record: it does not
//! depend on the order, and changes by one addition and one subtraction when a record does. It finds
//! damage and bugs; it is no protection from somebody who computes collisions.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::bytes::{Fields, len_u64};

/// How many trees a state has at most.
pub const MAX_TREES: usize = 16;
/// A record of up to so many bytes is hashed in one piece.
const SHORT: usize = 512;

/// Records in a tree and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeDigest {
    count: u64,
    sum: u128,
}

impl TreeDigest {
    /// The digest of so many records with this sum of hashes.
    pub const fn new(count: u64, sum: u128) -> Self {
        Self { count, sum }
    }

    /// How many records there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of their hashes.
    pub const fn sum(&self) -> u128 {
        self.sum
    }

    /// The digest without the records of another one.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(other.count),
            sum: self.sum.wrapping_sub(other.sum),
        }
    }

    /// The digest with the records of another one as well.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_add(other.count),
            sum: self.sum.wrapping_add(other.sum),
        }
    }

    /// Counts a record in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    /// Counts a record out.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let len = len_u64(key.len()).to_le_bytes();
    // A hash that takes its parts one by one takes longer to be made than one of a short record to be reckoned.
    let mut short = [0; SHORT];
    if let Some(whole) = short.get_mut(..len.len() + key.len() + value.len()) {
        let (head, behind) = whole.split_at_mut(len.len());
        let (middle, end) = behind.split_at_mut(key.len());
        head.copy_from_slice(&len);
        middle.copy_from_slice(key);
        end.copy_from_slice(value);
        return xxh3_128(whole);
    }
    let mut hasher = Xxh3::new();
    hasher.update(&len);
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// The digests of all trees, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests(Vec<TreeDigest>);

impl Digests {
    /// The digests of `trees` empty trees, at most [`MAX_TREES`].
    pub fn empty(trees: usize) -> Self {
        Self(vec![TreeDigest::default(); trees.min(MAX_TREES)])
    }

    /// The digest of a tree; that of an empty one beyond the last.
    pub fn of(&self, tree: u8) -> TreeDigest {
        self.0.get(usize::from(tree)).copied().unwrap_or_default()
    }

    /// The digest of a tree, to be changed; `None` beyond the last.
    pub fn of_mut(&mut self, tree: u8) -> Option<&mut TreeDigest> {
        self.0.get_mut(usize::from(tree))
    }

    /// Whether both are of the same records, however many empty trees either ends with.
    pub fn are_same(&self, other: &Self) -> bool {
        let trees = self.0.len().max(other.0.len());
        let at = |of: &Self, tree: usize| of.0.get(tree).copied().unwrap_or_default();
        (0..trees).all(|tree| at(self, tree) == at(other, tree))
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &TreeDigest> {
        self.0.iter()
    }

    /// Records in all trees.
    pub fn total(&self) -> u64 {
        // What a file states may be anything until it is verified.
        let counts = self.0.iter().map(TreeDigest::count);
        counts.fold(0, u64::saturating_add)
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for TreeDigest { count, sum } in &self.0 {
            to.extend(count.to_le_bytes());
            to.extend(sum.to_le_bytes());
        }
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let trees = usize::from(fields.u8()?);
        if trees > MAX_TREES {
            return None;
        }
        let mut digests = Vec::with_capacity(trees);
        for _ in 0..trees {
            let count = fields.u64()?;
            let sum = fields.u128()?;
            digests.push(TreeDigest { count, sum });
        }
        Some(Self(digests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_in_one_piece_and_in_parts() {
        for len in (0..600).chain([4096]) {
            let value = vec![0x5a; len];
            let mut parts = Xxh3::new();
            for part in [&3_u64.to_le_bytes(), b"key".as_slice(), &value] {
                parts.update(part);
            }
            assert_eq!(hash(b"key", &value), parts.digest128(), "{len} bytes");
        }
    }
}
