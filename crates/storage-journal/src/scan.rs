//! Reading a journal: which commits there are, what is durable, what a power cut left, what is
//! damaged. Changes nothing.
//!
//! # The end of the log
//!
//! Every frame says how far the log was durable when it was written. The first bad frame above the
//! highest such number is the unsynced tail of a power cut: it and what follows is cut. A bad frame
//! at or below it is damage. Segments form a chain: each header repeats the checksum of the last
//! frame before it, so that a missing end or a missing segment is noticed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint};
use crate::commit;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::Format;
use crate::frame::{Frame, Kind};
use crate::mark::Mark;
use crate::segment::{self, Segment};
use crate::tail::Tail;

/// What a journal holds.
#[derive(Debug)]
pub struct Scan {
    pub(crate) directory: PathBuf,
    pub(crate) store_id: [u8; 16],
    pub(crate) base: Option<Checkpoint>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) last: u64,
    pub(crate) highest: u64,
    pub(crate) watermark: u64,
    pub(crate) last_time_ms: i64,
    pub(crate) mark: Option<(u64, Mark)>,
    pub(crate) clean: bool,
    /// Commits above the watermark, in order.
    pub(crate) unsynced: VecDeque<Unsynced>,
    /// Checksum of the last frame that counts.
    pub(crate) last_checksum: u32,
    /// First number of the last segment, and the checksum of the last frame before it.
    pub(crate) last_segment: (u64, u32),
    /// Whole files with a flipped bit corrected.
    pub(crate) corrected: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) leftovers: Vec<PathBuf>,
    bad_checkpoints: Vec<PathBuf>,
    cut_bytes: u64,
    /// Bytes of the segments that were read.
    pub(crate) tail_bytes: u64,
    notes: Vec<String>,
    damage: Vec<String>,
    /// The number before the first commit behind the last damage.
    sound_after: u64,
}

/// A commit that may not be durable.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) number: u64,
    pub(crate) time_ms: i64,
    pub(crate) body: Vec<u8>,
    /// Checksum of the frame before it.
    pub(crate) before: u32,
}

impl Scan {
    /// Reads the journal in `directory`, up to and with commit `limit`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Missing`] if there is none, [`JournalError::TooNew`], [`JournalError::Io`].
    /// Damage is no error here: see [`damage`](Self::damage).
    pub fn read(disk: &dyn Disk, directory: &Path, limit: u64) -> Result<Self, JournalError> {
        Self::read_from(disk, directory, limit, Checkpoint::open)
    }

    /// Reads the journal with every byte of the checkpoint that it begins with. A checkpoint that is
    /// damaged anywhere is passed over for an older one, where there is one.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_verified(disk: &dyn Disk, directory: &Path) -> Result<Self, JournalError> {
        Self::read_from(disk, directory, u64::MAX, |disk, path| {
            let base = Checkpoint::open(disk, path)?;
            base.verify()?;
            Ok(base)
        })
    }

    fn read_from(
        disk: &dyn Disk,
        directory: &Path,
        limit: u64,
        open: impl Fn(&dyn Disk, &Path) -> Result<Checkpoint, JournalError>,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::io("read", directory, source);
        let names = match disk.list(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(io)?,
        };
        let mut checkpoints: Vec<u64> = names
            .iter()
            .filter_map(|name| checkpoint::commit_of(name))
            .collect();
        let mut segments: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::first_of(name))
            .collect();
        checkpoints.sort_unstable();
        segments.sort_unstable();
        let leftovers = names.iter().filter(|name| checkpoint::is_leftover(name));
        let format = Format::read(disk, directory)?;
        if segments.is_empty() && checkpoints.is_empty() {
            let directory = directory.to_owned();
            return Err(JournalError::Missing { directory });
        }
        let mut scan = Self {
            directory: directory.to_owned(),
            store_id: [0; 16],
            base: None,
            tail: Arc::default(),
            last: 0,
            highest: 0,
            watermark: 0,
            last_time_ms: 0,
            mark: None,
            clean: false,
            unsynced: VecDeque::new(),
            last_checksum: 0,
            last_segment: (0, 0),
            corrected: Vec::new(),
            leftovers: leftovers.map(|name| directory.join(name)).collect(),
            bad_checkpoints: Vec::new(),
            cut_bytes: 0,
            tail_bytes: 0,
            notes: Vec::new(),
            damage: Vec::new(),
            sound_after: 0,
        };
        scan.choose_base(disk, &checkpoints, limit, open)?;
        let mut identity = format.store_id();
        if let Some(base) = &scan.base {
            identity = identity.or(Some(base.about().store_id));
        }
        scan.read_segments(disk, &segments, &mut identity, limit)?;
        scan.store_id = identity.unwrap_or_default();
        scan.unsynced.retain({
            let watermark = scan.watermark;
            move |commit| commit.number > watermark
        });
        Ok(scan)
    }

    /// Takes the newest checkpoint that is sound. What a damaged one held, an older one and the
    /// segments after it hold as well; if they do not, the gap is found in reading them.
    fn choose_base(
        &mut self,
        disk: &dyn Disk,
        checkpoints: &[u64],
        limit: u64,
        open: impl Fn(&dyn Disk, &Path) -> Result<Checkpoint, JournalError>,
    ) -> Result<(), JournalError> {
        for &commit in checkpoints.iter().rev().filter(|commit| **commit <= limit) {
            let path = self.directory.join(checkpoint::name(commit));
            match open(disk, &path) {
                Ok(base) if base.about().commit == commit => {
                    (self.last, self.highest, self.watermark) = (commit, commit, commit);
                    self.base = Some(base);
                    return Ok(());
                }
                Ok(_) => {
                    let shown = path.display();
                    self.notes
                        .push(format!("{shown} is damaged: it names another commit"));
                }
                Err(error @ JournalError::Checkpoint { .. }) => self.notes.push(error.to_string()),
                Err(error) => return Err(error),
            }
            self.bad_checkpoints.push(path);
        }
        Ok(())
    }

    fn read_segments(
        &mut self,
        disk: &dyn Disk,
        segments: &[u64],
        identity: &mut Option<[u8; 16]>,
        limit: u64,
    ) -> Result<(), JournalError> {
        let base = self.last;
        // The segment that holds the first commit after the base, and all after it.
        let start = segments
            .partition_point(|first| *first <= base + 1)
            .saturating_sub(1);
        let needed = segments.get(start..).unwrap_or_default();
        match needed.first() {
            Some(&first) if first > base + 1 => {
                self.damaged(format!("commits {} to {} are missing", base + 1, first - 1));
            }
            _ => {}
        }
        for (at, &first) in needed.iter().enumerate() {
            // Reading stopped at the limit, so the next header has another predecessor.
            if at > 0 && first > limit {
                break;
            }
            let path = self.directory.join(segment::name(first));
            let read = Segment::read(disk, &self.directory, first);
            let segment = read.map_err(|e| JournalError::io("read", &path, e))?;
            self.tail_bytes += u64::try_from(segment.bytes.len()).unwrap_or(u64::MAX);
            let next = needed.get(at + 1).copied();
            self.read_segment(disk, &segment, at == 0, next, identity, limit)?;
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        disk: &dyn Disk,
        segment: &Segment,
        is_first: bool,
        next: Option<u64>,
        identity: &mut Option<[u8; 16]>,
        limit: u64,
    ) -> Result<(), JournalError> {
        let shown = segment.path.display().to_string();
        let mut corrected = false;
        match &segment.header {
            Some((header, was_corrected)) => {
                corrected = *was_corrected;
                if *identity.get_or_insert(header.store_id) != header.store_id {
                    self.damaged(format!("{shown}: belongs to another store"));
                    return Ok(());
                }
                if !is_first && header.predecessor != self.last_checksum {
                    self.damaged(format!(
                        "commits after {} and before {} are missing",
                        self.last, segment.first
                    ));
                }
                // Everything before a segment is durable before the segment appears.
                self.watermark = self.watermark.max(segment.first.saturating_sub(1));
            }
            None => self.damaged(format!("{shown}: the header is damaged")),
        }
        self.last_segment = (segment.first, self.last_checksum);
        // An open made this segment, so the close before it is not the last word.
        self.clean = false;
        let file = disk.open(&segment.path);
        let file = file.map_err(|e| JournalError::io("read", &segment.path, e))?;
        let number = Arc::make_mut(&mut self.tail).add_segment(file);
        let mut frames = segment.frames();
        let mut fixed: Option<Vec<u8>> = None;
        loop {
            for (offset, frame) in frames.by_ref() {
                let superseded = next.is_some_and(|next| frame.header.number >= next);
                if frame.header.kind == Kind::Commit && (superseded || frame.header.number > limit)
                {
                    return Ok(());
                }
                if frame.corrected {
                    corrected = true;
                    let fixed = fixed.get_or_insert_with(|| segment.bytes.clone());
                    rewrite(fixed, offset, &frame);
                }
                self.take_frame(number, offset, &frame);
            }
            if frames.offset >= segment.bytes.len() {
                break;
            }
            // Bytes follow that are no frame: the tail of a power cut, or damage before more frames.
            let bad = frames.offset;
            let Some(resumed) = self.resume_after(segment, bad, next) else {
                let cut = segment.bytes.len() - bad;
                if next.is_none() {
                    self.cut_bytes = u64::try_from(cut).unwrap_or(u64::MAX);
                }
                break;
            };
            self.damaged(format!(
                "{shown}: bytes {bad} to {resumed} are damaged, after commit {}",
                self.last
            ));
            frames.offset = resumed;
        }
        if corrected {
            let mut bytes = fixed.unwrap_or_else(|| segment.bytes.clone());
            if let (Some((header, _)), Some(field)) =
                (&segment.header, bytes.get_mut(..segment::HEADER_LEN))
            {
                field.copy_from_slice(&header.encode());
            }
            self.notes
                .push(format!("{shown}: a flipped bit was corrected"));
            self.corrected.push((segment.path.clone(), bytes));
        }
        Ok(())
    }

    /// Where to go on after a bad frame, if it is damage; `None` if it is the unsynced tail. Learns
    /// from the frames behind it which numbers were in use and what was durable.
    fn resume_after(&mut self, segment: &Segment, bad: usize, next: Option<u64>) -> Option<usize> {
        let resumed = segment.next_frame_after(bad + 1)?;
        let mut behind = segment.frames();
        behind.offset = resumed;
        let (mut highest, mut watermark) = (0, 0);
        for (_, frame) in behind {
            highest = highest.max(frame.header.number);
            watermark = watermark.max(frame.header.synced_through);
        }
        if next.is_some_and(|next| next <= self.last + 1) {
            return None;
        }
        self.highest = self.highest.max(highest);
        if watermark > self.last {
            Some(resumed)
        } else {
            None
        }
    }

    /// Notes damage where the scan is.
    fn damaged(&mut self, what: String) {
        self.damage.push(what);
        self.sound_after = self.last;
    }

    fn take_frame(&mut self, segment: usize, offset: usize, frame: &Frame<'_>) {
        let header = frame.header;
        self.watermark = self.watermark.max(header.synced_through);
        self.highest = self.highest.max(header.number);
        self.last_time_ms = self.last_time_ms.max(header.time_ms);
        self.clean = false;
        match header.kind {
            Kind::Commit if header.number > self.last => {
                self.last = header.number;
                let body_at = offset + crate::frame::HEADER_LEN;
                let tail = Arc::make_mut(&mut self.tail);
                if !tail.apply(segment, body_at, &frame.body, frame.corrected) {
                    self.damaged(format!("commit {} is malformed", header.number));
                }
                self.unsynced.push_back(Unsynced {
                    number: header.number,
                    time_ms: header.time_ms,
                    body: frame.body.to_vec(),
                    before: self.last_checksum,
                });
            }
            // Before the base, or seen in an older copy.
            Kind::Commit => {}
            Kind::Mark | Kind::CleanMark => {
                let clean = header.kind == Kind::CleanMark;
                if let Some(mark) = Mark::decode(&frame.body, clean) {
                    self.clean = clean && header.number == self.last;
                    self.mark = Some((header.number, mark));
                }
            }
        }
        while self
            .unsynced
            .front()
            .is_some_and(|c| c.number <= self.watermark)
        {
            self.unsynced.pop_front();
        }
        self.last_checksum = frame.checksum;
    }

    /// The number before the first commit behind the last damage; what comes after it is whole.
    pub fn sound_after(&self) -> u64 {
        self.sound_after
    }

    /// The highest number seen anywhere.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The id of the store.
    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The number of the last commit.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The last number that is known durable.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The last mark and the commit it speaks of.
    pub fn mark(&self) -> Option<&(u64, Mark)> {
        self.mark.as_ref()
    }

    /// The last mark's fingerprint of the index, if the journal ends with a clean mark.
    pub fn clean(&self) -> Option<&[u8]> {
        let (_, mark) = self.mark.as_ref().filter(|_| self.clean)?;
        mark.clean.as_deref()
    }

    /// Bytes of an unsynced tail that are no whole commits.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// What was damaged and could be read all the same; a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is damaged beyond reading; a line each. Empty if the journal is sound.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The same, with a damage that was found in reading on.
    #[must_use]
    pub fn with_damage(mut self, damage: String) -> Self {
        self.damage.push(damage);
        self
    }

    /// Renames the checkpoints that were found damaged, so that they do not count among those that
    /// are kept.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn set_bad_checkpoints_aside(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        for path in &self.bad_checkpoints {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            let renamed = disk.rename(path, Path::new(&aside));
            renamed.map_err(|e| JournalError::io("rename", path, e))?;
        }
        Ok(())
    }

    /// Calls `visit` with each commit after `after`, in order, until it returns `false`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn replay(
        disk: &dyn Disk,
        directory: &Path,
        after: u64,
        through: u64,
        mut visit: impl FnMut(u64, &mut dyn Iterator<Item = commit::Change<'_>>) -> bool,
    ) -> Result<(), JournalError> {
        let io = |source| JournalError::io("read", directory, source);
        let names = disk.list(directory).map_err(io)?;
        let mut segments: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::first_of(name))
            .collect();
        segments.sort_unstable();
        let start = segments
            .partition_point(|first| *first <= after + 1)
            .saturating_sub(1);
        let needed = segments.get(start..).unwrap_or_default();
        let mut last = after;
        for (at, &first) in needed.iter().enumerate() {
            let next = needed.get(at + 1).copied().unwrap_or(u64::MAX);
            let segment = Segment::read(disk, directory, first).map_err(io)?;
            for (_, frame) in segment.frames() {
                let number = frame.header.number;
                if frame.header.kind != Kind::Commit || number <= last {
                    continue;
                }
                if number >= next || number > through {
                    break;
                }
                last = number;
                if !visit(number, &mut commit::decode(&frame.body).flatten()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Puts a corrected frame back into the bytes of its file.
fn rewrite(bytes: &mut [u8], offset: usize, frame: &Frame<'_>) {
    let (whole, _) = crate::frame::encode(&frame.header, &frame.body);
    if let Some(target) = bytes.get_mut(offset..offset + whole.len()) {
        target.copy_from_slice(&whole);
    }
}
