//! The index against the journal while both are in use.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use storage_journal::Merged;

use super::Db;
use super::inner::Durable;
use super::recovery::chain;
use crate::error::CoreError;
use crate::index::{Index, IndexReader};
use crate::pages::Pages;
use crate::tree::TreeId;

/// Differences that are kept at most.
const MAX_KEPT: usize = 10_000;
/// Looks at what differed, beside the writers, before these have to wait.
const ROUNDS: usize = 2;

/// How the index differs from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The index lacks a record.
    Missing,
    /// The index has a record that the journal has not.
    Extra,
    /// The index has another value.
    Changed,
}

impl Db {
    /// Compares every record of the index with the merged stream, beside the writers; returns what differs,
    /// 10,000 at most. A record that was written meanwhile is looked at again. A database in memory, or one
    /// that is open for reading only, has one copy, which differs from nothing.
    ///
    /// `each` is called for every record with the bytes that were read of it, while nobody waits, and ends it by
    /// an error.
    ///
    /// # Errors
    ///
    /// [`CoreError::IndexDamaged`] if it cannot be read, and is given up: it is rebuilt. Other errors of index and
    /// journal, and those of `each`.
    pub fn differences(
        &self,
        each: &mut dyn FnMut(usize) -> Result<(), CoreError>,
    ) -> Result<Vec<(TreeId, Vec<u8>, Difference)>, CoreError> {
        let index = self.inner.index()?;
        match self.compared(each) {
            Err(error) if error.is_index_damage() => {
                let source = chain(&error).into();
                let path = self.inner.path.clone().unwrap_or_default();
                let _between = self.inner.between_commits();
                self.inner.fall_back(&index, error)?;
                Err(CoreError::IndexDamaged { path, source })
            }
            found => found,
        }
    }

    fn compared(
        &self,
        each: &mut dyn FnMut(usize) -> Result<(), CoreError>,
    ) -> Result<Vec<(TreeId, Vec<u8>, Difference)>, CoreError> {
        let inner = &*self.inner;
        let Some(Durable { journal, .. }) = &inner.durable else {
            return Ok(Vec::new());
        };
        // What is held back is not in the index: that would be compared with itself.
        inner.settle_all(false)?;
        let index = inner.index()?;
        let mut found = Vec::new();
        let merged = inner.merged_at_last(journal)?;
        for tree in TreeId::ALL {
            walk(&*index, &merged, tree, each, &mut found)?;
        }
        for _ in 0..ROUNDS {
            if found.is_empty() {
                return Ok(Vec::new());
            }
            still(&*index, &inner.merged_at_last(journal)?, &mut found)?;
        }
        let turn = inner.take_turn()?;
        if !Arc::ptr_eq(&index, &inner.index()?) {
            // It was made anew meanwhile, and the one that was looked at gets no commits any more.
            drop(turn);
            return self.compared(each);
        }
        still(&*index, &inner.merged_at_last(journal)?, &mut found)?;
        Ok(found)
    }
}

/// Keeps those that still differ.
fn still(
    index: &dyn Index,
    merged: &Merged,
    found: &mut Vec<(TreeId, Vec<u8>, Difference)>,
) -> Result<(), CoreError> {
    let mut kept = Vec::new();
    for (tree, key, _) in found.drain(..) {
        let difference = match (index.get(tree, &key)?, merged.get(tree.number(), &key)?) {
            (has, should) if has == should => continue,
            (None, _) => Difference::Missing,
            (_, None) => Difference::Extra,
            _ => Difference::Changed,
        };
        kept.push((tree, key, difference));
    }
    *found = kept;
    Ok(())
}

fn walk(
    index: &dyn Index,
    merged: &Merged,
    tree: TreeId,
    each: &mut dyn FnMut(usize) -> Result<(), CoreError>,
    found: &mut Vec<(TreeId, Vec<u8>, Difference)>,
) -> Result<(), CoreError> {
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let mut should = merged.entries(tree.number(), everything, false).peekable();
    let all = Ok((Bound::Unbounded, Bound::Unbounded));
    let mut has = Pages::new(IndexReader(index), tree, all).peekable();
    loop {
        let order = match (should.peek(), has.peek()) {
            (None, None) => return Ok(()),
            (Some(Err(_)), _) | (_, Some(Err(_))) => Ordering::Equal,
            (Some(Ok(_)), None) => Ordering::Less,
            (None, Some(Ok(_))) => Ordering::Greater,
            (Some(Ok((should, _))), Some(Ok((has, _)))) => should.cmp(has),
        };
        let right = if order.is_le() {
            should.next().transpose()?
        } else {
            None
        };
        let left = if order.is_ge() {
            has.next().transpose()?
        } else {
            None
        };
        let len = |record: &Option<(Vec<u8>, Vec<u8>)>| {
            let record = record.as_ref();
            record.map_or(0, |(key, value)| key.len() + value.len())
        };
        each(len(&right) + len(&left))?;
        if right == left || found.len() >= MAX_KEPT {
            continue;
        }
        let (key, difference) = match (right, left) {
            (Some((key, _)), None) => (key, Difference::Missing),
            (None, Some((key, _))) => (key, Difference::Extra),
            (Some((key, _)), Some(_)) => (key, Difference::Changed),
            (None, None) => continue,
        };
        found.push((tree, key, difference));
    }
}
