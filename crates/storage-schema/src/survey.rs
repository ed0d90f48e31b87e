//! What a step would do: every record is converted, and nothing is written.

use data_encoding::HEXLOWER;
use storage_core::{Meter, Observer, Order, Read, TreeId};

use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::migrate::EVERYTHING;
use crate::step::{Conversion, Step, Stored};

/// Records that do not convert and are named.
const MAX_NAMED: usize = 20;

/// What a step does to a database, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The version before.
    pub from_version: u32,
    /// The version after.
    pub to_version: u32,
    /// What it does to each tree, in the order in which it does.
    pub trees: Vec<TreeSurvey>,
    /// Records that do not convert.
    pub quarantined: u64,
    /// The first 20 of them.
    pub unconvertible: Vec<Unconvertible>,
    /// Records that an interrupted migration has converted already.
    pub done_before: u64,
}

/// What a step does to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeSurvey {
    /// The tree.
    pub tree: TreeId,
    /// Records in it that are yet to be converted.
    pub records: u64,
    /// Of them, those that get another value.
    pub changed: u64,
    /// Of them, those that go because nothing needs them.
    pub deleted: u64,
    /// Of them, those that do not convert.
    pub quarantined: u64,
    /// Their bytes before, with keys.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
}

/// A record that does not convert.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unconvertible {
    /// Its tree.
    pub tree: TreeId,
    /// Its key in hexadecimal.
    pub key_hex: String,
    /// Why.
    pub reason: String,
}

impl Survey {
    /// Records that are yet to be converted.
    pub fn records(&self) -> u64 {
        self.trees.iter().map(|tree| tree.records).sum()
    }

    /// Records that there are afterwards.
    pub fn records_after(&self) -> u64 {
        let gone = |tree: &TreeSurvey| tree.deleted + tree.quarantined;
        self.records() - self.trees.iter().map(gone).sum::<u64>()
    }

    /// The bytes of the records, before or after, whichever are more.
    pub(crate) fn live_bytes(&self) -> u64 {
        let most = |tree: &TreeSurvey| tree.bytes_before.max(tree.bytes_after);
        self.trees.iter().map(most).sum()
    }
}

/// Converts everything that is yet to be; shows `each` record that does not convert, and why.
pub(crate) fn survey(
    view: &dyn Read,
    step: &dyn Step,
    compress: bool,
    observer: &Observer,
    mut each: impl FnMut(Stored<'_>, &str) -> Result<(), SchemaError>,
) -> Result<Survey, SchemaError> {
    let cursor = Cursor::load(view)?;
    let done = cursor.as_ref().map_or(0, |cursor| cursor.trees_done);
    let mut found = Survey {
        from_version: step.starts_at(),
        to_version: step.ends_at(),
        trees: Vec::new(),
        quarantined: 0,
        unconvertible: Vec::new(),
        done_before: cursor.as_ref().map_or(0, |cursor| cursor.done),
    };
    let total = cursor
        .as_ref()
        .map_or(0, |cursor| cursor.total - cursor.done);
    let mut meter =
        Meter::start("look ahead", total, observer).of_step(step.starts_at(), step.ends_at());
    let mut failed = None;
    for (number, &tree) in (0..).zip(step.trees()) {
        let mut range = EVERYTHING;
        if number < done {
            continue;
        }
        if number == done
            && let Some(after) = cursor.as_ref().and_then(|cursor| cursor.after.clone())
        {
            range.0 = std::ops::Bound::Excluded(after);
        }
        meter.in_tree(tree);
        let mut counts = TreeSurvey {
            tree,
            records: 0,
            changed: 0,
            deleted: 0,
            quarantined: 0,
            bytes_before: 0,
            bytes_after: 0,
        };
        view.scan(tree, &range, Order::Ascending, &mut |key, value| {
            meter.step()?;
            let bytes = len(key.len() + value.len());
            let record = Stored::new(tree, key, value);
            counts.records += 1;
            counts.bytes_before += bytes;
            match step.convert(record, compress) {
                Conversion::Keep => counts.bytes_after += bytes,
                Conversion::Put(value) => {
                    counts.changed += 1;
                    counts.bytes_after += len(key.len() + value.len());
                }
                Conversion::Delete => counts.deleted += 1,
                Conversion::Quarantine(reason) => {
                    counts.quarantined += 1;
                    failed = each(record, &reason).err();
                    if found.unconvertible.len() < MAX_NAMED {
                        let key_hex = HEXLOWER.encode(key);
                        found.unconvertible.push(Unconvertible {
                            tree,
                            key_hex,
                            reason,
                        });
                    }
                }
            }
            Ok(failed.is_none())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        found.quarantined += counts.quarantined;
        found.trees.push(counts);
    }
    Ok(found)
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
