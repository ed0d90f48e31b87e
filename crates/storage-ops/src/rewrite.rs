//! Rewriting sensitive records, a bounded commit at a time, beside the writers.

use storage_core::{Commit, CoreError, Db, Durability, KeyRange, Order, Read, TreeId, View};

/// Records in a commit.
pub const RECORDS_IN_A_COMMIT: usize = 64;
const EVERYTHING: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);

/// What a record becomes.
pub trait ValueRewriter {
    /// Why it cannot go on.
    type Error: From<CoreError>;

    /// The new framed value of a record; `None` leaves it.
    ///
    /// # Errors
    ///
    /// Any, which ends the rewriting before the commit of this record.
    fn rewrite(
        &mut self,
        tree: TreeId,
        key: &[u8],
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Puts into the commit what goes with the records of it.
    ///
    /// # Errors
    ///
    /// Any: the commit is not made.
    fn commit(&mut self, view: &View<'_>, commit: &mut Commit) -> Result<(), Self::Error>;

    /// Told after each commit, with how many records are rewritten; may end the work.
    ///
    /// # Errors
    ///
    /// Any, which ends the rewriting: what was committed stays.
    fn committed(&mut self, records: u64) -> Result<(), Self::Error>;
}

/// Rewrites every record of these trees that the rewriter has another value for, until there is none
/// left; returns how many. A record that somebody else writes meanwhile is looked at once more.
///
/// There is no cursor: after an interruption the same call goes on.
///
/// # Errors
///
/// Those of the rewriter, and of committing.
pub fn rewrite_values<R: ValueRewriter>(
    db: &Db,
    trees: &[TreeId],
    rewriter: &mut R,
) -> Result<u64, R::Error> {
    let mut rewritten = 0;
    loop {
        let before = rewritten;
        for &tree in trees {
            let mut after = None;
            while let Some(batch) = next_batch(db, tree, after.as_deref(), rewriter)? {
                after = Some(batch.last);
                if batch.changes.is_empty() {
                    continue;
                }
                let (count, _) = db.update(Durability::Durable, |view, commit| {
                    let mut count = 0;
                    for (key, old, new) in batch.changes {
                        if view.get(tree, &key)?.as_ref() == Some(&old) {
                            commit.put(tree, key, new);
                            count += 1;
                        }
                    }
                    rewriter.commit(view, commit)?;
                    Ok::<_, R::Error>(count)
                })?;
                rewritten += count;
                rewriter.committed(rewritten)?;
            }
        }
        if rewritten == before {
            return Ok(rewritten);
        }
    }
}

struct Batch {
    last: Vec<u8>,
    changes: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
}

/// The next records and what they become; `None` at the end of the tree.
fn next_batch<R: ValueRewriter>(
    db: &Db,
    tree: TreeId,
    after: Option<&[u8]>,
    rewriter: &mut R,
) -> Result<Option<Batch>, R::Error> {
    let mut range = EVERYTHING;
    if let Some(after) = after {
        range.0 = std::ops::Bound::Excluded(after.to_vec());
    }
    let mut records = Vec::new();
    db.view()
        .scan(tree, &range, Order::Ascending, &mut |key, frame| {
            records.push((key.to_vec(), frame.to_vec()));
            Ok(records.len() < RECORDS_IN_A_COMMIT)
        })?;
    let Some((last, _)) = records.last() else {
        return Ok(None);
    };
    let last = last.clone();
    let mut changes = Vec::new();
    for (key, frame) in records {
        if let Some(new) = rewriter.rewrite(tree, &key, &frame)? {
            changes.push((key, frame, new));
        }
    }
    Ok(Some(Batch { last, changes }))
}
