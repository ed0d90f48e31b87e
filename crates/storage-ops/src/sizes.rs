//! How many records each tree holds.

use storage_core::{CoreError, Db, Read, TreeId};

use crate::browse::{Selection, browse};

/// Records in each tree but `schema`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the tree of its name")]
pub struct TreeSizes {
    pub identity: usize,
    pub peers: usize,
    pub metrics: usize,
    pub epochs: usize,
    pub config: usize,
    pub claims: usize,
    pub secrets: usize,
    pub audit_log: usize,
}

impl TreeSizes {
    pub(crate) fn of(len: impl Fn(TreeId) -> usize) -> Self {
        Self {
            identity: len(TreeId::Identity),
            peers: len(TreeId::Peers),
            metrics: len(TreeId::Metrics),
            epochs: len(TreeId::Epochs),
            config: len(TreeId::Config),
            claims: len(TreeId::Claims),
            secrets: len(TreeId::Secrets),
            audit_log: len(TreeId::AuditLog),
        }
    }

    /// Each tree and its records, in the order of [`TreeId::ALL`].
    pub const fn by_tree(&self) -> [(TreeId, usize); 8] {
        [
            (TreeId::Identity, self.identity),
            (TreeId::Peers, self.peers),
            (TreeId::Metrics, self.metrics),
            (TreeId::Epochs, self.epochs),
            (TreeId::Config, self.config),
            (TreeId::Claims, self.claims),
            (TreeId::Secrets, self.secrets),
            (TreeId::AuditLog, self.audit_log),
        ]
    }

    /// All records.
    pub fn total(&self) -> usize {
        self.by_tree().iter().map(|(_, records)| records).sum()
    }
}

/// Counts the records of each tree; the database keeps the counts, so this costs no read.
///
/// # Errors
///
/// [`CoreError::Closed`].
pub fn tree_sizes(db: &Db) -> Result<TreeSizes, CoreError> {
    Ok(TreeSizes {
        identity: db.len(TreeId::Identity)?,
        peers: db.len(TreeId::Peers)?,
        metrics: db.len(TreeId::Metrics)?,
        epochs: db.len(TreeId::Epochs)?,
        config: db.len(TreeId::Config)?,
        claims: db.len(TreeId::Claims)?,
        secrets: db.len(TreeId::Secrets)?,
        audit_log: db.len(TreeId::AuditLog)?,
    })
}

/// The bytes of keys and stored values of each tree, in the order of [`TreeId::ALL`]: reads every record, a page at a
/// time.
///
/// # Errors
///
/// [`CoreError::Closed`] and errors of the index.
pub fn tree_bytes(from: &dyn Read) -> Result<[u64; 9], CoreError> {
    let mut bytes = [0; 9];
    for (of_tree, tree) in bytes.iter_mut().zip(TreeId::ALL) {
        browse(from, tree, &Selection::default(), &mut |key, frame| {
            *of_tree += u64::try_from(key.len() + frame.len()).unwrap_or(u64::MAX);
            Ok::<_, CoreError>(true)
        })?;
    }
    Ok(bytes)
}
