//! Removing every older copy of anything, overwritten once.

use std::path::Path;

use super::Journal;
use crate::bytes::len_u64;
use crate::checkpoint;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format;
use crate::scan::Names;
use crate::segment;

/// The ending of a file that is being wiped: nothing else takes it for what it was.
const PURGED: &str = ".purged";

impl Journal {
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
        self.begin_segment()?;
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
}

/// Wipes what an interrupted purge left.
pub(super) fn wipe_purged(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::io("purge", directory, source);
    for name in disk.list(directory).map_err(io)? {
        if name.ends_with(PURGED) {
            wipe(disk, &directory.join(name)).map_err(io)?;
        }
    }
    Ok(())
}

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
