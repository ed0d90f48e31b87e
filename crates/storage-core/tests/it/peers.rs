//! Commits of one peer each, named by its number.

use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::{CoreError, Db, Durability};

/// Stores one peer in a commit of its own; returns the number of the commit.
pub(crate) fn store(db: &Db, number: u64, durability: Durability) -> Result<u64, CoreError> {
    let peer_id = id(number);
    let info = StoredPeerInfo {
        peer_id: peer_id.clone(),
        ..Default::default()
    };
    let stored = db.update(durability, |_, commit| {
        peers::store(commit, &peer_id, &info)
    });
    stored.map(|((), commit)| commit)
}

pub(crate) fn store_all(
    db: &Db,
    numbers: impl Iterator<Item = u64>,
    durability: Durability,
) -> Result<(), CoreError> {
    for number in numbers {
        store(db, number, durability)?;
    }
    Ok(())
}

pub(crate) fn id(number: u64) -> String {
    format!("p{number}")
}
