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
    fn count(&self, tree: TreeId, key: &[u8], value: &[u8]) {
        if self.counted {
            let counters = &self.inner.counters;
            counters::add(&self.inner.activity.of(tree).reads, 1);
            counters::add(&counters.reads, 1);
            counters::add(&counters.read_bytes, key.len() + value.len());
        }
    }
}

impl Read for View<'_> {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError> {
        let value = self.inner.get(tree, key)?;
        self.count(tree, key, value.as_deref().unwrap_or_default());
        Ok(value)
    }

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        self.inner.scan(tree, range, order, &mut |key, value| {
            self.count(tree, key, value);
            visit(key, value)
        })
    }
}
