//! `audit_log`: what was done to sensitive records, in order, each entry chained to the one before.
//!
//! # Invariants
//!
//! - An entry is in the commit of its operation: both are there, or neither.
//! - The times are strictly increasing, so no entry takes another's key: each is the time of the
//!   clock or one millisecond after the newest entry, whichever is later.
//! - An entry that was changed, removed or moved breaks the chain: [`verify`] finds it. The newest ones
//!   cannot be cut off, as the head in the tree `schema` names the last.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::{self, Encoding};
use crate::key::{Key, TimestampKey};
use crate::tree::{Tree, TreeId};
use crate::view::{KeyRange, Order, Read};

mod chain;
mod head;
mod verify;

pub use head::{HEAD_KEY, Head, HeadSealer, SealedHead, head, open_head, seal_head, without_seal};
pub use verify::{ChainFault, ChainFinding, ChainReport, follows_its_seal, verify};

use chain::Link;

const AUDIT_LOG: Tree<TimestampKey, AuditLogEntry> = Tree::new(TreeId::AuditLog);
const EVERYTHING: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogEntry {
    /// When, in Unix milliseconds; unique and increasing.
    pub timestamp: i64,
    /// The tree it changed.
    pub tree: String,
    /// What it did, as `store` or `delete`.
    pub operation: String,
    /// Which record, never its value.
    pub details: Option<String>,
}

/// Adds an entry to the commit of its operation. Callers do this last before what cannot fail, so
/// that an error leaves neither in the commit.
///
/// # Errors
///
/// [`CoreError::Key`] for a clock before 1970 and an empty log, [`CoreError::TooLarge`].
pub fn append(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    tree: TreeId,
    operation: &str,
    details: Option<String>,
) -> Result<(), CoreError> {
    let newest = AUDIT_LOG.edge(&commit.over(view), Order::Descending)?;
    let timestamp = match newest {
        Some(TimestampKey(newest)) => now_ms.max(newest.saturating_add(1)),
        None => now_ms,
    };
    let entry = AuditLogEntry {
        timestamp,
        tree: tree.name().to_owned(),
        operation: operation.to_owned(),
        details,
    };
    let key = TimestampKey::encode(&timestamp).map_err(|source| CoreError::Key {
        tree: TreeId::AuditLog,
        source,
    })?;
    let body = postcard::to_allocvec(&entry).map_err(|source| CoreError::Serialization {
        tree: TreeId::AuditLog,
        source: Box::new(source),
    })?;
    let mut head = head::next(head(&commit.over(view))?.as_ref(), commit);
    link(commit, &mut head, key.into_owned(), body)?;
    head::store(commit, &head)
}

/// Puts an entry as the one after `head`, which is it then.
fn link(
    commit: &mut Commit,
    head: &mut Head,
    key: Vec<u8>,
    mut body: Vec<u8>,
) -> Result<(), CoreError> {
    let link = Link::after(head, &key, &body);
    link.push_to(&mut body);
    let tree = TreeId::AuditLog;
    let (version, compress) = (tree.record_version(), commit.compression());
    let frame = frame::seal(tree, &key, Encoding::Postcard, version, &body, compress)?;
    commit.put(tree, key, frame);
    head.advance(&link);
    Ok(())
}

/// Chains entries that have no place in the chain yet, as those of a database of the first
/// implementation, `count` at a time; returns whether there are more. Nothing is chained behind entries
/// that were appended.
///
/// # Errors
///
/// [`CoreError::Corrupt`], [`CoreError::TooLarge`] and errors of the index.
pub fn adopt(view: &dyn Read, commit: &mut Commit, count: usize) -> Result<bool, CoreError> {
    let found = head(view)?;
    if found.as_ref().is_some_and(|head| !head.is_adopting) {
        return Ok(false);
    }
    let mut range = EVERYTHING;
    if let Some(head) = &found {
        range.0 = std::ops::Bound::Excluded(head.last_key.clone());
    }
    let mut entries = Vec::new();
    view.scan(
        TreeId::AuditLog,
        &range,
        Order::Ascending,
        &mut |key, frame| {
            let body = codec::open(TreeId::AuditLog, key, frame, Encoding::Postcard)?;
            entries.push((key.to_vec(), body.into_owned()));
            Ok(entries.len() <= count)
        },
    )?;
    let more = entries.len() > count;
    entries.truncate(count);
    if found.is_none() && entries.is_empty() {
        return Ok(false);
    }
    let mut head = head::next(found.as_ref(), commit);
    for (key, body) in entries {
        head.last_key.clone_from(&key);
        let (_, rest) = decode(&key, &body)?;
        let body = body.split_at(body.len() - rest.len()).0.to_vec();
        link(commit, &mut head, key, body)?;
    }
    head.is_adopting = more;
    head::store(commit, &head)?;
    Ok(more)
}

/// Lets the chain begin after the last of `keys`, which are those of the oldest entries, in order, and are
/// removed in the same commit; adds an entry that says so.
///
/// # Errors
///
/// [`CoreError::NotVouchedFor`] where somebody vouched for the head and nobody does for the new one,
/// [`CoreError::Corrupt`] for one that is not chained, and errors of the index.
pub fn forget_oldest(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    keys: &[Vec<u8>],
) -> Result<(), CoreError> {
    let (Some(last), Some(mut head)) = (keys.last(), head(&commit.over(view))?) else {
        return Ok(());
    };
    let Some(frame) = view.get(TreeId::AuditLog, last)? else {
        return Ok(());
    };
    let body = codec::open(TreeId::AuditLog, last, &frame, Encoding::Postcard)?;
    let (_, rest) = decode(last, &body)?;
    let link = Link::parse(rest).ok_or_else(|| {
        let source = codec::DecodeError::TrailingBytes { len: rest.len() };
        CoreError::corrupt(TreeId::AuditLog, last, source)
    })?;
    head.first_seq = link.seq + 1;
    head.before = link.hash;
    let was_sealed = head.sealed.is_some();
    head::store(commit, &head)?;
    let details = Some(format!("{} entries", keys.len()));
    append(view, commit, now_ms, TreeId::AuditLog, "prune", details)?;
    // An old seal says of another beginning: with it the right keys are refused for ever.
    let head = self::head(&commit.over(view))?;
    if was_sealed && !head.is_some_and(|head| head.is_sealed()) {
        return Err(CoreError::NotVouchedFor);
    }
    Ok(())
}

/// An entry, and what follows it in its value.
fn decode<'a>(key: &[u8], body: &'a [u8]) -> Result<(AuditLogEntry, &'a [u8]), CoreError> {
    postcard::take_from_bytes(body).map_err(|source| {
        let source = codec::DecodeError::Body { source };
        CoreError::corrupt(TreeId::AuditLog, key, source)
    })
}

/// The newest `count` entries, newest first.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn latest(from: &dyn Read, count: usize) -> Result<Vec<AuditLogEntry>, CoreError> {
    let mut entries = Vec::new();
    from.scan(
        TreeId::AuditLog,
        &EVERYTHING,
        Order::Descending,
        &mut |key, frame| {
            if entries.len() < count {
                entries.push(open(key, frame)?);
            }
            Ok(entries.len() < count)
        },
    )?;
    Ok(entries)
}

/// The entry in a stored value.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn open(key: &[u8], frame: &[u8]) -> Result<AuditLogEntry, CoreError> {
    let body = codec::open(TreeId::AuditLog, key, frame, Encoding::Postcard)?;
    let (entry, rest) = decode(key, &body)?;
    match rest.len() {
        0 | Link::LEN => Ok(entry),
        len => {
            let source = codec::DecodeError::TrailingBytes { len };
            Err(CoreError::corrupt(TreeId::AuditLog, key, source))
        }
    }
}
