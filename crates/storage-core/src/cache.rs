//! A cache of records, checked when they were read or just made, bounded in bytes: each as its body, which decodes in about the time that a decoded record
//! takes to be copied, and takes half of its memory.
//!
//! # Invariant
//!
//! A read that begins after a commit was applied never sees what the commit replaced: the writer
//! removes the key after applying, which also voids the place that a concurrent reader holds for
//! the old record that it is still loading. What was kept is then kept as it is now, where its body lies in the commit as it is.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{Equivalent, Weighter};

use crate::tree::TreeId;

/// What a record costs beside its key and body: two allocations, their rounding, its places in the cache.
const ENTRY_OVERHEAD: usize = 96;

pub(crate) struct RecordCache {
    cache: Cache<Place, Arc<[u8]>, Weigh>,
}

/// What was found, and whether the cache had it.
pub(crate) enum Found<T> {
    Hit(Arc<[u8]>),
    Miss(Option<T>),
}

impl RecordCache {
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let entries = usize::try_from(capacity_bytes / 256).unwrap_or(usize::MAX);
        Self {
            cache: Cache::with_weighter(entries, capacity_bytes, Weigh),
        }
    }

    /// Whether records of the tree are kept: samples are in their window, and nobody asks for one by its key.
    const fn keeps(tree: TreeId) -> bool {
        !matches!(tree, TreeId::Metrics)
    }

    /// The body of the record under the key; where the cache lacks it, `load` brings it, with what it makes of it.
    pub(crate) fn get_or_load<T, E>(
        &self,
        tree: TreeId,
        key: &[u8],
        load: impl FnOnce() -> Result<Option<(T, Arc<[u8]>)>, E>,
    ) -> Result<Found<T>, E> {
        if !Self::keeps(tree) {
            return load().map(|loaded| Found::Miss(loaded.map(|(record, _)| record)));
        }
        if let Some(body) = self.cache.get(&Asked(tree, key)) {
            return Ok(Found::Hit(body));
        }
        let place = match self.cache.get_value_or_guard(&Place::of(tree, key), None) {
            GuardResult::Value(body) => return Ok(Found::Hit(body)),
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let Some((record, body)) = load()? else {
            return Ok(Found::Miss(None));
        };
        if let Some(place) = place {
            // A writer removed the place meanwhile: then this record is of the past, not for the cache.
            let _ = place.insert(body);
        }
        Ok(Found::Miss(Some(record)))
    }

    /// What it does not use of its capacity, in bytes.
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.cache.capacity().saturating_sub(self.cache.weight())
    }

    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    /// Forgets what was under the key.
    pub(crate) fn remove(&self, tree: TreeId, key: &[u8]) {
        self.renew(tree, key, None);
    }

    /// Forgets what was under the key, and keeps this body in its place, if it kept any.
    pub(crate) fn renew(&self, tree: TreeId, key: &[u8], body: Option<&[u8]>) {
        if !Self::keeps(tree) {
            return;
        }
        let before = self.cache.remove(&Asked(tree, key));
        if let (Some((place, _)), Some(body)) = (before, body) {
            self.cache.insert(place, body.into());
        }
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

/// A key of a tree.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    tree: TreeId,
    key: Box<[u8]>,
}

impl Place {
    fn of(tree: TreeId, key: &[u8]) -> Self {
        let key = key.into();
        Self { tree, key }
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(self.tree, &self.key).hash(state);
    }
}

/// A [`Place`] that is looked for.
#[derive(Hash)]
struct Asked<'a>(TreeId, &'a [u8]);

impl Equivalent<Place> for Asked<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        self.0 == place.tree && *self.1 == *place.key
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Place, Arc<[u8]>> for Weigh {
    fn weight(&self, place: &Place, body: &Arc<[u8]>) -> u64 {
        let bytes = place.key.len() + body.len() + ENTRY_OVERHEAD;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn body(byte: u8) -> Arc<[u8]> {
        Arc::new([byte; 100])
    }

    /// The first byte of what a reader finds who would load `loaded`, and whether the cache had it. `meanwhile` runs while it loads.
    fn read(cache: &RecordCache, loaded: u8, meanwhile: impl FnOnce()) -> (Option<u8>, bool) {
        let found = cache.get_or_load(TreeId::Peers, b"key", || {
            meanwhile();
            Ok::<_, Infallible>(Some((loaded, body(loaded))))
        });
        match found {
            Ok(Found::Hit(body)) => (body.first().copied(), true),
            Ok(Found::Miss(made)) => (made, false),
            Err(never) => match never {},
        }
    }

    #[test]
    fn what_is_removed_is_not_read_again() {
        let cache = RecordCache::new(100_000);
        assert_eq!(read(&cache, 1, || {}), (Some(1), false));
        assert_eq!(read(&cache, 9, || {}), (Some(1), true));
        cache.remove(TreeId::Config, b"key");
        assert_eq!(read(&cache, 9, || {}), (Some(1), true), "another tree");
        cache.remove(TreeId::Peers, b"key");
        assert_eq!(read(&cache, 2, || {}), (Some(2), false));
        assert_eq!(read(&cache, 9, || {}), (Some(2), true));
    }

    #[test]
    fn a_reader_that_a_writer_overtook_leaves_nothing_of_the_past() {
        let cache = RecordCache::new(100_000);
        let meanwhile = || cache.remove(TreeId::Peers, b"key");
        assert_eq!(read(&cache, 1, meanwhile), (Some(1), false));
        assert_eq!(read(&cache, 2, || {}), (Some(2), false));
        assert_eq!(read(&cache, 9, || {}), (Some(2), true));
    }

    #[test]
    fn what_was_kept_is_kept_as_it_is_now_and_nothing_else_comes() {
        let cache = RecordCache::new(100_000);
        let renew = |byte| cache.renew(TreeId::Peers, b"key", Some(&[byte; 100]));
        renew(1);
        assert_eq!(read(&cache, 2, || {}), (Some(2), false), "nobody read it");
        renew(3);
        assert_eq!(read(&cache, 9, || {}), (Some(3), true));
        cache.remove(TreeId::Peers, b"key");
        assert_eq!(read(&cache, 4, || renew(5)), (Some(4), false), "overtaken");
        assert_eq!(read(&cache, 5, || {}), (Some(5), false));
        assert_eq!(read(&cache, 9, || {}), (Some(5), true));
    }

    #[test]
    fn it_holds_no_more_than_its_capacity() {
        let capacity = 64 * 1024;
        let cache = RecordCache::new(capacity);
        for number in 0..10_000_u32 {
            let key = number.to_be_bytes();
            let loaded = cache.get_or_load(TreeId::Peers, &key, || {
                Ok::<_, Infallible>(Some(((), body(0))))
            });
            assert!(matches!(loaded, Ok(Found::Miss(Some(())))));
        }
        assert!(cache.cache.weight() <= capacity);
        assert!(!cache.cache.is_empty());
    }
}
