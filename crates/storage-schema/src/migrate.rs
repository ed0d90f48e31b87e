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

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use storage_core::history::Record;
use storage_core::{CoreError, Db, DbOptions, Durability, Meter, Observer, Order, Read, TreeId};

use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::info::{self, MigrationRecord, SchemaInfo};
use crate::plan::version_of;
use crate::quarantine::{self, Quarantine};
use crate::step::{Conversion, Step, Stored};
use crate::steps::Chain;
use crate::survey::{Survey, survey};
use crate::undo;

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

    /// Converts what `before` holds, from the cursor on: a thread converts, this one commits.
    fn convert(&self, before: &(impl Read + Sync), cursor: &mut Cursor) -> Result<(), SchemaError> {
        let (db, from, to) = (self.db, cursor.from, cursor.to);
        let failed = |source| SchemaError::Step { from, to, source };
        let mut meter = Meter::start("migrate", cursor.total, &self.how.observer).of_step(from, to);
        meter.skip(cursor.done);
        let mut commits: u64 = 0;
        let start = (cursor.trees_done, cursor.after.clone());
        std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(BATCHES_AHEAD);
            let converting = std::thread::Builder::new().name("nonos-convert".into());
            let converting = converting.spawn_scoped(scope, move || {
                self.convert_ahead(before, start, &sender);
            });
            converting.map_err(|source| failed(CoreError::Thread { source }))?;
            for batch in batches {
                let batch = batch?;
                let (number, tree) = batch.tree;
                let count = len(batch.records.len());
                meter.in_tree(tree);
                cursor.trees_done = number;
                cursor.after = Some(batch.last);
                cursor.done += count;
                db.update(Durability::Buffered, |_, commit| {
                    for (key, conversion) in batch.records {
                        match conversion {
                            Conversion::Keep => {}
                            Conversion::Put(value) => commit.put(tree, key, value),
                            Conversion::Delete => commit.delete(tree, key),
                            Conversion::Quarantine(_listed) => {
                                cursor.quarantined += 1;
                                commit.delete(tree, key);
                            }
                        }
                    }
                    cursor.store(commit)
                })
                .map_err(failed)?;
                meter.add(count, len(batch.bytes)).map_err(failed)?;
                commits += 1;
                if commits.is_multiple_of(FLUSH_EVERY) {
                    db.flush().map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// Sends batches of converted records until there are no more, or nobody takes them.
    fn convert_ahead(
        &self,
        before: &dyn Read,
        (trees_done, mut after): (u32, Option<Vec<u8>>),
        sender: &SyncSender<Result<Batch, SchemaError>>,
    ) {
        for (number, &tree) in (0..).zip(self.step.trees()) {
            if number < trees_done {
                continue;
            }
            loop {
                let batch = self.convert_batch(before, (number, tree), after.as_deref());
                let Some(batch) = batch.transpose() else {
                    break;
                };
                after = batch.as_ref().ok().map(|batch| batch.last.clone());
                let is_last = batch.is_err();
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
            after = None;
        }
    }

    /// The next records of a tree, converted, each made sure to be one of the new version; `None` at its
    /// end.
    fn convert_batch(
        &self,
        before: &dyn Read,
        tree: (u32, TreeId),
        after: Option<&[u8]>,
    ) -> Result<Option<Batch>, SchemaError> {
        let (step, compress) = (self.step, self.db.compression());
        let (from, to) = (step.starts_at(), step.ends_at());
        let records = page(before, tree.1, after, self.how);
        let records = records.map_err(|source| SchemaError::Step { from, to, source })?;
        let Some((last, _)) = records.last() else {
            return Ok(None);
        };
        let mut batch = Batch {
            tree,
            last: last.clone(),
            bytes: 0,
            records: Vec::with_capacity(records.len()),
        };
        for (key, value) in records {
            batch.bytes += key.len() + value.len();
            let conversion = step.convert(Stored::new(tree.1, &key, &value), compress);
            let new = match &conversion {
                Conversion::Keep => Some(value.as_slice()),
                Conversion::Put(value) => Some(value.as_slice()),
                Conversion::Delete | Conversion::Quarantine(_) => None,
            };
            if let Some(why) = new.and_then(|new| step.check(Stored::new(tree.1, &key, new)).err())
            {
                let (key, tree) = (quarantine::hex(&key), tree.1.name());
                let detail = format!("the entry {key} of {tree}: {why}");
                return Err(SchemaError::Invalid { from, to, detail });
            }
            batch.records.push((key, conversion));
        }
        Ok(Some(batch))
    }

    /// What the database holds after a conversion of all that `before` holds.
    fn converted<'b>(
        &'b self,
        before: &'b dyn Read,
    ) -> impl Iterator<Item = Result<Record, CoreError>> + use<'b> {
        let compress = self.db.compression();
        TreeId::ALL.into_iter().flat_map(move |tree| {
            let is_converted = self.step.trees().contains(&tree);
            // The cursor is in the schema tree, as it is now.
            let now = (tree == TreeId::Schema).then(|| self.db.view());
            let mut after: Option<Vec<u8>> = None;
            let mut records = Vec::new().into_iter();
            std::iter::from_fn(move || {
                loop {
                    let Some((key, value)) = records.next() else {
                        let from: &dyn Read = now.as_ref().map_or(before, |now| now);
                        let next = match page(from, tree, after.as_deref(), self.how) {
                            Ok(next) => next,
                            Err(error) => return Some(Err(error)),
                        };
                        after = Some(next.last()?.0.clone());
                        records = next.into_iter();
                        continue;
                    };
                    if !is_converted {
                        return Some(Ok((tree.number(), key, value)));
                    }
                    let value = match self.step.convert(Stored::new(tree, &key, &value), compress) {
                        Conversion::Keep => value,
                        Conversion::Put(value) => value,
                        Conversion::Delete | Conversion::Quarantine(_) => continue,
                    };
                    return Some(Ok((tree.number(), key, value)));
                }
            })
        })
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

/// Converted records of one tree, as many as go into a commit.
struct Batch {
    /// The tree, with its number among those of the step.
    tree: (u32, TreeId),
    /// The last key of them.
    last: Vec<u8>,
    /// Their bytes before.
    bytes: usize,
    records: Vec<(Vec<u8>, Conversion)>,
}

pub(crate) const EVERYTHING: storage_core::KeyRange =
    (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// The next records of a tree, as many as go into a commit.
fn page(
    view: &dyn Read,
    tree: TreeId,
    after: Option<&[u8]>,
    how: &MigrateOptions,
) -> Result<Vec<Pair>, CoreError> {
    let mut range = EVERYTHING;
    if let Some(after) = after {
        range.0 = std::ops::Bound::Excluded(after.to_vec());
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    view.scan(tree, &range, Order::Ascending, &mut |key, value| {
        bytes += key.len() + value.len();
        records.push((key.to_vec(), value.to_vec()));
        Ok(records.len() < how.batch_records && bytes < how.batch_bytes)
    })?;
    Ok(records)
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the next step would do, without doing it: counts, bytes, and what does not convert.
///
/// # Errors
///
/// [`SchemaError::NoStep`], [`SchemaError::Core`].
pub(crate) fn look_ahead(
    view: &dyn Read,
    how: &MigrateOptions,
    compress: bool,
) -> Result<Option<Survey>, SchemaError> {
    let from = version_of(info::recorded(view)?);
    if from == how.chain.target() {
        return Ok(None);
    }
    let step = how
        .chain
        .step_from(from)
        .ok_or(SchemaError::NoStep { from })?;
    survey(view, step, compress, &how.observer, |_, _| Ok(())).map(Some)
}
