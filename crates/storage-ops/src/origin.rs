//! Where a restored database comes from: a record in its tree `schema`.
//!
//! A database that was put back is not the one that the commits after the backup were made in: its
//! commits get the same numbers. Its history has an id of its own, so that no backup goes on from one of
//! another history. And a copy may have been made beside a node that still runs: which of them it is has
//! to be said once, which is noted here as well.

use serde::{Deserialize, Serialize};
use storage_core::history::Record;
use storage_core::{Commit, CoreError, Encoding, Read, TreeId, decode_record, seal_frame};

/// Its key.
pub(crate) const KEY: &[u8] = b"__origin__";
/// Of records of the present schema.
const VERSION: u8 = 2;

/// The id of a history: zeros if the database was never restored.
pub type HistoryId = [u8; 16];

/// What a restored database says of its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// Of its own, random.
    pub history: HistoryId,
    /// The commit that was restored.
    pub commit: u64,
    /// When that was, in Unix seconds.
    pub restored_at: i64,
    /// Whether it was said that this is the node, or another one.
    pub is_settled: bool,
}

impl Origin {
    pub(crate) fn new(history: HistoryId, commit: u64, restored_at: i64) -> Self {
        Self {
            history,
            commit,
            restored_at,
            is_settled: false,
        }
    }

    /// The record, as a checkpoint has it.
    pub(crate) fn record(&self) -> Result<Record, CoreError> {
        Ok((TreeId::Schema.number(), KEY.to_vec(), self.frame()?))
    }

    fn frame(&self) -> Result<Vec<u8>, CoreError> {
        let body = postcard::to_allocvec(self).map_err(|source| CoreError::Serialization {
            tree: TreeId::Schema,
            source: Box::new(source),
        })?;
        seal_frame(
            TreeId::Schema,
            KEY,
            Encoding::Postcard,
            VERSION,
            &body,
            false,
        )
    }
}

/// Where a database comes from; `None` if it was never restored.
///
/// # Errors
///
/// [`CoreError::Corrupt`], errors of reading.
pub fn origin(from: &dyn Read) -> Result<Option<Origin>, CoreError> {
    let Some(frame) = from.get(TreeId::Schema, KEY)? else {
        return Ok(None);
    };
    decode_record(TreeId::Schema, KEY, &frame).map(Some)
}

/// Notes in a commit that it was said which node a restored database is; returns what it says of its
/// beginning, or `None` if there was nothing to be said.
///
/// # Errors
///
/// As [`origin`]: nothing is in the commit.
pub fn settle(from: &dyn Read, commit: &mut Commit) -> Result<Option<Origin>, CoreError> {
    let Some(mut origin) = origin(from)?.filter(|origin| !origin.is_settled) else {
        return Ok(None);
    };
    origin.is_settled = true;
    commit.put(TreeId::Schema, KEY.to_vec(), origin.frame()?);
    Ok(Some(origin))
}
