//! Changes whose keys came in order, one behind the other in memory: what is added at the end of a tree costs neither a
//! search nor an allocation of its own.

use std::ops::Bound;

use super::held::Held;
use crate::changes::Change;

/// Bytes of keys and values in one piece of memory, if no entry is longer. The first one is small.
const CHUNK: usize = 64 * 1024;
const FIRST_CHUNK: usize = 1024;

/// What an entry takes beside its key and value, in bytes: there is room for up to twice as many.
const OVERHEAD: usize = 2 * size_of::<Entry>();

#[derive(Default)]
pub(super) struct Run {
    chunks: Vec<Vec<u8>>,
    /// In the order of their keys.
    entries: Vec<Entry>,
    /// Of keys and values, also those that were replaced.
    written: usize,
}

/// Where a key lies, with its value behind it.
#[derive(Clone, Copy)]
struct Entry {
    chunk: u32,
    start: u32,
    key_len: u32,
    value_len: u32,
    is_put: bool,
    is_blind: bool,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it takes in memory, without the unused ends of chunks.
    pub(super) fn bytes(&self) -> usize {
        self.written + self.entries.len() * OVERHEAD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key is above all that are here.
    pub(super) fn ends_below(&self, key: &[u8]) -> bool {
        self.entries.last().is_none_or(|last| self.key(last) < key)
    }

    /// Adds a change to a key above all that are here.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>, is_blind: bool) {
        let entry = self.write(key, value, is_blind);
        self.entries.push(entry);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Held> {
        let entry = self.entries.get(self.place(key)?)?;
        Some(self.held(entry))
    }

    /// All of it, each by itself.
    pub(super) fn into_held(self) -> impl Iterator<Item = (Box<[u8]>, Held)> {
        let places = 0..self.entries.len();
        places.filter_map(move |place| {
            let entry = self.entries.get(place)?;
            Some((self.key(entry).into(), self.held(entry)))
        })
    }

    fn held(&self, entry: &Entry) -> Held {
        Held {
            value: self.value(entry).map(Box::from),
            is_blind: entry.is_blind,
        }
    }

    pub(super) fn is_blind(&self, key: &[u8]) -> bool {
        let entry = self.place(key).and_then(|place| self.entries.get(place));
        entry.is_some_and(|entry| entry.is_blind)
    }

    /// Changes a key that is here; returns what was under it. The memory of that stays taken.
    pub(super) fn replace(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Held> {
        let before = self.get(key)?;
        let entry = self.write(key, value, before.is_blind);
        let place = self.place(key)?;
        *self.entries.get_mut(place)? = entry;
        Some(before)
    }

    /// The changes of a range, which is not reversed.
    pub(super) fn range<'a>(
        &'a self,
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = Change<'a>> + use<'a> {
        let from = match start {
            Bound::Unbounded => 0,
            Bound::Included(start) => self.entries.partition_point(|at| self.key(at) < start),
            Bound::Excluded(start) => self.entries.partition_point(|at| self.key(at) <= start),
        };
        let to = match end {
            Bound::Unbounded => self.entries.len(),
            Bound::Included(end) => self.entries.partition_point(|at| self.key(at) <= end),
            Bound::Excluded(end) => self.entries.partition_point(|at| self.key(at) < end),
        };
        let entries = self.entries.get(from..to).unwrap_or_default();
        entries.iter().map(|at| (self.key(at), self.value(at)))
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.ends_below(key) {
            return None;
        }
        let found = self.entries.binary_search_by(|at| self.key(at).cmp(key));
        found.ok()
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.slice(entry.chunk, entry.start, entry.key_len)
    }

    fn value(&self, entry: &Entry) -> Option<&[u8]> {
        let start = entry.start + entry.key_len;
        let value = || self.slice(entry.chunk, start, entry.value_len);
        entry.is_put.then(value)
    }

    fn slice(&self, chunk: u32, start: u32, len: u32) -> &[u8] {
        let chunk = self.chunks.get(wide(chunk)).map(Vec::as_slice);
        let behind = chunk.and_then(|chunk| chunk.get(wide(start)..));
        let bytes = behind.and_then(|behind| behind.get(..wide(len)));
        bytes.unwrap_or_default()
    }

    fn write(&mut self, key: &[u8], value: Option<&[u8]>, is_blind: bool) -> Entry {
        let bytes = value.unwrap_or_default();
        let len = key.len() + bytes.len();
        self.written += len;
        let last = self.chunks.last();
        if last.is_none_or(|last| last.capacity() - last.len() < len) {
            let doubled = last.map_or(FIRST_CHUNK, |last| 2 * last.capacity());
            let chunk = Vec::with_capacity(doubled.min(CHUNK).max(len));
            self.chunks.push(chunk);
        }
        let chunk = self.chunks.len().saturating_sub(1);
        let mut start = 0;
        if let Some(chunk) = self.chunks.last_mut() {
            start = chunk.len();
            chunk.extend_from_slice(key);
            chunk.extend_from_slice(bytes);
        }
        Entry {
            chunk: narrow(chunk),
            start: narrow(start),
            key_len: narrow(key.len()),
            value_len: narrow(bytes.len()),
            is_put: value.is_some(),
            is_blind,
        }
    }
}

/// Keys and values are of one commit, which is smaller than this by far.
fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn wide(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
