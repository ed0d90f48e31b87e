//! A commit applied to the index, and counted.

use std::sync::PoisonError;

use storage_journal::commit::{self, Change};
use storage_journal::digest::Digests;

use super::super::Durability;
use super::{Inner, Sequence};
use crate::ahead::AHEAD;
use crate::codec;
use crate::commit::Commit;
use crate::counters;
use crate::error::CoreError;
use crate::index::Index;
use crate::sync::atomic::Ordering;
use crate::tree::TreeId;

impl Inner {
    /// Appends a commit to the journal, applies it whole and returns its number.
    pub(in crate::db) fn apply(
        &self,
        commit: &Commit,
        durability: Durability,
        sequence: &mut Sequence,
    ) -> Result<u64, CoreError> {
        let last = self.last_commit.load(Ordering::Acquire);
        if commit.is_empty() {
            return Ok(last);
        }
        let number = match &self.durable {
            Some(durable) => {
                // The closure of the update may have been who read that it failed.
                if let Some(reason) = self.index_failure() {
                    return Err(CoreError::IndexFailed { reason });
                }
                let changes = commit.changes().map(|(tree, key, value)| Change {
                    tree: tree.number(),
                    key,
                    value,
                });
                let now_ms = (self.clock)();
                let len = commit::encoded_len(changes.clone());
                durable.reserve.check(len, durability, now_ms)?;
                let appended = durable.journal.append_changes(now_ms, changes);
                let number = appended.map_err(|e| self.latch(e.into()))?;
                if durable.journal.unsynced_bytes() >= AHEAD {
                    self.sync.wake();
                }
                number
            }
            None => last + 1,
        };
        let applying = self.applying.write();
        let applying = applying.unwrap_or_else(PoisonError::into_inner);
        // Only now: a read may have given the index up before, and cannot from here on.
        let index = self.index();
        let applied = match &index {
            Ok(index) => self.apply_to(&**index, commit, sequence),
            Err(_) => Err(CoreError::Closed),
        };
        self.last_commit.store(number, Ordering::Release);
        if let Err(error) = applied {
            // While it is in use as well: it may hang where it is dropped last.
            drop(index);
            for (tree, key, _) in commit.changes() {
                self.cache.remove(tree, key);
            }
            self.window_mut().clear();
            // It is in the journal, which answers from now on: the commit counts.
            return self.applied_in_part(error, sequence).map(|()| number);
        }
        self.tell_window(commit);
        drop(applying);
        if let Ok(index) = index {
            self.make_room(index, commit, &mut sequence.applied);
        }
        Ok(number)
    }

    fn apply_to(
        &self,
        index: &dyn Index,
        commit: &Commit,
        sequence: &mut Sequence,
    ) -> Result<(), CoreError> {
        for (tree, key, value) in commit.changes() {
            let mut existed = false;
            let mut digest = sequence.digests.of(tree.number());
            index.apply(tree, key, value, &mut |replaced| {
                existed = true;
                digest.remove(key, replaced);
            })?;
            if let Some(value) = value {
                digest.add(key, value);
            }
            if let Some(kept) = sequence.digests.of_mut(tree.number()) {
                *kept = digest;
            }
            let body = value.and_then(|frame| codec::plain_body(tree, frame));
            self.cache.renew(tree, key, body);
            self.count_change(tree, key, value, existed);
        }
        Ok(())
    }

    /// Called while the commit is applied, so by one thread at a time.
    fn count_change(&self, tree: TreeId, key: &[u8], value: Option<&[u8]>, existed: bool) {
        let counters = &self.counters;
        let count = self.counts.of(tree);
        let before = count.load(Ordering::Relaxed);
        let after = if let Some(value) = value {
            // What the database notes of itself is no record that somebody wrote.
            if tree != TreeId::Schema {
                counters::add_alone(&counters.writes, 1);
                counters::add_alone(&counters.write_bytes, key.len() + value.len());
            }
            counters::add_alone(&self.activity.of(tree).writes, 1);
            before.wrapping_add(usize::from(!existed))
        } else {
            counters::add_alone(&counters.deletes, 1);
            counters::add_alone(&self.activity.of(tree).deletes, 1);
            before.wrapping_sub(usize::from(existed))
        };
        count.store(after, Ordering::Release);
    }

    /// How many records the tree has. What is held back is written to the index for it.
    pub(in crate::db) fn len_of(&self, tree: TreeId) -> Result<usize, CoreError> {
        let _between = self.between_commits();
        let index = self.index()?;
        let settled = index.settle().and_then(|()| index.replaced(tree));
        if let Err(error) = settled {
            self.fall_back(&index, error)?;
        }
        let slot = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let index = slot.as_ref().ok_or(CoreError::Closed)?;
        let replaced = index.replaced(tree)?.count();
        let replaced = usize::try_from(replaced).unwrap_or(usize::MAX);
        let count = self.counts.of(tree).load(Ordering::Acquire);
        Ok(count.saturating_sub(replaced))
    }

    /// Records in all trees, at most.
    pub(in crate::db) fn len(&self) -> u64 {
        let counts = TreeId::ALL.map(|tree| self.counts.of(tree).load(Ordering::Acquire));
        u64::try_from(counts.iter().sum::<usize>()).unwrap_or(u64::MAX)
    }

    pub(in crate::db) fn set_counts(&self, digests: &Digests) {
        for tree in TreeId::ALL {
            let count = digests.of(tree.number()).count();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.counts.of(tree).store(count, Ordering::Release);
        }
    }
}
