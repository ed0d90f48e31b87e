//! The cursor of a migration that is under way: in the commit of the records that it speaks of, so
//! that data and progress agree after any crash.

use serde::{Deserialize, Serialize};
use storage_core::{Commit, CoreError, Encoding, Read, TreeId, open_frame, seal_frame};

use crate::error::SchemaError;

/// Its key in the `schema` tree.
pub(crate) const CURSOR_KEY: &str = "__migration__";

/// The cursor's own version.
const VERSION: u8 = 1;

/// How far a migration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// How many of the step's trees are done.
    pub(crate) trees_done: u32,
    /// The last key that was converted in the tree after them.
    pub(crate) after: Option<Vec<u8>>,
    /// Records that were converted or set aside.
    pub(crate) done: u64,
    /// Records that there are to convert.
    pub(crate) total: u64,
    /// Records that were set aside.
    pub(crate) quarantined: u64,
    /// Records that there must be afterwards.
    pub(crate) expected: u64,
    /// When it began, in Unix milliseconds.
    pub(crate) started_at_ms: i64,
    /// How often it was begun or gone on with.
    pub(crate) attempts: u32,
    /// The checkpoint of what was there before, by its name in the journal's directory.
    pub(crate) before: String,
    /// Whether it is being undone.
    pub(crate) is_aborting: bool,
}

impl Cursor {
    /// The cursor that a database holds.
    pub(crate) fn load(view: &dyn Read) -> Result<Option<Self>, SchemaError> {
        let key = CURSOR_KEY.as_bytes();
        let Some(stored) = view.get(TreeId::Schema, key)? else {
            return Ok(None);
        };
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| {
            SchemaError::UnreadableCursor { source }
        };
        let frame = open_frame(TreeId::Schema, key, &stored).map_err(|e| unreadable(e.into()))?;
        if frame.record_version != VERSION {
            let found = format!("a cursor of version {}", frame.record_version);
            return Err(unreadable(found.into()));
        }
        let cursor = postcard::from_bytes(&frame.body);
        cursor.map(Some).map_err(|e| unreadable(e.into()))
    }

    pub(crate) fn store(&self, commit: &mut Commit) -> Result<(), CoreError> {
        let key = CURSOR_KEY.as_bytes();
        let body = postcard::to_allocvec(self).map_err(|source| CoreError::Serialization {
            tree: TreeId::Schema,
            source: Box::new(source),
        })?;
        let frame = seal_frame(
            TreeId::Schema,
            key,
            Encoding::Postcard,
            VERSION,
            &body,
            false,
        )?;
        commit.put(TreeId::Schema, key.to_vec(), frame);
        Ok(())
    }

    pub(crate) fn remove(commit: &mut Commit) {
        commit.delete(TreeId::Schema, CURSOR_KEY.as_bytes().to_vec());
    }
}
