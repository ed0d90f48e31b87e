//! Extracts: commits of a journal in a file of their own, for a backup that goes on from another.
//!
//! An extract is a segment. Its header repeats the checksum of the last commit of the extract before it,
//! so that a directory with a checkpoint and the extracts that follow it is a journal, which is read as
//! any other, and tells by itself if one of them is missing.

use std::path::Path;

use blake2::Digest as _;

use crate::bytes::len_u64;
use crate::checkpoint::Blake2b256;
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
    /// The checksum of the extract that ends with it; 0 if a checkpoint does.
    pub checksum: u32,
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
/// [`JournalError::Removed`] if the commits are not in the journal any more; [`JournalError::Damaged`],
/// [`JournalError::Io`]. Nothing is left.
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
    if through > after.commit && oldest.is_none_or(|first| *first > after.commit + 1) {
        let after = after.commit;
        return Err(JournalError::Removed { after });
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
    let written = write_unpublished(disk, &names, directory, &header, through, (&new, most));
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

fn write_unpublished(
    disk: &dyn Disk,
    names: &Names,
    directory: &Path,
    header: &segment::Header,
    through: u64,
    (path, most): (&Path, u64),
) -> Result<Option<Extract>, JournalError> {
    let io = |source| JournalError::io("write", path, source);
    let file = disk.create(path).map_err(io)?;
    let mut hasher = Blake2b256::new();
    let begin = header.encode();
    hasher.update(&begin);
    file.write_at(0, &begin).map_err(io)?;
    let mut offset = len_u64(begin.len());
    let mut last = After {
        commit: header.first - 1,
        checksum: header.predecessor,
    };
    let mut time_ms = None;
    let mut walk = Walk::new(directory, Some(header.store_id), last.commit, through);
    let walked = walk.run(disk, &names.segments, &mut |found| {
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
