//! What is read between two commits.

use super::inner::Inner;
use crate::counters;
use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read, Visit};

/// The state of an open database as reads see it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) inner: &'a Inner,
    pub(super) counted: bool,
}

impl View<'_> {
    fn count(&self, tree: TreeId, records: usize, bytes: usize) {
        if self.counted {
            let counters = &self.inner.counters;
            counters::add(&self.inner.activity.of(tree).reads, records);
            counters::add(&counters.reads, records);
            counters::add(&counters.read_bytes, bytes);
        }
    }
}

impl Read for View<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let value = self.inner.get(tree, key)?;
        self.count(tree, 1, key.len() + value.as_ref().map_or(0, Vec::len));
        Ok(value)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let (mut records, mut bytes) = (0, 0);
        let scanned = self.inner.scan(tree, range, order, &mut |key, value| {
            records += 1;
            bytes += key.len() + value.len();
            visit(key, value)
        });
        self.count(tree, records, bytes);
        scanned
    }
}
