//! A commit: puts and deletes over any of the trees, applied all or not at all.

use std::fmt;

use crate::batch::Entries;
use crate::changes::{self, Change, Changes};
use crate::error::CoreError;
use crate::tree::TreeId;
use crate::trees::audit_log::HeadSealer;
use crate::view::{KeyRange, Order, Read, Visit};
use crate::window::Sample;

/// What one commit changes. Of several changes to a key the last counts.
#[derive(Default)]
pub struct Commit {
    changes: Changes,
    /// The samples that were put, as they were given.
    samples: Vec<Sample>,
    /// Whether these are not all changes to their tree.
    changes_other_samples: bool,
    compression: bool,
    audit: Audit,
}

/// What the audit log needs to know of the database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    pub(crate) store_id: [u8; 16],
    pub(crate) sealer: HeadSealer,
}

/// Says how much it changes, not what: values may be secrets.
impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = TreeId::ALL.map(|tree| (tree, self.changes.of(tree).count()));
        let changes = changes.into_iter().filter(|(_, count)| *count > 0);
        f.write_str("Commit ")?;
        f.debug_map().entries(changes).finish()
    }
}

impl Commit {
    pub(crate) fn new(compression: bool, audit: Audit) -> Self {
        Self {
            compression,
            audit,
            ..Self::default()
        }
    }

    /// Lets somebody else vouch for the audit entries of this commit.
    pub fn set_head_sealer(&mut self, sealer: HeadSealer) {
        self.audit.sealer = sealer;
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Whether values put into this commit are compressed where that pays.
    pub fn compression(&self) -> bool {
        self.compression
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Puts entries that were checked and encoded before.
    pub(crate) fn put_all(&mut self, tree: TreeId, entries: Entries) {
        for (key, frame) in entries {
            self.put(tree, key, frame);
        }
    }

    /// Puts a sample with what it is encoded to, in place of what was there.
    pub(crate) fn put_sample(&mut self, sample: Sample, key: Vec<u8>, frame: Vec<u8>) {
        self.samples.push(sample);
        self.changes.insert(TreeId::Metrics, key, Some(frame));
    }

    /// The samples that this commit puts, the later ones in place of the earlier, if that is all it does to their tree.
    pub(crate) fn samples(&self) -> Option<&[Sample]> {
        (!self.changes_other_samples).then_some(&self.samples)
    }

    /// Puts a framed value, in place of what was there.
    pub fn put(&mut self, tree: TreeId, key: Vec<u8>, frame: Vec<u8>) {
        self.changes_other_samples |= tree == TreeId::Metrics;
        self.changes.insert(tree, key, Some(frame));
    }

    /// Removes a key that is known to exist.
    pub fn delete(&mut self, tree: TreeId, key: Vec<u8>) {
        self.changes_other_samples |= tree == TreeId::Metrics;
        self.changes.insert(tree, key, None);
    }

    /// Removes a key, if `view` with this commit on top has it; returns whether it has.
    ///
    /// # Errors
    ///
    /// Errors of the index.
    pub fn remove(
        &mut self,
        view: &dyn Read,
        tree: TreeId,
        key: Vec<u8>,
    ) -> Result<bool, CoreError> {
        let exists = self.over(view).get(tree, &key)?.is_some();
        if exists {
            self.delete(tree, key);
        }
        Ok(exists)
    }

    /// The state that this commit makes of `view`: reads see what the commit already holds.
    pub fn over<'a>(&'a self, view: &'a dyn Read) -> Pending<'a> {
        Pending { view, commit: self }
    }

    /// The changes of a tree, in the order of keys.
    pub(crate) fn changes_of(&self, tree: TreeId) -> impl Iterator<Item = Change<'_>> {
        self.changes.of(tree)
    }

    /// The changes in the order of tree and key.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (TreeId, &[u8], Option<&[u8]>)> + Clone {
        self.changes.iter()
    }
}

/// A view with a commit on top of it.
#[derive(Debug)]
pub struct Pending<'a> {
    view: &'a dyn Read,
    commit: &'a Commit,
}

impl Read for Pending<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        match self.commit.changes.get(tree, key) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(tree, key),
        }
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let changes = self.commit.changes.range(tree, range, order);
        changes::over(changes, order, visit, |visit| {
            self.view.scan(tree, range, order, visit)
        })
    }
}
