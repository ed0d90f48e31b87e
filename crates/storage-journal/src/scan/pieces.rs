//! A segment in pieces: its frames, and the stretches between them that are none.

use crate::frame::{Frame, Kind};
use crate::segment::Whole;

/// A corrected frame that nothing behind it vouches for is believed up to this length of its body: a
/// torn frame may be one bit away from another, the likelier the more bits it has.
const MAX_UNVOUCHED_LEN: usize = 1024;

/// A piece of a segment.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Frame { offset: usize, frame: Frame<'a> },
    Bad { from: usize, to: usize },
}

impl Piece<'_> {
    pub(crate) fn frame(&self) -> Option<&Frame<'_>> {
        match self {
            Self::Frame { frame, .. } => Some(frame),
            Self::Bad { .. } => None,
        }
    }
}

/// The pieces of a segment from an offset on, in order; `has_next`: whether another segment follows, so that this one
/// was closed.
pub(crate) fn pieces(segment: &Whole, from: usize, has_next: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut frames = segment.frames(from);
    loop {
        for (offset, frame) in frames.by_ref() {
            pieces.push(Piece::Frame { offset, frame });
        }
        let from = frames.offset;
        if from >= segment.bytes.len() {
            break;
        }
        let to = segment.next_frame_after(from + 1);
        let to = to.unwrap_or(segment.bytes.len());
        pieces.push(Piece::Bad { from, to });
        frames.offset = to;
    }
    doubt_corrections(&mut pieces, has_next);
    pieces
}

/// Takes back corrections of long frames that no frame behind them repeats the checksum of.
fn doubt_corrections(pieces: &mut [Piece<'_>], has_next: bool) {
    let mut behind = None;
    for piece in pieces.iter_mut().rev() {
        let Piece::Frame { offset, frame } = piece else {
            continue;
        };
        let vouched = match frame.header.kind {
            Kind::Commit => behind.map_or(has_next, |before| before == frame.checksum),
            Kind::Mark | Kind::CleanMark => true,
        };
        behind = Some(frame.header.predecessor);
        if frame.corrected && !vouched && frame.body.len() > MAX_UNVOUCHED_LEN {
            let (from, to) = (*offset, *offset + frame.len);
            *piece = Piece::Bad { from, to };
        }
    }
}
