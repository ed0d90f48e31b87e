//! Carries a plan out.

use std::cell::RefCell;

use storage_core::trees::audit_log;
use storage_core::{CoreError, Db, DbOptions, Durability, Layout, Read, TreeId, inspect};

use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::info::{self, Recorded, SchemaInfo};
use crate::migrate::{self, Climbed, MigrateOptions};
use crate::plan::{Plan, plan, version_of};
use crate::survey::Survey;
use crate::undo;
use crate::version::CURRENT_SCHEMA_VERSION;

/// Audit entries that are chained in one commit.
const ENTRIES_IN_A_COMMIT: usize = 1000;

/// A database that was opened at the current schema.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The handle.
    pub db: Db,
    /// Its schema record.
    pub info: SchemaInfo,
    /// The steps that were taken in opening it.
    pub climbed: Vec<Climbed>,
}

/// Opens a database on disk at the current schema, and creates it where there is none. An older one
/// is migrated, if `migrate` says how.
///
/// # Errors
///
/// [`SchemaError::TooNew`], [`SchemaError::Unversioned`], [`SchemaError::Unreadable`],
/// [`SchemaError::MigrationNeeded`]: nothing was written. Those of migrating; [`SchemaError::Core`].
pub fn open(options: &DbOptions, migrate: Option<&MigrateOptions>) -> Result<Opened, SchemaError> {
    let (db, accepted) = open_accepted(migrate, |accept| Db::open(options, accept))?;
    finish(db, accepted, options, migrate)
}

/// [`open`] with a handle that a test opens, on a disk of its choice.
///
/// # Errors
///
/// As there.
pub fn open_with(
    options: &DbOptions,
    migrate: Option<&MigrateOptions>,
    open: impl FnOnce(storage_core::Accept<'_>) -> Result<Db, CoreError>,
) -> Result<Opened, SchemaError> {
    let (db, accepted) = open_accepted(migrate, open)?;
    finish(db, accepted, options, migrate)
}

fn open_accepted(
    migrate: Option<&MigrateOptions>,
    open: impl FnOnce(storage_core::Accept<'_>) -> Result<Db, CoreError>,
) -> Result<(Db, Plan), SchemaError> {
    let refused = RefCell::new(None);
    let accept = |records: &dyn Read| match decide(records, migrate) {
        Ok(decided) => Ok(decided.layout),
        // Damage, which opening may heal.
        Err(SchemaError::Core(error)) => Err(error),
        Err(error) => {
            refused.replace(Some(error));
            Err(CoreError::NotAccepted)
        }
    };
    let db = match (open(&accept), refused.into_inner()) {
        (Err(CoreError::NotAccepted), Some(error)) => return Err(error),
        (opened, _) => opened?,
    };
    let decided = decide(&db.view(), migrate)?;
    Ok((db, decided.plan))
}

fn finish(
    db: Db,
    plan: Plan,
    options: &DbOptions,
    migrate: Option<&MigrateOptions>,
) -> Result<Opened, SchemaError> {
    let mut climbed = Vec::new();
    let info = match (plan, migrate) {
        (Plan::Initialize, _) => initialize(&db, (options.clock)().div_euclid(1000))?,
        (Plan::Migrate { .. }, Some(how)) => {
            climbed = migrate::migrate(&db, options, how)?;
            info::load(&db.view())?
        }
        _ => info::load(&db.view())?,
    };
    match chain_audit_log(&db) {
        // A log that is damaged is found by verifying it; it keeps nobody from the other records.
        Err(SchemaError::Core(error @ CoreError::Corrupt { .. })) => {
            tracing::error!(%error, "the audit log is not chained");
        }
        chained => chained?,
    }
    Ok(Opened { db, info, climbed })
}

/// Gives the audit entries of a schema without a chain their place in it; goes on where it was
/// interrupted.
fn chain_audit_log(db: &Db) -> Result<(), SchemaError> {
    let head = audit_log::head(&db.view())?;
    let is_done = head.is_some_and(|head| !head.is_adopting());
    if is_done || db.len(TreeId::AuditLog)? == 0 {
        return Ok(());
    }
    let mut more = true;
    while more {
        let adopted = db.update(Durability::Buffered, |view, commit| {
            audit_log::adopt(view, commit, ENTRIES_IN_A_COMMIT)
        });
        (more, _) = adopted?;
    }
    Ok(db.flush()?)
}

/// Brings a database in memory to the current schema, at `now` (Unix seconds); returns its schema
/// record.
///
/// # Errors
///
/// As [`open`].
pub fn prepare(db: &Db, now: i64) -> Result<SchemaInfo, SchemaError> {
    match decide(&db.view(), None)?.plan {
        Plan::Initialize => initialize(db, now),
        _ => info::load(&db.view()),
    }
}

/// The schema record of a database that is open for reading only.
///
/// # Errors
///
/// As [`open`].
pub fn load(db: &Db) -> Result<SchemaInfo, SchemaError> {
    match decide(&db.view(), None)?.plan {
        Plan::Initialize => Err(SchemaError::Missing),
        _ => info::load(&db.view()),
    }
}

/// What a database on disk says about its schema, and what migrating it would do; nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outlook {
    /// Its schema record, as it is.
    pub info: SchemaInfo,
    /// The version whose layout the records have.
    pub version: u32,
    /// Whether a migration was interrupted.
    pub is_interrupted: bool,
    /// What the next step would do; `None` at the current version, or if it was not asked for.
    pub survey: Option<Survey>,
}

/// Looks at a database without changing it; `with_survey` converts every record to count.
///
/// # Errors
///
/// [`SchemaError::TooNew`], [`SchemaError::Unversioned`], [`SchemaError::Unreadable`],
/// [`SchemaError::NoStep`], [`SchemaError::Core`].
pub fn outlook(
    options: &DbOptions,
    how: &MigrateOptions,
    with_survey: bool,
) -> Result<Outlook, SchemaError> {
    inspect(options, |view| {
        decide(view, Some(how))?;
        let survey = if with_survey {
            migrate::look_ahead(view, how, options.compression)?
        } else {
            None
        };
        Ok(Outlook {
            info: info::load_any(view)?,
            version: version_of(info::recorded(view)?),
            is_interrupted: Cursor::load(view)?.is_some(),
            survey,
        })
    })
}

/// Undoes a migration that is not complete: every record is again what it was before.
///
/// # Errors
///
/// [`SchemaError::NothingToAbort`], those of opening; [`SchemaError::Step`]: the next open, or the next
/// call, goes on with undoing.
pub fn abort(options: &DbOptions, how: &MigrateOptions) -> Result<(), SchemaError> {
    abort_with(how, |accept| Db::open(options, accept))
}

/// [`abort`] with a handle that a test opens.
///
/// # Errors
///
/// As there.
pub fn abort_with(
    how: &MigrateOptions,
    open: impl FnOnce(storage_core::Accept<'_>) -> Result<Db, CoreError>,
) -> Result<(), SchemaError> {
    let (db, _) = open_accepted(Some(how), open)?;
    let cursor = Cursor::load(&db.view())?.ok_or(SchemaError::NothingToAbort)?;
    undo::undo(&db, &cursor, how)?;
    Ok(db.shutdown()?)
}

/// What the records of a state are, of this schema or an older one.
///
/// # Errors
///
/// As [`open`], but for those of migrating.
pub fn layout(records: &dyn Read) -> Result<Layout, SchemaError> {
    decide(records, Some(&MigrateOptions::default())).map(|decided| decided.layout)
}

struct Decided {
    plan: Plan,
    layout: Layout,
}

/// What is to be done about a schema; an error if that is not allowed.
fn decide(records: &dyn Read, migrate: Option<&MigrateOptions>) -> Result<Decided, SchemaError> {
    let current = migrate.map_or(CURRENT_SCHEMA_VERSION, |how| how.chain.target());
    let recorded = info::recorded(records)?;
    let plan = plan(recorded, current);
    let version = match plan {
        Plan::Ready | Plan::Initialize => current,
        Plan::Migrate { from } if migrate.is_none() => {
            return Err(SchemaError::MigrationNeeded { from });
        }
        Plan::Migrate { from } => from,
        Plan::TooNew { found } => {
            return Err(SchemaError::TooNew {
                found,
                supported: current,
            });
        }
        Plan::Unversioned => return Err(SchemaError::Unversioned),
    };
    let layout = Layout {
        schema_version: version,
        is_framed: !matches!(recorded, Recorded::FirstImplementation(_)),
    };
    Ok(Decided { plan, layout })
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
