//! What was salvaged, and of what.

use std::ops::RangeInclusive;

use crate::tree::TreeId;

pub use storage_journal::salvage::Lost as LostCommits;

/// Something that is damaged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Damaged<'a> {
    /// The tree of a record; none if it is a piece of a file.
    pub tree: Option<TreeId>,
    /// The key of a record.
    pub key: &'a [u8],
    /// What is wrong.
    pub reason: String,
    /// The bytes as they are.
    pub bytes: &'a [u8],
    /// The file, or the index, and where in it.
    pub found_in: String,
}

/// Told of each thing that is damaged.
pub type TellDamaged<'a> = &'a mut dyn FnMut(&Damaged<'_>) -> Result<(), crate::error::CoreError>;

/// Records of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCount {
    /// How many were read, older versions of one record too.
    pub found: u64,
    /// How many of them are in the result.
    pub kept: u64,
}

/// Where records were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sources {
    /// Checkpoints of the journal.
    pub checkpoints: SourceCount,
    /// Commits in its segments.
    pub commits: SourceCount,
    /// The index.
    pub index: SourceCount,
    /// Indexes that were moved aside.
    pub moved_aside: SourceCount,
}

/// What was salvaged of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeSalvage {
    /// Which.
    pub tree: TreeId,
    /// Records in the result.
    pub records: u64,
    /// Where they come from.
    pub sources: Sources,
    /// Records of which index and journal say different things.
    pub conflicts: u64,
    /// Those of them that are in the result as the index has them.
    pub index_won: u64,
    /// Records whose bytes are damaged.
    pub quarantined: u64,
}

/// What was salvaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// The store.
    pub store_id: [u8; 16],
    /// The number of the state that was put together: above all that were in use.
    pub commit: u64,
    /// The newest schema that anything names, or that a record has.
    pub schema: u32,
    /// The trees.
    pub trees: Vec<TreeSalvage>,
    /// Commits that cannot be read. An index, or a checkpoint, may hold what they changed.
    pub lost: LostCommits,
    /// Pieces of files that are damaged.
    pub damaged_pieces: u64,
    /// Whether the lock of the original was held: it is not where there is no lock file.
    pub is_locked: bool,
    /// What cannot be used, and what was used instead; a line each.
    pub notes: Vec<String>,
}

impl Salvaged {
    /// Records in the result.
    pub fn records(&self) -> u64 {
        self.trees.iter().map(|tree| tree.records).sum()
    }

    /// Records that are damaged.
    pub fn quarantined(&self) -> u64 {
        self.trees.iter().map(|tree| tree.quarantined).sum()
    }

    /// The numbers of the commits that cannot be read.
    pub fn lost_commits(&self) -> &[RangeInclusive<u64>] {
        &self.lost.ranges
    }

    /// Whether nothing was damaged, and nothing is lost.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.damaged_pieces == 0 && self.quarantined() == 0
    }
}
