//! Brings a database to the current schema version, one step at a time.
//!
//! For each step: everything is converted once without writing, so that a record that does not convert
//! is known before; a checkpoint of what is there is kept; then records are converted in commits that
//! carry their cursor, each checked to be one of the new version; then they are counted, and a checkpoint
//! of the index shows that it holds what was committed; then one durable commit records the version
//! and ends the cursor.
//!
//! # Invariants
//!
//! - The recorded version never runs ahead of the records: a crash at any point leaves the old
//!   version and a cursor, and the next open goes on from there.
//! - No record is skipped. One that does not convert stops the migration before the first write, or
//!   is set aside and listed where the operator allowed it.
//! - A program that does not know the new version is kept out before the first converted record.

use std::time::Instant;

use storage_core::{CoreError, Db, DbOptions, Durability, Observer};

use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::info::{self, MigrationRecord, SchemaInfo};
use crate::plan::version_of;
use crate::quarantine::{self, Quarantine};
use crate::step::Step;
use crate::steps::Chain;
use crate::survey::survey;
use crate::undo;

mod convert;

pub(crate) use convert::look_ahead;

/// How to migrate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrateOptions {
    /// Whether records that do not convert are set aside; otherwise the first one stops everything.
    pub allow_quarantine: bool,
    /// Records in a commit at most.
    pub batch_records: usize,
    /// Bytes of records in a commit at most, but for a single larger one.
    pub batch_bytes: usize,
    /// The steps.
    pub chain: Chain,
    /// Who is told the progress, at every commit, and may cancel: going on later is safe.
    pub observer: Observer,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            allow_quarantine: false,
            batch_records: 1000,
            batch_bytes: 4 * 1024 * 1024,
            chain: Chain::current(),
            observer: Observer::default(),
        }
    }
}

/// One step that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Climbed {
    /// The version before.
    pub from_version: u32,
    /// The version after.
    pub to_version: u32,
    /// Records that were converted.
    pub converted: u64,
    /// Records that were set aside.
    pub quarantined: u64,
    /// How long it took this time, in milliseconds.
    pub duration_ms: u64,
    /// Whether an interrupted one was gone on with.
    pub resumed: bool,
}

/// What is free must be so many tenths of the live data.
const ROOM_TENTHS: u64 = 22;
/// Commits between two flushes: what the engine has not written it keeps in memory.
const FLUSH_EVERY: u64 = 8;
/// Batches that are converted before they are committed.
const BATCHES_AHEAD: usize = 2;
/// Failed attempts of one migration that are recorded at most.
const MAX_FAILED: u32 = 8;

/// Takes every step from the recorded version to the end of the chain.
///
/// # Errors
///
/// [`SchemaError::Unconvertible`], [`SchemaError::NoRoom`], [`SchemaError::NoStep`]: nothing was
/// written. [`SchemaError::Step`], [`SchemaError::Invalid`]: the database is still at the version
/// before the step, and the next call goes on, or [`abort`](crate::abort) undoes it.
pub(crate) fn migrate(
    db: &Db,
    options: &DbOptions,
    how: &MigrateOptions,
) -> Result<Vec<Climbed>, SchemaError> {
    let mut climbed = Vec::new();
    loop {
        let from = version_of(info::recorded(&db.view())?);
        if from == how.chain.target() {
            return Ok(climbed);
        }
        let step = how.chain.step_from(from);
        let step = step.ok_or(SchemaError::NoStep { from })?;
        climbed.push(
            Climb {
                db,
                options,
                how,
                step,
            }
            .run()?,
        );
    }
}

/// One step under way.
struct Climb<'a> {
    db: &'a Db,
    options: &'a DbOptions,
    how: &'a MigrateOptions,
    step: &'a dyn Step,
}

impl Climb<'_> {
    fn run(&self) -> Result<Climbed, SchemaError> {
        let (started, db, step) = (Instant::now(), self.db, self.step);
        let (from, to) = (step.starts_at(), step.ends_at());
        let mut cursor = Cursor::load(&db.view())?;
        if let Some(aborting) = cursor.take_if(|cursor| cursor.is_aborting) {
            undo::undo(db, &aborting, self.how)?;
        }
        let resumed = cursor.is_some();
        let mut cursor = match cursor {
            Some(cursor) if (cursor.from, cursor.to) != (from, to) => {
                let found = format!("a cursor of {} to {}", cursor.from, cursor.to);
                return Err(SchemaError::UnreadableCursor {
                    source: found.into(),
                });
            }
            Some(mut cursor) => {
                tracing::info!(from, to, done = cursor.done, "going on with a migration");
                cursor.attempts += 1;
                cursor
            }
            None => self.begin()?,
        };
        let failed = |source| SchemaError::Step { from, to, source };
        {
            // Checkpoints of a state in between would cost memory and time, and serve nobody.
            let _held = db.hold_maintenance()?;
            let before = db.journal_view()?;
            self.convert(&before, &mut cursor)?;
            self.check(&cursor)?;
            // Either way counts and digests must be those of what was committed. What was converted in
            // this run is converted once more, which is faster than reading the index.
            let written = if resumed {
                db.checkpoint_index()
            } else {
                db.checkpoint_of(self.converted(&before))
            };
            written.map_err(failed)?;
            self.finish(&cursor, started)?;
        }
        let duration_ms = millis(started);
        tracing::info!(from, to, records = cursor.done, duration_ms, "migrated");
        Ok(Climbed {
            from_version: from,
            to_version: to,
            converted: cursor.done - cursor.quarantined,
            quarantined: cursor.quarantined,
            duration_ms,
            resumed,
        })
    }

    /// Everything that comes before the first converted record.
    fn begin(&self) -> Result<Cursor, SchemaError> {
        let (db, step) = (self.db, self.step);
        let (from, to) = (step.starts_at(), step.ends_at());
        let path = quarantine::path_of(&self.options.path, to);
        let mut file: Option<Quarantine> = None;
        let found = survey(
            &db.journal_view()?,
            step,
            // Not compressed, the bytes are at most more.
            false,
            &self.how.observer,
            |record, why| {
                if self.how.allow_quarantine {
                    if file.is_none() {
                        file = Some(Quarantine::create(path.clone())?);
                    }
                    if let Some(file) = &mut file {
                        file.add(record, why)?;
                    }
                }
                Ok(())
            },
        )?;
        if let Some(first) = found
            .unconvertible
            .first()
            .filter(|_| !self.how.allow_quarantine)
        {
            return Err(SchemaError::Unconvertible {
                count: found.quarantined,
                first: first.clone(),
            });
        }
        let needed = found.live_bytes() / 10 * ROOM_TENTHS;
        let free = db.free_bytes()?;
        if free < needed {
            return Err(SchemaError::NoRoom { needed, free });
        }
        let before = format!("before-schema-{to}.nonos");
        db.keep_checkpoint(&before)?;
        if let Some(file) = file {
            let path = file.publish()?;
            let records = found.quarantined;
            tracing::warn!(records, path = %path.display(), "set aside what does not convert");
        }
        db.require_reader(to)?;
        let cursor = Cursor {
            from,
            to,
            trees_done: 0,
            after: None,
            done: 0,
            total: found.records(),
            quarantined: 0,
            expected: found.records_after(),
            started_at_ms: (self.options.clock)(),
            attempts: 1,
            before,
            is_aborting: false,
        };
        tracing::info!(from, to, records = cursor.total, "migrating");
        db.update(Durability::Durable, |_, commit| cursor.store(commit))?;
        Ok(cursor)
    }

    /// As many records must be there as were foreseen.
    fn check(&self, cursor: &Cursor) -> Result<(), SchemaError> {
        let (from, to, expected) = (cursor.from, cursor.to, cursor.expected);
        let mut found = 0;
        for &tree in self.step.trees() {
            found += len(self.db.len(tree)?);
        }
        if found == expected {
            return Ok(());
        }
        let detail = format!("{found} records are there, not {expected}");
        Err(SchemaError::Invalid { from, to, detail })
    }

    fn finish(&self, cursor: &Cursor, started: Instant) -> Result<(), SchemaError> {
        let (db, now_ms) = (self.db, (self.options.clock)());
        let record = |applied_at_ms: i64, duration_ms, success| MigrationRecord {
            from_version: cursor.from,
            to_version: cursor.to,
            applied_at: applied_at_ms.div_euclid(1000),
            duration_ms,
            success,
        };
        let old = info::load_any(&db.view())?;
        let mut history = old.migrations_applied;
        let failed = (1..cursor.attempts).take(usize::try_from(MAX_FAILED).unwrap_or(0));
        history.extend(failed.map(|_| record(cursor.started_at_ms, 0, false)));
        history.push(record(now_ms, millis(started), true));
        let new = SchemaInfo {
            version: cursor.to,
            created_at: old.created_at,
            last_migration: Some(now_ms.div_euclid(1000)),
            migrations_applied: info::capped(history),
        };
        db.update(Durability::Durable, |_, commit| {
            info::store(commit, &new)?;
            Cursor::remove(commit);
            Ok::<_, CoreError>(())
        })?;
        db.set_schema_version(cursor.to);
        Ok(db.flush()?)
    }
}

pub(crate) const EVERYTHING: storage_core::KeyRange =
    (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
