//! Checkpoints and the merged stream of the journal, for the crates above.

pub use storage_journal::checkpoint::{
    About, Checkpoint, Record, name as checkpoint_name, write as write_checkpoint,
};
pub use storage_journal::digest::{Digests, TreeDigest};
pub use storage_journal::disk::{Disk, RealDisk, SimulatedDisk};
pub use storage_journal::extract::{
    After, Extract, commit_at, hash_of, name as extract_name, visit_puts,
};
pub use storage_journal::{Exported, JournalError, Merged};
