//! The index: what answers the reads of an open database.
//!
//! It keeps the current entries of the nine trees and can be rebuilt, so it needs neither
//! transactions nor durability of its own. [`Index`] is all that the rest of the crate knows of it.

use std::fmt;
use std::path::Path;

use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Visit};

pub(crate) mod memory;
pub(crate) mod sled;

/// Entries of the nine trees, in key order.
pub(crate) trait Index: fmt::Debug + Send + Sync {
    fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>, CoreError>;

    /// Puts or, without a value, removes an entry; returns whether there was one.
    fn apply(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>) -> Result<bool, CoreError>;

    fn scan(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError>;

    /// The number of the last commit that was applied whole; 0 before the first.
    fn last_commit(&self) -> Result<u64, CoreError>;

    fn set_last_commit(&self, number: u64) -> Result<(), CoreError>;

    /// Everything applied before the call survives a power cut once it returns.
    fn sync(&self) -> Result<(), CoreError>;

    /// The directory that holds the index; an index in memory has none.
    fn path(&self) -> Option<&Path>;
}
