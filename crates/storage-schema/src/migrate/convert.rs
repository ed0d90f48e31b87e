//! Converting records, in batches with a cursor.

use std::sync::mpsc::{SyncSender, sync_channel};

use data_encoding::HEXLOWER;
use storage_core::history::Record;
use storage_core::{CoreError, Durability, Meter, Order, Read, TreeId};

use super::{BATCHES_AHEAD, Climb, EVERYTHING, FLUSH_EVERY, MigrateOptions, Pair, len};
use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::info;
use crate::plan::version_of;
use crate::step::{Conversion, Stored};
use crate::survey::{Survey, survey};

impl Climb<'_> {
    /// Converts what `before` holds, from the cursor on: a thread converts, this one commits.
    pub(super) fn convert(
        &self,
        before: &(impl Read + Sync),
        cursor: &mut Cursor,
    ) -> Result<(), SchemaError> {
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
                let (key, tree) = (HEXLOWER.encode(&key), tree.1.name());
                let detail = format!("the entry {key} of {tree}: {why}");
                return Err(SchemaError::Invalid { from, to, detail });
            }
            batch.records.push((key, conversion));
        }
        Ok(Some(batch))
    }

    /// What the database holds after a conversion of all that `before` holds.
    pub(super) fn converted<'b>(
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
}

/// Converted records of one tree, as many as go into a commit.
struct Batch {
    /// The tree, with its number among those of the step.
    pub(super) tree: (u32, TreeId),
    /// The last key of them.
    pub(super) last: Vec<u8>,
    /// Their bytes before.
    pub(super) bytes: usize,
    pub(super) records: Vec<(Vec<u8>, Conversion)>,
}

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
