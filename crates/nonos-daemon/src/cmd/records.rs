//! `nonos ls`, `get`, and the lists of one tree: records, decoded.

use std::ops::Bound;

use comfy_table::Table;
use nonos_storage::{NodeStorage, NonosError, Order, Record, Selection, StorageError, TreeId};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Args, ListArgs, LsArgs};
use crate::cmd;
use crate::error::CliError;
use crate::output::{Report, push_line, rfc3339, rfc3339_ms};
use crate::places::Places;

/// What a list holds.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Listed {
    tree: &'static str,
    #[cfg_attr(test, schemars(with = "Vec<crate::schemas::Record>"))]
    records: Vec<Record>,
    /// Listed that cannot be read.
    damaged: Vec<String>,
    /// The list ends early: there are more records.
    more: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Trees {
    trees: Vec<TreeSize>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TreeSize {
    name: &'static str,
    entries: usize,
}

/// Which records are shown.
struct Shown<'a> {
    tree: TreeId,
    which: Selection,
    limit: usize,
    search: Option<&'a str>,
    /// A field with Unix seconds, and the least of it.
    since: Option<(&'static str, i64)>,
}

pub(crate) fn ls(args: &Args, what: &LsArgs) -> Result<(), CliError> {
    let Some(tree) = what.tree else {
        let report = Report::start("nonos.trees/1", args.output);
        return report.finish(trees(args), |found| {
            let mut table = new_table(&["TREE", "ENTRIES"]);
            for tree in &found.trees {
                table.add_row([tree.name.to_owned(), tree.entries.to_string()]);
            }
            table.to_string()
        });
    };
    let report = Report::start("nonos.records/1", args.output);
    let listed = || {
        let key = |text: &Option<String>| {
            text.as_deref()
                .map(|text| stored_key(tree, text))
                .transpose()
        };
        let bound = |key: Option<Vec<u8>>| key.map_or(Bound::Unbounded, Bound::Included);
        let prefix = what.prefix.clone().unwrap_or_default();
        if !prefix.is_empty() && is_numbered(tree) {
            return Err(CliError::Usage {
                what: "keys of this tree are numbers: give --from and --to",
            });
        }
        let shown = Shown {
            tree,
            which: Selection {
                keys: (bound(key(&what.from)?), bound(key(&what.to)?)),
                prefix: prefix.into_bytes(),
                order: if what.reverse {
                    Order::Descending
                } else {
                    Order::Ascending
                },
            },
            limit: what.limit,
            search: what.search.as_deref(),
            since: None,
        };
        list(args, &shown)
    };
    finish(report, listed())
}

/// A list of one tree: newest first where that is a time or a number.
pub(crate) fn of_tree(args: &Args, tree: TreeId, what: &ListArgs) -> Result<(), CliError> {
    let report = Report::start("nonos.records/1", args.output);
    let mut which = Selection::default();
    if is_numbered(tree) {
        which.order = Order::Descending;
    }
    let mut since = None;
    if let Some(age) = what.since {
        let least = OffsetDateTime::now_utc()
            .unix_timestamp()
            .saturating_sub(age)
            .max(0);
        match tree {
            TreeId::Metrics => {
                which.keys.0 = Bound::Included(stored_key(tree, &least.to_string())?);
            }
            TreeId::Peers => since = Some(("last_seen", least)),
            TreeId::Epochs => since = Some(("end_time", least)),
            TreeId::Claims => since = Some(("claimed_at", least)),
            _ => {
                let what = "values of the configuration have no time: leave --since out";
                return report.finish(Err::<Listed, _>(CliError::Usage { what }), told);
            }
        }
    }
    let shown = Shown {
        tree,
        which,
        limit: what.limit,
        search: what.search.as_deref(),
        since,
    };
    finish(report, list(args, &shown))
}

pub(crate) fn get(args: &Args, tree: TreeId, key: &str) -> Result<(), CliError> {
    let report = Report::start("nonos.record/1", args.output);
    let found = || {
        let storage = view(args)?;
        let key = numeric_key(tree, key).unwrap_or_else(|| key.to_owned());
        let found = storage.load_record(tree, &key)?;
        found.ok_or_else(|| CliError::NoRecord {
            tree: tree.name(),
            key,
        })
    };
    report.finish(found(), |record: &Record| {
        serde_json::to_string_pretty(&record.value).unwrap_or_default()
    })
}

fn finish(report: Report, listed: Result<Listed, CliError>) -> Result<(), CliError> {
    let judge = |listed: &Listed| {
        let what = "records are not as they were written";
        let is_damaged = !listed.damaged.is_empty();
        (
            is_damaged.then_some(CliError::Findings { what }),
            Vec::new(),
        )
    };
    report.judged(listed, judge, told)
}

fn view(args: &Args) -> Result<NodeStorage, CliError> {
    cmd::view(&Places::of(args)?.load()?)
}

fn trees(args: &Args) -> Result<Trees, CliError> {
    let sizes = view(args)?.tree_sizes()?;
    let trees = sizes.by_tree().into_iter().map(|(tree, entries)| TreeSize {
        name: tree.name(),
        entries,
    });
    Ok(Trees {
        trees: trees.collect(),
    })
}

fn list(args: &Args, shown: &Shown<'_>) -> Result<Listed, CliError> {
    let storage = view(args)?;
    let mut listed = Listed {
        tree: shown.tree.name(),
        records: Vec::new(),
        damaged: Vec::new(),
        more: false,
    };
    let search = shown.search.map(str::to_lowercase);
    storage.visit_records(shown.tree, &shown.which, &mut |record| {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                listed.damaged.push(crate::output::chain(&error));
                return Ok::<_, CliError>(true);
            }
        };
        if let Some((field, least)) = shown.since
            && record.value.get(field).and_then(Value::as_i64) < Some(least)
        {
            return Ok(true);
        }
        if let Some(search) = &search {
            let text = format!("{} {}", record.key, record.value).to_lowercase();
            if !text.contains(search) {
                return Ok(true);
            }
        }
        listed.more = listed.records.len() >= shown.limit;
        if !listed.more {
            listed.records.push(record);
        }
        Ok(!listed.more)
    })?;
    Ok(listed)
}

fn is_numbered(tree: TreeId) -> bool {
    use TreeId::{AuditLog, Claims, Epochs, Metrics};
    matches!(tree, Metrics | Epochs | Claims | AuditLog)
}

/// The number that a time is in the unit of the tree's keys.
fn numeric_key(tree: TreeId, text: &str) -> Option<String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    match tree {
        TreeId::Metrics => Some(time.unix_timestamp().to_string()),
        TreeId::AuditLog => Some((time.unix_timestamp_nanos() / 1_000_000).to_string()),
        _ => None,
    }
}

fn stored_key(tree: TreeId, text: &str) -> Result<Vec<u8>, CliError> {
    let text = numeric_key(tree, text).unwrap_or_else(|| text.to_owned());
    let key = nonos_storage::encode_key(tree, &text).map_err(StorageError::from);
    Ok(key.map_err(NonosError::from)?)
}

fn told(listed: &Listed) -> String {
    let columns = columns(listed.tree);
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let mut table = new_table(&heads);
    for record in &listed.records {
        table.add_row(columns.iter().map(|(_, cell)| cell(record)));
    }
    let mut text = table.to_string();
    for damaged in &listed.damaged {
        push_line(&mut text, format_args!("damaged: {damaged}"));
    }
    if listed.more {
        push_line(
            &mut text,
            format_args!("there are more: give a higher --limit"),
        );
    }
    text
}

fn new_table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads.iter().copied());
    table
}

type Column = (&'static str, fn(&Record) -> String);

/// What a person wants to see of the records of a tree.
fn columns(tree: &str) -> &'static [Column] {
    match tree {
        "peers" => &[
            ("PEER", key),
            ("REPUTATION", |of| text(of, "reputation")),
            ("LAST SEEN", |of| date(of, "last_seen")),
            ("LATENCY", |of| unit(of, "avg_latency_ms", "ms")),
            ("ADDRESSES", |of| text(of, "addresses")),
        ],
        "metrics" => &[
            ("TIME", |of| {
                of.key.as_i64().map_or_else(|| key(of), rfc3339)
            }),
            ("CPU", |of| unit(of, "cpu_usage", "%")),
            ("MEMORY", |of| unit(of, "memory_usage", "%")),
            ("REQUESTS", |of| text(of, "total_requests")),
            ("ERRORS", |of| text(of, "error_count")),
            ("LATENCY", |of| unit(of, "avg_latency_ms", "ms")),
            ("PEERS", |of| text(of, "peer_count")),
            ("SCORE", |of| unit(of, "quality_score", "")),
        ],
        "epochs" => &[
            ("EPOCH", key),
            ("FROM", |of| date(of, "start_time")),
            ("TO", |of| date(of, "end_time")),
            ("EMISSION", |of| text(of, "total_emission")),
            ("REWARD", |of| text(of, "our_reward")),
            ("SCORE", |of| unit(of, "quality_score", "")),
            ("STREAK", |of| text(of, "streak")),
        ],
        "claims" => &[
            ("EPOCH", key),
            ("AMOUNT", |of| text(of, "amount")),
            ("CLAIMED", |of| date(of, "claimed_at")),
            ("CLAIMANT", |of| text(of, "claimant")),
            ("TRANSACTION", |of| text(of, "tx_hash")),
        ],
        "audit_log" => &[
            ("TIME", |of| {
                of.key.as_i64().map_or_else(|| key(of), rfc3339_ms)
            }),
            ("TREE", |of| text(of, "tree")),
            ("OPERATION", |of| text(of, "operation")),
            ("DETAILS", |of| text(of, "details")),
        ],
        _ => &[("KEY", key), ("VALUE", |of| of.value.to_string())],
    }
}

fn key(record: &Record) -> String {
    match &record.key {
        Value::String(key) => key.clone(),
        key => key.to_string(),
    }
}

fn text(record: &Record, field: &str) -> String {
    match record.value.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().unwrap_or("?"));
            texts.collect::<Vec<_>>().join(" ")
        }
        Some(value) => value.to_string(),
    }
}

fn date(record: &Record, field: &str) -> String {
    let time = record.value.get(field).and_then(Value::as_i64);
    time.map_or_else(|| text(record, field), rfc3339)
}

/// A number with its unit; one that is not whole with one or three decimals.
fn unit(record: &Record, field: &str, unit: &str) -> String {
    let Some(number) = record.value.get(field).and_then(Value::as_f64) else {
        return "-".to_owned();
    };
    match unit {
        "" => format!("{number:.3}"),
        "%" => format!("{number:.1} %"),
        unit => format!("{number} {unit}"),
    }
}
