//! The schema version of a database, and the way to the current one.
//!
//! [`plan`] decides from what is recorded and touches nothing; [`open`] carries the plan out. A
//! [`Chain`] of [`Step`]s leads from the layout of the first implementation to the current one.

mod cursor;
mod error;
mod first_implementation;
mod info;
mod migrate;
mod plan;
mod quarantine;
mod runner;
mod shapes;
mod step;
mod steps;
mod survey;
mod undo;
mod version;

pub use error::SchemaError;
pub use first_implementation::{
    Exported, Imported, Unseal, export_old_backup, import, is_old_backup,
};
pub use info::{MigrationRecord, Recorded, SchemaInfo, load_any, recorded};
pub use migrate::{Climbed, MigrateOptions};
pub use plan::{Plan, plan};
pub use runner::{
    Opened, Outlook, abort, abort_with, layout, load, open, open_with, outlook, prepare,
};
pub use step::{Conversion, Step, Stored};
pub use steps::Chain;
pub use survey::{Survey, TreeSurvey, Unconvertible};
pub use version::CURRENT_SCHEMA_VERSION;

/// The example of docs/MIGRATIONS.md, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/MIGRATIONS.md")]
#[derive(Debug)]
pub struct Migrations;
