//! The walk along the segments: frame by frame, from one commit on.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::len_u64;
use crate::commit;
use crate::disk::{Disk, DiskFile};
use crate::error::JournalError;
use crate::frame::{self, Frame, Kind};
use crate::mark::Mark;
use crate::segment::{self, Segment};

mod rest;

/// A commit as the walk meets it.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) number: u64,
    pub(crate) time_ms: i64,
    pub(crate) body: &'a [u8],
    pub(crate) file: &'a Arc<dyn DiskFile>,
    /// Where the body is in the file.
    pub(crate) offset: usize,
    /// Whether the file has other bytes: a flipped bit was corrected in reading.
    pub(crate) corrected: bool,
}

/// Called with each commit that counts; `Ok(false)` says that it is malformed.
pub(crate) type Visit<'a, E> = &'a mut dyn FnMut(&Found<'_>) -> Result<bool, E>;

/// A commit that may not be durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) number: u64,
    pub(crate) time_ms: i64,
    pub(crate) body: Vec<u8>,
    /// Number and checksum of the commit before it.
    pub(crate) before: (u64, u32),
}

/// What was learnt on the way.
#[derive(Debug)]
pub(crate) struct Walk {
    directory: PathBuf,
    pub(crate) limit: u64,
    pub(crate) store_id: Option<[u8; 16]>,
    pub(crate) last: u64,
    /// The highest number that was ever in use, of commits that do not count too; with a limit, up to that.
    pub(crate) highest: u64,
    pub(crate) watermark: u64,
    pub(crate) last_time_ms: i64,
    /// When the last commit was made; 0 if none was met.
    pub(crate) commit_time_ms: i64,
    /// What the last commit is: [`commit::content`].
    pub(crate) content: Option<u32>,
    /// Of the last commit's frame.
    pub(crate) last_checksum: u32,
    pub(crate) mark: Option<(u64, Mark)>,
    /// Whether the last thing in the journal is a clean mark.
    pub(crate) clean: bool,
    /// Whether commits are missing between the last one and the next.
    is_missing: bool,
    /// Commits above the watermark, in order.
    pub(crate) unsynced: VecDeque<Unsynced>,
    /// Whole files with a flipped bit corrected.
    pub(crate) corrected: Vec<(PathBuf, Vec<u8>)>,
    /// Segments of another store.
    pub(crate) foreign: Vec<PathBuf>,
    /// Bytes of an unsynced tail that are no whole frames.
    pub(crate) cut_bytes: u64,
    /// Bytes of the segments that were read.
    pub(crate) bytes: u64,
    pub(crate) notes: Vec<String>,
    pub(crate) damage: Vec<String>,
    /// Commits that cannot be read, in order.
    pub(crate) lost: Vec<RangeInclusive<u64>>,
}

impl Walk {
    /// A walk that begins behind commit `after`, which is durable, and ends with commit `limit`.
    pub(crate) fn new(
        directory: &Path,
        store_id: Option<[u8; 16]>,
        after: u64,
        limit: u64,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            limit,
            store_id,
            last: after,
            highest: after,
            watermark: after,
            last_time_ms: 0,
            commit_time_ms: 0,
            content: None,
            last_checksum: 0,
            mark: None,
            clean: false,
            is_missing: false,
            unsynced: VecDeque::new(),
            corrected: Vec::new(),
            foreign: Vec::new(),
            cut_bytes: 0,
            bytes: 0,
            notes: Vec::new(),
            damage: Vec::new(),
            lost: Vec::new(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Walks along the segments with these first numbers, in order.
    pub(crate) fn run<E: From<JournalError>>(
        &mut self,
        disk: &dyn Disk,
        segments: &[u64],
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        // From the segment that holds the first commit after the beginning on.
        let after = self.last;
        let start = segments
            .partition_point(|first| *first <= after + 1)
            .saturating_sub(1);
        let needed = segments.get(start..).unwrap_or_default();
        for (at, &first) in needed.iter().enumerate() {
            // Reading stopped at the limit, so the next header has another predecessor.
            if at > 0 && first > self.limit {
                break;
            }
            let path = self.directory.join(segment::name(first));
            let opened = Segment::open(disk, &self.directory, first);
            let segment = opened.map_err(|e| JournalError::io("read", &path, e))?;
            self.bytes += len_u64(segment.len);
            let next = needed.get(at + 1).copied();
            if self.enter(&segment, at == 0)
                && let Some(from) = self.read_intact(&segment, next, visit)?
            {
                let whole = segment.whole(from);
                match whole.map_err(|e| JournalError::io("read", &path, e))? {
                    Some(whole) => self.read_rest(&segment, &whole, from, next, visit)?,
                    None => self.differs(&path, next),
                }
            }
        }
        let mut witnessed = self.watermark.min(self.limit);
        // The last frames tell that a commit is missing before them, and no other follows.
        if self.is_missing && self.last > after {
            witnessed = witnessed.max(self.last + 1).min(self.limit);
        }
        if witnessed > self.last && self.lost.last().is_none_or(|lost| *lost.end() < witnessed) {
            self.lost(witnessed);
        }
        self.highest = self.highest.max(self.watermark);
        let watermark = self.watermark;
        self.unsynced.retain(|commit| commit.number > watermark);
        Ok(())
    }

    /// Takes what the header says; `false` if the segment is not to be read.
    fn enter(&mut self, segment: &Segment, is_first: bool) -> bool {
        let shown = segment.path.display();
        // An open made this segment, so the close before it is not the last word.
        self.clean = false;
        match &segment.header {
            Some((header, _))
                if *self.store_id.get_or_insert(header.store_id) != header.store_id =>
            {
                self.damage
                    .push(format!("{shown} belongs to another store"));
                self.foreign.push(segment.path.clone());
                return false;
            }
            Some((header, _)) => {
                if is_first {
                    self.last_checksum = header.predecessor;
                }
            }
            None => self.damage.push(format!("{shown}: the header is damaged")),
        }
        // Its first number is the one after the last commit before it; a checkpoint that was made of an
        // index has a number that no commit has.
        if segment.first > self.last + 1 {
            self.lost(segment.first - 1);
        }
        if let Some((header, _)) = &segment.header {
            self.last_checksum = header.predecessor;
        }
        // Everything before a segment is durable before the segment appears.
        self.watermark = self.watermark.max(segment.first.saturating_sub(1));
        self.highest = self.highest.max(segment.first.saturating_sub(1));
        true
    }

    /// Takes the frames that are as they were written and count. `Some` is where one does not, and only the whole segment
    /// tells what it is.
    fn read_intact<E: From<JournalError>>(
        &mut self,
        segment: &Segment,
        next: Option<u64>,
        visit: Visit<'_, E>,
    ) -> Result<Option<usize>, E> {
        // Who asks for all wants to know as well which numbers were in use.
        let asks_for_all = self.limit == u64::MAX;
        let mut frames = segment.intact();
        if matches!(segment.header, Some((_, true))) {
            return Ok(Some(frames.offset));
        }
        while let Some((offset, frame)) = frames.next() {
            let (kind, number) = (frame.header.kind, frame.header.number);
            if kind == Kind::Commit && number > self.limit {
                return Ok(None);
            }
            if kind == Kind::Commit && next.is_some_and(|next| number >= next) {
                return Ok(asks_for_all.then_some(offset));
            }
            self.take(segment, offset, &frame, visit)?;
        }
        // What follows was written again in the next segment, or may be in the midst of being written. Where a checkpoint has
        // the state at the limit, the frame of that commit still says what it is.
        let is_again = next.is_some_and(|next| next <= self.last + 1);
        let is_behind = self.last >= self.limit || (is_again && !asks_for_all);
        let is_asked_for = !is_behind || self.content.is_none();
        Ok((is_asked_for && frames.offset < segment.len).then_some(frames.offset))
    }

    fn take<E: From<JournalError>>(
        &mut self,
        segment: &Segment,
        offset: usize,
        frame: &Frame<'_>,
        visit: Visit<'_, E>,
    ) -> Result<(), E> {
        let header = frame.header;
        self.watermark = self.watermark.max(header.synced_through);
        self.highest = self.highest.max(header.number);
        self.last_time_ms = self.last_time_ms.max(header.time_ms);
        self.clean = false;
        let is_missing = header.predecessor != self.last_checksum;
        match header.kind {
            Kind::Commit if header.number > self.last => {
                // Numbers have gaps, but the next one is the next.
                if (is_missing || self.is_missing) && header.number > self.last + 1 {
                    self.lost(header.number - 1);
                }
                self.is_missing = false;
                let before = (self.last, self.last_checksum);
                self.last = header.number;
                self.commit_time_ms = header.time_ms;
                self.content = Some(content(frame));
                let found = Found {
                    number: header.number,
                    time_ms: header.time_ms,
                    body: &frame.body,
                    file: &segment.file,
                    offset: offset + frame::HEADER_LEN,
                    corrected: frame.corrected,
                };
                if !visit(&found)? {
                    self.lost(header.number);
                }
                self.unsynced.push_back(Unsynced {
                    number: header.number,
                    time_ms: header.time_ms,
                    body: frame.body.to_vec(),
                    before,
                });
            }
            // Before the beginning of the walk, or the one that it begins behind.
            Kind::Commit => {
                self.is_missing = false;
                if header.number == self.last {
                    self.commit_time_ms = header.time_ms;
                    self.content = Some(content(frame));
                }
            }
            Kind::Mark | Kind::CleanMark => {
                let clean = header.kind == Kind::CleanMark;
                // Which commits they are, the next one tells: a mark speaks of one that may lie far before.
                self.is_missing |= is_missing;
                if let Some(mark) = Mark::decode(&frame.body, clean) {
                    self.clean = clean && header.number == self.last;
                    self.mark = Some((header.number, mark));
                }
            }
        }
        self.last_checksum = match header.kind {
            Kind::Commit => frame.checksum,
            Kind::Mark | Kind::CleanMark => header.predecessor,
        };
        let durable = |commit: &Unsynced| commit.number <= self.watermark;
        while self.unsynced.front().is_some_and(durable) {
            self.unsynced.pop_front();
        }
        Ok(())
    }

    /// Notes that a segment is not what it was when its beginning was read.
    fn differs(&mut self, segment: &Path, next: Option<u64>) {
        let shown = segment.display();
        let what = "it has other bytes than when its beginning was read";
        self.damage.push(format!("{shown}: {what}"));
        // Another segment tells itself what is missing before it.
        if next.is_none() && self.last < self.limit {
            self.lost(self.last + 1);
        }
    }

    /// Notes that the commits after the last one, up to this one, cannot be read.
    fn lost(&mut self, through: u64) {
        let first = through.min(self.last + 1);
        self.damage.push(if first < through {
            format!("commits {first} to {through} cannot be read")
        } else {
            format!("commit {through} cannot be read")
        });
        self.lost.push(first..=through);
    }
}

fn content(frame: &Frame<'_>) -> u32 {
    let header = frame.header;
    commit::content(header.number, header.time_ms, &frame.body)
}
