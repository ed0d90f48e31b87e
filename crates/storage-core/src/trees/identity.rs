//! `identity`: who this node is. The id and the key, sealed or as it is given, are stored together,
//! and audited.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::Encoding;
use crate::tree::TreeId;
use crate::trees::audit_log;
use crate::trees::secrets::{self, Stored};
use crate::view::Read;

/// The key of the node's id.
pub const NODE_ID: &[u8] = b"node_id";
/// The key of its secret key.
pub const ENCRYPTED_KEY: &[u8] = b"encrypted_key";

/// The id of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The id of these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id as 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

/// `nxnd_` and the first 16 hexadecimal digits; [`to_hex`](NodeId::to_hex) has all.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, _) = self.0.split_at(8);
        write!(f, "nxnd_{}", HEXLOWER.encode(start))
    }
}

/// Puts the id and its encrypted key, in place of earlier ones, and the audit entry.
///
/// # Errors
///
/// [`CoreError::TooLarge`] for a key over the tree's maximum.
pub fn store(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    node_id: &NodeId,
    encrypted_key: Stored<&[u8]>,
) -> Result<(), CoreError> {
    let tree = TreeId::Identity;
    let id_frame = Stored::Plain(node_id.as_bytes()).frame(tree, NODE_ID)?;
    let key_frame = encrypted_key.frame(tree, ENCRYPTED_KEY)?;
    let details = Some(node_id.to_string());
    audit_log::append(view, commit, now_ms, tree, "store", details)?;
    commit.put(tree, NODE_ID.to_vec(), id_frame);
    commit.put(tree, ENCRYPTED_KEY.to_vec(), key_frame);
    Ok(())
}

/// Removes the id and its key, with the audit entry.
///
/// # Errors
///
/// Errors of the index.
pub fn delete(view: &dyn Read, commit: &mut Commit, now_ms: i64) -> Result<(), CoreError> {
    let tree = TreeId::Identity;
    audit_log::append(view, commit, now_ms, tree, "delete", None)?;
    commit.delete(tree, NODE_ID.to_vec());
    commit.delete(tree, ENCRYPTED_KEY.to_vec());
    Ok(())
}

/// The node's id.
///
/// # Errors
///
/// [`CoreError::Corrupt`] and errors of the index.
pub fn node_id(from: &dyn Read) -> Result<Option<NodeId>, CoreError> {
    let Some(frame) = from.get(TreeId::Identity, NODE_ID)? else {
        return Ok(None);
    };
    let bytes = codec::open(TreeId::Identity, NODE_ID, &frame, Encoding::Raw)?;
    let len = bytes.len();
    let id = (*bytes).try_into().ok().ok_or(DecodeError::NodeId { len });
    let id = id.map_err(|source| CoreError::corrupt(TreeId::Identity, NODE_ID, source))?;
    Ok(Some(NodeId(id)))
}

/// The node's secret key.
///
/// # Errors
///
/// [`CoreError::Corrupt`] and errors of the index.
pub fn encrypted_key(from: &dyn Read) -> Result<Option<Stored<Vec<u8>>>, CoreError> {
    let frame = from.get(TreeId::Identity, ENCRYPTED_KEY)?;
    let key = frame.map(|frame| secrets::open(TreeId::Identity, ENCRYPTED_KEY, &frame));
    key.transpose()
}
