//! The frames of a journal as they lie in its segments, and the damage of one of them.

use std::ops::Range;
use std::path::PathBuf;

use storage_core::history::SimulatedDisk;
use storage_journal::disk::Crash;

/// Where the first frame of a segment begins, behind both headers.
const FIRST_FRAME_AT: usize = 4148;
/// The bytes of a frame before its body.
const FRAME_HEADER_LEN: usize = 41;
/// Where in a frame the number of its commit is.
const NUMBER_AT: usize = 16;
/// Where in a frame its kind is, and the kind of a commit.
const KIND_AT: usize = 40;
const COMMIT: u8 = 1;

pub(crate) fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    with_extension(disk, "log")
}

pub(crate) fn checkpoints(disk: &SimulatedDisk) -> Vec<PathBuf> {
    with_extension(disk, "nonos")
}

fn with_extension(disk: &SimulatedDisk, extension: &str) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files
}

/// The disk as it is when the process is killed.
pub(crate) fn kill(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.crash(disk.trace_len(), Crash::Kill)
}

/// Destroys the body of the frame of a commit, in the last segment that has it.
pub(crate) fn destroy(disk: &SimulatedDisk, commit: u64) {
    let found = segments(disk).into_iter().rev().find_map(|path| {
        let body = body_of(commit, &disk.content(&path)?)?;
        Some((path, body))
    });
    let (path, body) = found.expect("the commit is in a segment");
    disk.damage(&path, |bytes| {
        bytes[body].iter_mut().for_each(|byte| *byte ^= 0x5a);
    });
}

fn body_of(commit: u64, segment: &[u8]) -> Option<Range<usize>> {
    let mut start = FIRST_FRAME_AT;
    loop {
        let frame = segment.get(start..)?;
        let (header, _) = frame.split_at_checked(FRAME_HEADER_LEN)?;
        let len = usize::try_from(u32::from_le_bytes(*header.first_chunk()?)).ok()?;
        let number = u64::from_le_bytes(*header[NUMBER_AT..].first_chunk()?);
        let body = start + FRAME_HEADER_LEN..start + FRAME_HEADER_LEN + len;
        if header[KIND_AT] == COMMIT && number == commit {
            return Some(body);
        }
        start = body.end;
    }
}
