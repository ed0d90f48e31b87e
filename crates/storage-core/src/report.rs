//! What opening found and did.

use std::path::PathBuf;

/// What opening a database found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpeningReport {
    /// Whether it was closed cleanly before, so that nothing had to be compared.
    pub clean: bool,
    /// Whether a journal was made for an index that had none.
    pub adopted: bool,
    /// Commits that were applied to the index again.
    pub replayed_commits: u64,
    /// Records of the index that were not what the journal says, and were mended.
    pub healed_records: u64,
    /// Bytes of the journal's end that a power cut had left and that were cut: never durable.
    pub cut_bytes: u64,
    /// What was too damaged to be used, under the name that it has now.
    pub moved_aside: Vec<PathBuf>,
    /// One line for each thing that was damaged, whether healed or lost; empty on a sound database.
    pub damage: Vec<String>,
}
