//! The head: which entry is the newest, which the oldest, and who vouches for that.
//!
//! ```text
//!   0  1  flags: 1 = entries without a place are being chained; 2 = a sealed head follows
//!   1  8  number of the newest entry, plus 1, u64 BE
//!   9 32  its hash
//!  41  8  number of the oldest entry, u64 BE
//!  49 32  the hash before it
//!  81 80  with flag 2: the same four at the last sealing    161 32  its tag
//!   -  -  with flag 1: the key of the newest entry
//! ```
//!
//! Entries that are appended without keys leave the sealed head behind: the chain from it to the newest
//! entry then is what anybody could have written, and nothing before it.

use std::fmt;
use std::sync::Arc;

use super::chain::{Link, genesis};
use crate::codec;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::{self, Encoding};
use crate::tree::TreeId;
use crate::view::Read;

/// Its key in the tree `schema`.
pub const HEAD_KEY: &[u8] = b"__audit_head__";
const ADOPTING: u8 = 1;
const SEALED: u8 = 2;

/// Where the chain of the audit log begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// How many entries were ever appended: the number of the next.
    pub len: u64,
    /// The hash of the newest entry.
    pub hash: [u8; 32],
    /// The number of the oldest entry that is kept.
    pub first_seq: u64,
    /// The hash of the entry before it.
    pub before: [u8; 32],
    /// The last head that somebody with the keys vouched for.
    pub sealed: Option<SealedHead>,
    pub(super) is_adopting: bool,
    /// While adopting.
    pub(super) last_key: Vec<u8>,
}

/// A head with its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedHead {
    /// As in [`Head`].
    pub len: u64,
    /// As in [`Head`].
    pub hash: [u8; 32],
    /// As in [`Head`].
    pub first_seq: u64,
    /// As in [`Head`].
    pub before: [u8; 32],
    /// The tag over the four.
    pub tag: [u8; 32],
}

/// Makes the tags of heads; none by default.
#[derive(Clone, Default)]
pub struct HeadSealer(Option<Arc<Tag>>);

type Tag = dyn Fn(&Head) -> Option<[u8; 32]> + Send + Sync;

impl HeadSealer {
    /// One that calls `tag`, which may have no key: then the head stays as it was sealed before.
    pub fn new(tag: impl Fn(&Head) -> Option<[u8; 32]> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tag)))
    }
}

impl fmt::Debug for HeadSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeadSealer")
            .field(&self.0.is_some())
            .finish()
    }
}

impl Head {
    pub(super) fn next_seq(&self) -> u64 {
        self.len
    }

    pub(super) fn advance(&mut self, link: &Link) {
        self.len = link.seq + 1;
        self.hash = link.hash;
    }

    /// Whether entries without a place are being chained.
    pub fn is_adopting(&self) -> bool {
        self.is_adopting
    }

    /// Whether the newest entries are vouched for as well.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some_and(|sealed| {
            let now = (self.len, self.hash, self.first_seq, self.before);
            now == (sealed.len, sealed.hash, sealed.first_seq, sealed.before)
        })
    }
}

/// The head of the log; `None` if nothing was ever appended.
///
/// # Errors
///
/// [`CoreError::Corrupt`] and errors of the index.
pub fn head(from: &dyn Read) -> Result<Option<Head>, CoreError> {
    let Some(frame) = from.get(TreeId::Schema, HEAD_KEY)? else {
        return Ok(None);
    };
    open_head(&frame).map(Some)
}

/// The head in its stored value.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn open_head(frame: &[u8]) -> Result<Head, CoreError> {
    let body = codec::open(TreeId::Schema, HEAD_KEY, frame, Encoding::Raw)?;
    let malformed = || {
        let source = codec::DecodeError::AuditHead { len: body.len() };
        CoreError::corrupt(TreeId::Schema, HEAD_KEY, source)
    };
    parse(&body).ok_or_else(malformed)
}

/// What the head is before the next entry.
pub(super) fn next(found: Option<&Head>, commit: &Commit) -> Head {
    found.cloned().unwrap_or_else(|| {
        let genesis = genesis(&commit.audit().store_id);
        Head {
            len: 0,
            hash: genesis,
            first_seq: 0,
            before: genesis,
            sealed: None,
            is_adopting: false,
            last_key: Vec::new(),
        }
    })
}

/// Puts the head, sealed if somebody can.
pub(super) fn store(commit: &mut Commit, head: &Head) -> Result<(), CoreError> {
    let mut head = head.clone();
    let tag = commit.audit().sealer.0.as_ref().and_then(|tag| tag(&head));
    if let Some(tag) = tag {
        head.sealed = Some(SealedHead {
            len: head.len,
            hash: head.hash,
            first_seq: head.first_seq,
            before: head.before,
            tag,
        });
    }
    commit.put(TreeId::Schema, HEAD_KEY.to_vec(), framed(&head)?);
    Ok(())
}

fn framed(head: &Head) -> Result<Vec<u8>, CoreError> {
    let tree = TreeId::Schema;
    let version = tree.record_version();
    frame::seal(tree, HEAD_KEY, Encoding::Raw, version, &bytes(head), false)
}

/// The stored value of a head as it is if nobody ever vouched for it.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn without_seal(frame: &[u8]) -> Result<Vec<u8>, CoreError> {
    let mut head = open_head(frame)?;
    head.sealed = None;
    framed(&head)
}

/// Seals the head as it is, if there is one and somebody can.
///
/// # Errors
///
/// [`CoreError::Corrupt`] and errors of the index.
pub fn seal_head(view: &dyn Read, commit: &mut Commit) -> Result<(), CoreError> {
    match head(&commit.over(view))? {
        Some(head) => store(commit, &head),
        None => Ok(()),
    }
}

fn bytes(head: &Head) -> Vec<u8> {
    let sealed = if head.sealed.is_some() { SEALED } else { 0 };
    let adopting = if head.is_adopting { ADOPTING } else { 0 };
    let mut bytes = vec![sealed | adopting];
    push(
        &mut bytes,
        head.len,
        &head.hash,
        head.first_seq,
        &head.before,
    );
    if let Some(sealed) = &head.sealed {
        push(
            &mut bytes,
            sealed.len,
            &sealed.hash,
            sealed.first_seq,
            &sealed.before,
        );
        bytes.extend(sealed.tag);
    }
    if head.is_adopting {
        bytes.extend(&head.last_key);
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, len: u64, hash: &[u8; 32], first_seq: u64, before: &[u8; 32]) {
    bytes.extend(len.to_be_bytes());
    bytes.extend(hash);
    bytes.extend(first_seq.to_be_bytes());
    bytes.extend(before);
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let (flags, bytes) = bytes.split_first()?;
    if flags & !(SEALED | ADOPTING) != 0 {
        return None;
    }
    let (len, bytes) = number(bytes)?;
    let (hash, bytes) = bytes.split_first_chunk::<32>()?;
    let (first_seq, bytes) = number(bytes)?;
    let (before, mut bytes) = bytes.split_first_chunk::<32>()?;
    let mut sealed = None;
    if flags & SEALED != 0 {
        let (len, rest) = number(bytes)?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        let (first_seq, rest) = number(rest)?;
        let (before, rest) = rest.split_first_chunk::<32>()?;
        let (tag, rest) = rest.split_first_chunk::<32>()?;
        sealed = Some(SealedHead {
            len,
            hash: *hash,
            first_seq,
            before: *before,
            tag: *tag,
        });
        bytes = rest;
    }
    let is_adopting = flags & ADOPTING != 0;
    (is_adopting || bytes.is_empty()).then(|| Head {
        len,
        hash: *hash,
        first_seq,
        before: *before,
        sealed,
        is_adopting,
        last_key: bytes.to_vec(),
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}
