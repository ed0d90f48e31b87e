//! Some hundred keys in order, with the places of their values, in two allocations.

use std::ops::Bound;

use super::Place;

/// A leaf with more is split. A longer one takes longer to insert into, a shorter one has more beside its keys.
const MAX_LEN: usize = 128;
/// As with [`MAX_LEN`], for the bytes of its keys.
const MAX_BYTES: usize = 8 * 1024;

/// Keys one behind the other, and for each where it ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    keys: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    end: u32,
    place: Place,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Place> {
        let (found, place) = self.entry(self.count(|other| other < key))?;
        (found == key).then_some(place)
    }

    /// Puts a place under a key; `None` if the keys together are longer than any commit.
    pub(super) fn insert(&mut self, key: &[u8], place: Place) -> Option<()> {
        let at = self.count(|other| other < key);
        if self.key(at) == Some(key) {
            self.slots.get_mut(at)?.place = place;
            return Some(());
        }
        // So no end of a slot overflows.
        u32::try_from(self.keys.len() + key.len()).ok()?;
        let added = u32::try_from(key.len()).ok()?;
        let start = self.start(at);
        make_room(&mut self.keys, key.len(), 256);
        self.keys.extend_from_slice(key);
        let behind = self.keys.get_mut(usize::try_from(start).ok()?..)?;
        behind.rotate_right(key.len());
        for slot in self.slots.iter_mut().skip(at) {
            slot.end += added;
        }
        make_room(&mut self.slots, 1, 4);
        let end = start + added;
        self.slots.insert(at, Slot { end, place });
        Some(())
    }

    /// Takes away the latter half if the leaf is too long, with a key that is behind all that stay and behind none of it.
    pub(super) fn split(&mut self) -> Option<(Box<[u8]>, Self)> {
        let is_long = self.slots.len() > MAX_LEN || self.keys.len() > MAX_BYTES;
        if !is_long || self.slots.len() < 2 {
            return None;
        }
        let half = self.slots.len() / 2;
        let start = self.start(half);
        let mut behind = Self {
            keys: self.keys.split_off(usize::try_from(start).ok()?),
            slots: self.slots.split_off(half),
        };
        self.keys.shrink_to_fit();
        self.slots.shrink_to_fit();
        for slot in &mut behind.slots {
            slot.end -= start;
        }
        // No more of the first key than tells it from the last one before: keys may be long.
        let (last, first) = (self.key(half - 1)?, behind.key(0)?);
        let shared = last.iter().zip(first).take_while(|(a, b)| a == b).count();
        Some((first.get(..=shared)?.into(), behind))
    }

    /// How many keys lie before the start of a range.
    pub(super) fn before(&self, start: Bound<&[u8]>) -> usize {
        match start {
            Bound::Unbounded => 0,
            Bound::Included(start) => self.count(|key| key < start),
            Bound::Excluded(start) => self.count(|key| key <= start),
        }
    }

    /// How many keys lie behind the end of a range.
    pub(super) fn behind(&self, end: Bound<&[u8]>) -> usize {
        let through = match end {
            Bound::Unbounded => self.slots.len(),
            Bound::Included(end) => self.count(|key| key <= end),
            Bound::Excluded(end) => self.count(|key| key < end),
        };
        self.slots.len() - through
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Place)> {
        (0..self.slots.len()).filter_map(|at| self.entry(at))
    }

    /// How many keys are before the first that is not `before`.
    fn count(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut from, mut to) = (0, self.slots.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.key(middle).is_some_and(&before) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    fn start(&self, at: usize) -> u32 {
        let before = at.checked_sub(1).and_then(|before| self.slots.get(before));
        before.map_or(0, |slot| slot.end)
    }

    fn key(&self, at: usize) -> Option<&[u8]> {
        self.entry(at).map(|(key, _)| key)
    }

    fn entry(&self, at: usize) -> Option<(&[u8], &Place)> {
        let slot = self.slots.get(at)?;
        let start = usize::try_from(self.start(at)).ok()?;
        let end = usize::try_from(slot.end).ok()?;
        Some((self.keys.get(start..end)?, &slot.place))
    }
}

/// Room for `needed` more; where there is none, for `more` at once. Doubling leaves a quarter of it empty.
fn make_room<T>(items: &mut Vec<T>, needed: usize, more: usize) {
    if items.capacity() - items.len() < needed {
        items.reserve_exact(needed.max(more));
    }
}
