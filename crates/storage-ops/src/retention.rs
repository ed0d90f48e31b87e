//! Removing what is no longer kept: by age, by number, by bytes; oldest first, in small commits.
//!
//! Metrics, audit entries and epochs are removed from their beginning on; the audit log's head moves with
//! it, and says so. Peers are removed by when they were last seen, but for those that others join through.

use std::ops::Bound;

use storage_core::trees::audit_log;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::{
    CoreError, Db, Durability, Key, KeyRange, MAX_BATCH_SIZE, Order, Read, TimestampKey, TreeId,
    decode_record,
};

use crate::prune::PruneError;

/// So many of the newest records have to agree before the clock is believed that they were written by.
const AGREEING: usize = 60;
const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// What is kept of a tree. Each limit that is given removes what is beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// What is older goes: Unix seconds, exclusive.
    pub older_than: Option<i64>,
    /// So many of the newest stay; of peers those count that others join through, which stay in any case.
    pub keep_last: Option<u64>,
    /// The newest stay that together have so many bytes of keys and stored values.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// Keeps what is not older than this: Unix seconds.
    #[must_use]
    pub const fn older_than(mut self, cutoff: i64) -> Self {
        self.older_than = Some(cutoff);
        self
    }

    /// Keeps so many of the newest.
    #[must_use]
    pub const fn keep_last(mut self, records: u64) -> Self {
        self.keep_last = Some(records);
        self
    }

    /// Keeps the newest that together have so many bytes.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Records.
    pub records: u64,
    /// Their bytes of keys and stored values. The disk does not shrink by them before it is compacted.
    pub bytes: u64,
}

/// One record, as far as it matters: when it was, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Aged {
    seconds: i64,
    bytes: u64,
}

/// Removes from a tree what is not kept, in commits of at most [`MAX_BATCH_SIZE`]; with `dry_run` says what
/// that would be. An interrupted call leaves the oldest gone and the rest intact; calling again finishes.
/// `now_ms` is the time of the audit entries that pruning the audit log makes.
///
/// # Errors
///
/// [`PruneError::Tree`] for a tree that is kept for ever, [`PruneError::Cutoff`] for one before 1970:
/// nothing was removed. [`PruneError::Core`].
pub fn prune(
    db: &Db,
    tree: TreeId,
    retention: &Retention,
    now_ms: i64,
    dry_run: bool,
) -> Result<Pruned, PruneError> {
    if let Some(cutoff) = retention.older_than.filter(|cutoff| *cutoff < 0) {
        return Err(PruneError::Cutoff { cutoff });
    }
    match tree {
        TreeId::Metrics | TreeId::AuditLog | TreeId::Epochs => {
            let (going, through) = going(db, tree, retention)?;
            let Some(through) = through.filter(|_| !dry_run) else {
                return Ok(going);
            };
            remove_through(db, tree, &through, now_ms)
        }
        TreeId::Peers => peers(db, retention, dry_run),
        tree => Err(PruneError::Tree { tree }),
    }
}

/// The cutoff of records that are kept for `age` seconds. The clock of a board may jump: it is believed as
/// far as the newest records of the tree go, and these once there are 60 that agree; of fewer the newest is
/// believed. `None` if there is no record to go by.
///
/// # Errors
///
/// [`PruneError::Tree`], [`PruneError::Core`].
pub fn cutoff(db: &Db, tree: TreeId, now: i64, age: i64) -> Result<Option<i64>, PruneError> {
    let mut newest = Vec::new();
    match tree {
        TreeId::Peers => {
            db.view()
                .scan(tree, &EVERYTHING, Order::Ascending, &mut |key, frame| {
                    newest.push(peer(key, frame)?.last_seen);
                    Ok(true)
                })?;
            newest.sort_unstable_by(|a, b| b.cmp(a));
        }
        TreeId::Metrics | TreeId::AuditLog | TreeId::Epochs => {
            db.view()
                .scan(tree, &EVERYTHING, Order::Descending, &mut |key, frame| {
                    newest.push(seconds_of(tree, key, frame)?);
                    Ok(newest.len() < AGREEING)
                })?;
        }
        tree => return Err(PruneError::Tree { tree }),
    }
    let believed = newest.get(AGREEING - 1).or(newest.first());
    let cutoff = believed.map(|believed| now.min(*believed).saturating_sub(age).max(0));
    Ok(cutoff)
}

fn seconds_of(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<i64, CoreError> {
    if tree == TreeId::Epochs {
        let summary: StoredEpochSummary = decode_record(tree, key, frame)?;
        return Ok(summary.end_time);
    }
    let decoded = TimestampKey::decode(key);
    let TimestampKey(time) = decoded.map_err(|e| CoreError::corrupt(tree, key, e))?;
    Ok(match tree {
        TreeId::AuditLog => time.div_euclid(1000),
        _ => time,
    })
}

fn peer(key: &[u8], frame: &[u8]) -> Result<StoredPeerInfo, CoreError> {
    decode_record(TreeId::Peers, key, frame)
}

fn bytes_of(key: &[u8], frame: &[u8]) -> u64 {
    u64::try_from(key.len() + frame.len()).unwrap_or(u64::MAX)
}

/// How much of the beginning of a tree goes, and through which key.
fn going(
    db: &Db,
    tree: TreeId,
    retention: &Retention,
) -> Result<(Pruned, Option<Vec<u8>>), CoreError> {
    let (mut entries, mut bytes) = (0, 0);
    db.view()
        .scan(tree, &EVERYTHING, Order::Ascending, &mut |key, frame| {
            entries += 1;
            bytes += bytes_of(key, frame);
            Ok(true)
        })?;
    let mut going = Pruned::default();
    let mut through = None;
    db.view()
        .scan(tree, &EVERYTHING, Order::Ascending, &mut |key, frame| {
            let is_old = match retention.older_than {
                Some(cutoff) => seconds_of(tree, key, frame)? < cutoff,
                None => false,
            };
            let left = entries - going.records;
            let left_bytes = bytes - going.bytes;
            let is_over = retention.keep_last.is_some_and(|most| left > most)
                || retention.max_bytes.is_some_and(|most| left_bytes > most);
            if !is_old && !is_over {
                return Ok(false);
            }
            going.records += 1;
            going.bytes += bytes_of(key, frame);
            through = Some(key.to_vec());
            Ok(going.records < entries)
        })?;
    Ok((going, through))
}

fn remove_through(
    db: &Db,
    tree: TreeId,
    through: &[u8],
    now_ms: i64,
) -> Result<Pruned, PruneError> {
    let range = (Bound::Unbounded, Bound::Included(through.to_vec()));
    let mut pruned = Pruned::default();
    loop {
        let (found, _) = db.update(Durability::Buffered, |view, commit| {
            let (mut keys, mut bytes) = (Vec::new(), 0);
            view.scan(tree, &range, Order::Ascending, &mut |key, frame| {
                bytes += bytes_of(key, frame);
                keys.push(key.to_vec());
                Ok(keys.len() < MAX_BATCH_SIZE)
            })?;
            let found = keys.len();
            if tree == TreeId::AuditLog && found > 0 {
                audit_log::forget_oldest(view, commit, now_ms, &keys)?;
            }
            for key in keys {
                commit.delete(tree, key);
            }
            Ok::<_, CoreError>((found, bytes))
        })?;
        pruned.records += u64::try_from(found.0).unwrap_or(u64::MAX);
        pruned.bytes += found.1;
        if found.0 < MAX_BATCH_SIZE {
            return Ok(pruned);
        }
    }
}

/// Peers, by when they were last seen: how old one may be follows from a look at all of them, twelve bytes
/// each.
fn peers(db: &Db, retention: &Retention, dry_run: bool) -> Result<Pruned, PruneError> {
    let mut aged = Vec::new();
    let mut kept = Aged {
        seconds: 0,
        bytes: 0,
    };
    let mut kept_records = 0_u64;
    db.view().scan(
        TreeId::Peers,
        &EVERYTHING,
        Order::Ascending,
        &mut |key, frame| {
            let (found, bytes) = (peer(key, frame)?, bytes_of(key, frame));
            if found.is_bootstrap {
                kept.bytes += bytes;
                kept_records += 1;
            } else {
                aged.push(Aged {
                    seconds: found.last_seen,
                    bytes,
                });
            }
            Ok(true)
        },
    )?;
    aged.sort_unstable();
    let mut records = kept_records + u64::try_from(aged.len()).unwrap_or(u64::MAX);
    let mut bytes = kept.bytes + aged.iter().map(|aged| aged.bytes).sum::<u64>();
    let mut going = Pruned::default();
    let mut last = None;
    for found in &aged {
        let is_old = retention
            .older_than
            .is_some_and(|cutoff| found.seconds < cutoff);
        let is_over = retention.keep_last.is_some_and(|most| records > most)
            || retention.max_bytes.is_some_and(|most| bytes > most);
        if !is_old && !is_over {
            break;
        }
        records -= 1;
        bytes -= found.bytes;
        going.records += 1;
        going.bytes += found.bytes;
        last = Some(*found);
    }
    let Some(last) = last.filter(|_| !dry_run) else {
        return Ok(going);
    };
    // Of those as old and as large as the last one that goes, not all do.
    let goes_in_all = aged.iter().filter(|found| **found < last).count();
    let ties = going.records - u64::try_from(goes_in_all).unwrap_or(u64::MAX);
    remove_peers(db, last, ties)
}

fn remove_peers(db: &Db, last: Aged, mut ties: u64) -> Result<Pruned, PruneError> {
    let mut pruned = Pruned::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut range = EVERYTHING;
        if let Some(after) = &after {
            range.0 = Bound::Excluded(after.clone());
        }
        let (found, _) = db.update(Durability::Buffered, |view, commit| {
            let (mut looked, mut going) = (0, Vec::new());
            view.scan(
                TreeId::Peers,
                &range,
                Order::Ascending,
                &mut |key, frame| {
                    looked += 1;
                    after = Some(key.to_vec());
                    let (found, bytes) = (peer(key, frame)?, bytes_of(key, frame));
                    let aged = Aged {
                        seconds: found.last_seen,
                        bytes,
                    };
                    let is_tied = aged == last && ties > 0;
                    // One that was seen since stays.
                    if !found.is_bootstrap && (aged < last || is_tied) {
                        ties -= u64::from(is_tied);
                        going.push((key.to_vec(), bytes));
                    }
                    Ok(looked < MAX_BATCH_SIZE)
                },
            )?;
            for (key, _) in &going {
                commit.delete(TreeId::Peers, key.clone());
            }
            Ok::<_, CoreError>((looked, going))
        })?;
        pruned.records += u64::try_from(found.1.len()).unwrap_or(u64::MAX);
        pruned.bytes += found.1.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if found.0 < MAX_BATCH_SIZE {
            return Ok(pruned);
        }
    }
}
