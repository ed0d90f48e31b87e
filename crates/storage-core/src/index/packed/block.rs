//! The bytes of a block.

use super::{Entry, FULL, HEADER_LEN, MARK};
use crate::error::CoreError;
use crate::tree::TreeId;

/// A block as it is in the index below, or an entry that is alone.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) key: Vec<u8>,
    pub(super) stored: Vec<u8>,
}

/// Entries in as many runs as they need blocks: of one size each, or all but the last full where more are to come behind
/// them, as they do to the end of a tree.
pub(super) fn cut<'a, 'b>(entries: &'b [Entry<'a>], is_last: bool) -> Vec<&'b [Entry<'a>]> {
    let room = FULL - HEADER_LEN;
    let total: usize = entries.iter().map(size).sum();
    let most = if is_last {
        room
    } else {
        total.div_ceil(total.div_ceil(room).max(1))
    };
    let mut runs = Vec::new();
    let mut rest = entries;
    while let Some((first, _)) = rest.split_first() {
        let mut len = 1;
        let mut held = size(first);
        while let Some(next) = rest.get(len).map(size)
            && held < most
            && held + next <= room
        {
            held += next;
            len += 1;
        }
        let (run, behind) = rest.split_at(len);
        runs.push(run);
        rest = behind;
    }
    runs
}

pub(super) fn size((key, value): &Entry<'_>) -> usize {
    8 + key.len() + value.len()
}

/// What is stored under the key of a block for its entries, and for those that it gave away.
pub(super) fn pack(block: &[u8], own: &[Entry<'_>], given_away: &[Entry<'_>]) -> Vec<u8> {
    if let ([(key, value)], []) = (own, given_away)
        && *key == block
        && !value.starts_with(MARK)
    {
        return value.to_vec();
    }
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let entries = || own.iter().chain(given_away);
    let mut packed = Vec::with_capacity(HEADER_LEN + entries().map(size).sum::<usize>());
    packed.extend(MARK);
    packed.extend([0; 4]);
    for (key, value) in entries() {
        packed.extend(len(key));
        packed.extend(len(value));
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
    }
    let checksum = packed.get(HEADER_LEN..).map_or(0, crc32fast::hash);
    if let Some(place) = packed.get_mut(MARK.len()..HEADER_LEN) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    packed
}

/// The entries of what is stored under a key, where the next block begins at `end`.
pub(super) fn unpack<'a>(
    tree: TreeId,
    key: &'a [u8],
    stored: &'a [u8],
    end: Option<&[u8]>,
) -> Result<Vec<Entry<'a>>, CoreError> {
    let Some(block) = stored.strip_prefix(MARK) else {
        return Ok(vec![(key, stored)]);
    };
    // Nobody would find, and so remove, what is below its own key.
    let entries = parse(block).filter(|all| all.first().is_none_or(|(first, _)| *first >= key));
    let entries = entries.ok_or_else(|| CoreError::corrupt(tree, key, NotWhole))?;
    let own = end.map_or(entries.len(), |end| {
        entries.partition_point(|(key, _)| *key < end)
    });
    Ok(entries.into_iter().take(own).collect())
}

/// The entries of a block that may not be whole, as far as their lengths tell.
pub(super) fn pieces(stored: &[u8]) -> Vec<Entry<'_>> {
    let rest = stored
        .get(HEADER_LEN..)
        .filter(|_| stored.starts_with(MARK));
    rest.map_or(Vec::new(), |rest| entries(rest).0)
}

fn parse(block: &[u8]) -> Option<Vec<Entry<'_>>> {
    let (checksum, rest) = block.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (entries, behind) = entries(rest);
    // What is out of order would be found by some and not by others.
    let is_sorted = entries.is_sorted_by(|one, next| one.0 < next.0);
    (behind.is_empty() && is_sorted).then_some(entries)
}

/// Entries one behind the other, and what is left that is none.
fn entries(bytes: &[u8]) -> (Vec<Entry<'_>>, &[u8]) {
    let mut entries = Vec::with_capacity(bytes.len() / 64);
    let mut rest = bytes;
    while let Some((entry, behind)) = first_of(rest) {
        entries.push(entry);
        rest = behind;
    }
    (entries, rest)
}

fn first_of(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (key_len, behind) = bytes.split_first_chunk()?;
    let (value_len, behind) = behind.split_first_chunk()?;
    let len = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let (key, behind) = behind.split_at_checked(len(key_len)?)?;
    let (value, behind) = behind.split_at_checked(len(value_len)?)?;
    Some(((key, value), behind))
}

/// A block whose bytes are not those that were stored.
#[derive(Debug, thiserror::Error)]
#[error("the block of records is damaged")]
struct NotWhole;
