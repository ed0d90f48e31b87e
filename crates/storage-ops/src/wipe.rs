//! Removing everything of a tree.

use std::ops::Bound;

use storage_core::trees::audit_log;
use storage_core::{CoreError, Db, Durability, KeyRange, MAX_BATCH_SIZE, Order, Read, TreeId};

use crate::prune::PruneError;

/// What a node collects: not its identity, its secrets, the schema, and the log of what was done.
pub const DATA: [TreeId; 5] = [
    TreeId::Peers,
    TreeId::Metrics,
    TreeId::Epochs,
    TreeId::Config,
    TreeId::Claims,
];

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

/// Removes all records of a tree of [`DATA`] and returns how many, in commits of at
/// most [`MAX_BATCH_SIZE`], the first of which has the audit entry. Buffered. An interrupted call leaves the records
/// of the end; calling again finishes. The bytes stay in the files until a purge.
///
/// # Errors
///
/// [`PruneError::Kept`] for another tree: nothing was removed. [`PruneError::Core`]; [`CoreError::Cancelled`] between
/// two commits.
pub fn wipe(db: &Db, tree: TreeId, now_ms: i64) -> Result<u64, PruneError> {
    if !DATA.contains(&tree) {
        return Err(PruneError::Kept { tree });
    }
    let total = u64::try_from(db.len(tree)?).unwrap_or(u64::MAX);
    let mut meter = db.meter("wipe", total);
    meter.in_tree(tree);
    let mut removed = 0;
    loop {
        let (found, _) = db.update(Durability::Buffered, |view, commit| {
            let mut keys = Vec::new();
            view.scan(tree, &EVERYTHING, Order::Ascending, &mut |key, _| {
                keys.push(key.to_vec());
                Ok(keys.len() < MAX_BATCH_SIZE)
            })?;
            let found = keys.len();
            if removed == 0 && found > 0 {
                let details = Some(format!("{total} records"));
                audit_log::append(view, commit, now_ms, tree, "wipe", details)?;
            }
            for key in keys {
                commit.delete(tree, key);
            }
            Ok::<_, CoreError>(found)
        })?;
        let records = u64::try_from(found).unwrap_or(u64::MAX);
        removed += records;
        if found < MAX_BATCH_SIZE {
            return Ok(removed);
        }
        meter.add(records, 0)?;
    }
}
