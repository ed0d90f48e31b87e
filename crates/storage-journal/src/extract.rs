//! Extracts: commits of a journal in a file of their own, for a backup that goes on from another.
//!
//! An extract is a segment. Its header repeats the checksum of the last commit of the extract before it,
//! so that a directory with a checkpoint and the extracts that follow it is a journal, which is read as
//! any other, and tells by itself if one of them is missing.

use std::path::Path;

use blake2::Digest as _;

use crate::bytes::len_u64;
use crate::checkpoint::{self, Blake2b256, Checkpoint};
use crate::commit;
use crate::disk::{Disk, directory_of, remove_if_there, unpublished};
use crate::error::JournalError;
use crate::frame::{self, Header, Kind};
use crate::scan::{Names, Walk};
use crate::segment;

/// Where an extract begins: behind this commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a place is both")]
pub struct After {
    /// The number of the commit.
    pub commit: u64,
    /// What the next extract is chained to: the checksum of the last frame of the extract that ends with it, or
    /// `content` where a checkpoint does.
    pub checksum: u32,
    /// What the commit is, or the checkpoint where only that holds it: another one of that number is of another
    /// past.
    pub content: u32,
}

/// What an extract holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extract {
    /// Its last commit, where the next one begins.
    pub last: After,
    /// When that was made, in Unix milliseconds.
    pub time_ms: i64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The BLAKE2b-256 of the file.
    pub hash: [u8; 32],
}

/// Writes the commits of the journal in `directory` behind `after` and up to `through`, which are durable,
/// to a file that appears under `path` whole, durable and read back. It ends early behind `most` bytes:
/// the next extract goes on from there. `None` if there is no such commit; then there is no file.
///
/// # Errors
///
/// [`JournalError::Removed`] if commit `after`, or one behind it, is not in the journal any more,
/// [`JournalError::Another`] if that commit is another one there; [`JournalError::Damaged`], [`JournalError::Io`].
/// Nothing is left.
pub fn write(
    disk: &dyn Disk,
    directory: &Path,
    (store_id, term): ([u8; 16], u64),
    after: After,
    through: u64,
    (path, most): (&Path, u64),
) -> Result<Option<Extract>, JournalError> {
    let names = Names::list(disk, directory)?;
    let oldest = names.segments.first();
    if through > after.commit && oldest.is_none_or(|first| *first > after.commit.max(1)) {
        go_on_from_checkpoint(disk, directory, after, oldest.copied())?;
    }
    let new = unpublished(path);
    let io = |source| JournalError::io("write", path, source);
    remove_if_there(disk, &new).map_err(io)?;
    let header = segment::Header {
        store_id,
        term,
        first: after.commit + 1,
        predecessor: after.checksum,
    };
    let of_journal = (directory, names.segments.as_slice());
    let written = write_unpublished(disk, of_journal, &header, (after, through), (&new, most));
    let published = written.and_then(|extract| {
        if let Some(extract) = &extract {
            if hash_of(disk, &new)? != extract.hash {
                let directory = new.clone();
                let damage = vec!["what was read back is not what was written".to_owned()];
                return Err(JournalError::Damaged { directory, damage });
            }
            disk.rename(&new, path).map_err(io)?;
            disk.sync_directory(directory_of(path)).map_err(io)?;
        }
        Ok(extract)
    });
    if !matches!(published, Ok(Some(_))) {
        // The ending says that it is not whole.
        let _removed = remove_if_there(disk, &new);
    }
    published
}

/// Whether the journal begins with the checkpoint that an extract is to go on from, as after a restore.
fn go_on_from_checkpoint(
    disk: &dyn Disk,
    directory: &Path,
    after: After,
    oldest: Option<u64>,
) -> Result<(), JournalError> {
    let commit = after.commit;
    if oldest != Some(commit + 1) {
        return Err(JournalError::Removed { after: commit });
    }
    match Checkpoint::open(disk, &directory.join(checkpoint::name(commit))) {
        Ok(base) if base.about().content() == after.content => Ok(()),
        // What the commit was that it ends with, it does not say.
        Ok(_) => Err(JournalError::Removed { after: commit }),
        Err(error) if error.is_damage() => Err(JournalError::Removed { after: commit }),
        Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(JournalError::Removed { after: commit })
        }
        Err(error) => Err(error),
    }
}

fn write_unpublished(
    disk: &dyn Disk,
    (directory, segments): (&Path, &[u64]),
    header: &segment::Header,
    (after, through): (After, u64),
    (path, most): (&Path, u64),
) -> Result<Option<Extract>, JournalError> {
    let io = |source| JournalError::io("write", path, source);
    let file = disk.create(path).map_err(io)?;
    let mut hasher = Blake2b256::new();
    let begin = header.encode();
    hasher.update(&begin);
    file.write_at(0, &begin).map_err(io)?;
    let mut offset = len_u64(begin.len());
    let mut last = after;
    let mut time_ms = None;
    // From the commit itself on, where a segment holds it.
    let holds_it = segments.first().is_some_and(|first| *first <= after.commit);
    let from = after.commit - u64::from(holds_it);
    let mut walk = Walk::new(directory, Some(header.store_id), from, through);
    let walked = walk.run(disk, segments, &mut |found| {
        let content = commit::content(found.number, found.time_ms, found.body);
        if found.number <= after.commit {
            let is_it = (found.number, content) == (after.commit, after.content);
            let after = after.commit;
            return if is_it {
                Ok(true)
            } else {
                Err(JournalError::Another { after }.into())
            };
        }
        if time_ms.is_some() && offset > most {
            return Err(Ended::Full);
        }
        let of_this = Header {
            tag: header.tag(),
            predecessor: last.checksum,
            number: found.number,
            synced_through: found.number,
            time_ms: found.time_ms,
            kind: Kind::Commit,
        };
        let (bytes, checksum) = frame::encode(&of_this, found.body);
        hasher.update(&bytes);
        file.write_at(offset, &bytes).map_err(io)?;
        offset += len_u64(bytes.len());
        last = After {
            commit: found.number,
            checksum,
            content,
        };
        time_ms = Some(found.time_ms);
        Ok(true)
    });
    match walked {
        Err(Ended::Failed(error)) => return Err(error),
        Ok(()) | Err(Ended::Full) => {}
    }
    if !walk.damage.is_empty() {
        let (directory, damage) = (directory.to_owned(), walk.damage);
        return Err(JournalError::Damaged { directory, damage });
    }
    file.sync().map_err(io)?;
    Ok(time_ms.map(|time_ms| Extract {
        last,
        time_ms,
        bytes: offset,
        hash: hasher.finalize().into(),
    }))
}

/// Why a walk ended.
enum Ended {
    Full,
    Failed(JournalError),
}

impl From<JournalError> for Ended {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

/// The BLAKE2b-256 of a file.
///
/// # Errors
///
/// [`JournalError::Io`].
pub fn hash_of(disk: &dyn Disk, path: &Path) -> Result<[u8; 32], JournalError> {
    let io = |source| JournalError::io("read", path, source);
    let file = disk.open(path).map_err(io)?;
    let mut hasher = Blake2b256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut offset = 0;
    loop {
        let read = file.read_at(offset, &mut buffer).map_err(io)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        offset += len_u64(read);
    }
}

/// The last commit that the journal in `directory` holds of those that were made at `time_ms` or before, in
/// Unix milliseconds; that of its newest checkpoint if every commit after it came later.
///
/// # Errors
///
/// [`JournalError::Damaged`], [`JournalError::Io`].
pub fn commit_at(disk: &dyn Disk, directory: &Path, time_ms: i64) -> Result<u64, JournalError> {
    let names = Names::list(disk, directory)?;
    let base = names.checkpoints.last().copied().unwrap_or(0);
    let mut at = base;
    let mut walk = Walk::new(directory, None, base, u64::MAX);
    walk.run(disk, &names.segments, &mut |found| {
        if found.time_ms <= time_ms {
            at = found.number;
        }
        Ok::<_, JournalError>(true)
    })?;
    if walk.damage.is_empty() {
        return Ok(at);
    }
    let (directory, damage) = (directory.to_owned(), walk.damage);
    Err(JournalError::Damaged { directory, damage })
}

/// Visits every change in the extract of commits from `first` on that lies in `directory` under its name: a tree, a
/// key, and the value that was put.
///
/// # Errors
///
/// [`JournalError::Damaged`], [`JournalError::Io`].
pub fn visit_puts(
    disk: &dyn Disk,
    directory: &Path,
    first: u64,
    mut visit: impl FnMut(u8, &[u8], &[u8]),
) -> Result<(), JournalError> {
    let mut walk = Walk::new(directory, None, first.saturating_sub(1), u64::MAX);
    walk.run(disk, &[first], &mut |found| {
        for change in commit::decode(found.body).flatten() {
            if let Some(value) = change.value {
                visit(change.tree, change.key, value);
            }
        }
        Ok::<_, JournalError>(true)
    })?;
    if walk.damage.is_empty() {
        return Ok(());
    }
    let (directory, damage) = (directory.to_owned(), walk.damage);
    Err(JournalError::Damaged { directory, damage })
}

/// Makes everything durable that the journal in `directory` holds, for who reads it beside a writer.
///
/// # Errors
///
/// [`JournalError::Io`].
pub fn sync(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::io("sync", directory, source);
    for first in Names::list(disk, directory)?.segments {
        match disk.open(&directory.join(segment::name(first))) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            opened => opened.and_then(|file| file.sync()).map_err(io)?,
        }
    }
    disk.sync_directory(directory).map_err(io)
}

/// The name of the segment, or the extract, that begins with this number.
pub fn name(first: u64) -> String {
    segment::name(first)
}
