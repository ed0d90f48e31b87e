//! When a database was last looked after: a record in its tree `schema`.
//!
//! Backups are not in it: they are noted where they are, and each would make another one due.

use serde::{Deserialize, Serialize};
use storage_core::{Commit, CoreError, Encoding, Read, TreeId, decode_record, seal_frame};

/// Its key.
pub(crate) const KEY: &[u8] = b"__upkeep__";
/// Of records of the present schema.
const VERSION: u8 = 2;

/// When it was last done, in Unix seconds; `None` if it never was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Upkeep {
    /// Every record was read and compared.
    pub scrubbed_at: Option<i64>,
    /// How many errors that found.
    pub scrub_errors: u64,
    /// The newest backup was restored and verified, without an error.
    pub drilled_at: Option<i64>,
    /// The index was made anew.
    pub compacted_at: Option<i64>,
}

/// When the database was last looked after.
///
/// # Errors
///
/// [`CoreError::Corrupt`], errors of reading.
pub fn upkeep(from: &dyn Read) -> Result<Upkeep, CoreError> {
    match from.get(TreeId::Schema, KEY)? {
        Some(frame) => decode_record(TreeId::Schema, KEY, &frame),
        None => Ok(Upkeep::default()),
    }
}

/// Notes in a commit what changed.
///
/// # Errors
///
/// As [`upkeep`].
pub fn note_upkeep(
    from: &dyn Read,
    commit: &mut Commit,
    change: impl FnOnce(&mut Upkeep),
) -> Result<(), CoreError> {
    let tree = TreeId::Schema;
    let mut upkeep = self::upkeep(from)?;
    change(&mut upkeep);
    let body = postcard::to_allocvec(&upkeep).map_err(|source| CoreError::Serialization {
        tree,
        source: Box::new(source),
    })?;
    let frame = seal_frame(tree, KEY, Encoding::Postcard, VERSION, &body, false)?;
    commit.put(tree, KEY.to_vec(), frame);
    Ok(())
}
