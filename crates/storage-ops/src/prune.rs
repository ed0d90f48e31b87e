//! Removing records by age.

use std::ops::Bound;

use storage_core::{
    CoreError, Db, Durability, ErrorCode, Key, MAX_BATCH_SIZE, Order, Read, TimestampKey, TreeId,
};

/// Why records were not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The cutoff is before 1970, when there are no records. Nothing was removed.
    #[error("the cutoff {cutoff} is before 1970")]
    Cutoff {
        /// The cutoff as it was given, in Unix seconds.
        cutoff: i64,
    },
    /// What is in the tree is kept for ever. Nothing was removed.
    #[error("nothing is ever pruned from {}", tree.name())]
    Tree {
        /// The tree.
        tree: TreeId,
    },
    /// What is in the tree is not wiped with the rest. Nothing was removed.
    #[error("{} is not wiped", tree.name())]
    Kept {
        /// The tree.
        tree: TreeId,
    },
    /// The tree cannot be read or written. Records up to some age may be gone.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl PruneError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Cutoff { .. } | Self::Tree { .. } | Self::Kept { .. } => {
                ErrorCode::InvalidArgument
            }
            Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Cutoff { .. } => Some("give the cutoff in Unix seconds"),
            Self::Tree { .. } => Some("give metrics, audit_log, epochs or peers"),
            Self::Kept { .. } => Some(
                "give identity, peers, metrics, epochs, config, claims or secrets; `nonos prune` removes old audit entries",
            ),
            Self::Core(error) => error.remedy(),
        }
    }
}

/// Removes every metrics record older than `cutoff` and returns how many.
///
/// `cutoff` is in Unix seconds, UTC, and is exclusive: a record stamped exactly `cutoff` stays.
/// Removal runs in commits of at most [`MAX_BATCH_SIZE`] records, oldest first, so an interrupted
/// call leaves the oldest gone and the rest intact; calling again finishes the work. The disk does
/// not shrink by it.
///
/// # Errors
///
/// - [`PruneError::Cutoff`] if `cutoff` is before 1970. Nothing was removed.
/// - [`PruneError::Core`] if the tree cannot be read or written.
pub fn prune_metrics(db: &Db, cutoff: i64) -> Result<usize, PruneError> {
    let end = TimestampKey::encode(&cutoff).ok();
    let end = end.ok_or(PruneError::Cutoff { cutoff })?;
    let range = (Bound::Unbounded, Bound::Excluded(end.into_owned()));
    let mut removed = 0;
    loop {
        let (keys, _) = db.update(Durability::Buffered, |view, commit| {
            let mut keys = Vec::new();
            view.scan(TreeId::Metrics, &range, Order::Ascending, &mut |key, _| {
                keys.push(key.to_vec());
                Ok(keys.len() < MAX_BATCH_SIZE)
            })?;
            let found = keys.len();
            for key in keys {
                commit.delete(TreeId::Metrics, key);
            }
            Ok::<_, CoreError>(found)
        })?;
        removed += keys;
        if keys < MAX_BATCH_SIZE {
            return Ok(removed);
        }
    }
}
