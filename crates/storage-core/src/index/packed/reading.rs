//! Reading blocks, some at a time, each time as they are at one moment.

use std::ops::{Bound, RangeBounds};
use std::sync::PoisonError;

use crate::error::CoreError;
use crate::sync::RwLockReadGuard;
use crate::tree::TreeId;
use crate::view::{self, KeyRange, Order, Visit};

use super::Packed;
use super::block::{Block, unpack};

/// How many blocks a scan reads together at first, and at most.
const FIRST_READ: usize = 2;
const MOST_READ: usize = 64;

/// Blocks that were read together, and where reading goes on if that was not all: from this key on, or below it.
#[derive(Default)]
struct Blocks {
    shown: Vec<Shown>,
    next: Option<Vec<u8>>,
}

/// A block, and the key from which on its entries are those of another one.
struct Shown {
    block: Block,
    end: Option<Vec<u8>>,
}

impl Packed {
    /// Shows the entries of a range, some blocks at a time. What is changed meanwhile is shown as it was or as it is.
    pub(super) fn scan_blocks(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        visit: Visit<'_>,
    ) -> Result<(), CoreError> {
        let mut rest = range.clone();
        let mut most = FIRST_READ;
        loop {
            let blocks = self.blocks(tree, &rest, order, most)?;
            for Shown { block, end } in &blocks.shown {
                let mut entries = unpack(tree, &block.key, &block.stored, end.as_deref())?;
                entries.retain(|(key, _)| view::as_slices(&rest).contains(*key));
                if order == Order::Descending {
                    entries.reverse();
                }
                for (key, value) in entries {
                    if !visit(key, value)? {
                        return Ok(());
                    }
                }
            }
            let Some(next) = blocks.next else {
                return Ok(());
            };
            match order {
                Order::Ascending => rest.0 = Bound::Included(next),
                Order::Descending => rest.1 = Bound::Excluded(next),
            }
            most = (most * 2).min(MOST_READ);
        }
    }

    /// Between two changes of the blocks of a tree.
    pub(super) fn between(&self, tree: TreeId) -> RwLockReadGuard<'_, ()> {
        let between = self.changing.of(tree).read();
        between.unwrap_or_else(PoisonError::into_inner)
    }

    /// At most so many blocks of a range, as they are at one moment, with their ends.
    fn blocks(
        &self,
        tree: TreeId,
        range: &KeyRange,
        order: Order,
        most: usize,
    ) -> Result<Blocks, CoreError> {
        let _between = self.between(tree);
        let (start, end) = range.clone();
        let start = match start {
            Bound::Included(key) | Bound::Excluded(key) => {
                let block = self.block_of(tree, &key)?;
                Bound::Included(block.map_or(key, |block| block.key))
            }
            Bound::Unbounded => Bound::Unbounded,
        };
        let mut blocks = Blocks::default();
        let mut above = None;
        let range = (start, end);
        self.index.scan(tree, &range, order, &mut |key, stored| {
            let key = key.to_vec();
            match order {
                Order::Ascending => {
                    if let Some(last) = blocks.shown.last_mut() {
                        last.end = Some(key.clone());
                    }
                    if blocks.shown.len() == most {
                        blocks.next = Some(key);
                        return Ok(false);
                    }
                }
                Order::Descending if blocks.shown.len() == most => {
                    blocks.next.clone_from(&above);
                    return Ok(false);
                }
                Order::Descending => {}
            }
            let end = above.take();
            if order == Order::Descending {
                above = Some(key.clone());
            }
            let stored = stored.to_vec();
            let block = Block { key, stored };
            blocks.shown.push(Shown { block, end });
            Ok(true)
        })?;
        Ok(blocks)
    }
}
