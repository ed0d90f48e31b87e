//! The changes of one tree that a layer holds, by key.

use std::collections::BTreeMap;

use super::layer::either;
use super::run::Run;
use crate::changes::{self, Change};
use crate::index::held_size;
use crate::view::{self, KeyRange, Order};

/// What is put under a key, or that it is deleted.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) value: Option<Box<[u8]>>,
    /// Whether it is not known yet what it replaces in the index.
    pub(super) is_blind: bool,
}

impl Held {
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

/// A run is given up once it is not so many times as long as what came in another order.
const MOSTLY: usize = 8;
/// A longer run stays, as one commit would wait for all of it.
const MOST_MOVED: usize = 4096;

/// Those whose keys came in order are in the run, the others by themselves; no key is in both. Where keys come in no order there
/// is soon no run, nor is one begun.
#[derive(Default)]
pub(super) struct Changes {
    run: Run,
    others: BTreeMap<Box<[u8]>, Held>,
    others_bytes: usize,
}

impl Changes {
    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.run.bytes() + self.others_bytes
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Held> {
        let in_run = || self.run.get(key);
        self.others.get(key).cloned().or_else(in_run)
    }

    /// Whether it is not known what a change replaces.
    pub(super) fn is_blind(&self, key: &[u8]) -> bool {
        let other = self.others.get(key).map(|held| held.is_blind);
        other.unwrap_or_else(|| self.run.is_blind(key))
    }

    /// Changes a key that is here; returns what was under it. `None`: it is not, and nothing is changed. What is
    /// not known yet of what the key replaces in the index stays so.
    pub(super) fn replace(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Held> {
        let Some(held) = self.others.get_mut(key) else {
            return self.run.replace(key, value);
        };
        let new = Held {
            value: value.map(Box::from),
            is_blind: held.is_blind,
        };
        let before = std::mem::replace(held, new);
        self.others_bytes += held_size(key, value);
        self.others_bytes -= held_size(key, before.value());
        Some(before)
    }

    /// Puts a change to a key of which there is no put here.
    pub(super) fn insert(&mut self, key: &[u8], value: Option<&[u8]>, is_blind: bool) {
        let has_run = !self.run.is_empty();
        if self.run.ends_below(key) && (has_run || self.others.is_empty()) {
            // None of the others is above the run.
            return self.run.push(key, value, is_blind);
        }
        // At most a deletion is there.
        if has_run && self.run.replace(key, value).is_some() {
            return;
        }
        let mostly = MOSTLY * (self.others.len() + 1);
        if has_run && self.run.len() < mostly.min(MOST_MOVED) {
            let run = std::mem::take(&mut self.run);
            for (key, held) in run.into_held() {
                self.insert_other(&key, held);
            }
        }
        let value = value.map(Box::from);
        self.insert_other(key, Held { value, is_blind });
    }

    fn insert_other(&mut self, key: &[u8], held: Held) {
        self.others_bytes += held_size(key, held.value());
        if let Some(before) = self.others.insert(key.into(), held) {
            self.others_bytes -= held_size(key, before.value());
        }
    }

    /// Those of a range, as a scan in this order meets them.
    pub(super) fn range<'a>(
        &'a self,
        range: &KeyRange,
        order: Order,
    ) -> Box<dyn Iterator<Item = Change<'a>> + 'a> {
        let others = changes::of_range(&self.others, range, order, Held::value);
        if self.run.is_empty() || view::is_empty(range) {
            return others;
        }
        let run = self.run.range(view::as_slices(range));
        let run: Box<dyn Iterator<Item = Change<'a>> + 'a> = match order {
            Order::Ascending => Box::new(run),
            Order::Descending => Box::new(run.rev()),
        };
        if self.others.is_empty() {
            return run;
        }
        Box::new(either(run, others, order))
    }
}

#[cfg(test)]
mod tests;
