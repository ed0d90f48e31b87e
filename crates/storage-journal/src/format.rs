//! `FORMAT`: what the directory is, as text, for a person and for a program of another version.
//!
//! ```text
//! nonos-journal 1
//! store-id = 32 hexadecimal digits
//! minimum-reader = 1
//! schema = the newest schema that a record in it may have
//! next = a number above all that were in use when this was written
//! segment = first number of the segment that the last open began
//! writer = the program that wrote it last
//! checksum = crc32 of the lines above, 8 hexadecimal digits
//! ```

use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::disk::{Disk, publish, read_file, remove_if_there};
use crate::error::{JournalError, is_bad_sector};

/// The newest format that this program reads, and the one it writes.
pub(crate) const CURRENT: u32 = 1;

pub(crate) const NAME: &str = "FORMAT";
/// What was found damaged and is not told for good yet; a line each.
const NOTED: &str = "DAMAGE";
const TITLE: &str = "nonos-journal 1";
const MAX_LEN: usize = 4096;
const MAX_NOTED_LEN: usize = 64 * 1024;

/// Whether a file of this name says what the journal is, or what was found in it.
pub(crate) fn is_of_the_journal(name: &str) -> bool {
    name == NAME || name == NOTED
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Missing,
    Damaged,
    Sound(Said),
}

/// What a sound file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) store_id: [u8; 16],
    /// The newest schema that a record in it may have; 0 if nothing tells.
    pub(crate) schema: u32,
    /// Above every number that was in use.
    pub(crate) next: u64,
    /// A segment with this first number, or a higher one, must be there.
    pub(crate) segment: u64,
}

impl Format {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooNew`] if a reader must know more than this program.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(NAME);
        let bytes = match read_file(disk, &path, MAX_LEN) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(e) if is_bad_sector(&e) => return Ok(Self::Damaged),
            bytes => bytes.map_err(|e| JournalError::io("read", &path, e))?,
        };
        let Some((said, minimum_reader)) = parse(&bytes) else {
            return Ok(Self::Damaged);
        };
        if minimum_reader > CURRENT {
            return Err(JournalError::TooNew {
                found: minimum_reader,
                supported: CURRENT,
            });
        }
        Ok(Self::Sound(said))
    }

    /// What it says. A file that is damaged or missing is healed from the segments' headers.
    pub(crate) fn said(&self) -> Option<Said> {
        match self {
            Self::Sound(said) => Some(*said),
            Self::Missing | Self::Damaged => None,
        }
    }
}

/// The newest schema that a record of the journal in `directory` may have; `None` if nothing tells.
///
/// # Errors
///
/// [`JournalError::TooNew`], [`JournalError::Io`].
pub fn schema_of(disk: &dyn Disk, directory: &Path) -> Result<Option<u32>, JournalError> {
    let said = Format::read(disk, directory)?.said();
    Ok(said.map(|said| said.schema))
}

/// Writes the file, durably.
pub(crate) fn write(disk: &dyn Disk, directory: &Path, said: &Said) -> Result<(), JournalError> {
    let path = directory.join(NAME);
    let id = HEXLOWER.encode(&said.store_id);
    let writer = concat!("nonos ", env!("CARGO_PKG_VERSION"));
    let (segment, schema, next) = (said.segment, said.schema, said.next);
    let said = format!(
        "{TITLE}\nstore-id = {id}\nminimum-reader = {CURRENT}\nschema = {schema}\n\
         next = {next}\nsegment = {segment}\nwriter = {writer}\n"
    );
    let text = format!(
        "{said}checksum = {:08x}\n",
        crc32fast::hash(said.as_bytes())
    );
    publish(disk, &path, text.as_bytes()).map_err(|e| JournalError::io("write", &path, e))
}

/// Notes, durably, what was found damaged, before it is put right: an opening that is killed then is
/// told by the next one.
pub(crate) fn note(
    disk: &dyn Disk,
    directory: &Path,
    lines: &[String],
) -> Result<(), JournalError> {
    let path = directory.join(NOTED);
    let text = lines.join("\n") + "\n";
    publish(disk, &path, text.as_bytes()).map_err(|e| JournalError::io("write", &path, e))
}

/// What was noted and not forgotten.
pub(crate) fn noted(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, JournalError> {
    let path = directory.join(NOTED);
    match read_file(disk, &path, MAX_NOTED_LEN) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) if is_bad_sector(&e) => Ok(vec!["damage was noted, and cannot be read".to_owned()]),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.lines().map(str::to_owned).collect())
        }
        Err(e) => Err(JournalError::io("read", &path, e)),
    }
}

/// Forgets what was noted.
pub(crate) fn forget(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let path = directory.join(NOTED);
    remove_if_there(disk, &path).map_err(|e| JournalError::io("remove", &path, e))
}

/// Removes the file: a directory in which a journal is to begin anew says nothing of an old one.
pub(crate) fn remove(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let path = directory.join(NAME);
    let removed = remove_if_there(disk, &path).and_then(|()| disk.sync_directory(directory));
    removed.map_err(|e| JournalError::io("remove", &path, e))
}

fn parse(bytes: &[u8]) -> Option<(Said, u32)> {
    let text = str::from_utf8(bytes).ok()?;
    let end = text.rfind("checksum = ")?;
    let (said, checksum) = text.split_at_checked(end)?;
    let checksum = checksum.strip_prefix("checksum = ")?.strip_suffix('\n')?;
    if format!("{:08x}", crc32fast::hash(said.as_bytes())) != checksum {
        return None;
    }
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    let id = HEXLOWER.decode(field("store-id = ")?.as_bytes()).ok()?;
    let said = Said {
        store_id: id.try_into().ok()?,
        schema: field("schema = ")?.parse().ok()?,
        next: field("next = ")?.parse().ok()?,
        segment: field("segment = ")?.parse().ok()?,
    };
    Some((said, field("minimum-reader = ")?.parse().ok()?))
}
