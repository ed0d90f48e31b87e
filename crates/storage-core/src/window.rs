//! The newest samples of the node, decoded, in the order of their times.
//!
//! # Invariant
//!
//! The window holds exactly the samples of the tree `metrics` from a time on, as the last commit left them; or it
//! knows of none. Writers tell it of each commit while that is applied; a reader adds what it read only while no
//! commit is applied.

use std::collections::VecDeque;
use std::ops::Range;

use crate::codec;
use crate::key::{Key, TimestampKey};
use crate::tree::TreeId;
use crate::trees::metrics::StoredMetrics;

/// A sample and its time.
pub(crate) type Sample = (i64, StoredMetrics);

/// Samples that are moved at most for one that comes or goes between others. A window whose older part would have to
/// move gives up that part. The histories of the tests are short.
const MAX_MOVED: usize = if cfg!(test) { 3 } else { 1024 };

/// Samples that there is room for at once, in 32 MiB.
const ROOM: usize = (32 << 20) / size_of::<Sample>();

#[cfg(test)]
mod tests;

#[derive(Debug)]
pub(crate) struct Window {
    samples: VecDeque<Sample>,
    /// It holds everything from this time on.
    from: Option<i64>,
    capacity: usize,
    /// Places that were used since it was cleared: their memory is taken, also where nothing lies in them any more.
    used: usize,
    /// How often it was cleared: what a reader found before is not added behind that.
    cleared: u64,
}

/// What a reader knows of the window before it reads what that lacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) from: Option<i64>,
    cleared: u64,
}

impl Window {
    /// Of so many bytes. It knows that there is no sample if `is_empty` says so.
    pub(crate) fn new(capacity_bytes: u64, is_empty: bool) -> Self {
        let capacity = usize::try_from(capacity_bytes).unwrap_or(usize::MAX);
        Self {
            samples: VecDeque::new(),
            from: is_empty.then_some(0),
            capacity: capacity / size_of::<Sample>(),
            used: 0,
            cleared: 0,
        }
    }

    /// Forgets everything: what it was told of is not what there is.
    pub(crate) fn clear(&mut self) {
        self.samples = VecDeque::new();
        self.used = 0;
        self.from = None;
        self.cleared += 1;
    }

    /// What it does not use of its capacity, in bytes.
    pub(crate) fn spare_bytes(&self) -> u64 {
        let spare = self.capacity.saturating_sub(self.used);
        u64::try_from(spare.saturating_mul(size_of::<Sample>())).unwrap_or(u64::MAX)
    }

    /// Whether there is no room for older samples.
    pub(crate) fn is_full(&self) -> bool {
        self.samples.len() >= self.capacity
    }

    pub(crate) fn known(&self) -> Known {
        Known {
            from: self.from,
            cleared: self.cleared,
        }
    }

    /// The samples of a range of times, both included; `None` if it does not know all of them.
    pub(crate) fn range(&self, start: i64, end: i64) -> Option<Vec<Sample>> {
        if self.from? > start {
            return None;
        }
        if start > end {
            return Some(Vec::new());
        }
        let first = self.place(start);
        let behind = self.samples.partition_point(|(time, _)| *time <= end);
        Some(self.copy(first..behind))
    }

    /// The newest `count` samples; `None` if it does not know all of them.
    pub(crate) fn newest(&self, count: usize) -> Option<Vec<Sample>> {
        let len = self.samples.len();
        let knows = self.from? == 0 || len >= count;
        knows.then(|| self.copy(len.saturating_sub(count)..len))
    }

    /// Takes a sample of a commit.
    pub(crate) fn put(&mut self, (time, sample): &Sample) {
        if !self.is_before(*time) {
            self.insert(*time, sample.clone());
        }
    }

    /// Takes one change of a commit: a put or, without a value, a deletion.
    pub(crate) fn apply(&mut self, key: &[u8], frame: Option<&[u8]>) {
        if self.from.is_none() {
            return;
        }
        // A key of another shape may be anywhere among the others.
        let Ok(TimestampKey(time)) = TimestampKey::decode(key) else {
            self.clear();
            return;
        };
        if self.is_before(time) {
            return;
        }
        match frame.map(|frame| codec::decode(TreeId::Metrics, key, frame)) {
            None => self.remove(time),
            Some(Ok(sample)) => self.insert(time, sample),
            // Who reads it is told; that is not for the window.
            Some(Err(_)) => self.give_up_through(time),
        }
    }

    /// Adds what a reader found from `start` up to where the window that it knew begins, or up to the end of all
    /// samples if that knew nothing. It keeps as many of the newest as there is room for.
    pub(crate) fn prepend(&mut self, known: Known, start: i64, found: &[Sample]) {
        let is_as_known = (known.cleared, known.from) == (self.cleared, self.from);
        if !is_as_known || self.from.is_some_and(|from| from <= start) {
            return;
        }
        let room = self.capacity - self.samples.len().min(self.capacity);
        let (left_out, kept) = found.split_at(found.len().saturating_sub(room));
        self.from = match (left_out, kept) {
            ([], _) => Some(start),
            (_, [(oldest, _), ..]) => Some(*oldest),
            (_, []) => return,
        };
        self.reserve(kept.len());
        for sample in kept.iter().rev() {
            self.samples.push_front(sample.clone());
        }
    }

    /// Whether it knows nothing of a time.
    fn is_before(&self, time: i64) -> bool {
        self.from.is_none_or(|from| time < from)
    }

    fn insert(&mut self, time: i64, sample: StoredMetrics) {
        let place = self.place(time);
        let is_near_an_end = self.is_near_an_end(place);
        match self.samples.get_mut(place) {
            Some((there, before)) if *there == time => *before = sample,
            _ if is_near_an_end => {
                self.reserve(1);
                self.samples.insert(place, (time, sample));
            }
            _ => self.give_up_through(time),
        }
        while self.samples.len() > self.capacity
            && let Some((oldest, _)) = self.samples.pop_front()
        {
            self.from = oldest.checked_add(1);
        }
    }

    fn remove(&mut self, time: i64) {
        let place = self.place(time);
        if self
            .samples
            .get(place)
            .is_none_or(|(there, _)| *there != time)
        {
            return;
        }
        if self.is_near_an_end(place) {
            self.samples.remove(place);
        } else {
            self.give_up_through(time);
        }
    }

    /// From now on it begins behind this time.
    fn give_up_through(&mut self, time: i64) {
        let behind = self.samples.partition_point(|(there, _)| *there <= time);
        self.samples.drain(..behind);
        self.from = time.checked_add(1);
    }

    /// Where the first sample is that is not before this time.
    fn place(&self, time: i64) -> usize {
        match self.samples.back() {
            Some((newest, _)) if *newest < time => self.samples.len(),
            _ => self.samples.partition_point(|(there, _)| *there < time),
        }
    }

    fn is_near_an_end(&self, place: usize) -> bool {
        place.min(self.samples.len() - place) <= MAX_MOVED
    }

    /// Room for more: all of the capacity at once, as a page that nothing was put in takes no memory, and one that is
    /// copied to a larger place takes it twice; doubled where that is very much.
    fn reserve(&mut self, more: usize) {
        let len = self.samples.len();
        // They go round.
        self.used = (self.used + more).min(self.capacity);
        if len + more > self.samples.capacity() {
            // One more: the oldest goes when the newest has come.
            let most = (self.capacity + 1).max(len + more);
            let wanted = (2 * len).max(len + more).max(ROOM).min(most);
            self.samples.reserve_exact(wanted - len);
        }
    }

    fn copy(&self, of: Range<usize>) -> Vec<Sample> {
        let mut copied = Vec::with_capacity(of.len());
        let (front, back) = self.samples.as_slices();
        let middle = front.len();
        let in_front = of.start.min(middle)..of.end.min(middle);
        let in_back = of.start.saturating_sub(middle)..of.end.saturating_sub(middle);
        copied.extend_from_slice(front.get(in_front).unwrap_or_default());
        copied.extend_from_slice(back.get(in_back).unwrap_or_default());
        copied
    }
}
