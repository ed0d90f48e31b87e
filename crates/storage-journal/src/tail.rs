//! The tail: for each key that the commits after a checkpoint changed, where its last value is.

use std::io;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use crate::bytes::len_u64;
use crate::commit;
use crate::digest::MAX_TREES;
use crate::disk::DiskFile;
use places::Places;

pub(crate) use ahead::Ahead;

mod ahead;
mod leaf;
mod places;
#[cfg(test)]
mod tests;

/// Keys by tree and order, with the place of their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    trees: [Places; MAX_TREES],
    sources: Vec<Source>,
}

/// What values are read from.
#[derive(Clone, Debug)]
enum Source {
    File(Arc<dyn DiskFile>),
    /// The body of a commit that was corrected in reading: the file has other bytes.
    Here(Box<[u8]>),
}

/// Where a value is. There is one beside each key, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Deleted,
    At {
        /// Counted from 1.
        source: NonZeroU32,
        offset: u32,
        len: u32,
    },
}

impl Tail {
    /// Takes the changes of a commit whose body lies at `offset` of a file; `false` if it is malformed.
    pub(crate) fn apply(
        &mut self,
        file: &Arc<dyn DiskFile>,
        offset: usize,
        body: &[u8],
        corrected: bool,
    ) -> bool {
        self.try_apply(file, offset, body, corrected).is_some()
    }

    fn try_apply(
        &mut self,
        file: &Arc<dyn DiskFile>,
        offset: usize,
        body: &[u8],
        corrected: bool,
    ) -> Option<()> {
        let (source, offset) = self.source(file, offset, body, corrected)?;
        for change in commit::decode(body) {
            let change = change?;
            let place = match change.value {
                None => Place::Deleted,
                Some(value) => {
                    // Both are parts of one allocation, so the difference is the offset in it.
                    let at = value.as_ptr().addr() - body.as_ptr().addr();
                    Place::At {
                        source,
                        offset: u32::try_from(offset + at).ok()?,
                        len: u32::try_from(value.len()).ok()?,
                    }
                }
            };
            let tree = self.trees.get_mut(usize::from(change.tree))?;
            tree.insert(change.key, place)?;
        }
        Some(())
    }

    /// What the values of a body are read from, and the offset of the body in that.
    fn source(
        &mut self,
        file: &Arc<dyn DiskFile>,
        offset: usize,
        body: &[u8],
        corrected: bool,
    ) -> Option<(NonZeroU32, usize)> {
        // No segment that is written is so long that a place in it does not fit.
        let fits = u32::try_from(offset.saturating_add(body.len())).is_ok();
        let is_here = corrected || !fits;
        let is_same =
            matches!(self.sources.last(), Some(Source::File(last)) if Arc::ptr_eq(last, file));
        if is_here {
            self.sources.push(Source::Here(body.into()));
        } else if !is_same {
            // Commits come segment by segment.
            self.sources.push(Source::File(Arc::clone(file)));
        }
        let last = u32::try_from(self.sources.len()).ok()?;
        Some((NonZeroU32::new(last)?, if is_here { 0 } else { offset }))
    }

    /// How many keys were changed.
    pub(crate) fn len(&self) -> u64 {
        self.trees.iter().map(|tree| len_u64(tree.len())).sum()
    }

    pub(crate) fn get(&self, tree: u8, key: &[u8]) -> Option<&Place> {
        self.trees.get(usize::from(tree))?.get(key)
    }

    /// The changed keys of a range of a tree, in key order or against it.
    pub(crate) fn entries<'a>(
        &'a self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
    ) -> Box<dyn Iterator<Item = (&'a [u8], &'a Place)> + 'a> {
        let Some(places) = self.trees.get(usize::from(tree)) else {
            return Box::new(std::iter::empty());
        };
        if is_empty(range) {
            return Box::new(std::iter::empty());
        }
        let entries = places.range(range);
        if backwards {
            Box::new(entries.rev())
        } else {
            Box::new(entries)
        }
    }

    /// The value at a place; `None` if it was deleted. Who reads one after the other gives the same `ahead` each time.
    pub(crate) fn read(&self, place: &Place, ahead: &mut Ahead) -> io::Result<Option<Vec<u8>>> {
        let Place::At {
            source,
            offset,
            len,
        } = *place
        else {
            return Ok(None);
        };
        let number = |field| usize::try_from(field).unwrap_or(usize::MAX);
        let source = self.sources.get(number(source.get() - 1));
        match source.ok_or(io::ErrorKind::NotFound)? {
            Source::File(file) => ahead.read(file, offset.into(), number(len)).map(Some),
            Source::Here(body) => {
                let value = body
                    .get(number(offset)..)
                    .and_then(|from| from.get(..number(len)));
                let value = value.ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Some(value.to_vec()))
            }
        }
    }
}

/// Whether no key can be in the range: `BTreeMap` panics on a reversed one.
pub(crate) fn is_empty((start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (start, end) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
    }
}
