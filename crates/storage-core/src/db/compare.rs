//! The index against the merged stream, record by record.

use std::cmp::Ordering;
use std::ops::Bound;

use storage_journal::Merged;
use storage_journal::digest::Digests;

use crate::error::CoreError;
use crate::frame;
use crate::index::{Index, IndexReader};
use crate::pages::Pages;
use crate::progress::Meter;
use crate::tree::TreeId;

/// How many records may be mended in one go between two looks at the index, and how many bytes of them.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 1024 * 1024;

/// Batches between two syncs.
const SYNC_EVERY: u64 = 16;

/// What was not right in an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Healed {
    /// Records that were not what the journal says. After a power cut the index may be ahead of what
    /// the journal kept, so these are no sign of damage by themselves.
    pub(crate) records: u64,
    /// Those of them whose own checksum was wrong.
    pub(crate) damaged: u64,
}

/// Makes the index hold exactly what the merged stream says; returns counts and digests, and what
/// was not right.
///
/// # Errors
///
/// Errors of the index, after which it is not to be used; errors of the journal, and of the meter.
pub(crate) fn heal(
    index: &dyn Index,
    merged: &Merged,
    meter: &mut Meter<'_>,
) -> Result<(Digests, Healed), CoreError> {
    let mut digests = Digests::empty(TreeId::ALL.len());
    let mut healed = Healed::default();
    let mut batches: u64 = 0;
    for tree in TreeId::ALL {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut right = merged.entries(tree.number(), everything, false).peekable();
        let found = Ok((Bound::Unbounded, Bound::Unbounded));
        let mut found = Pages::new(IndexReader(index), tree, found).peekable();
        // Collected, as the pages must not be read while they change under them.
        let mut wrong: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let mut bytes = 0;
        loop {
            let order = match (right.peek(), found.peek()) {
                (None, None) => break,
                (Some(Err(_)), _) | (_, Some(Err(_))) => Ordering::Equal,
                (Some(Ok(_)), None) => Ordering::Less,
                (None, Some(Ok(_))) => Ordering::Greater,
                (Some(Ok((right, _))), Some(Ok((found, _)))) => right.cmp(found),
            };
            meter.step()?;
            let right = if order.is_le() {
                right.next().transpose()?
            } else {
                None
            };
            let found = if order.is_ge() {
                found.next().transpose()?
            } else {
                None
            };
            if let (Some((key, value)), Some(digest)) = (&right, digests.of_mut(tree.number())) {
                digest.add(key, value);
            }
            if right != found {
                healed.records += 1;
                if let Some((key, value)) = &found {
                    healed.damaged += u64::from(frame::open_borrowed(tree, key, value).is_err());
                }
                bytes += right
                    .as_ref()
                    .map_or(0, |(key, value)| key.len() + value.len());
                match (right, found) {
                    (Some((key, value)), _) => wrong.push((key, Some(value))),
                    (None, Some((key, _))) => wrong.push((key, None)),
                    (None, None) => {}
                }
            }
            // Behind the pages that were read; the next one starts after its own last key.
            if wrong.len() >= BATCH || bytes >= BATCH_BYTES {
                apply(index, tree, &mut wrong)?;
                bytes = 0;
                batches += 1;
                // The engine writes behind: what it has not written it keeps in memory.
                if batches.is_multiple_of(SYNC_EVERY) {
                    index.sync()?;
                }
            }
        }
        apply(index, tree, &mut wrong)?;
    }
    Ok((digests, healed))
}

fn apply(
    index: &dyn Index,
    tree: TreeId,
    wrong: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
) -> Result<(), CoreError> {
    let mut changes = wrong
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_deref()));
    index.apply_sorted(tree, &mut changes, &mut |_, _| {})?;
    wrong.clear();
    Ok(())
}

/// Counts and digests of what an index holds.
///
/// # Errors
///
/// Errors of the index.
pub(crate) fn digests(index: &dyn Index) -> Result<Digests, CoreError> {
    let mut digests = Digests::empty(TreeId::ALL.len());
    for tree in TreeId::ALL {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        index.scan(
            tree,
            &everything,
            crate::view::Order::Ascending,
            &mut |key, value| {
                if let Some(digest) = digests.of_mut(tree.number()) {
                    digest.add(key, value);
                }
                Ok(true)
            },
        )?;
    }
    Ok(digests)
}
