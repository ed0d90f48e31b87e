//! The schema version of a database, and what opening does about it.
//!
//! [`plan`] decides from what is recorded and touches nothing; [`open`] carries the plan out.

mod error;
mod info;
mod plan;
mod runner;
mod version;

pub use error::SchemaError;
pub use info::{MigrationRecord, Recorded, SchemaInfo, recorded};
pub use plan::{Plan, plan};
pub use runner::{load, open, prepare};
pub use version::CURRENT_SCHEMA_VERSION;
