//! `nonos diff`: the records in which another database differs from this one.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::path::Path;

use comfy_table::Table;
use nonos_daemon::settings::Settings;
use nonos_storage::{
    NodeStorage, NonosError, OpenOptions, Record, Selection, StorageConfig, StorageError, TreeId,
};
use serde::Serialize;
use serde_json::Value;

use crate::args::{Args, DiffArgs};
use crate::cmd;
use crate::cmd::backup::{Of, decrypted, is_file, scratch};
use crate::error::CliError;
use crate::output::{Report, push_line};
use crate::places::{Places, expand_home};

/// Records that are read at once of each.
const PAGE: usize = 512;

#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Diff {
    /// Records that only the other has.
    added: u64,
    /// Records that only this one has.
    removed: u64,
    /// Records that both have, with different content.
    changed: u64,
    /// The first of them.
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Difference {
    tree: &'static str,
    key: Value,
    kind: &'static str,
    /// As it is here.
    this: Option<Value>,
    /// As it is there.
    other: Option<Value>,
}

pub(crate) fn diff(args: &Args, what: &DiffArgs) -> Result<(), CliError> {
    let report = Report::start("nonos.diff/1", args.output);
    let judge = |diff: &Diff| {
        let is_same = diff.added + diff.removed + diff.changed == 0;
        let error = (what.exit_code && !is_same).then_some(CliError::WorkToDo);
        (error, Vec::new())
    };
    report.judged(compare(args, what), judge, table)
}

fn compare(args: &Args, what: &DiffArgs) -> Result<Diff, CliError> {
    let settings = Places::of(args)?.load()?;
    let this = cmd::view(&settings)?;
    let other = expand_home(&what.other)?;
    let trees: Vec<TreeId> = match what.tree {
        Some(tree) => vec![tree],
        None => TreeId::ALL
            .into_iter()
            .filter(|tree| *tree != TreeId::Schema)
            .collect(),
    };
    let compare = |other: &NodeStorage| {
        let mut diff = Diff::default();
        for tree in &trees {
            of_tree(&mut diff, *tree, (&this, other), what.limit)?;
        }
        Ok(diff)
    };
    if is_file(&other.to_string_lossy()) && other.is_file() {
        let (of, identity) = (Of::new(args, &settings), what.identity.as_deref());
        return decrypted(of, &other, identity, |plain| {
            of_backup(&settings, plain, compare)
        });
    }
    // A data directory has its database in it.
    let inside = other.join("data.sled");
    let path = if inside.exists() || inside.with_extension("sled.journal").exists() {
        inside
    } else {
        other
    };
    let config = StorageConfig {
        path,
        ..settings.storage.clone()
    };
    let other = cmd::viewed(&config.path, OpenOptions::new(config.clone()))?;
    compare(&other)
}

/// Compares with what a backup file holds: restored to a directory that is removed again.
fn of_backup(
    settings: &Settings,
    file: &Path,
    compare: impl FnOnce(&NodeStorage) -> Result<Diff, CliError>,
) -> Result<Diff, CliError> {
    let compared = nonos_storage::in_scratch(&scratch(settings), |directory| {
        let config = StorageConfig {
            path: directory.join("other.sled"),
            ..settings.storage.clone()
        };
        NodeStorage::restore_backup(file, config.clone())?;
        compare(&NodeStorage::open_readonly(config)?)
    });
    compared.map_err(|error| NonosError::from(StorageError::from(error)))?
}

/// Both in key order, side by side.
fn of_tree(
    diff: &mut Diff,
    tree: TreeId,
    (this, other): (&NodeStorage, &NodeStorage),
    limit: usize,
) -> Result<(), CliError> {
    let (mut left, mut right) = (Cursor::new(this, tree), Cursor::new(other, tree));
    loop {
        let order = match (left.peek()?, right.peek()?) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(two)) => one.stored_key.cmp(&two.stored_key),
        };
        let one = if order.is_le() { left.next()? } else { None };
        let two = if order.is_ge() { right.next()? } else { None };
        let (kind, count) = match (&one, &two) {
            (Some(one), Some(two)) if is_same(tree, one, two) => continue,
            (Some(_), Some(_)) => ("changed", &mut diff.changed),
            (Some(_), None) => ("removed", &mut diff.removed),
            _ => ("added", &mut diff.added),
        };
        *count += 1;
        if diff.differences.len() < limit {
            let key = one
                .as_ref()
                .or(two.as_ref())
                .map(|record| record.key.clone());
            diff.differences.push(Difference {
                tree: tree.name(),
                key: key.unwrap_or_default(),
                kind,
                this: one.map(|record| record.value),
                other: two.map(|record| record.value),
            });
        }
    }
}

/// What is secret is not shown, so it is compared as it is stored.
fn is_same(tree: TreeId, one: &Record, two: &Record) -> bool {
    let is_shown = !matches!(tree, TreeId::Secrets | TreeId::Identity);
    one.stored == two.stored || (is_shown && one.value == two.value)
}

/// The records of a tree, one after the other.
struct Cursor<'s> {
    storage: &'s NodeStorage,
    tree: TreeId,
    page: VecDeque<Record>,
    after: Bound<Vec<u8>>,
    is_last: bool,
}

impl<'s> Cursor<'s> {
    fn new(storage: &'s NodeStorage, tree: TreeId) -> Self {
        Self {
            storage,
            tree,
            page: VecDeque::new(),
            after: Bound::Unbounded,
            is_last: false,
        }
    }

    fn peek(&mut self) -> Result<Option<&Record>, CliError> {
        if self.page.is_empty() && !self.is_last {
            let which = Selection {
                keys: (self.after.clone(), Bound::Unbounded),
                ..Selection::default()
            };
            let page = &mut self.page;
            self.storage
                .visit_records(self.tree, &which, &mut |record| {
                    page.push_back(record?);
                    Ok::<_, CliError>(page.len() < PAGE)
                })?;
            self.is_last = self.page.len() < PAGE;
            if let Some(last) = self.page.back() {
                self.after = Bound::Excluded(last.stored_key.clone());
            }
        }
        Ok(self.page.front())
    }

    fn next(&mut self) -> Result<Option<Record>, CliError> {
        self.peek()?;
        Ok(self.page.pop_front())
    }
}

fn table(diff: &Diff) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for difference in &diff.differences {
        let shown =
            |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        table.add_row([
            difference.kind.to_owned(),
            difference.tree.to_owned(),
            difference.key.to_string(),
            shown(&difference.this),
            shown(&difference.other),
        ]);
    }
    let mut text = table.to_string();
    let Diff {
        added,
        removed,
        changed,
        ..
    } = diff;
    push_line(
        &mut text,
        format_args!("{added} only there, {removed} only here, {changed} changed"),
    );
    text.trim_start().to_owned()
}
