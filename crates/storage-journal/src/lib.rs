//! The journal of a database: numbered commits in segments, sorted checkpoints, and the merged
//! stream of both.
//!
//! It knows trees by their numbers and records as bytes; not what they mean.

mod bytes;
pub mod checkpoint;
pub mod commit;
mod correct;
pub mod digest;
pub mod disk;
mod error;
pub mod extract;
mod format;
mod frame;
mod group;
mod journal;
mod mark;
mod merged;
pub mod salvage;
mod scan;
#[cfg(nonos_shuttle)]
pub mod schedules;
mod segment;
mod sync;
mod tail;

pub use error::JournalError;
pub use format::schema_of;
pub use journal::{Exported, Journal, SEGMENT_SIZE};
pub use mark::Mark;
pub use merged::{Merged, Visit};
pub use scan::Scan;
