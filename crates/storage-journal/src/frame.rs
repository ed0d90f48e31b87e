//! Frames: what segments are made of.
//!
//! ```text
//!  0  4  length of the body
//!  4  4  crc32 of all other bytes of the frame, in order
//!  8  4  tag               low half of the segment's term
//! 12  4  predecessor       checksum of the last commit before this
//! 16  8  number            of the commit; a mark has that of the commit it speaks of
//! 24  8  synced through    the last number known durable when this was written
//! 32  8  time              Unix milliseconds, never going back
//! 40  1  kind              1 commit, 2 mark, 3 clean mark
//! 41  -  body
//! ```
//!
//! The tag is random for whoever fills values with bytes, so behind damage nothing that lies in a
//! value is taken for a frame. The predecessor tells a missing commit from a missing mark.

use crate::bytes::{Fields, len_u32};
use crate::correct::correct;

/// Bytes before the body.
pub(crate) const HEADER_LEN: usize = 41;

const COMMIT: u8 = 1;
const MARK: u8 = 2;
const CLEAN_MARK: u8 = 3;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit,
    Mark,
    CleanMark,
}

/// A frame without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: u32,
    pub(crate) predecessor: u32,
    pub(crate) number: u64,
    pub(crate) synced_through: u64,
    pub(crate) time_ms: i64,
    pub(crate) kind: Kind,
}

/// A frame as read, its body not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) body: std::borrow::Cow<'a, [u8]>,
    /// The checksum, which frames and segments after it repeat.
    pub(crate) checksum: u32,
    /// Bytes that the frame takes in its segment.
    pub(crate) len: usize,
    /// Whether a flipped bit was corrected in reading.
    pub(crate) corrected: bool,
}

/// The bytes of a frame, and its checksum.
pub(crate) fn encode(header: &Header, body: &[u8]) -> (Vec<u8>, u32) {
    let mut frame = Vec::with_capacity(HEADER_LEN + body.len());
    let checksum = encode_into(&mut frame, header, |frame| frame.extend_from_slice(body));
    (frame, checksum)
}

/// The same in place of what was in `frame`; `body` puts the body behind what is there. Returns the checksum.
pub(crate) fn encode_into(
    frame: &mut Vec<u8>,
    header: &Header,
    body: impl FnOnce(&mut Vec<u8>),
) -> u32 {
    frame.clear();
    frame.extend([0; 8]);
    frame.extend(header.tag.to_le_bytes());
    frame.extend(header.predecessor.to_le_bytes());
    frame.extend(header.number.to_le_bytes());
    frame.extend(header.synced_through.to_le_bytes());
    frame.extend(header.time_ms.to_le_bytes());
    frame.push(match header.kind {
        Kind::Commit => COMMIT,
        Kind::Mark => MARK,
        Kind::CleanMark => CLEAN_MARK,
    });
    body(frame);
    let len = len_u32(frame.len().saturating_sub(HEADER_LEN));
    if let Some(field) = frame.get_mut(..4) {
        field.copy_from_slice(&len.to_le_bytes());
    }
    let checksum = checksum(frame);
    if let Some(field) = frame.get_mut(4..8) {
        field.copy_from_slice(&checksum.to_le_bytes());
    }
    checksum
}

/// The frame at the front of `bytes`, if it is whole as it lies there.
pub(crate) fn decode_intact(bytes: &[u8], tag: u32) -> Option<Frame<'_>> {
    let stored = Fields(bytes.get(4..)?).u32()?;
    let whole = bytes.get(..stated_len(bytes)?)?;
    // Another tag is told before the sum over what may be a long stretch.
    let frame = parse(whole, stored, false).filter(|frame| frame.header.tag == tag)?;
    (checksum(whole) == stored).then_some(frame)
}

/// The frame at the front of `bytes`, with a single flipped bit corrected; `None` if what is there
/// is no whole frame.
pub(crate) fn decode(bytes: &[u8], tag: u32) -> Option<Frame<'_>> {
    if let Some(frame) = decode_intact(bytes, tag) {
        return Some(frame);
    }
    let stored = Fields(bytes.get(4..)?).u32()?;
    let frame = corrected(bytes, body_len(bytes)?, stored);
    frame.filter(|frame| frame.header.tag == tag)
}

/// Tries what a single flipped bit may have been: in the length, then anywhere else.
fn corrected(bytes: &[u8], len: usize, stored: u32) -> Option<Frame<'_>> {
    for bit in 0..u32::BITS {
        let other = usize::try_from(len_u32(len) ^ 1 << bit).ok()?;
        let Some(mut whole) = bytes
            .get(..other.saturating_add(HEADER_LEN))
            .map(<[u8]>::to_vec)
        else {
            continue;
        };
        whole
            .get_mut(..4)?
            .copy_from_slice(&len_u32(other).to_le_bytes());
        if checksum(&whole) == stored {
            return parse(&whole, stored, true).map(Frame::into_owned);
        }
    }
    let whole = bytes.get(..HEADER_LEN.saturating_add(len))?;
    let mut message = without_checksum(whole);
    if !correct(&mut message, stored) || Fields(&message).u32() != Some(len_u32(len)) {
        return None;
    }
    let checksum = crc32fast::hash(&message);
    let mut whole = whole.to_vec();
    whole
        .get_mut(4..8)?
        .copy_from_slice(&checksum.to_le_bytes());
    whole.get_mut(8..)?.copy_from_slice(message.get(4..)?);
    parse(&whole, checksum, true).map(Frame::into_owned)
}

impl Frame<'_> {
    fn into_owned<'b>(self) -> Frame<'b> {
        Frame {
            body: self.body.into_owned().into(),
            header: self.header,
            checksum: self.checksum,
            len: self.len,
            corrected: self.corrected,
        }
    }
}

fn parse(whole: &[u8], checksum: u32, corrected: bool) -> Option<Frame<'_>> {
    let mut fields = Fields(whole.get(8..)?);
    let header = Header {
        tag: fields.u32()?,
        predecessor: fields.u32()?,
        number: fields.u64()?,
        synced_through: fields.u64()?,
        time_ms: fields.i64()?,
        kind: match fields.u8()? {
            COMMIT => Kind::Commit,
            MARK => Kind::Mark,
            CLEAN_MARK => Kind::CleanMark,
            _ => return None,
        },
    };
    Some(Frame {
        header,
        body: fields.0.into(),
        checksum,
        len: whole.len(),
        corrected,
    })
}

/// The stated length of the frame at the front of `bytes`, which may be anything.
pub(crate) fn stated_len(bytes: &[u8]) -> Option<usize> {
    body_len(bytes).map(|len| HEADER_LEN.saturating_add(len))
}

/// The stated length of the body, which may be anything.
fn body_len(bytes: &[u8]) -> Option<usize> {
    usize::try_from(Fields(bytes).u32()?).ok()
}

fn checksum(whole: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(whole.get(..4).unwrap_or_default());
    hasher.update(whole.get(8..).unwrap_or_default());
    hasher.finalize()
}

fn without_checksum(whole: &[u8]) -> Vec<u8> {
    let mut message = whole.get(..4).unwrap_or_default().to_vec();
    message.extend_from_slice(whole.get(8..).unwrap_or_default());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        tag: 0x1234_5678,
        predecessor: 9,
        number: 7,
        synced_through: 5,
        time_ms: 1_770_000_000_000,
        kind: Kind::Commit,
    };

    #[test]
    fn every_flipped_bit_is_corrected_and_every_truncation_noticed() {
        let (mut bytes, checksum) = encode(&HEADER, b"the body of a commit");
        let len = bytes.len();
        bytes.extend(b"the next frame, or whatever follows in the file");
        for bit in 0..len * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let frame = decode(&flipped, HEADER.tag).unwrap_or_else(|| panic!("bit {bit}"));
            assert_eq!(frame.header, HEADER, "bit {bit}");
            assert_eq!(&*frame.body, b"the body of a commit", "bit {bit}");
            assert_eq!((frame.checksum, frame.len), (checksum, len), "bit {bit}");
            assert!(frame.corrected, "bit {bit}");
        }
        for cut in 0..len {
            assert_eq!(decode(&bytes[..cut], HEADER.tag), None, "cut to {cut}");
        }
    }

    #[test]
    fn a_frame_of_another_term_is_none() {
        let (bytes, _) = encode(&HEADER, b"a value that looks like a frame");
        assert!(decode(&bytes, HEADER.tag).is_some());
        assert_eq!(decode(&bytes, HEADER.tag + 1), None);
    }
}
