//! Carries a plan out.

use storage_core::{Db, Durability};

use crate::error::SchemaError;
use crate::info::{self, SchemaInfo};
use crate::plan::{Plan, plan};
use crate::version::CURRENT_SCHEMA_VERSION;

/// Brings a database that was just opened to the current schema, at `now` (Unix seconds); returns
/// its schema record.
///
/// # Errors
///
/// [`SchemaError::TooNew`], [`SchemaError::Unversioned`], [`SchemaError::Unreadable`],
/// [`SchemaError::MigrationNeeded`]: nothing was written. [`SchemaError::Core`].
pub fn prepare(db: &Db, now: i64) -> Result<SchemaInfo, SchemaError> {
    match plan(info::recorded(&db.view())?) {
        Plan::Ready => info::load(&db.view()),
        Plan::Initialize => initialize(db, now),
        Plan::Migrate { from } => Err(SchemaError::MigrationNeeded { from }),
        Plan::TooNew { found } => Err(SchemaError::TooNew {
            found,
            supported: CURRENT_SCHEMA_VERSION,
        }),
        Plan::Unversioned => Err(SchemaError::Unversioned),
    }
}

fn initialize(db: &Db, now: i64) -> Result<SchemaInfo, SchemaError> {
    let info = SchemaInfo {
        version: CURRENT_SCHEMA_VERSION,
        created_at: now,
        last_migration: None,
        migrations_applied: Vec::new(),
    };
    db.update(Durability::Durable, |_, commit| info::store(commit, &info))?;
    Ok(info)
}
