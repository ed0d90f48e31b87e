//! The rest of a segment, behind the frames that are as they were written: what is one flipped bit away from a frame, damage,
//! the tail that a power cut left, what was written again in the next segment.

use super::Walk;
use crate::bytes::len_u64;
use crate::error::JournalError;
use crate::frame::{self, Kind};
use crate::scan::pieces::{Piece, pieces};
use crate::scan::walk::Visit;
use crate::segment::{Segment, Whole};

impl Walk {
    /// Takes what is at an offset of the segment, and behind it.
    pub(super) fn read_rest<E: From<JournalError>>(
        &mut self,
        segment: &Segment,
        whole: &Whole,
        from: usize,
        next: Option<u64>,
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        let mut fixed = match &segment.header {
            Some((header, true)) => Some(rewritten(&whole.bytes, 0, &header.encode())),
            _ => None,
        };
        let pieces = pieces(whole, from, next.is_some());
        // For each piece, the last number that a frame from it on says was durable.
        let mut known = vec![next.map_or(0, |next| next - 1)];
        for piece in pieces.iter().rev() {
            let behind = known.last().copied().unwrap_or(0);
            let said = piece.frame().map_or(0, |frame| frame.header.synced_through);
            known.push(behind.max(said));
        }
        for (at, piece) in pieces.iter().enumerate() {
            let rest = pieces.get(at..).unwrap_or_default();
            let (offset, frame) = match piece {
                Piece::Frame { offset, frame } => (*offset, frame),
                Piece::Bad { from, to } => {
                    // The tail of a power cut, or damage.
                    self.clean = false;
                    // What follows is not asked for, and may be in the midst of being written.
                    if self.last >= self.limit {
                        break;
                    }
                    let durable = known.get(pieces.len() - at).copied().unwrap_or(0);
                    if !self.goes_on(segment, (*from, *to), rest, durable, next) {
                        self.learn_numbers(rest);
                        if next.is_none() {
                            self.cut_bytes = len_u64(whole.bytes.len() - from);
                        }
                        break;
                    }
                    continue;
                }
            };
            let header = &frame.header;
            let superseded = next.is_some_and(|next| header.number >= next);
            if header.kind == Kind::Commit && (superseded || header.number > self.limit) {
                self.learn_numbers(rest);
                break;
            }
            if frame.corrected {
                let (corrected, _) = frame::encode(header, &frame.body);
                let bytes = fixed.as_ref().unwrap_or(&whole.bytes);
                fixed = Some(rewritten(bytes, offset, &corrected));
            }
            self.take(segment, offset, frame, visit)?;
        }
        if let Some(bytes) = fixed {
            let shown = segment.path.display();
            self.notes
                .push(format!("{shown}: a flipped bit was corrected"));
            self.corrected.push((segment.path.clone(), bytes));
        }
        Ok(())
    }

    /// Whether the walk goes on behind a bad stretch; otherwise it begins the unsynced tail. `rest` begins
    /// with the stretch, and what is behind it says what was `durable`.
    fn goes_on(
        &mut self,
        segment: &Segment,
        (from, to): (usize, usize),
        rest: &[Piece<'_>],
        durable: u64,
        next: Option<u64>,
    ) -> bool {
        // What follows was written again in the next segment.
        if next.is_some_and(|next| next <= self.last + 1) {
            return false;
        }
        let mut behind = rest.iter().filter_map(Piece::frame);
        let Some(first) = behind.next() else {
            return false;
        };
        // No commit is missing: a mark was not synced, or is damaged.
        if first.header.predecessor == self.last_checksum {
            return true;
        }
        let mut commits = std::iter::once(first).chain(behind);
        let commit = commits.find(|frame| frame.header.kind == Kind::Commit);
        let shown = segment.path.display();
        let what = format!("{shown}: bytes {from} to {to} are damaged");
        // What is missing lies before the beginning of the walk.
        if commit.is_some_and(|commit| commit.header.number <= self.last + 1) {
            self.notes.push(what);
            return true;
        }
        if durable <= self.last {
            return false;
        }
        self.damage.push(what);
        true
    }

    /// Learns from frames that do not count which numbers were in use.
    fn learn_numbers(&mut self, pieces: &[Piece<'_>]) {
        let frames = pieces.iter().filter_map(Piece::frame);
        let highest = frames.map(|frame| frame.header.number).max();
        self.highest = self.highest.max(highest.unwrap_or(0));
    }
}

/// The bytes with others in the place of what lies at an offset.
fn rewritten(bytes: &[u8], offset: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(target) = bytes.get_mut(offset..offset + with.len()) {
        target.copy_from_slice(with);
    }
    bytes
}
