//! What is in a database, byte by byte.

use std::ops::Bound;

use storage_core::{CoreError, Db, Order, Read, TreeId};

/// One entry: its tree, its key, its stored frame.
pub type Entry = (TreeId, Vec<u8>, Vec<u8>);

/// Every entry of the nine trees, in the order of tree and key.
///
/// # Errors
///
/// Errors of reading.
pub fn dump(db: &Db) -> Result<Vec<Entry>, CoreError> {
    let mut entries = Vec::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    for tree in TreeId::ALL {
        db.view()
            .scan(tree, &everything, Order::Ascending, &mut |key, frame| {
                entries.push((tree, key.to_vec(), frame.to_vec()));
                Ok(true)
            })?;
    }
    Ok(entries)
}
