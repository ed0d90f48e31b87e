//! The files under a journal, behind a trait, so that a test chooses its own disk.
//!
//! # What a disk must do
//!
//! - [`DiskFile::sync`] returns after the file's bytes and length are on the device.
//! - [`Disk::sync_directory`] returns after its names are. Before, a name may be there or not.
//! - A rename replaces its target in one step: after a crash the target is the old or the new file.
//! - Bytes that were not synced may be there, be missing, or be there in part, in any order.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::is_bad_sector;

mod real;
mod simulated;

pub use real::RealDisk;
pub use simulated::{Crash, Fault, SimulatedDisk};

/// A file system, as far as a journal needs one.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory that does not exist, for its owner only.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and what the file system says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file that does not exist, for its owner only, open for both.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and what the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the file system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists for reading and writing.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the file system says.
    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames, in one step, over a file that may exist.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Whether a name is that of a regular file that has no other name: a link, or a file that is linked
    /// to elsewhere, is somebody else's as well.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the file system says.
    fn is_own(&self, path: &Path) -> io::Result<bool>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    ///
    /// `NotFound`, and what the file system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written, and how many the file system has in all.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. Reading and writing name the offset, so it is shared without a lock.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Reads at an offset until the buffer is full or the file ends; returns how much.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    ///
    /// What the file system says; some of the bytes may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    ///
    /// What the file system says; then nothing is known about what is durable.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// What there is in all.
    pub total: u64,
}

/// Reads a whole file, at most `max` bytes of it.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path, max: usize) -> io::Result<Vec<u8>> {
    read_open_file(&*disk.open(path)?, max)
}

/// Reads a whole open file, at most `max` bytes of it.
pub(crate) fn read_open_file(file: &dyn DiskFile, max: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(max)];
    let read = match file.read_at(0, &mut bytes) {
        Err(e) if is_bad_sector(&e) => return Ok(read_around(file, bytes)),
        read => read?,
    };
    bytes.truncate(read);
    Ok(bytes)
}

/// What can be read of a file with bad sectors, by the page; the rest is zeros, which is damage to
/// whoever decodes it.
fn read_around(file: &dyn DiskFile, mut bytes: Vec<u8>) -> Vec<u8> {
    const PAGE: usize = 4096;
    for (number, page) in (0_u64..).zip(bytes.chunks_mut(PAGE)) {
        let at = number * crate::bytes::len_u64(PAGE);
        if file.read_at(at, page).is_err() {
            page.fill(0);
        }
    }
    bytes
}

/// Makes a file with this content appear under its name whole or not at all, durably.
pub(crate) fn publish(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = unpublished(path);
    remove_if_there(disk, &new)?;
    let file = disk.create(&new)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&new, path)?;
    disk.sync_directory(directory_of(path))
}

/// The directory that a path is in; `.` for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Makes a directory that may exist, and its name durable before anything is in it: a power cut that takes the name
/// takes all of that.
///
/// # Errors
///
/// What the file system says.
pub fn make_directory(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.create_directory(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    disk.sync_directory(directory_of(path))
}

/// The name of a file until it is complete; leftovers of a crash have it.
pub(crate) fn unpublished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNPUBLISHED);
    PathBuf::from(name)
}

/// The ending of files that are not complete.
pub(crate) const UNPUBLISHED: &str = ".nonos-new";

pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
