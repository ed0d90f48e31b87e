//! `audit_log`: what was done to sensitive records, in order.
//!
//! # Invariants
//!
//! - An entry is in the commit of its operation: both are there, or neither.
//! - The times are strictly increasing, so no entry takes another's key: each is the time of the
//!   clock or one millisecond after the newest entry, whichever is later.

use serde::{Deserialize, Serialize};

use crate::commit::Commit;
use crate::error::CoreError;
use crate::key::TimestampKey;
use crate::tree::{Tree, TreeId};
use crate::view::{Order, Read};

const AUDIT_LOG: Tree<TimestampKey, AuditLogEntry> = Tree::new(TreeId::AuditLog);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogEntry {
    /// When, in Unix milliseconds; unique and increasing.
    pub timestamp: i64,
    /// The tree it changed.
    pub tree: String,
    /// What it did, `store` or `delete`.
    pub operation: String,
    /// Which record, never its value.
    pub details: Option<String>,
}

/// Adds an entry to the commit of its operation. Callers do this last before what cannot fail, so
/// that an error leaves neither in the commit.
///
/// # Errors
///
/// [`CoreError::Key`] for a clock before 1970 and an empty log, [`CoreError::TooLarge`].
pub(crate) fn append(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    tree: TreeId,
    operation: &str,
    details: Option<String>,
) -> Result<(), CoreError> {
    let newest = AUDIT_LOG.edge(&commit.over(view), Order::Descending)?;
    let timestamp = match newest {
        Some(TimestampKey(newest)) => now_ms.max(newest.saturating_add(1)),
        None => now_ms,
    };
    let entry = AuditLogEntry {
        timestamp,
        tree: tree.name().to_owned(),
        operation: operation.to_owned(),
        details,
    };
    AUDIT_LOG.insert(commit, &timestamp, &entry)
}

/// The newest `count` entries, newest first.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn latest(from: &dyn Read, count: usize) -> Result<Vec<AuditLogEntry>, CoreError> {
    let mut entries = Vec::new();
    AUDIT_LOG.scan(from, None, None, Order::Descending, |_, entry| {
        if entries.len() < count {
            entries.push(entry);
        }
        entries.len() < count
    })?;
    Ok(entries)
}
