//! Carries a plan out.

use std::cell::RefCell;

use storage_core::{CoreError, Db, DbOptions, Durability, Read};

use crate::error::SchemaError;
use crate::info::{self, SchemaInfo};
use crate::plan::{Plan, plan};
use crate::version::CURRENT_SCHEMA_VERSION;

/// Opens a database on disk at the current schema, and creates it where there is none.
///
/// # Errors
///
/// [`SchemaError::TooNew`], [`SchemaError::Unversioned`], [`SchemaError::Unreadable`],
/// [`SchemaError::MigrationNeeded`]: nothing was written. [`SchemaError::Core`].
pub fn open(options: &DbOptions) -> Result<(Db, SchemaInfo), SchemaError> {
    let refused = RefCell::new(None);
    let accept = |records: &dyn Read| match decide(records) {
        Ok(_) => Ok(()),
        // Damage, which opening may heal.
        Err(SchemaError::Core(error)) => Err(error),
        Err(error) => {
            refused.replace(Some(error));
            Err(CoreError::NotAccepted)
        }
    };
    let db = match (Db::open(options, &accept), refused.into_inner()) {
        (Err(CoreError::NotAccepted), Some(error)) => return Err(error),
        (opened, _) => opened?,
    };
    let info = prepare(&db, (options.clock)().div_euclid(1000))?;
    Ok((db, info))
}

/// Brings a database that was just opened to the current schema, at `now` (Unix seconds); returns
/// its schema record.
///
/// # Errors
///
/// As [`open`].
pub fn prepare(db: &Db, now: i64) -> Result<SchemaInfo, SchemaError> {
    if decide(&db.view())? {
        initialize(db, now)
    } else {
        info::load(&db.view())
    }
}

/// The schema record of a database that is open for reading only.
///
/// # Errors
///
/// As [`open`].
pub fn load(db: &Db) -> Result<SchemaInfo, SchemaError> {
    if decide(&db.view())? {
        return Err(SchemaError::Missing);
    }
    info::load(&db.view())
}

/// Whether the schema is yet to be recorded; an error if the records are not of the current one.
fn decide(records: &dyn Read) -> Result<bool, SchemaError> {
    match plan(info::recorded(records)?) {
        Plan::Ready => Ok(false),
        Plan::Initialize => Ok(true),
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
