//! The database of a node: nine typed trees, changed by commits, answered by an index.
//!
//! [`Db`] is the handle. Every write goes through [`Db::update`]; the modules of [`trees`] say what
//! can be stored and how. Nothing here reads the clock: `now` is an argument.
//!
//! This crate alone knows the engine, and no type of it is in a public signature.

mod activity;
mod ahead;
mod background;
mod batch;
pub mod bincode;
mod cache;
mod changes;
mod codec;
mod commit;
mod counters;
mod db;
mod error;
mod exchange;
mod frame;
pub mod history;
mod index;
mod key;
mod listing;
mod lock;
mod options;
mod pages;
mod paths;
mod progress;
mod report;
mod restore;
mod salvage;
mod sharing;
mod size;
mod sync;
mod tree;
pub mod trees;
mod value;
mod view;
mod window;
mod woken;

pub use activity::{Activity, Latencies, TreeActivity};
pub use batch::MAX_BATCH_SIZE;
pub use codec::{DecodeError, decode as decode_record};
pub use commit::{Commit, Pending};
pub use counters::{StorageMetrics, StorageMetricsSnapshot};
pub use db::recovery::{Accept, Layout};
pub use db::{CheckpointInfo, Compacted, Db, Difference, Durability, Health, Space, View};
pub use error::{CoreError, ErrorCode, RecordError};
pub use exchange::{exchange, finish_exchange};
pub use frame::{Encoding, Frame, FrameError, open as open_frame, seal as seal_frame};
pub use index::simulated::SimulatedHome;
pub use key::{EpochNumber, Key, KeyError, MAX_NAME_LEN, TextKey, TimestampKey};
pub use lock::{Holder, holder, lock_path};
pub use options::DbOptions;
pub use progress::{Meter, Observer, Progress};
pub use report::OpeningReport;
pub use restore::{begin, begin_from_index, begin_in, inspect, new_store_id, remains};
pub use salvage::{
    Damaged, IsFramed, LostCommits, Salvage, Salvaged, SourceCount, Sources, Staging, TellDamaged,
    TreeSalvage,
};
pub use tree::{Tree, TreeId};
pub use value::ValueError;
pub use view::{KeyRange, Order, Read, Visit};
