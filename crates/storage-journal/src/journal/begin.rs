//! The segment that an open begins: of a new journal, of one that was scanned, above a checkpoint.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Journal, SEGMENT_SIZE, Writer, reopen, wipe_purged};
use crate::bytes::len_u64;
use crate::checkpoint::Checkpoint;
use crate::disk::{Disk, make_directory, publish, remove_if_there};
use crate::error::JournalError;
use crate::format::{self, Said};
use crate::frame::{self, Header, Kind};
use crate::group::Group;
use crate::scan::Scan;
use crate::segment;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

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
        let base = scan.base.as_ref().map_or(0, |base| base.about().commit);
        let begin = Begin {
            schema: schema.max(scan.schema()),
            first: before + 1,
            predecessor,
            last: walk.last,
            highest: walk.highest,
            // Time does not go back, where a journal was begun from a checkpoint as well.
            last_time_ms: walk.last_time_ms.max(scan.last_at()),
            last_at: scan.last_at(),
            // Where nothing came since, what was walked was only the segment that it is in.
            since_checkpoint: if walk.last > base { walk.bytes } else { 0 },
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
                before_checkpoint: 0,
                checkpoint_size: begin.checkpoint_size,
                tag: header.tag(),
                frame: Vec::new(),
            }),
            failure: OnceLock::new(),
            disk,
        })
    }
}

/// What the first segment of an open begins with.
struct Begin<'a> {
    pub(super) schema: u32,
    pub(super) first: u64,
    pub(super) predecessor: u32,
    /// The last commit that counts.
    pub(super) last: u64,
    /// The highest number ever seen.
    pub(super) highest: u64,
    pub(super) last_time_ms: i64,
    pub(super) last_at: i64,
    /// Number, time and body of commits that may not be durable.
    pub(super) rewritten: Vec<(u64, i64, &'a [u8])>,
    pub(super) since_checkpoint: u64,
    pub(super) checkpoint_size: u64,
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
