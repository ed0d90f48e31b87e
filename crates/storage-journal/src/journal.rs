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

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use crate::bytes::len_u64;
use crate::checkpoint::{self, About, Checkpoint, Record};
use crate::commit::{Change, MAX_COMMIT_SIZE};
use crate::digest::Digests;
use crate::disk::{Disk, DiskFile, make_directory, publish, remove_if_there};
use crate::error::JournalError;
use crate::extract::{self, After, Extract};
use crate::format::{self, Said};
use crate::frame::{self, Header, Kind};
use crate::group::Group;
use crate::mark::Mark;
use crate::merged::Merged;
use crate::scan::{self, Names, Scan, Walk};
use crate::segment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

#[cfg(all(test, nonos_shuttle))]
mod schedules;

/// A segment is closed once it is so long, in bytes.
pub const SEGMENT_SIZE: u64 = 16 * 1024 * 1024;

/// How many checkpoints are kept, with the segments between them.
const CHECKPOINTS_KEPT: usize = 2;

/// The state of a database in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The commit whose state it is.
    pub commit: u64,
    /// When that was made, in Unix milliseconds.
    pub last_at: i64,
    /// What tells that commit from any other of its number: a CRC-32; `None` without a journal.
    pub content: Option<u32>,
    /// The length of the file in bytes.
    pub bytes: u64,
}

impl Exported {
    /// The state at this commit, made at `last_at`, of a database without a journal.
    pub fn without_journal(commit: u64, last_at: i64, bytes: u64) -> Self {
        Self {
            commit,
            last_at,
            content: None,
            bytes,
        }
    }
}

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

#[derive(Debug)]
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
    checkpoint_size: u64,
    tag: u32,
}

impl Journal {
    /// Makes the journal of a new store in `directory`, which does not exist, is empty, or holds
    /// what a creation that was interrupted left. Durable on return.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn create(
        disk: Arc<dyn Disk>,
        directory: &Path,
        store_id: [u8; 16],
        term: u64,
        schema: u32,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::io("create", directory, source);
        make_directory(&*disk, directory).map_err(io)?;
        let begin = Begin {
            schema,
            ..Begin::default()
        };
        Self::begin(disk, directory, store_id, term, begin)
    }

    /// Opens a journal that was scanned whole and found sound, under a new term: heals what was
    /// corrected, removes what was never completed, and writes again what may not be durable.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`] if the scan found damage, [`JournalError::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        scan: &Scan,
        term: u64,
        schema: u32,
    ) -> Result<Self, JournalError> {
        let directory = &scan.directory;
        if !scan.damage().is_empty() {
            return Err(JournalError::Damaged {
                directory: directory.clone(),
                damage: scan.damage().to_vec(),
            });
        }
        scan.set_bad_files_aside(&*disk)?;
        let walk = &scan.walk;
        for (path, bytes) in &walk.corrected {
            publish(&*disk, path, bytes).map_err(|e| JournalError::io("heal", path, e))?;
        }
        for path in &scan.leftovers {
            remove_if_there(&*disk, path).map_err(|e| JournalError::io("remove", path, e))?;
        }
        wipe_purged(&*disk, directory)?;
        let durable = (walk.last, walk.last_checksum);
        let (before, predecessor) = walk
            .unsynced
            .front()
            .map_or(durable, |commit| commit.before);
        let rewritten = walk.unsynced.iter();
        let begin = Begin {
            schema: schema.max(scan.schema()),
            first: before + 1,
            predecessor,
            last: walk.last,
            highest: walk.highest,
            // Time does not go back, where a journal was begun from a checkpoint as well.
            last_time_ms: walk.last_time_ms.max(scan.last_at()),
            last_at: scan.last_at(),
            since_checkpoint: walk.bytes,
            checkpoint_size: scan.base.as_ref().map_or(0, Checkpoint::size),
            rewritten: rewritten
                .map(|commit| (commit.number, commit.time_ms, commit.body.as_slice()))
                .collect(),
        };
        Self::begin(disk, directory, scan.store_id(), term, begin)
    }

    /// Begins anew above commit `last`, at which a checkpoint of `checkpoint_size` bytes was just
    /// published: what lies below is damaged and not read any more.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn restart(
        disk: Arc<dyn Disk>,
        directory: &Path,
        store_id: [u8; 16],
        term: u64,
        last: u64,
        checkpoint_size: u64,
        schema: u32,
    ) -> Result<Self, JournalError> {
        let begin = Begin {
            schema,
            first: last + 1,
            last,
            highest: last,
            checkpoint_size,
            ..Begin::default()
        };
        Self::begin(disk, directory, store_id, term, begin)
    }

    /// Publishes the segment that an open writes to.
    fn begin(
        disk: Arc<dyn Disk>,
        directory: &Path,
        store_id: [u8; 16],
        term: u64,
        begin: Begin<'_>,
    ) -> Result<Self, JournalError> {
        let header = segment::Header {
            store_id,
            term,
            first: begin.first,
            predecessor: begin.predecessor,
        };
        let mut bytes = header.encode();
        let mut last_checksum = begin.predecessor;
        for (number, time_ms, body) in begin.rewritten {
            let header = Header {
                tag: header.tag(),
                predecessor: last_checksum,
                number,
                // The segment appears only once all of it is durable.
                synced_through: begin.last,
                time_ms,
                kind: Kind::Commit,
            };
            let (frame, checksum) = frame::encode(&header, body);
            bytes.extend(frame);
            last_checksum = checksum;
        }
        let path = directory.join(segment::name(begin.first));
        let io = |source| JournalError::io("write", &path, source);
        publish(&*disk, &path, &bytes).map_err(io)?;
        let said = Said {
            store_id,
            schema: begin.schema,
            next: begin.highest.max(begin.last) + 1,
            segment: begin.first,
        };
        format::write(&*disk, directory, &said)?;
        let file = reopen(&*disk, &path)?;
        Ok(Self {
            directory: directory.to_owned(),
            store_id,
            term,
            segment_size: SEGMENT_SIZE,
            said: Mutex::new(said),
            group: Group::new(begin.last),
            syncing: Mutex::new(()),
            unsynced: AtomicU64::new(0),
            writer: Mutex::new(Writer {
                file,
                path,
                first: begin.first,
                offset: len_u64(bytes.len()),
                last: begin.last,
                next: begin.highest.max(begin.last) + 1,
                last_time_ms: begin.last_time_ms,
                last_at: begin.last_at,
                last_checksum,
                since_checkpoint: begin.since_checkpoint,
                checkpoint_size: begin.checkpoint_size,
                tag: header.tag(),
            }),
            failure: OnceLock::new(),
            disk,
        })
    }

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
        if body.len() > MAX_COMMIT_SIZE {
            return Err(JournalError::TooLarge {
                size: body.len(),
                max: MAX_COMMIT_SIZE,
            });
        }
        let mut writer = self.writer();
        let number = writer.next;
        self.check()?;
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
        self.write_frame(&mut writer, kind, number, now_ms, &mark.encode())
    }

    fn write_frame(
        &self,
        writer: &mut Writer,
        kind: Kind,
        number: u64,
        now_ms: i64,
        body: &[u8],
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
        let (bytes, checksum) = frame::encode(&header, body);
        let written = writer.file.write_at(writer.offset, &bytes);
        written.map_err(|e| self.poison(JournalError::io("write", &writer.path, e)))?;
        writer.offset += len_u64(bytes.len());
        writer.since_checkpoint += len_u64(bytes.len());
        self.unsynced
            .fetch_add(len_u64(bytes.len()), Ordering::Relaxed);
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

    /// Renames a checkpoint of this journal that turned out to be damaged, so that the one before it is
    /// read in its place; `false` if the error is of something else.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn set_damaged_aside(&self, error: &JournalError) -> Result<bool, JournalError> {
        let JournalError::Checkpoint { path, .. } = error else {
            return Ok(false);
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.parent() != Some(&self.directory) || checkpoint::commit_of(&name).is_none() {
            return Ok(false);
        }
        let mut aside = path.clone().into_os_string();
        aside.push(".damaged");
        let renamed = self.disk.rename(path, Path::new(&aside));
        renamed.map_err(|e| JournalError::io("rename", path, e))?;
        Ok(true)
    }

    /// Notes what was found damaged, durably, until [`forget_damage`](Self::forget_damage).
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn note_damage(
        disk: &dyn Disk,
        directory: &Path,
        lines: &[String],
    ) -> Result<(), JournalError> {
        format::note(disk, directory, lines)
    }

    /// Forgets what was noted: it was told.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn forget_damage(&self) -> Result<(), JournalError> {
        format::forget(&*self.disk, &self.directory)
    }

    /// Makes a directory without journal say nothing of an old one.
    ///
    /// # Errors
    ///
    /// [`JournalError::Io`].
    pub fn forget_old(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
        format::remove(disk, directory)
    }

    /// Writes a checkpoint at the last commit, beside the writers, and removes what it makes
    /// needless: the last two checkpoints and the segments between them stay. Returns its commit and
    /// its length in bytes. `watch` is called with 1 for
    /// every record and with 0 while it is read back, and ends it by an error.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`], [`JournalError::Checkpoint`], [`JournalError::Io`], and those of
    /// `watch`: nothing was removed, and the journal goes on.
    pub fn checkpoint<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let written = self.checkpoint_beside(schema_version, created_at, watch)?;
        self.remove_needless()?;
        Ok(written)
    }

    fn checkpoint_beside<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let (last, size) = {
            let writer = self.writer();
            (writer.last, writer.since_checkpoint)
        };
        let merged = self.merged(last)?;
        let path = self.directory.join(checkpoint::name(merged.through()));
        let about = self.about(merged.through(), schema_version, created_at);
        let written = self.write_checkpoint(&path, &merged, &about, watch)?;
        {
            let mut writer = self.writer();
            writer.since_checkpoint = writer.since_checkpoint.saturating_sub(size);
            writer.checkpoint_size = written.1;
        }
        Ok(written)
    }

    /// Writes a checkpoint at the last commit, and removes every older copy of anything: what was deleted
    /// or replaced before is in no file of the journal any more. Each removed file is overwritten once;
    /// what a file system that copies on writing, or a device, keeps of it is beyond this.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint): what is left of older files is removed by the next call.
    pub fn purge<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        {
            let mut writer = self.writer();
            self.check()?;
            if writer.last >= writer.first {
                self.roll(&mut writer).map_err(|e| self.poison(e))?;
            }
        }
        let written = self.checkpoint_beside(schema_version, created_at, watch)?;
        self.wipe_before(written.0)?;
        Ok(written)
    }

    /// Wipes everything but the checkpoint at `commit`, what is newer, and what says what this is.
    fn wipe_before(&self, commit: u64) -> Result<(), JournalError> {
        let io = |source| JournalError::io("purge", &self.directory, source);
        // No segment is begun while names change: the file of one would be taken for an old one.
        let writer = self.writer();
        let names = self.disk.list(&self.directory).map_err(io)?;
        let segments = Names::list(&*self.disk, &self.directory)?.segments;
        let oldest_needed = segments.iter().rfind(|first| **first <= commit + 1);
        let mut wiped = Vec::new();
        for name in names {
            let is_kept = match (segment::first_of(&name), checkpoint::commit_of(&name)) {
                (Some(first), _) => oldest_needed.is_none_or(|oldest| first >= *oldest),
                (_, Some(at)) => at >= commit,
                _ => format::is_of_the_journal(&name),
            };
            if is_kept {
                continue;
            }
            let mut path = self.directory.join(&name);
            if !name.ends_with(PURGED) {
                // Under its own name an overwritten file would be a damaged one.
                let purged = self.directory.join(format!("{name}{PURGED}"));
                self.disk.rename(&path, &purged).map_err(io)?;
                path = purged;
            }
            wiped.push(path);
        }
        drop(writer);
        self.disk.sync_directory(&self.directory).map_err(io)?;
        for path in wiped {
            wipe(&*self.disk, &path).map_err(io)?;
        }
        self.disk.sync_directory(&self.directory).map_err(io)
    }

    /// Writes a checkpoint at the last commit of `records`, which are its state in the order of tree and
    /// key: what an index holds while nobody writes. Memory does not grow with what was committed
    /// since the checkpoint before. `accept` is asked for the digests before it counts, `pulse` is called while it
    /// is read back.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint), and those of `records` and `accept`.
    pub fn checkpoint_of<E: From<JournalError>>(
        &self,
        schema_version: u32,
        created_at: i64,
        records: impl Iterator<Item = Result<Record, E>>,
        accept: impl FnOnce(&Digests) -> Result<(), E>,
        pulse: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let last = self.writer().last;
        self.sync_through(last)?;
        let path = self.directory.join(checkpoint::name(last));
        let about = self.about(last, schema_version, created_at);
        let size = checkpoint::write_if(&*self.disk, &path, &about, records, accept, pulse)?;
        let mut writer = self.writer();
        writer.since_checkpoint = 0;
        writer.checkpoint_size = size;
        drop(writer);
        self.remove_needless()?;
        Ok((last, size))
    }

    /// Writes the state at the last commit, as a checkpoint, to a file anywhere on this disk, beside
    /// the writers.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint).
    pub fn export<E: From<JournalError>>(
        &self,
        path: &Path,
        schema_version: u32,
        created_at: i64,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Exported, E> {
        let last = self.writer().last;
        let merged = self.merged(last)?;
        let about = self.about(merged.through(), schema_version, created_at);
        let (_, bytes) = self.write_checkpoint(path, &merged, &about, watch)?;
        Ok(merged.exported(bytes))
    }

    /// Writes the commits behind `after` to a file of their own, beside the writers: [`extract::write`].
    ///
    /// # Errors
    ///
    /// As there, and as [`sync_through`](Self::sync_through).
    pub fn extract(
        &self,
        after: After,
        path: &Path,
        most: u64,
    ) -> Result<Option<Extract>, JournalError> {
        let last = self.writer().last;
        self.sync_through(last)?;
        let of_this = (self.store_id, self.term);
        let to = (path, most);
        extract::write(&*self.disk, &self.directory, of_this, after, last, to)
    }

    /// The state at commit `last`, made durable first.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`], also where two checkpoints above `last` were written meanwhile, and nothing reaches back
    /// to it any more; [`JournalError::Io`].
    pub fn merged(&self, last: u64) -> Result<Merged, JournalError> {
        self.sync_through(last)?;
        Merged::open(&*self.disk, &self.directory, last)
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

    fn write_checkpoint<E: From<JournalError>>(
        &self,
        path: &Path,
        merged: &Merged,
        about: &About,
        watch: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let watch = RefCell::new(watch);
        let told = |records| (watch.borrow_mut())(records);
        let records = merged.records().map(|record| {
            told(1)?;
            Ok::<_, E>(record?)
        });
        let disk = &*self.disk;
        let pulse = &mut || told(0);
        let size = checkpoint::write_if(disk, path, about, records, |_| Ok(()), pulse)?;
        Ok((about.commit, size))
    }

    fn about(&self, commit: u64, schema_version: u32, created_at: i64) -> About {
        About {
            store_id: self.store_id,
            term: self.term,
            schema_version,
            commit,
            // Not before the last commit, where the clock was set back.
            created_at: created_at.max(self.writer().last_time_ms.div_euclid(1000)),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    fn remove_needless(&self) -> Result<(), JournalError> {
        let io = |source| JournalError::io("tidy", &self.directory, source);
        let Names {
            segments,
            checkpoints,
            ..
        } = Names::list(&*self.disk, &self.directory)?;
        let needless = checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
        let (old, kept) = checkpoints.split_at_checked(needless).unwrap_or_default();
        // Without two checkpoints, the first segment is the older copy of what the one holds.
        let oldest = match kept {
            [oldest, _, ..] => *oldest,
            _ => return Ok(()),
        };
        for commit in old {
            let path = self.directory.join(checkpoint::name(*commit));
            remove_if_there(&*self.disk, &path).map_err(io)?;
        }
        // A segment is needless once the one after it begins with a number that the oldest checkpoint already holds.
        // The checkpoint's own commit stays: an increment tells by it whether it goes on from the same past.
        for pair in segments.windows(2) {
            if let [first, next] = pair
                && *next <= oldest
            {
                let path = self.directory.join(segment::name(*first));
                remove_if_there(&*self.disk, &path).map_err(io)?;
            }
        }
        Ok(())
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

/// Wipes what an interrupted purge left.
fn wipe_purged(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::io("purge", directory, source);
    for name in disk.list(directory).map_err(io)? {
        if name.ends_with(PURGED) {
            wipe(disk, &directory.join(name)).map_err(io)?;
        }
    }
    Ok(())
}

/// The ending of a file that is being wiped: nothing else takes it for what it was.
const PURGED: &str = ".purged";

/// What the first segment of an open begins with.
struct Begin<'a> {
    schema: u32,
    first: u64,
    predecessor: u32,
    /// The last commit that counts.
    last: u64,
    /// The highest number ever seen.
    highest: u64,
    last_time_ms: i64,
    last_at: i64,
    /// Number, time and body of commits that may not be durable.
    rewritten: Vec<(u64, i64, &'a [u8])>,
    since_checkpoint: u64,
    checkpoint_size: u64,
}

impl Default for Begin<'_> {
    fn default() -> Self {
        Self {
            schema: 0,
            first: 1,
            predecessor: 0,
            last: 0,
            highest: 0,
            last_time_ms: 0,
            last_at: 0,
            rewritten: Vec::new(),
            since_checkpoint: 0,
            checkpoint_size: 0,
        }
    }
}

/// A published segment, open for writing.
/// Overwrites a file once, and removes it; one that is somebody else's as well is only removed, and a
/// directory left.
fn wipe(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    if !disk.is_own(path)? {
        return match disk.remove(path) {
            Err(e) if e.kind() == std::io::ErrorKind::IsADirectory => Ok(()),
            removed => removed,
        };
    }
    let file = disk.open_for_writing(path)?;
    let (size, zeros) = (file.size()?, [0; 8 * 1024]);
    let mut offset = 0;
    while offset < size {
        let len = usize::try_from(size - offset).unwrap_or(zeros.len());
        let zeros = zeros.split_at(len.min(zeros.len())).0;
        file.write_at(offset, zeros)?;
        offset += len_u64(zeros.len());
    }
    file.sync()?;
    disk.remove(path)
}

fn reopen(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, JournalError> {
    disk.open_for_writing(path)
        .map_err(|e| JournalError::io("open", path, e))
}
