//! The tail: for each key that the commits after a checkpoint changed, where its last value is.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use crate::bytes::len_u64;
use crate::commit;
use crate::digest::MAX_TREES;
use crate::disk::DiskFile;

pub(crate) use ahead::Ahead;

mod ahead;
#[cfg(test)]
mod tests;

/// Keys by tree and order, with the place of their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    places: [BTreeMap<Box<[u8]>, Place>; MAX_TREES],
    segments: Vec<Arc<dyn DiskFile>>,
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Deleted,
    At {
        segment: usize,
        offset: u64,
        len: usize,
    },
    /// In a frame that was corrected in reading: the file has other bytes.
    Here(Box<[u8]>),
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
        // Commits come segment by segment.
        if self
            .segments
            .last()
            .is_none_or(|last| !Arc::ptr_eq(last, file))
        {
            self.segments.push(Arc::clone(file));
        }
        let segment = self.segments.len() - 1;
        for change in commit::decode(body) {
            let Some(change) = change else {
                return false;
            };
            let place = match change.value {
                None => Place::Deleted,
                Some(value) if corrected => Place::Here(value.into()),
                Some(value) => {
                    // Both are parts of one allocation, so the difference is the offset in it.
                    let at = value.as_ptr().addr() - body.as_ptr().addr();
                    Place::At {
                        segment,
                        offset: u64::try_from(offset + at).unwrap_or(u64::MAX),
                        len: value.len(),
                    }
                }
            };
            let Some(places) = self.places.get_mut(usize::from(change.tree)) else {
                return false;
            };
            places.insert(change.key.into(), place);
        }
        true
    }

    /// How many keys were changed.
    pub(crate) fn len(&self) -> u64 {
        self.places.iter().map(|places| len_u64(places.len())).sum()
    }

    pub(crate) fn get(&self, tree: u8, key: &[u8]) -> Option<&Place> {
        self.places.get(usize::from(tree))?.get(key)
    }

    /// The changed keys of a range of a tree, in key order or against it.
    pub(crate) fn entries<'a>(
        &'a self,
        tree: u8,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
    ) -> Box<dyn Iterator<Item = (&'a [u8], &'a Place)> + 'a> {
        let Some(places) = self.places.get(usize::from(tree)) else {
            return Box::new(std::iter::empty());
        };
        if is_empty(range) {
            return Box::new(std::iter::empty());
        }
        let entries = places
            .range::<[u8], _>(range)
            .map(|(key, place)| (&**key, place));
        if backwards {
            Box::new(entries.rev())
        } else {
            Box::new(entries)
        }
    }

    /// The value at a place; `None` if it was deleted. Who reads one after the other gives the same `ahead` each time.
    pub(crate) fn read(&self, place: &Place, ahead: &mut Ahead) -> io::Result<Option<Vec<u8>>> {
        match place {
            Place::Deleted => Ok(None),
            Place::Here(value) => Ok(Some(value.to_vec())),
            Place::At {
                segment,
                offset,
                len,
            } => {
                let file = self.segments.get(*segment);
                let file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                ahead.read(file, *offset, *len).map(Some)
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
