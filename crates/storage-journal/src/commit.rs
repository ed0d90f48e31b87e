//! What a commit changes, as bytes.
//!
//! ```text
//! repeated:  tree u8 | 0x80 for a deletion,  key len u32, key,  value len u32, value (puts only)
//! ```
//!
//! Changes are absolute: a put names the whole value. So replaying a commit twice, or over a state
//! that already holds a part of it, gives the same as once.

use crate::bytes::{Fields, put_sized};

/// The largest body of a commit, in bytes.
pub const MAX_COMMIT_SIZE: usize = 64 * 1024 * 1024;

const DELETION: u8 = 0x80;

/// A put or, without a value, a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The tree's number, below 128.
    pub tree: u8,
    /// The key in the tree.
    pub key: &'a [u8],
    /// The whole new value; `None` deletes.
    pub value: Option<&'a [u8]>,
}

/// The CRC-32 of what a commit is, wherever and under whatever term it is written.
pub(crate) fn content(number: u64, time_ms: i64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&time_ms.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The body of a commit with these changes.
pub fn encode<'a>(changes: impl Iterator<Item = Change<'a>> + Clone) -> Vec<u8> {
    let mut body = Vec::with_capacity(encoded_len(changes.clone()));
    encode_into(&mut body, changes);
    body
}

/// How many bytes the body of a commit with these changes has.
pub fn encoded_len<'a>(changes: impl Iterator<Item = Change<'a>>) -> usize {
    let sized = |bytes: &[u8]| size_of::<u32>() + bytes.len();
    let lens = changes.map(|change| 1 + sized(change.key) + change.value.map_or(0, sized));
    lens.sum()
}

/// Puts that body behind what is there.
pub(crate) fn encode_into<'a>(to: &mut Vec<u8>, changes: impl Iterator<Item = Change<'a>>) {
    for Change { tree, key, value } in changes {
        let deletion = if value.is_none() { DELETION } else { 0 };
        to.push(tree | deletion);
        put_sized(to, key);
        if let Some(value) = value {
            put_sized(to, value);
        }
    }
}

/// The changes of a commit's body; `None` ends one that is malformed.
pub fn decode(body: &[u8]) -> impl Iterator<Item = Option<Change<'_>>> {
    let mut fields = Fields(body);
    let mut malformed = false;
    std::iter::from_fn(move || {
        if fields.is_empty() || malformed {
            return None;
        }
        let change = decode_one(&mut fields);
        malformed = change.is_none();
        Some(change)
    })
}

fn decode_one<'a>(fields: &mut Fields<'a>) -> Option<Change<'a>> {
    let tree = fields.u8()?;
    let key = fields.sized()?;
    let value = if tree & DELETION == 0 {
        Some(fields.sized()?)
    } else {
        None
    };
    Some(Change {
        tree: tree & !DELETION,
        key,
        value,
    })
}
