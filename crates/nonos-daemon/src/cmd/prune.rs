//! `nonos prune`: what is no longer kept, removed now.

use std::path::PathBuf;

use nonos_daemon::settings::Settings;
use nonos_storage::{NodeStorage, Retention, TreeId};
use serde::Serialize;

use crate::admin::named;
use crate::args::{Args, DryRun};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, mib, rfc3339};
use crate::places::Places;
use crate::progress;

/// What the command line says is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) older_than_secs: Option<i64>,
    pub(crate) keep_last: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done {
    database: PathBuf,
    tree: &'static str,
    dry_run: bool,
    cutoff: Option<String>,
    records: u64,
    bytes: u64,
    compacted: bool,
}

pub(crate) fn prune(
    args: &Args,
    tree: &str,
    limits: Limits,
    (look, compact): (DryRun, bool),
) -> Result<(), CliError> {
    let report = Report::start("nonos.prune/1", args.output);
    let judge = |done: &Done| look.judge(done.records > 0);
    let done = work(args, tree, limits, (look.dry_run, compact));
    report.judged(done, judge, table)
}

fn work(
    args: &Args,
    name: &str,
    limits: Limits,
    (dry_run, compact): (bool, bool),
) -> Result<Done, CliError> {
    let tree = named(name)?;
    let places = Places::of(args)?;
    let settings = places.load()?;
    // What would be removed is what then is: it is looked at beside a daemon as well.
    let view = cmd::view(&settings)?;
    let mut retention = Retention::default();
    let mut cutoff = None;
    if let Some(age) = limits.older_than_secs {
        cutoff = view.retention_cutoff(tree, age)?;
        // In an empty tree there is nothing to go by, and nothing to remove.
        retention = retention.older_than(cutoff.unwrap_or(0));
    }
    if let Some(records) = limits.keep_last {
        retention = retention.keep_last(records);
    }
    if let Some(bytes) = limits.max_bytes {
        retention = retention.max_bytes(bytes);
    }
    let foreseen = view.prune(tree, &retention, true)?;
    view.close()?;
    let is_work = !dry_run && (foreseen.records > 0 || compact);
    let mut pruned = foreseen;
    if is_work {
        if foreseen.records > 0 {
            let records = foreseen.records;
            confirm(args, &format!("removing {records} records of {name}"))?;
        }
        let writer = cmd::writer(args, &places.data_dir, || {
            cmd::alone(args, &places.data_dir, &settings.storage.path)?;
            open(args, &settings, tree)
        })?;
        if foreseen.records > 0 {
            pruned = writer.prune(tree, &retention)?;
        }
        if compact {
            writer.compact(false)?;
        }
        writer.close()?;
    }
    let done = Done {
        database: settings.storage.path.clone(),
        tree: tree.name(),
        dry_run,
        cutoff: cutoff.map(rfc3339),
        records: pruned.records,
        bytes: pruned.bytes,
        compacted: compact && !dry_run,
    };
    Ok(done)
}

/// The database, if no daemon has it.
fn open(args: &Args, settings: &Settings, tree: TreeId) -> Result<NodeStorage, CliError> {
    let opening = progress::cancellable(args, settings.storage.clone())?;
    #[cfg(feature = "encrypted-storage")]
    let opening = crate::keys::guarded(opening, settings);
    let storage = opening.migrate(false).open()?;
    // So that the chain's new beginning is vouched for.
    #[cfg(feature = "encrypted-storage")]
    if tree == TreeId::AuditLog && storage.secrets_status()?.active.is_some() {
        crate::keys::unlock(args, settings, &storage)?;
    }
    #[cfg(not(feature = "encrypted-storage"))]
    let _ = tree;
    Ok(storage)
}

fn table(done: &Done) -> String {
    let (records, bytes) = (done.records, mib(done.bytes));
    let verb = if done.dry_run {
        "would be removed"
    } else {
        "are removed"
    };
    let mut text = format!("{records} records of {}, {bytes}, {verb}", done.tree);
    if let Some(cutoff) = &done.cutoff {
        text.push_str(", what is older than ");
        text.push_str(cutoff);
    }
    if done.compacted {
        text.push_str("; the index was made anew");
    }
    text
}
