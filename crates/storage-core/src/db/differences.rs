//! The index against the journal while both are in use.

use std::cmp::Ordering;
use std::mem;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use storage_journal::Merged;

use super::Db;
use super::inner::Durable;
use super::pieces::pieces;
use super::recovery::chain;
use crate::error::CoreError;
use crate::index::{Index, IndexReader};
use crate::pages::Pages;
use crate::sharing::share;
use crate::tree::TreeId;
use crate::view::KeyRange;

/// Differences that are kept at most.
const MAX_KEPT: usize = 10_000;
/// Looks at what differed, beside the writers, before these have to wait.
const ROUNDS: usize = 2;

/// Records that are looked at before they are told.
const TOLD: usize = 512;

/// A record that differs.
type Differing = (TreeId, Vec<u8>, Difference);
/// Told of records and their bytes.
type Each<'a> = &'a (dyn Fn(usize, usize) -> Result<(), CoreError> + Sync);

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
    /// `threads` look at once. Each of them calls `each` with how many records, and how many bytes of them, it looked at
    /// since it did before: while nobody waits; an error ends it.
    ///
    /// # Errors
    ///
    /// [`CoreError::IndexDamaged`] if it cannot be read, and is given up: it is rebuilt. Other errors of index and
    /// journal, and those of `each`.
    pub fn differences(
        &self,
        threads: NonZero<usize>,
        each: Each<'_>,
    ) -> Result<Vec<Differing>, CoreError> {
        let index = self.inner.index()?;
        match self.compared(threads, each) {
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
        threads: NonZero<usize>,
        each: Each<'_>,
    ) -> Result<Vec<Differing>, CoreError> {
        let inner = &*self.inner;
        let Some(Durable { journal, .. }) = &inner.durable else {
            return Ok(Vec::new());
        };
        // What is held back is not in the index: that would be compared with itself.
        inner.settle_all(false)?;
        let index = inner.index()?;
        // On a disk of a test every call has its number.
        let threads = if inner.settles_beside {
            threads
        } else {
            NonZero::<usize>::MIN
        };
        let mut found = walk_all(&*index, &inner.merged_at_last(journal)?, threads, each)?;
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
            return self.compared(threads, each);
        }
        still(&*index, &inner.merged_at_last(journal)?, &mut found)?;
        Ok(found)
    }
}

/// Keeps those that still differ.
fn still(index: &dyn Index, merged: &Merged, found: &mut Vec<Differing>) -> Result<(), CoreError> {
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

fn walk_all(
    index: &dyn Index,
    merged: &Merged,
    threads: NonZero<usize>,
    each: Each<'_>,
) -> Result<Vec<Differing>, CoreError> {
    let pieces = pieces(&TreeId::ALL, merged.base());
    let all = Mutex::new(Vec::new());
    share("nonos-compare", &pieces, threads, |(tree, range)| {
        let found = walk(index, merged, *tree, range, each)?;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_KEPT.saturating_sub(all.len());
        all.extend(found.into_iter().take(room));
        Ok::<_, CoreError>(())
    })?;
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_unstable_by(|(tree, key, _), (other, of_other, _)| {
        (tree, key).cmp(&(other, of_other))
    });
    Ok(all)
}

fn walk(
    index: &dyn Index,
    merged: &Merged,
    tree: TreeId,
    (start, end): &KeyRange,
    each: Each<'_>,
) -> Result<Vec<Differing>, CoreError> {
    let (mut found, mut records, mut bytes) = (Vec::new(), 0, 0);
    let range = (
        start.as_ref().map(Vec::as_slice),
        end.as_ref().map(Vec::as_slice),
    );
    let mut should = merged.entries(tree.number(), range, false).peekable();
    let range = Ok((start.clone(), end.clone()));
    let mut has = Pages::new(IndexReader(index), tree, range).peekable();
    loop {
        let order = match (should.peek(), has.peek()) {
            (None, None) => break,
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
        records += 1;
        bytes += len(&right) + len(&left);
        if records == TOLD {
            each(mem::take(&mut records), mem::take(&mut bytes))?;
        }
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
    each(records, bytes)?;
    Ok(found)
}
