//! `peers`: what this node knows of others, by peer id.

use serde::{Deserialize, Serialize};

use crate::batch::{self, Entries};
use crate::commit::Commit;
use crate::db::{Db, Durability};
use crate::error::{CoreError, RecordError};
use crate::key::TextKey;
use crate::tree::{Tree, TreeId};
use crate::view::Read;

const PEERS: Tree<TextKey, StoredPeerInfo> = Tree::new(TreeId::Peers);

/// A peer as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPeerInfo {
    /// The peer's id, the same as the key.
    pub peer_id: String,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// When it was last seen, in Unix seconds.
    pub last_seen: i64,
    /// Mean round-trip time in milliseconds.
    pub avg_latency_ms: Option<u32>,
    /// How often it was connected.
    pub connection_count: u32,
    /// Whether it is one of the nodes that others join through.
    pub is_bootstrap: bool,
    /// From 0 to 100.
    pub reputation: u8,
    /// The protocol it speaks.
    pub protocol_version: Option<String>,
    /// What it offers.
    pub capabilities: Option<Vec<String>>,
    /// When it was first seen, in Unix seconds.
    pub first_seen: Option<i64>,
    /// When a connection last failed, in Unix seconds.
    pub last_failure: Option<i64>,
    /// How often connections failed.
    pub failure_count: u32,
}

/// A peer of reputation 50 that speaks "1.0.0" and offers nothing.
impl Default for StoredPeerInfo {
    fn default() -> Self {
        Self {
            peer_id: String::new(),
            addresses: Vec::new(),
            last_seen: 0,
            avg_latency_ms: None,
            connection_count: 0,
            is_bootstrap: false,
            reputation: 50,
            protocol_version: Some("1.0.0".to_owned()),
            capabilities: Some(Vec::new()),
            first_seen: None,
            last_failure: None,
            failure_count: 0,
        }
    }
}

fn entry(
    peer_id: &str,
    info: &StoredPeerInfo,
    compress: bool,
) -> Result<(Vec<u8>, Vec<u8>), CoreError> {
    let source = if info.peer_id != peer_id {
        RecordError::PeerIdDiffers {
            found: info.peer_id.clone(),
        }
    } else if info.reputation > 100 {
        RecordError::Reputation {
            found: info.reputation,
        }
    } else {
        return PEERS.entry(peer_id, info, compress);
    };
    Err(CoreError::Record {
        tree: TreeId::Peers,
        key: peer_id.to_owned(),
        source,
    })
}

/// Puts a peer, in place of what was known of it.
///
/// # Errors
///
/// [`CoreError::Key`] for an id that is empty or too long, [`CoreError::Record`] for another id in
/// the record or a reputation over 100, [`CoreError::TooLarge`].
pub fn store(commit: &mut Commit, peer_id: &str, info: &StoredPeerInfo) -> Result<(), CoreError> {
    let (key, frame) = entry(peer_id, info, commit.compression())?;
    commit.put(TreeId::Peers, key, frame);
    Ok(())
}

fn encode(peers: &[(String, StoredPeerInfo)], compress: bool) -> Result<Entries, CoreError> {
    let entry = |(key, record): &(String, StoredPeerInfo)| entry(key, record, compress);
    peers.iter().map(entry).collect()
}

/// Puts many peers into one commit; returns how many were given.
///
/// # Errors
///
/// As [`store`], for the first bad one; then nothing is in the commit.
pub fn store_all(
    commit: &mut Commit,
    peers: &[(String, StoredPeerInfo)],
) -> Result<usize, CoreError> {
    let entries = encode(peers, commit.compression())?;
    commit.put_all(TreeId::Peers, entries);
    Ok(peers.len())
}

/// Stores many peers in chunks; returns how many were given. Every one is checked before the first
/// is written.
///
/// # Errors
///
/// As [`store`], with nothing written; [`CoreError::Batch`] once writing began.
pub fn store_batch(db: &Db, peers: &[(String, StoredPeerInfo)]) -> Result<usize, CoreError> {
    let entries = encode(peers, db.compression())?;
    batch::apply(db, Durability::Buffered, TreeId::Peers, entries)
}

/// The peer of this id.
///
/// # Errors
///
/// As [`Tree::load`].
pub fn load(db: &Db, peer_id: &str) -> Result<Option<StoredPeerInfo>, CoreError> {
    PEERS.load(db, peer_id)
}

/// The peer of this id, as `from` sees it.
///
/// # Errors
///
/// As [`Tree::get`].
pub fn get(from: &dyn Read, peer_id: &str) -> Result<Option<StoredPeerInfo>, CoreError> {
    PEERS.get(from, peer_id)
}

/// Removes a peer; returns whether it was there.
///
/// # Errors
///
/// As [`Tree::remove`].
pub fn remove(view: &dyn Read, commit: &mut Commit, peer_id: &str) -> Result<bool, CoreError> {
    PEERS.remove(view, commit, peer_id)
}

/// All peers, in the byte order of their ids.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn list(db: &Db) -> Result<Vec<(String, StoredPeerInfo)>, CoreError> {
    PEERS.list(db, |TextKey(id), info| (id, info))
}

/// Iterates over all peers, a page at a time, as [`Tree::iter`].
pub fn iter(db: &Db) -> impl Iterator<Item = Result<(String, StoredPeerInfo), CoreError>> {
    let peers = PEERS.iter(db, None, None);
    peers.map(|peer| peer.map(|(TextKey(id), info)| (id, info)))
}
