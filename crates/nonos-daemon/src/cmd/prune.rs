//! `nonos prune`: what is no longer kept, removed now.

use std::path::PathBuf;

use nonos_storage::{Pruned, Retention, TreeId};
use serde::Serialize;

use crate::args::Args;
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, mib, rfc3339};
use crate::progress;
use crate::settings::Places;

/// What the command line says is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) older_than_secs: Option<i64>,
    pub(crate) keep_last: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Done {
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
    (dry_run, compact): (bool, bool),
) -> Result<(), CliError> {
    let report = Report::start("nonos.prune/1", args.output);
    report.finish(work(args, tree, limits, (dry_run, compact)), table)
}

fn work(
    args: &Args,
    name: &str,
    limits: Limits,
    (dry_run, compact): (bool, bool),
) -> Result<Done, CliError> {
    let tree = TreeId::ALL.into_iter().find(|tree| tree.name() == name);
    let tree = tree.ok_or_else(|| CliError::NoTree {
        name: name.to_owned(),
    })?;
    let settings = Places::of(args)?.load()?;
    let storage = if dry_run {
        cmd::view(&settings.storage)?
    } else {
        if cmd::schema::version(&settings.storage)?.is_none() {
            let path = settings.storage.path;
            return Err(CliError::NoDatabase { path });
        }
        let opening = progress::cancellable(args, settings.storage.clone())?;
        opening.migrate(false).open()?
    };
    let mut retention = Retention::default();
    let mut cutoff = None;
    if let Some(age) = limits.older_than_secs {
        cutoff = storage.retention_cutoff(tree, age)?;
        // In an empty tree there is nothing to go by, and nothing to remove.
        retention = retention.older_than(cutoff.unwrap_or(0));
    }
    if let Some(records) = limits.keep_last {
        retention = retention.keep_last(records);
    }
    if let Some(bytes) = limits.max_bytes {
        retention = retention.max_bytes(bytes);
    }
    let foreseen = storage.prune(tree, &retention, true)?;
    let pruned: Pruned = if dry_run || foreseen.records == 0 {
        foreseen
    } else {
        let records = foreseen.records;
        confirm(args, &format!("removing {records} records of {name}"))?;
        // So that the chain's new beginning is vouched for.
        #[cfg(feature = "encrypted-storage")]
        if tree == TreeId::AuditLog && storage.secrets_status()?.active.is_some() {
            crate::keys::unlock(args, &settings, &storage)?;
        }
        storage.prune(tree, &retention, false)?
    };
    if compact && !dry_run {
        storage.compact()?;
    }
    let done = Done {
        database: storage.data_path().to_owned(),
        tree: tree.name(),
        dry_run,
        cutoff: cutoff.map(rfc3339),
        records: pruned.records,
        bytes: pruned.bytes,
        compacted: compact && !dry_run,
    };
    storage.close()?;
    Ok(done)
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
