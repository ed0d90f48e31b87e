//! Batches: records given together, applied in chunks.

use crate::db::{Db, Durability};
use crate::error::CoreError;
use crate::tree::TreeId;

/// How many records one commit of a batch takes at most.
pub const MAX_BATCH_SIZE: usize = 1000;

/// Keys with their framed values: a batch that was checked and encoded whole.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Applies `entries` in chunks of [`MAX_BATCH_SIZE`], each an atomic commit; returns how many
/// were given. Of several entries under one key the last counts.
///
/// # Errors
///
/// [`CoreError::Batch`] says how many chunks were applied before the one that failed; that one and
/// those after it were not.
pub(crate) fn apply(
    db: &Db,
    durability: Durability,
    tree: TreeId,
    entries: Entries,
) -> Result<usize, CoreError> {
    // An empty batch is no commit, but no success on a closed handle either.
    db.check_open()?;
    let given = entries.len();
    let mut entries = entries.into_iter().peekable();
    let mut applied_chunks = 0;
    while entries.peek().is_some() {
        let chunk = entries.by_ref().take(MAX_BATCH_SIZE);
        let applied = db.update(durability, |_, commit| {
            chunk.for_each(|(key, frame)| commit.put(tree, key, frame));
            Ok(())
        });
        applied.map_err(|source: CoreError| CoreError::Batch {
            applied_chunks,
            applied: applied_chunks * MAX_BATCH_SIZE,
            source: Box::new(source),
        })?;
        applied_chunks += 1;
    }
    Ok(given)
}
