//! Undoing a migration that is not complete: back to the checkpoint that was kept before it.
//!
//! Every tree is compared with the checkpoint in key order, and what differs is put back in commits of
//! bounded size. The cursor says that it is being undone, so a crash leaves a database that goes on
//! with that. The last commit puts the schema record back and removes the cursor.

use std::iter::Peekable;

use storage_core::history::{Checkpoint, Record};
use storage_core::{CoreError, Db, Durability, Meter, Order, Read, TreeId};

use crate::cursor::Cursor;
use crate::error::SchemaError;
use crate::migrate::{EVERYTHING, MigrateOptions, Pair};

type Records<'a> = Peekable<&'a mut dyn Iterator<Item = Result<Record, CoreError>>>;

/// Puts back what a migration changed.
pub(crate) fn undo(db: &Db, cursor: &Cursor, how: &MigrateOptions) -> Result<(), SchemaError> {
    let before = db.kept_checkpoint(&cursor.before)?;
    let mut aborting = cursor.clone();
    aborting.is_aborting = true;
    db.update(Durability::Durable, |_, commit| aborting.store(commit))?;
    let total = before.digests().total();
    let mut meter =
        Meter::start("undo the migration", total, &how.observer).of_step(cursor.from, cursor.to);
    let (from, to) = (cursor.from, cursor.to);
    put_back(db, &before, how, &mut meter).map_err(|source| SchemaError::Step {
        from,
        to,
        source,
    })?;
    db.require_reader(cursor.from)?;
    db.set_schema_version(cursor.from);
    db.flush()?;
    tracing::info!(from, to, "the migration was undone");
    Ok(())
}

fn put_back(
    db: &Db,
    before: &Checkpoint,
    how: &MigrateOptions,
    meter: &mut Meter<'_>,
) -> Result<(), CoreError> {
    let mut records = before
        .records()
        .map(|record| record.map_err(CoreError::from));
    let mut records: Records<'_> = Iterator::peekable(&mut records);
    let schema = take_tree(&mut records, TreeId::Schema)?;
    for tree in TreeId::ALL
        .into_iter()
        .filter(|tree| *tree != TreeId::Schema)
    {
        meter.in_tree(tree);
        restore_tree(db, tree, &mut records, how, meter)?;
    }
    // Last, with the cursor: until then the next open goes on with undoing.
    db.update(Durability::Durable, |view, commit| {
        let mut there = Vec::new();
        view.scan(
            TreeId::Schema,
            &EVERYTHING,
            Order::Ascending,
            &mut |key, _| {
                there.push(key.to_vec());
                Ok(true)
            },
        )?;
        for key in there {
            commit.delete(TreeId::Schema, key);
        }
        for (key, value) in schema {
            commit.put(TreeId::Schema, key, value);
        }
        Ok::<_, CoreError>(())
    })?;
    Ok(())
}

/// The records of one tree, of which there are few.
fn take_tree(records: &mut Records<'_>, tree: TreeId) -> Result<Vec<Pair>, CoreError> {
    let mut taken = Vec::new();
    while let Some(record) = next_of(records, tree)? {
        taken.push(record);
    }
    Ok(taken)
}

/// The next record, if it is of this tree.
fn next_of(records: &mut Records<'_>, tree: TreeId) -> Result<Option<Pair>, CoreError> {
    let is_next = |record: &Result<(u8, _, _), _>| match record {
        Ok((number, ..)) => *number == tree.number(),
        Err(_) => true,
    };
    let next = records.next_if(is_next).transpose()?;
    Ok(next.map(|(_, key, value)| (key, value)))
}

/// Makes a tree what the checkpoint says, stretch by stretch: of the checkpoint's records as many as go
/// into a commit, and of the database's all up to the last of them.
fn restore_tree(
    db: &Db,
    tree: TreeId,
    records: &mut Records<'_>,
    how: &MigrateOptions,
    meter: &mut Meter<'_>,
) -> Result<(), CoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let (mut wanted, mut bytes) = (Vec::new(), 0);
        while wanted.len() < how.batch_records && bytes < how.batch_bytes {
            let Some((key, value)) = next_of(records, tree)? else {
                break;
            };
            bytes += key.len() + value.len();
            wanted.push((key, value));
        }
        let last = wanted.last().map(|(key, _)| key.clone());
        let mut range = EVERYTHING;
        if let Some(after) = after.take() {
            range.0 = std::ops::Bound::Excluded(after);
        }
        if let Some(last) = &last {
            range.1 = std::ops::Bound::Included(last.clone());
        }
        let count = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        db.update(Durability::Buffered, |view, commit| {
            let mut found = Vec::new();
            view.scan(tree, &range, Order::Ascending, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(true)
            })?;
            for (key, _) in &found {
                if wanted
                    .binary_search_by(|(wanted, _)| wanted.cmp(key))
                    .is_err()
                {
                    commit.delete(tree, key.clone());
                }
            }
            for (key, value) in wanted {
                let is_there = found.binary_search_by(|(found, _)| found.cmp(&key));
                let is_right = is_there.ok().and_then(|at| found.get(at));
                if is_right.is_none_or(|(_, found)| *found != value) {
                    commit.put(tree, key, value);
                }
            }
            Ok::<_, CoreError>(())
        })?;
        meter.add(count, u64::try_from(bytes).unwrap_or(u64::MAX))?;
        match last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}
