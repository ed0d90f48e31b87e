//! The files of a simulated disk, and what a crash leaves of what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Crash, SECTOR};

pub(super) type FileId = usize;

/// Changes, in the order in which they were made.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(PathBuf, FileId),
    CreateDirectory(PathBuf),
    /// A file is renamed, not whatever has its name when that becomes durable.
    Rename(PathBuf, PathBuf, FileId),
    Remove(PathBuf),
    Write(FileId, usize, Vec<u8>),
    SyncFile(FileId),
    SyncDirectory(PathBuf),
    Elsewhere,
}

/// Names and contents at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<PathBuf, FileId>,
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) contents: BTreeMap<FileId, Vec<u8>>,
}

impl Image {
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path, id) => {
                self.names.insert(path.clone(), *id);
            }
            Change::CreateDirectory(path) => {
                self.directories.insert(path.clone());
            }
            Change::Rename(from, to, id) => {
                if self.names.get(from) == Some(id) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *id);
            }
            Change::Remove(path) => {
                self.names.remove(path);
            }
            Change::Write(id, offset, bytes) => {
                let content = self.contents.entry(*id).or_default();
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                if let Some(target) = content.get_mut(*offset..end) {
                    target.copy_from_slice(bytes);
                }
            }
            Change::SyncFile(_) | Change::SyncDirectory(_) | Change::Elsewhere => {}
        }
    }
}

/// What a crash leaves of the pending changes.
pub(super) fn survivors(pending: &[&Change], crash: Crash) -> Vec<Change> {
    let all = pending.iter().map(|change| (*change).clone());
    match crash {
        Crash::Kill => all.collect(),
        Crash::Drop => Vec::new(),
        Crash::Torn(seed) => {
            let mut random = Random(seed);
            let mut kept: Vec<Change> = all.take(random.below(pending.len() + 1)).collect();
            if let Some(Change::Write(_, _, bytes)) = kept.last_mut() {
                bytes.truncate(random.below(bytes.len() + 1));
            }
            kept
        }
        Crash::Reordered(seed) => {
            let mut random = Random(seed);
            let mut kept = Vec::new();
            for change in pending {
                match change {
                    Change::Write(id, offset, bytes) => {
                        for (sector, chunk) in bytes.chunks(SECTOR).enumerate() {
                            if random.below(2) == 0 {
                                let at = offset + sector * SECTOR;
                                kept.push(Change::Write(*id, at, chunk.to_vec()));
                            }
                        }
                    }
                    change if random.below(2) == 0 => kept.push((*change).clone()),
                    _ => {}
                }
            }
            kept
        }
    }
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(mixed.checked_rem(end).unwrap_or(0)).unwrap_or(0)
    }
}
