//! What can still be read of a damaged journal: every whole block of every checkpoint, every whole frame of
//! every segment. Changes nothing.
//!
//! Reading a sound journal asks what is true; here it is asked what is there. [`Remains`] finds the files,
//! [`RestOf`] reads what is left of a checkpoint, [`Commits`] those of the segments, with the numbers of
//! the commits that nothing tells any more.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::{Format, Said};
use crate::segment;

mod commits;

pub use crate::checkpoint::rest::{Place, RestOf, Stretch};
pub use commits::{Commits, Lost};

/// The ending of a file that was found damaged, or of another store.
const ASIDE: &str = ".damaged";

/// A segment that there is.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    /// Whether it was set aside: it does not say where the segment before it ends.
    pub(crate) is_aside: bool,
}

/// Bytes that are damaged, and where they lie.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Damaged<'a> {
    /// The file.
    pub path: &'a Path,
    /// Where in it.
    pub offset: u64,
    /// What was expected there.
    pub what: &'static str,
    /// The bytes; of a long stretch a part.
    pub bytes: &'a [u8],
}

/// Called with what is damaged.
pub type TellDamaged<'a, E> = &'a mut dyn FnMut(Damaged<'_>) -> Result<(), E>;

/// The files of a journal.
#[derive(Debug)]
pub struct Remains {
    /// The store that most of them belong to; `None` if nothing tells.
    pub store_id: Option<[u8; 16]>,
    /// The newest schema that a record may have, as far as anything tells; 0 otherwise.
    pub schema: u32,
    /// Its checkpoints, those that are kept by name or were set aside too, oldest first.
    pub checkpoints: Vec<RestOf>,
    /// Files of other stores, which are not read.
    pub foreign: Vec<PathBuf>,
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) said: Option<Said>,
    /// Whether there is a `FORMAT` that cannot be read.
    pub(crate) is_format_damaged: bool,
}

impl Remains {
    /// Finds the files of the journal in `directory`, which need not exist, and reads what each says of
    /// itself.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooNew`], [`JournalError::Io`].
    pub fn find(disk: &dyn Disk, directory: &Path) -> Result<Self, JournalError> {
        let format = Format::read(disk, directory)?;
        let said = format.said();
        let mut names = match disk.list(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|e| JournalError::io("read", directory, e))?,
        };
        names.sort();
        let mut checkpoints = Vec::new();
        let mut segments = Vec::new();
        for name in names {
            let path = directory.join(&name);
            let bare = name.strip_suffix(ASIDE).unwrap_or(&name);
            if let Some(first) = segment::first_of(bare) {
                let is_aside = bare != name;
                segments.push(SegmentFile {
                    path,
                    first,
                    is_aside,
                });
            } else if Path::new(bare).extension() == Some(OsStr::new("nonos")) {
                let said = checkpoint::commit_of(bare);
                checkpoints.push(RestOf::open(disk, &path, said)?);
            }
        }
        let mut ids: Vec<[u8; 16]> = Vec::new();
        ids.extend(checkpoints.iter().filter_map(RestOf::store_id));
        for file in &segments {
            ids.extend(commits::store_id_of(disk, file)?);
        }
        let store_id = said.map(|said| said.store_id).or_else(|| most_of(&ids));
        let mut remains = Self {
            store_id,
            schema: said.map_or(0, |said| said.schema),
            checkpoints: Vec::new(),
            foreign: Vec::new(),
            segments: Vec::new(),
            said,
            is_format_damaged: format == Format::Damaged,
        };
        for rest in checkpoints {
            if rest.store_id().is_some_and(|id| Some(id) != store_id) {
                remains.foreign.push(rest.path().to_owned());
            } else {
                remains.schema = remains.schema.max(rest.schema().unwrap_or(0));
                remains.checkpoints.push(rest);
            }
        }
        for file in segments {
            let id = commits::store_id_of(disk, &file)?;
            if id.is_some_and(|id| Some(id) != store_id) {
                remains.foreign.push(file.path);
            } else {
                remains.segments.push(file);
            }
        }
        remains.checkpoints.sort_by_key(RestOf::commit);
        remains
            .segments
            .sort_by_key(|file| (file.first, !file.is_aside));
        Ok(remains)
    }

    /// Whether there is no file of a journal.
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty() && self.segments.is_empty()
    }

    /// Whether the first commit that ever was is in a segment: then the store was empty before it.
    pub fn has_the_beginning(&self) -> bool {
        self.segments.iter().any(|file| file.first == 1)
    }
}

fn most_of(ids: &[[u8; 16]]) -> Option<[u8; 16]> {
    let votes = |id: &[u8; 16]| ids.iter().filter(|other| *other == id).count();
    ids.iter().copied().max_by_key(votes)
}
