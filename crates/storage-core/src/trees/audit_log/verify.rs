//! Whether the log is the one that was written.

use std::fmt;

use super::chain::{Link, genesis};
use super::{EVERYTHING, Head, decode, head};
use crate::codec;
use crate::error::CoreError;
use crate::frame::Encoding;
use crate::key::{Key, TimestampKey};
use crate::tree::TreeId;
use crate::view::{Order, Read};

/// Faults that are listed at most; all are counted.
const MAX_LISTED: usize = 100;

/// What the chain of the audit log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainReport {
    /// Entries that are there.
    pub entries: u64,
    /// The number of the oldest.
    pub first_seq: u64,
    /// How many were ever appended.
    pub len: u64,
    /// The hash of the newest: to be kept elsewhere, and compared later.
    pub hash: [u8; 32],
    /// How many entries after the last one that somebody with the keys vouched for.
    pub unsealed: u64,
    /// Whether the tag of the last head that was vouched for was checked, for which the keys are needed.
    pub tag_checked: bool,
    /// Faults in all.
    pub faults: u64,
    /// The first 100 of them.
    pub findings: Vec<ChainFinding>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainFinding {
    /// The entry's key as a time in Unix milliseconds, where it is about one.
    pub timestamp: Option<i64>,
    /// What is wrong.
    pub fault: ChainFault,
}

/// What is wrong with an entry, or with the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainFault {
    /// Entries of these numbers are not there, or not in their place.
    Gap {
        /// The number that was expected.
        expected: u64,
        /// The one that was found.
        found: u64,
    },
    /// The entry, or one before it, is not the one that was written.
    Changed,
    /// The entry has no place in the chain.
    Unchained,
    /// It does not decode.
    Unreadable,
    /// Its time is not that of its key.
    Time,
    /// The newest entries are not there.
    Truncated {
        /// How many there should be in all.
        expected: u64,
        /// Up to which there are.
        found: u64,
    },
    /// There are entries, but no head.
    NoHead,
    /// The head that was known before, or the one that was vouched for, is not in this chain.
    OtherHistory,
    /// Nobody with the keys of this store vouched for the head.
    Tag,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(f, "entry {expected} was expected, entry {found} is there")
            }
            Self::Changed => f.write_str("the entry, or one before it, was changed"),
            Self::Unchained => f.write_str("the entry has no place in the chain"),
            Self::Unreadable => f.write_str("the entry does not decode"),
            Self::Time => f.write_str("the entry's time is not that of its key"),
            Self::Truncated { expected, found } => {
                write!(
                    f,
                    "{expected} entries were written, the last is number {found}"
                )
            }
            Self::NoHead => f.write_str("there are entries, but no head of the chain"),
            Self::OtherHistory => f.write_str("the known head is not in this chain"),
            Self::Tag => f.write_str("nobody with the keys of this store vouched for the head"),
        }
    }
}

/// Reads the whole log and checks its chain; `known` is a number and hash of an entry that were noted
/// before.
///
/// # Errors
///
/// Errors of the index; what is wrong with the log is in the report.
pub fn verify(
    from: &dyn Read,
    store_id: &[u8; 16],
    known: Option<(u64, [u8; 32])>,
) -> Result<ChainReport, CoreError> {
    let mut report = ChainReport::default();
    let head = match head(from) {
        Err(CoreError::Corrupt { .. }) => None,
        head => head?,
    };
    let (mut expected, mut before) = match &head {
        Some(head) => (head.first_seq, head.before),
        None => (0, genesis(store_id)),
    };
    report.first_seq = expected;
    let mut is_known = known.is_none();
    let sealed = head.as_ref().and_then(|head| head.sealed);
    let sealed = sealed.and_then(|sealed| Some((sealed.len.checked_sub(1)?, sealed.hash)));
    let mut has_sealed = sealed.is_none();
    from.scan(
        TreeId::AuditLog,
        &EVERYTHING,
        Order::Ascending,
        &mut |key, frame| {
            report.entries += 1;
            let timestamp = TimestampKey::decode(key)
                .ok()
                .map(|TimestampKey(time)| time);
            let Some((time, entry, rest)) = parts(key, frame) else {
                report.fault(timestamp, ChainFault::Unreadable);
                return Ok(true);
            };
            if Some(time) != timestamp {
                report.fault(timestamp, ChainFault::Time);
            }
            let Some(link) = Link::parse(&rest) else {
                report.fault(timestamp, ChainFault::Unchained);
                return Ok(true);
            };
            if link.seq != expected {
                let found = link.seq;
                report.fault(timestamp, ChainFault::Gap { expected, found });
            } else if Link::of(&before, link.seq, key, &entry) != link {
                report.fault(timestamp, ChainFault::Changed);
            }
            is_known |= known == Some((link.seq, link.hash));
            has_sealed |= sealed == Some((link.seq, link.hash));
            (expected, before) = (link.seq.saturating_add(1), link.hash);
            Ok(true)
        },
    )?;
    match &head {
        Some(head) => {
            report.len = head.len;
            report.hash = head.hash;
            let sealed = head.sealed.map_or(0, |sealed| sealed.len);
            report.unsealed = head.len.saturating_sub(sealed);
            if expected != head.len {
                let (expected, found) = (head.len, expected.saturating_sub(1));
                report.fault(None, ChainFault::Truncated { expected, found });
            } else if before != head.hash {
                report.fault(None, ChainFault::Changed);
            }
        }
        None if report.entries > 0 => report.fault(None, ChainFault::NoHead),
        None => {}
    }
    for (expected, is_there) in [(known, is_known), (sealed, has_sealed)] {
        // What was pruned cannot be compared any more.
        let was_pruned = expected.is_some_and(|(seq, _)| seq < report.first_seq);
        if !is_there && !was_pruned {
            report.fault(None, ChainFault::OtherHistory);
        }
    }
    Ok(report)
}

/// Whether the entries after the last sealed head follow it, one by one, to this head: before somebody
/// with the keys vouches for those as well. Reads no entry that was vouched for but the newest.
///
/// # Errors
///
/// Errors of the index.
pub fn follows_its_seal(from: &dyn Read, head: &Head) -> Result<bool, CoreError> {
    let Some(sealed) = &head.sealed else {
        return Ok(false);
    };
    // Nothing prunes; what will, has to vouch for it.
    if (head.first_seq, head.before) != (sealed.first_seq, sealed.before) {
        return Ok(false);
    }
    let (mut follows, mut is_reached) = (true, false);
    let mut later: Option<(Vec<u8>, Vec<u8>, Link)> = None;
    from.scan(
        TreeId::AuditLog,
        &EVERYTHING,
        Order::Descending,
        &mut |key, frame| {
            let parts =
                parts(key, frame).and_then(|(_, entry, rest)| Some((entry, Link::parse(&rest)?)));
            let Some((entry, link)) = parts else {
                follows = false;
                return Ok(false);
            };
            follows = match &later {
                Some((key, entry, later)) => {
                    let is_before = link.seq.checked_add(1) == Some(later.seq);
                    is_before && Link::of(&link.hash, later.seq, key, entry) == *later
                }
                None => link.seq.checked_add(1) == Some(head.len) && link.hash == head.hash,
            };
            is_reached = link.seq.checked_add(1) == Some(sealed.len);
            follows &= !is_reached || link.hash == sealed.hash;
            later = Some((key.to_vec(), entry, link));
            Ok(follows && !is_reached)
        },
    )?;
    Ok(follows && is_reached)
}

/// The time, the bytes of the entry, and what follows them.
fn parts(key: &[u8], frame: &[u8]) -> Option<(i64, Vec<u8>, Vec<u8>)> {
    let body = codec::open(TreeId::AuditLog, key, frame, Encoding::Postcard).ok()?;
    let (entry, rest) = decode(key, &body).ok()?;
    let (bytes, rest) = body.split_at(body.len() - rest.len());
    Some((entry.timestamp, bytes.to_vec(), rest.to_vec()))
}

impl ChainReport {
    /// Adds what who has the keys found of the head's tag.
    pub fn note_tag(&mut self, is_right: bool) {
        self.tag_checked = true;
        if !is_right {
            self.fault(None, ChainFault::Tag);
        }
    }

    fn fault(&mut self, timestamp: Option<i64>, fault: ChainFault) {
        self.faults += 1;
        if self.findings.len() < MAX_LISTED {
            self.findings.push(ChainFinding { timestamp, fault });
        }
    }
}
