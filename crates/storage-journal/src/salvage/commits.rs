//! The commits that can be read of segments which may be damaged anywhere, and the numbers of those that
//! cannot.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Damaged, Remains, SegmentFile, TellDamaged};
use crate::bytes::{Fields, len_u64};
use crate::commit::{self, Change};
use crate::disk::{Disk, read_open_file};
use crate::error::JournalError;
use crate::frame::{self, Frame, Kind};
use crate::scan::{Piece, pieces};
use crate::segment::{self, Header, Whole};

/// Bytes that are told at a time.
const PIECE_LEN: usize = 256 * 1024;
/// Where the tag is in a frame.
const TAG_AT: usize = 8;

/// Commits that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Their numbers, in order. Numbers may have gaps, so not each of them need be one.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// Whether the log went on behind the last commit that can be read, and nothing tells how far.
    pub is_open: bool,
    /// Whether it may have gone on: nothing tells which segment was the last.
    pub is_unknown: bool,
}

impl Lost {
    /// Whether a commit behind this one is lost.
    pub fn any_after(&self, number: u64) -> bool {
        self.is_open
            || self
                .ranges
                .last()
                .is_some_and(|range| *range.end() > number)
    }

    /// Whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        !self.is_open && !self.is_unknown && self.ranges.is_empty()
    }

    fn push(&mut self, first: u64, last: u64) {
        if first <= last {
            self.ranges.push(first..=last);
        }
    }

    fn contains(&self, number: u64) -> bool {
        let inside = |range: &RangeInclusive<u64>| range.contains(&number);
        self.ranges.iter().any(inside)
    }
}

/// A commit in a segment.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    offset: usize,
    checksum: u32,
    predecessor: u32,
    /// Of the header, if it is the first commit in its segment.
    begins: Option<(u64, u32)>,
}

/// The commits of the segments, by their numbers.
#[derive(Debug)]
pub struct Commits {
    files: Vec<SegmentFile>,
    tags: Vec<Option<u32>>,
    found: BTreeMap<u64, Place>,
    lost: Lost,
    highest: u64,
    base: u64,
}

impl Commits {
    /// Reads every segment, and tells what of them is no whole frame. `base` is a commit whose state is known:
    /// what is lost up to it does not matter.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], and those of `tell`.
    pub fn read<E: From<JournalError>>(
        disk: &dyn Disk,
        remains: &Remains,
        base: u64,
        tell: TellDamaged<'_, E>,
    ) -> Result<Self, E> {
        let mut reading = Reading::default();
        let files = &remains.segments;
        for (at, file) in files.iter().enumerate() {
            let next = files.iter().skip(at + 1).find(|next| !next.is_aside);
            let next = next.filter(|_| !file.is_aside).map(|next| next.first);
            reading.segment(disk, at, file, next, base, tell)?;
        }
        if let Some(said) = remains.said {
            reading.highest = reading.highest.max(said.next.saturating_sub(1));
            let newest = files.iter().rev().find(|file| !file.is_aside);
            // The segment that the last open began is gone, and what it held.
            if newest.is_none_or(|newest| newest.first < said.segment) {
                reading.is_open = true;
                reading.durable = reading.durable.max(said.segment.saturating_sub(1));
            }
        } else if remains.is_format_damaged || !files.is_empty() {
            // Segments that it named may all be gone.
            reading.is_unknown = true;
        }
        let mut lost = reading.lost(base);
        let before = reading.found.len();
        for (number, place) in std::mem::take(&mut reading.superseded) {
            // It was to be written again, and that is what is lost.
            if lost.contains(number) {
                reading.found.entry(number).or_insert(place);
            }
        }
        if reading.found.len() > before {
            lost = reading.lost(base);
        }
        Ok(Self {
            files: files.clone(),
            tags: reading.tags,
            found: reading.found,
            lost,
            highest: reading.highest,
            base,
        })
    }

    /// The commits that are lost.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Says that the log was durable through this commit.
    pub fn reached(&mut self, number: u64) {
        self.highest = self.highest.max(number);
        let known = self.last().unwrap_or(0).max(self.base);
        let lost = self.lost.ranges.last().map_or(0, |range| *range.end());
        self.lost.push(known.max(lost) + 1, number);
    }

    /// The highest number that was ever in use.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The number of the last commit that can be read.
    pub fn last(&self) -> Option<u64> {
        self.found.keys().next_back().copied()
    }

    /// Calls `visit` with the changes of each commit after `after`, up to `through`, in order.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], and those of `visit`.
    pub fn replay<E: From<JournalError>>(
        &self,
        disk: &dyn Disk,
        after: u64,
        through: u64,
        visit: &mut dyn FnMut(u64, Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut open: Option<(usize, Vec<u8>)> = None;
        let from = after.saturating_add(1);
        if from > through {
            return Ok(());
        }
        for (&number, place) in self.found.range(from..=through) {
            let bytes = match open.take().filter(|(file, _)| *file == place.file) {
                Some((_, bytes)) => bytes,
                None => match self.files.get(place.file) {
                    Some(file) => read_whole(disk, file)?,
                    None => continue,
                },
            };
            let tag = self.tags.get(place.file).copied().flatten();
            let frame = bytes.get(place.offset..).zip(tag);
            if let Some(frame) = frame.and_then(|(rest, tag)| frame::decode(rest, tag)) {
                for change in commit::decode(&frame.body).flatten() {
                    visit(number, change)?;
                }
            }
            open = Some((place.file, bytes));
        }
        Ok(())
    }
}

/// What is learnt in reading the segments.
#[derive(Debug, Default)]
struct Reading {
    tags: Vec<Option<u32>>,
    found: BTreeMap<u64, Place>,
    /// Commits that were to be written again in the next segment, or of a segment that was set aside.
    superseded: BTreeMap<u64, Place>,
    highest: u64,
    /// The last number that is known to have been durable.
    durable: u64,
    /// Whether the last segment ends in something that is no frame, or a commit is missing behind the last.
    is_open: bool,
    is_unknown: bool,
}

impl Reading {
    fn segment<E: From<JournalError>>(
        &mut self,
        disk: &dyn Disk,
        number: usize,
        file: &SegmentFile,
        next: Option<u64>,
        base: u64,
        tell: TellDamaged<'_, E>,
    ) -> Result<(), E> {
        let (segment, header) = open(disk, file)?;
        self.tags.push(segment.tag);
        let mut told = |from: usize, to: usize, what| -> Result<(), E> {
            let matters = next.is_none_or(|next| next > base + 1);
            let stretch = segment.bytes.get(from..to).unwrap_or_default();
            for (at, bytes) in (0_u64..).zip(stretch.chunks(PIECE_LEN)).filter(|_| matters) {
                let offset = len_u64(from) + at * len_u64(PIECE_LEN);
                let path = &file.path;
                tell(Damaged {
                    path,
                    offset,
                    what,
                    bytes,
                })?;
            }
            Ok(())
        };
        if !file.is_aside {
            let before = file.first.saturating_sub(1);
            self.durable = self.durable.max(before);
            self.highest = self.highest.max(before);
            self.is_open = false;
        }
        let mut begins = header.map(|header| (file.first, header.predecessor));
        let mut last_checksum = begins.map(|(_, predecessor)| predecessor);
        // It appeared with its whole header, so what is shorter was cut off.
        if header.is_none() || segment.bytes.len() < segment::HEADER_LEN {
            told(0, segment.bytes.len(), "a segment")?;
            self.is_open |= !file.is_aside;
            return Ok(());
        }
        for piece in pieces(&segment, segment::HEADER_LEN, next.is_some()) {
            let (offset, frame) = match piece {
                Piece::Frame { offset, frame } => (offset, frame),
                Piece::Bad { from, to } => {
                    told(from, to, "a frame of a segment")?;
                    self.is_open |= !file.is_aside;
                    last_checksum = None;
                    continue;
                }
            };
            let header = frame.header;
            self.highest = self.highest.max(header.number);
            if !file.is_aside {
                self.durable = self.durable.max(header.synced_through);
            }
            if header.kind != Kind::Commit {
                if !file.is_aside {
                    self.durable = self.durable.max(header.number);
                    // The mark repeats the checksum of the last commit: none is missing before it.
                    self.is_open = last_checksum != Some(header.predecessor)
                        && self.last_checksum() != Some(header.predecessor);
                }
                last_checksum = Some(header.predecessor);
                continue;
            }
            if commit::decode(&frame.body).any(|change| change.is_none()) {
                told(offset, offset + frame.len, "a commit")?;
                last_checksum = None;
                begins = None;
                continue;
            }
            let place = Place {
                file: number,
                offset,
                checksum: frame.checksum,
                predecessor: header.predecessor,
                begins: begins.take(),
            };
            last_checksum = Some(frame.checksum);
            if file.is_aside || next.is_some_and(|next| header.number >= next) {
                self.superseded.entry(header.number).or_insert(place);
            } else {
                self.is_open = false;
                self.found.insert(header.number, place);
            }
        }
        Ok(())
    }

    fn last_checksum(&self) -> Option<u32> {
        self.found.values().next_back().map(|place| place.checksum)
    }

    /// What is lost behind commit `base`.
    fn lost(&self, base: u64) -> Lost {
        let mut lost = Lost::default();
        let (mut number, mut checksum) = (base, None);
        for (&next, place) in &self.found {
            if next > base {
                lost_between(&mut lost, (number, checksum), (next, place));
                number = next;
            }
            checksum = Some(place.checksum);
        }
        lost.push(number + 1, self.durable);
        lost.is_open = self.is_open;
        lost.is_unknown = self.is_unknown;
        lost
    }
}

/// What is lost between one commit that can be read and the next one.
fn lost_between(lost: &mut Lost, before: (u64, Option<u32>), (next, place): (u64, &Place)) {
    let (number, checksum) = before;
    if next == number + 1 || checksum == Some(place.predecessor) {
        return;
    }
    match place.begins {
        // Nothing is missing between the beginning of its segment and the commit.
        Some((first, predecessor)) if predecessor == place.predecessor => {
            lost.push(number + 1, first.saturating_sub(1));
        }
        _ => lost.push(number + 1, next - 1),
    }
}

/// Reads a segment, with what its header says. Without a sound header, the frames are those with the tag of the first
/// one, if that is whole: nobody but the journal chooses what lies in that place.
fn open(disk: &dyn Disk, file: &SegmentFile) -> Result<(Whole, Option<Header>), JournalError> {
    let bytes = read_whole(disk, file)?;
    let header = Header::decode(&bytes).filter(|(header, _)| header.first == file.first);
    let header = header.map(|(header, _)| header);
    let header = header.or_else(|| guessed(&bytes, file.first));
    let tag = header.map(|header| header.tag());
    Ok((Whole { tag, bytes }, header))
}

fn guessed(bytes: &[u8], first: u64) -> Option<Header> {
    let frames = bytes.get(segment::HEADER_LEN..)?;
    let tag = Fields(frames.get(TAG_AT..)?).u32()?;
    let frame: Frame<'_> = frame::decode_intact(frames, tag)?;
    Some(Header {
        store_id: [0; 16],
        term: tag.into(),
        first,
        predecessor: frame.header.predecessor,
    })
}

fn read_whole(disk: &dyn Disk, file: &SegmentFile) -> Result<Vec<u8>, JournalError> {
    let io = |source| JournalError::io("read", &file.path, source);
    let opened = disk.open(&file.path).map_err(io)?;
    read_open_file(&*opened, usize::MAX).map_err(io)
}

/// The store of a segment, as its header says.
pub(super) fn store_id_of(
    disk: &dyn Disk,
    file: &SegmentFile,
) -> Result<Option<[u8; 16]>, JournalError> {
    let io = |source| JournalError::io("read", &file.path, source);
    let opened = disk.open(&file.path).map_err(io)?;
    let bytes = read_open_file(&*opened, segment::HEADER_LEN).map_err(io)?;
    let header = Header::decode(&bytes).filter(|(header, _)| header.first == file.first);
    Ok(header.map(|(header, _)| header.store_id))
}
