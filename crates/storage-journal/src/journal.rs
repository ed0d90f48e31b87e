//! The journal, open for writing.
//!
//! # Invariants
//!
//! - The bytes of a commit are with the disk when [`Journal::append`] returns, and durable when
//!   [`Journal::sync_through`] does.
//! - A number is never used twice: each is above the highest seen anywhere in the journal.
//! - A segment appears only when everything before it is durable, and an open begins a new one.
//! - After an error of writing or syncing nothing more is written: what an `fsync` reported as lost
//!   is not believed by the next one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use crate::bytes::len_u64;
use crate::commit::{self, Change, MAX_COMMIT_SIZE};
use crate::disk::{Disk, DiskFile, publish};
use crate::error::JournalError;
use crate::format::{self, Said};
use crate::frame::{self, Header, Kind};
use crate::group::Group;
use crate::mark::Mark;
use crate::scan::{self, Walk};
use crate::segment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

mod begin;
mod checkpoints;
mod damage;
mod purge;
#[cfg(all(test, nonos_shuttle))]
mod schedules;

pub use checkpoints::Exported;
use purge::wipe_purged;

/// A segment is closed once it is so long, in bytes.
pub const SEGMENT_SIZE: u64 = 16 * 1024 * 1024;

/// So many bytes of memory are kept for the frames of small commits.
const KEPT: usize = 64 * 1024;

/// A journal that takes commits. The caller numbers and orders them.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    store_id: [u8; 16],
    term: u64,
    segment_size: u64,
    /// What `FORMAT` says.
    said: Mutex<Said>,
    writer: Mutex<Writer>,
    group: Group,
    /// Held while a file is synced: an error is known to all before anybody syncs again, as the system
    /// tells it once.
    syncing: Mutex<()>,
    /// Bytes that were written since the last sync began.
    unsynced: AtomicU64,
    failure: OnceLock<String>,
}

struct Writer {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    first: u64,
    offset: u64,
    /// The last commit that there is.
    last: u64,
    /// The number of the next one: above every number ever seen, of commits that a power cut tore too.
    next: u64,
    last_time_ms: i64,
    /// When the last commit was made.
    last_at: i64,
    /// Of the last commit's frame. Marks are not in the chain: one that was not synced may be lost.
    last_checksum: u32,
    since_checkpoint: u64,
    /// Bytes before the last checkpoint of this open in the segment of its commit.
    before_checkpoint: u64,
    checkpoint_size: u64,
    tag: u32,
    /// The bytes of the last frame, for the next one to lie in.
    frame: Vec<u8>,
}

/// Says where it is, not what it wrote: values may be secrets.
impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.path)
            .field("offset", &self.offset)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Closes segments at another size; for tests that want many.
    #[must_use]
    pub fn with_segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// The number of the last commit.
    pub fn last(&self) -> u64 {
        self.writer().last
    }

    /// The number that the next commit gets.
    pub fn next_number(&self) -> u64 {
        self.writer().next
    }

    /// Bytes that were written since the last sync began: about what the next one has to do.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// The last number known durable.
    pub fn synced(&self) -> u64 {
        self.group.synced()
    }

    /// The id of the store.
    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The term of this open.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Bytes appended since the last checkpoint of this open.
    pub fn since_checkpoint(&self) -> u64 {
        self.writer().since_checkpoint
    }

    /// About how many bytes of segments are read for the state at the last commit.
    pub fn tail_bytes(&self) -> u64 {
        let writer = self.writer();
        writer
            .since_checkpoint
            .saturating_add(writer.before_checkpoint)
    }

    /// The length of the last checkpoint in bytes; 0 before the first.
    pub fn checkpoint_size(&self) -> u64 {
        self.writer().checkpoint_size
    }

    /// Says, durably, which schema the records may have from now on. A program that does not know it
    /// refuses to open the journal.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn set_schema(&self, schema: u32) -> Result<(), JournalError> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Said { schema, ..*said };
        format::write(&*self.disk, &self.directory, &new)?;
        *said = new;
        Ok(())
    }

    /// Why nothing more is written, if that is so.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Appends a commit and returns its number. Its bytes are with the disk on return.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooLarge`]: nothing was written. [`JournalError::Io`]: whether the commit is
    /// there is open until the next scan; this journal takes no more. [`JournalError::Poisoned`].
    pub fn append(&self, now_ms: i64, body: &[u8]) -> Result<u64, JournalError> {
        self.append_with(now_ms, body.len(), |to| to.extend_from_slice(body))
    }

    /// [`append`](Self::append) of the body that [`commit::encode`] makes of these changes, which is made where it is
    /// written from.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn append_changes<'a>(
        &self,
        now_ms: i64,
        changes: impl Iterator<Item = Change<'a>> + Clone,
    ) -> Result<u64, JournalError> {
        let len = commit::encoded_len(changes.clone());
        self.append_with(now_ms, len, |to| commit::encode_into(to, changes))
    }

    fn append_with(
        &self,
        now_ms: i64,
        len: usize,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, JournalError> {
        if len > MAX_COMMIT_SIZE {
            return Err(JournalError::TooLarge {
                size: len,
                max: MAX_COMMIT_SIZE,
            });
        }
        let mut writer = self.writer();
        let number = writer.next;
        self.check()?;
        writer.frame.reserve(frame::HEADER_LEN + len);
        self.write_frame(&mut writer, Kind::Commit, number, now_ms, body)?;
        writer.last = number;
        writer.next = number + 1;
        Ok(number)
    }

    /// Appends a mark that speaks of commit `number`, which is durable in journal and index.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`], [`JournalError::Poisoned`].
    pub fn mark(&self, number: u64, now_ms: i64, mark: &Mark) -> Result<(), JournalError> {
        let kind = match mark.clean {
            Some(_) => Kind::CleanMark,
            None => Kind::Mark,
        };
        let mut writer = self.writer();
        self.check()?;
        let body = mark.encode();
        self.write_frame(&mut writer, kind, number, now_ms, |to| {
            to.extend_from_slice(&body);
        })
    }

    fn write_frame(
        &self,
        writer: &mut Writer,
        kind: Kind,
        number: u64,
        now_ms: i64,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), JournalError> {
        // A segment without a commit has the name that the next one would get.
        let header = len_u64(segment::HEADER_LEN);
        let is_full = writer.offset >= self.segment_size + header;
        if is_full && writer.last >= writer.first {
            self.roll(writer).map_err(|e| self.poison(e))?;
        }
        let header = Header {
            tag: writer.tag,
            predecessor: writer.last_checksum,
            number,
            synced_through: self.group.synced(),
            time_ms: now_ms.max(writer.last_time_ms),
            kind,
        };
        let checksum = frame::encode_into(&mut writer.frame, &header, body);
        let written = writer.file.write_at(writer.offset, &writer.frame);
        written.map_err(|e| self.poison(JournalError::io("write", &writer.path, e)))?;
        let len = len_u64(writer.frame.len());
        // What it says may be secret.
        writer.frame.fill(0);
        writer.frame.clear();
        writer.frame.shrink_to(KEPT);
        writer.offset += len;
        writer.since_checkpoint += len;
        self.unsynced.fetch_add(len, Ordering::Relaxed);
        writer.last_time_ms = header.time_ms;
        if kind == Kind::Commit {
            writer.last_checksum = checksum;
            writer.last_at = header.time_ms;
        }
        Ok(())
    }

    /// Closes the segment and begins the next.
    fn roll(&self, writer: &mut Writer) -> Result<(), JournalError> {
        let io = |path: &Path, source| JournalError::io("write", path, source);
        self.sync_file(&*writer.file, &writer.path)?;
        self.group.note(writer.last);
        let header = segment::Header {
            store_id: self.store_id,
            term: self.term,
            first: writer.last + 1,
            predecessor: writer.last_checksum,
        };
        let path = self.directory.join(segment::name(header.first));
        let bytes = header.encode();
        publish(&*self.disk, &path, &bytes).map_err(|e| io(&path, e))?;
        writer.file = reopen(&*self.disk, &path)?;
        writer.path = path;
        writer.first = header.first;
        writer.offset = len_u64(bytes.len());
        Ok(())
    }

    /// Returns once everything through `number` is durable; threads that wait share a sync.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`]: what is durable is open until the next scan; this journal takes no
    /// more. [`JournalError::Poisoned`].
    pub fn sync_through(&self, number: u64) -> Result<(), JournalError> {
        self.group.wait_for(number, || {
            self.check()?;
            let (file, path, last) = {
                let writer = self.writer();
                (Arc::clone(&writer.file), writer.path.clone(), writer.last)
            };
            // A segment that was closed meanwhile was synced in closing, and through a later number.
            self.sync_file(&*file, &path)?;
            Ok(last)
        })
    }

    /// Makes everything durable, marks as well.
    ///
    /// # Errors
    ///
    /// As [`sync_through`](Self::sync_through).
    pub fn sync(&self) -> Result<(), JournalError> {
        self.check()?;
        let (file, path, last) = {
            let writer = self.writer();
            (Arc::clone(&writer.file), writer.path.clone(), writer.last)
        };
        self.sync_file(&*file, &path)?;
        self.group.note(last);
        Ok(())
    }

    fn sync_file(&self, file: &dyn DiskFile, path: &Path) -> Result<(), JournalError> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        self.unsynced.store(0, Ordering::Relaxed);
        let synced = file.sync();
        synced.map_err(|e| self.poison(JournalError::io("sync", path, e)))
    }

    /// Calls `visit` with the commits after `after` and up to `through`, in order.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`], [`JournalError::Io`], and those of `visit`.
    pub fn replay<E: From<JournalError>>(
        &self,
        after: u64,
        through: u64,
        visit: impl FnMut(u64, &mut dyn Iterator<Item = Change<'_>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let walk = Walk::new(&self.directory, Some(self.store_id), after, through);
        match scan::replay(&*self.disk, walk, visit)?.first() {
            None => Ok(()),
            Some(lost) => Err(E::from(JournalError::Damaged {
                directory: self.directory.clone(),
                damage: vec![format!("commit {} cannot be read", lost.start())],
            })),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), JournalError> {
        match self.failure.get() {
            Some(reason) => Err(JournalError::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    fn poison(&self, error: JournalError) -> JournalError {
        let _first = self.failure.set(error.to_string());
        error
    }
}

/// A published segment, open for writing.
fn reopen(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, JournalError> {
    disk.open_for_writing(path)
        .map_err(|e| JournalError::io("open", path, e))
}
