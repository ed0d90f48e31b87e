//! Iterating over a tree a page at a time.

use std::collections::VecDeque;
use std::ops::Bound;

use crate::error::CoreError;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read};

const PAGE_ENTRIES: usize = 512;
const PAGE_BYTES: usize = 1024 * 1024;

/// Entries in key order. Each page is read whole between two commits; the next one starts after
/// the last key, so no lock is held in between.
#[derive(Debug)]
pub(crate) struct Pages<R> {
    from: R,
    tree: TreeId,
    page: VecDeque<(Vec<u8>, Vec<u8>)>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    last_page: bool,
    error: Option<CoreError>,
}

impl<R: Read> Pages<R> {
    /// The entries of `range`; if there is none, its error is the one item.
    pub(crate) fn new(from: R, tree: TreeId, range: Result<KeyRange, CoreError>) -> Self {
        let (range, error) = match range {
            Ok(range) => (range, None),
            Err(error) => ((Bound::Unbounded, Bound::Unbounded), Some(error)),
        };
        let (start, end) = range;
        Self {
            from,
            tree,
            page: VecDeque::new(),
            start,
            end,
            last_page: error.is_some(),
            error,
        }
    }

    fn turn(&mut self) -> Result<(), CoreError> {
        let mut bytes = 0;
        let range = (self.start.clone(), self.end.clone());
        let page = &mut self.page;
        let mut full = false;
        self.from
            .scan(self.tree, &range, Order::Ascending, &mut |key, value| {
                bytes += key.len() + value.len();
                page.push_back((key.to_vec(), value.to_vec()));
                full = page.len() >= PAGE_ENTRIES || bytes >= PAGE_BYTES;
                Ok(!full)
            })?;
        self.last_page = !full;
        if let Some((last, _)) = page.back() {
            self.start = Bound::Excluded(last.clone());
        }
        Ok(())
    }
}

impl<R: Read> Iterator for Pages<R> {
    type Item = Result<(Vec<u8>, Vec<u8>), CoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.last_page
            && let Err(e) = self.turn()
        {
            self.page.clear();
            self.last_page = true;
            self.error = Some(e);
        }
        match self.error.take() {
            Some(error) => Some(Err(error)),
            None => self.page.pop_front().map(Ok),
        }
    }
}
