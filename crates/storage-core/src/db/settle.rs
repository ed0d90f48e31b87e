//! Writing to the index what is held back from it: beside the writers, by them where too much is held back, and
//! all of it where somebody needs the files of the index.

use std::sync::{Arc, PoisonError};

use super::inner::Inner;
use super::reading::give_up;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::index::{HeldBack, Index, held_size};
use crate::sync::atomic::Ordering;
use crate::woken::Woken;

/// A writer looks at how much is held back each time that it applied so many bytes, as that takes some of a small commit's
/// time. A model checker's commits are all smaller.
const LOOK_EACH: usize = if cfg!(nonos_shuttle) { 1 } else { 1024 };

/// The thread that does it, until dropped.
pub(crate) fn start(inner: Arc<Inner>) -> Result<Woken, CoreError> {
    Woken::start(
        "nonos-settle",
        inner,
        |inner| &inner.settle,
        |inner, is_over| while !is_over.load(Ordering::Acquire) && inner.settle_some() {},
    )
}

impl Inner {
    /// Settles a piece; whether there may be another one.
    fn settle_some(&self) -> bool {
        let settling = self.settling.lock();
        let settling = settling.unwrap_or_else(PoisonError::into_inner);
        let Ok(index) = self.index() else {
            return false;
        };
        self.lend(&*index);
        let settled = index.settle_some();
        drop(settling);
        match settled {
            Ok(more) => more,
            Err(error) => {
                self.give_up_failed(&index, error);
                // Nothing that failed is dropped here: it may hang.
                give_up(index);
                false
            }
        }
    }

    /// Lets the index hold back what neither samples nor records use of their shares.
    fn lend(&self, index: &dyn Index) {
        if self.lends {
            let spare = self
                .window()
                .spare_bytes()
                .saturating_add(self.cache.spare_bytes());
            index.lend(spare);
        }
    }

    /// Called by the writer after its commit, which succeeded whatever happens here. `applied` are the bytes of it and of those
    /// before it that did not look.
    pub(super) fn make_room(&self, index: Arc<dyn Index>, commit: &Commit, applied: &mut usize) {
        let sizes = commit
            .changes()
            .map(|(_, key, value)| held_size(key, value));
        *applied += sizes.sum::<usize>();
        // Where a number of bytes to hold back is given, no more is.
        if self.settles_beside && self.lends && *applied < LOOK_EACH {
            return;
        }
        let applied = std::mem::take(applied);
        let held_back = index.held_back();
        if held_back == HeldBack::Little {
            return;
        }
        self.settle.wake();
        if held_back == HeldBack::TooMuch || !self.settles_beside {
            if let Err(error) = index.make_room(applied) {
                self.give_up_failed(&index, error);
                give_up(index);
            }
            // It may have found nothing but what is written here.
            self.settle.wake();
        }
    }

    /// Writes everything that is held back to the index, which is then durable as well if asked for. An index that
    /// fails is given up.
    pub(super) fn settle_all(&self, durably: bool) -> Result<(), CoreError> {
        let index = self.index()?;
        if self.index_failure().is_some() {
            return Ok(());
        }
        let settled = if durably {
            index.sync()
        } else {
            index.settle()
        };
        match settled {
            Ok(()) => Ok(()),
            Err(error) => {
                let _between = self.between_commits();
                self.fall_back(&index, error).map(drop)
            }
        }
    }

    /// Lets the journal answer. Where it cannot, no more is taken that could not be settled either.
    fn give_up_failed(&self, index: &Arc<dyn Index>, error: CoreError) {
        let _between = self.between_commits();
        match self.fall_back(index, error) {
            Ok(_) | Err(CoreError::Closed) => {}
            Err(error) => drop(self.poison(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::recovery::Layout;
    use crate::db::{Db, Durability};
    use crate::key::TextKey;
    use crate::options::DbOptions;
    use crate::tree::{Tree, TreeId};
    use crate::view;

    const TREE: Tree<TextKey, String> = Tree::new(TreeId::Peers);

    /// Many small commits, each too small to look at what is held back: it is not too much for good.
    #[test]
    fn small_commits_are_written_to_the_index_as_they_come()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let mut options =
            DbOptions::new(directory.path().join("data.sled"), 2, || 1_770_000_000_000);
        options.cache_capacity_bytes = 1024 * 1024;
        let layout = |_: &dyn view::Read| {
            Ok(Layout {
                schema_version: 2,
                is_framed: true,
            })
        };
        let db = Db::open(&options, &layout)?;
        let mut bearable = 0;
        for number in 0..20_000 {
            let id = format!("{number:08}");
            db.update(Durability::Buffered, |_, commit| {
                TREE.insert(commit, &id, &id)
            })?;
            let is_late = number >= 15_000;
            bearable += usize::from(is_late && db.inner.index()?.held_back() != HeldBack::TooMuch);
        }
        assert!(bearable > 0, "it is held back for good");
        Ok(())
    }
}
