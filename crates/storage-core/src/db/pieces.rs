//! Trees cut into pieces, for who looks at several at once.

use std::mem;
use std::ops::Bound;

use storage_journal::checkpoint::{self, Checkpoint};

use super::Db;
use crate::tree::TreeId;
use crate::view::KeyRange;

impl Db {
    /// The ranges that trees consist of, in the order of tree and key: about 2 MiB each, as the newest checkpoint
    /// of a database that is open for writing has them. What was stored since is not reckoned with; where there is no
    /// checkpoint, each tree is one range.
    pub fn pieces(&self, trees: &[TreeId]) -> Vec<(TreeId, KeyRange)> {
        let journal = self.inner.durable.as_ref().map(|durable| &durable.journal);
        let newest = journal.and_then(|journal| {
            let newest = checkpoint::newest(&**journal.disk(), journal.directory());
            // Where it cannot be read, nothing depends on it.
            newest.ok().flatten()
        });
        pieces(trees, newest.as_ref())
    }
}

/// [`Db::pieces`] as this checkpoint has them.
pub(super) fn pieces(trees: &[TreeId], base: Option<&Checkpoint>) -> Vec<(TreeId, KeyRange)> {
    let mut pieces = Vec::new();
    for &tree in trees {
        let mut start = Bound::Unbounded;
        for cut in base.into_iter().flat_map(|base| base.cuts(tree.number())) {
            let begin = mem::replace(&mut start, Bound::Included(cut.to_vec()));
            pieces.push((tree, (begin, Bound::Excluded(cut.to_vec()))));
        }
        pieces.push((tree, (start, Bound::Unbounded)));
    }
    pieces
}
