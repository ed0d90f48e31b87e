//! Segments: files of frames, one after the other.
//!
//! ```text
//!  0  8  magic "NONOSLOG"          28  8  term, of the open that made it
//!  8  4  version 1                 36  8  first number that a frame in it may have
//! 12 16  store id                  44  4  checksum of the last commit before it, 0 if there is none
//!                                  48  4  crc32 of the bytes before
//! 52  -  zeros, up to 4096: the header again, then the frames
//! ```
//!
//! A page that is lost takes one of the headers at most: without the term, frames cannot be told from
//! what lies in values.
//!
//! A segment is named by its first number. Frames of an older segment with that number or a higher
//! one do not count: they are the tail that a power cut left, rewritten here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::{Fields, len_u64};
use crate::correct::correct;
use crate::disk::{Disk, DiskFile, read_open_file};
use crate::frame::{self, Frame};

/// Bytes of one header.
const ONE_LEN: usize = 52;
/// Where the header is again.
const AGAIN_AT: usize = 4096;
/// Bytes before the first frame.
pub(crate) const HEADER_LEN: usize = AGAIN_AT + ONE_LEN;

const MAGIC: &[u8; 8] = b"NONOSLOG";
const VERSION: u32 = 1;
const ENDING: &str = ".log";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store_id: [u8; 16],
    pub(crate) term: u64,
    pub(crate) first: u64,
    pub(crate) predecessor: u32,
}

impl Header {
    /// What the frames of this segment are tagged with.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "the low half"
    )]
    pub(crate) fn tag(&self) -> u32 {
        self.term as u32
    }

    /// Everything before the frames.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let one = self.encode_one();
        let mut bytes = one.clone();
        bytes.resize(AGAIN_AT, 0);
        bytes.extend(one);
        bytes
    }

    fn encode_one(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.store_id);
        bytes.extend(self.term.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.predecessor.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The header, and whether one of the two was not as it must be.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let again = || Self::decode_one(bytes.get(AGAIN_AT..)?);
        let first = Self::decode_one(bytes);
        let sound = |found: &Option<(Self, bool)>| found.is_some_and(|(_, corrected)| !corrected);
        let (first_is_sound, again_is_sound) = (sound(&first), sound(&again()));
        let (header, _) = if first_is_sound {
            first
        } else {
            again().or(first)
        }?;
        Some((header, !(first_is_sound && again_is_sound)))
    }

    fn decode_one(bytes: &[u8]) -> Option<(Self, bool)> {
        let mut whole = Fields(bytes);
        let mut message = whole.take(ONE_LEN - 4)?.to_vec();
        let stored = whole.u32()?;
        let corrected = crc32fast::hash(&message) != stored;
        if corrected && !correct(&mut message, stored) {
            return None;
        }
        let mut fields = Fields(&message);
        if fields.array()? != *MAGIC || fields.u32()? != VERSION {
            return None;
        }
        let header = Self {
            store_id: fields.array()?,
            term: fields.u64()?,
            first: fields.u64()?,
            predecessor: fields.u32()?,
        };
        Some((header, corrected))
    }
}

/// The name of the segment whose first number this is.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}{ENDING}")
}

/// The first number of the segment of this name.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    let number = digits.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// Bytes that are read at a time, but for a frame that is longer.
const WINDOW: usize = 1024 * 1024;

/// A segment, of which the header is read. At most [`SEGMENT_SIZE`](crate::journal::SEGMENT_SIZE) and one commit long.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// How long it was when it was opened: a writer may go on.
    pub(crate) len: usize,
    /// `None` if it is damaged beyond correction.
    pub(crate) header: Option<(Header, bool)>,
}

impl Segment {
    pub(crate) fn open(disk: &dyn Disk, directory: &Path, first: u64) -> io::Result<Self> {
        let path = directory.join(name(first));
        let file = disk.open(&path)?;
        let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        let begin = read_open_file(&*file, len.min(HEADER_LEN))?;
        let header = header_of(&begin, first);
        Ok(Self {
            path,
            first,
            file,
            len,
            header,
        })
    }

    /// What its frames are tagged with; without a header nothing is taken for a frame.
    fn tag(&self) -> Option<u32> {
        self.header.as_ref().map(|(header, _)| header.tag())
    }

    pub(crate) fn intact(&self) -> Intact<'_> {
        Intact {
            segment: self,
            offset: HEADER_LEN,
            window: Vec::new(),
            start: HEADER_LEN,
        }
    }

    /// All of it; `None` if it is not what was read before up to an offset, to which frames were intact: a purge overwrites
    /// files under a reader, and a disk may not read a second time what it did once.
    pub(crate) fn whole(&self, intact_to: usize) -> io::Result<Option<Whole>> {
        let bytes = read_open_file(&*self.file, self.len)?;
        let header = |found: Option<(Header, bool)>| found.map(|(header, _)| header);
        if header(header_of(&bytes, self.first)) != header(self.header) {
            return Ok(None);
        }
        let tag = self.tag();
        let whole = Whole { tag, bytes };
        let mut frames = whole.frames(HEADER_LEN);
        while frames.offset < intact_to {
            if frames.next().is_none_or(|(_, frame)| frame.corrected) {
                return Ok(None);
            }
        }
        let is_same = frames.offset == intact_to;
        Ok(is_same.then_some(whole))
    }
}

/// What a segment begins with. It appeared with its whole header, so what is shorter was cut off, and its frames with it.
fn header_of(bytes: &[u8], first: u64) -> Option<(Header, bool)> {
    let is_whole = bytes.len() >= HEADER_LEN;
    Header::decode(bytes).filter(|(header, _)| is_whole && header.first == first)
}

/// Gives the frames of a segment up to the first that is not as it was written; afterwards [`offset`](Self::offset)
/// is where they end. In memory is a part of the segment.
#[derive(Debug)]
pub(crate) struct Intact<'a> {
    segment: &'a Segment,
    pub(crate) offset: usize,
    window: Vec<u8>,
    /// Where the window begins.
    start: usize,
}

impl Intact<'_> {
    pub(crate) fn next(&mut self) -> Option<(usize, Frame<'_>)> {
        let tag = self.segment.tag()?;
        let offset = self.offset;
        self.fill(frame::HEADER_LEN)?;
        let len = frame::stated_len(self.window.get(offset - self.start..)?)?;
        self.fill(len)?;
        let frame = frame::decode_intact(self.window.get(offset - self.start..)?, tag)?;
        self.offset += len;
        Some((offset, frame))
    }

    /// Has so many bytes from the offset on in the window; `None` where there are fewer, or they cannot be read.
    fn fill(&mut self, len: usize) -> Option<()> {
        let left = self.segment.len.checked_sub(self.offset)?;
        let held = self.start + self.window.len() - self.offset;
        if held < len && len <= left {
            self.start = self.offset;
            self.window.resize(left.min(len.max(WINDOW)), 0);
            let file = &self.segment.file;
            let read = file.read_at(len_u64(self.start), &mut self.window);
            self.window.truncate(read.unwrap_or(0));
        }
        (self.start + self.window.len() - self.offset >= len).then_some(())
    }
}

/// A segment read whole.
#[derive(Debug)]
pub(crate) struct Whole {
    /// What its frames are tagged with, if anything tells.
    pub(crate) tag: Option<u32>,
    pub(crate) bytes: Vec<u8>,
}

impl Whole {
    /// Its frames from an offset on, and where they are, up to the first that is not whole.
    pub(crate) fn frames(&self, offset: usize) -> Frames<'_> {
        Frames {
            bytes: &self.bytes,
            tag: self.tag,
            offset,
        }
    }

    /// The next offset from `from` on at which a whole frame lies, if there is any: then what is
    /// before it is damage, not an end.
    pub(crate) fn next_frame_after(&self, from: usize) -> Option<usize> {
        let tag = self.tag?;
        (from..self.bytes.len()).find(|&offset| {
            let rest = self.bytes.get(offset..).unwrap_or_default();
            frame::decode_intact(rest, tag).is_some()
        })
    }
}

/// Iterates over frames; afterwards [`offset`](Self::offset) is where they end.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    tag: Option<u32>,
    pub(crate) offset: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = (usize, Frame<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let frame = frame::decode(self.bytes.get(offset..)?, self.tag?)?;
        self.offset += frame.len;
        Some((offset, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::frame::Kind;

    /// What was taken before is not judged again, so a segment is not healed from bytes that are others.
    #[test]
    fn a_segment_is_read_whole_only_with_the_bytes_that_were_read_before() -> io::Result<()> {
        let (disk, directory) = (SimulatedDisk::default(), Path::new("/journal"));
        let header = Header {
            store_id: [7; 16],
            term: 1,
            first: 1,
            predecessor: 0,
        };
        let mut bytes = header.encode();
        for number in 1..=3 {
            let header = frame::Header {
                tag: header.tag(),
                predecessor: 0,
                number,
                synced_through: 0,
                time_ms: 0,
                kind: Kind::Commit,
            };
            bytes.extend(frame::encode(&header, b"the body of a commit").0);
        }
        disk.create(&directory.join(name(1)))?.write_at(0, &bytes)?;
        let segment = Segment::open(&disk, directory, 1)?;
        let mut frames = segment.intact();
        let starts: Vec<usize> =
            std::iter::from_fn(|| frames.next().map(|(offset, _)| offset)).collect();
        let [_, second, third] = starts.as_slice() else {
            panic!("{} frames", starts.len());
        };
        for at in 0..bytes.len() {
            // Zeros between the headers, which nobody reads.
            if (ONE_LEN..AGAIN_AT).contains(&at) {
                continue;
            }
            disk.damage(&segment.path, |bytes| bytes[at] ^= 1);
            let is_read = segment.whole(*third)?.is_some();
            disk.damage(&segment.path, |bytes| bytes[at] ^= 1);
            // One bit of the header is put right, whenever it is read.
            let is_told = (HEADER_LEN..*third).contains(&at);
            assert_eq!(is_read, !is_told, "byte {at}");
        }
        assert!(segment.whole(*third)?.is_some());
        assert!(
            segment.whole(*second + 1)?.is_none(),
            "no frame begins there"
        );
        disk.damage(&segment.path, |bytes| bytes.fill(0));
        assert!(segment.whole(HEADER_LEN)?.is_none(), "wiped");
        Ok(())
    }
}
