//! A cache of decoded records, bounded in bytes.
//!
//! # Invariant
//!
//! A read that begins after a commit was applied never sees what the commit replaced: the writer
//! removes the key after applying, which also voids the place that a concurrent reader holds for
//! the old record it is still decoding.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use quick_cache::sync::{Cache, GuardResult};

use crate::tree::TreeId;

/// What a record costs beside its bytes: key, strings, bookkeeping.
const ENTRY_OVERHEAD: usize = 192;

pub(crate) struct RecordCache {
    cache: Cache<Vec<u8>, Cached, Weigh>,
}

/// What was found, and whether the cache had it.
pub(crate) enum Found<T> {
    Hit(T),
    Miss(Option<T>),
}

impl RecordCache {
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let entries = usize::try_from(capacity_bytes / 512).unwrap_or(usize::MAX);
        Self {
            cache: Cache::with_weighter(entries, capacity_bytes, Weigh),
        }
    }

    /// The record under the key; where the cache lacks it, `load` brings it with its size in bytes.
    pub(crate) fn get_or_load<T, E>(
        &self,
        tree: TreeId,
        key: &[u8],
        load: impl FnOnce() -> Result<Option<(T, usize)>, E>,
    ) -> Result<Found<T>, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        let place = match self
            .cache
            .get_value_or_guard(tagged(tree, key).as_slice(), None)
        {
            GuardResult::Value(cached) => match cached.record.downcast_ref::<T>() {
                Some(record) => return Ok(Found::Hit(record.clone())),
                None => None,
            },
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let Some((record, size)) = load()? else {
            return Ok(Found::Miss(None));
        };
        if let Some(place) = place {
            let cached = Cached {
                record: Arc::new(record.clone()),
                size,
            };
            // A writer removed the place meanwhile: then this record is of the past, not for the cache.
            let _ = place.insert(cached);
        }
        Ok(Found::Miss(Some(record)))
    }

    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    pub(crate) fn remove(&self, tree: TreeId, key: &[u8]) {
        self.cache.remove(tagged(tree, key).as_slice());
    }
}

impl fmt::Debug for RecordCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordCache")
            .field("entries", &self.cache.len())
            .field("bytes", &self.cache.weight())
            .finish()
    }
}

#[derive(Clone)]
struct Cached {
    record: Arc<dyn Any + Send + Sync>,
    size: usize,
}

#[derive(Clone)]
struct Weigh;

impl quick_cache::Weighter<Vec<u8>, Cached> for Weigh {
    fn weight(&self, key: &Vec<u8>, cached: &Cached) -> u64 {
        u64::try_from(key.len() + cached.size + ENTRY_OVERHEAD).unwrap_or(u64::MAX)
    }
}

/// The key of the cache: the tree's number, then the key in the tree.
fn tagged(tree: TreeId, key: &[u8]) -> Vec<u8> {
    let mut tagged = Vec::with_capacity(1 + key.len());
    tagged.push(tree.number());
    tagged.extend_from_slice(key);
    tagged
}
