//! `nonos status`: what is in the database, without changing it.

#[cfg(feature = "encrypted-storage")]
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::Table;
#[cfg(feature = "encrypted-storage")]
use nonos_storage::NodeStorage;
use nonos_storage::{NonosError, StoredMetrics, TreeSizes, holder};
use serde::Serialize;

use crate::args::{Args, Output};
use crate::cmd;
use crate::error::CliError;
use crate::output::{Report, diagnose, mib, nobody_reads, rfc3339};
use crate::settings::Places;

#[derive(Debug, Serialize)]
struct Status {
    data_dir: PathBuf,
    database: PathBuf,
    held_by: Option<String>,
    schema: Schema,
    trees: Vec<TreeStatus>,
    size_on_disk_bytes: u64,
    newest_sample: Option<Sample>,
    #[cfg(feature = "encrypted-storage")]
    secrets: Secrets,
}

#[cfg(feature = "encrypted-storage")]
#[derive(Debug, Serialize)]
struct Secrets {
    key_id: Option<String>,
    changing: bool,
    plaintext: u64,
    purge_needed: bool,
}

#[derive(Debug, Serialize)]
struct Schema {
    version: u32,
    created_at: String,
    last_migration: Option<String>,
}

#[derive(Debug, Serialize)]
struct TreeStatus {
    name: &'static str,
    entries: usize,
}

#[derive(Debug, Serialize)]
struct Sample {
    time: String,
    #[serde(flatten)]
    metrics: StoredMetrics,
}

pub(crate) fn status(args: &Args, watch: Option<Duration>) -> Result<(), CliError> {
    let Some(pause) = watch else {
        let report = Report::start("nonos.status/1", args.output);
        return report.finish(read(args), table);
    };
    let is_shown = args.output == Output::Table && io::stdout().is_terminal();
    loop {
        if is_shown {
            // To the upper left, and nothing below.
            let cleared = io::stdout().write_all(b"\x1b[H\x1b[2J");
            cleared.map_err(|source| CliError::Output { source })?;
        }
        let report = Report::start("nonos.status/1", args.output);
        match report.finish(read(args), table) {
            // A daemon that is being restarted, or a restore: it is looked at again.
            Err(error) if is_shown => diagnose(&error),
            told => told?,
        }
        if nobody_reads() {
            return Ok(());
        }
        std::thread::sleep(pause.max(SHORTEST));
    }
}

/// Looking is a reading of all files: not more often.
const SHORTEST: Duration = Duration::from_millis(200);

fn read(args: &Args) -> Result<Status, CliError> {
    let places = Places::of(args)?;
    let config = places.load()?.storage;
    let storage = cmd::view(&config)?;
    let schema = storage.schema_info()?;
    let trees = sizes(&storage.tree_sizes()?);
    let newest = storage.load_latest_metrics(1)?.pop();
    let held_by = holder(storage.data_path()).map_err(NonosError::from)?;
    let status = Status {
        data_dir: places.data_dir,
        database: storage.data_path().to_owned(),
        held_by: held_by.map(|holder| holder.to_string()),
        schema: Schema {
            version: schema.version,
            created_at: rfc3339(schema.created_at),
            last_migration: schema.last_migration.map(rfc3339),
        },
        trees: trees
            .map(|(name, entries)| TreeStatus { name, entries })
            .into(),
        size_on_disk_bytes: storage.size_on_disk()?,
        newest_sample: newest.map(|(time, metrics)| Sample {
            time: rfc3339(time),
            metrics,
        }),
        #[cfg(feature = "encrypted-storage")]
        secrets: secrets(&storage)?,
    };
    storage.close()?;
    Ok(status)
}

/// How many records each tree has.
pub(crate) fn sizes(sizes: &TreeSizes) -> [(&'static str, usize); 8] {
    [
        ("identity", sizes.identity),
        ("peers", sizes.peers),
        ("metrics", sizes.metrics),
        ("epochs", sizes.epochs),
        ("config", sizes.config),
        ("claims", sizes.claims),
        ("secrets", sizes.secrets),
        ("audit_log", sizes.audit_log),
    ]
}

#[cfg(feature = "encrypted-storage")]
fn secrets(storage: &NodeStorage) -> Result<Secrets, CliError> {
    let status = storage.secrets_status()?;
    Ok(Secrets {
        key_id: status.active.map(|id| id.to_string()),
        changing: status.is_rekeying,
        plaintext: status.counts.plaintext,
        purge_needed: status.purge_needed,
    })
}

#[cfg(feature = "encrypted-storage")]
fn key_line(status: &Status) -> String {
    let secrets = &status.secrets;
    let mut line = match &secrets.key_id {
        Some(key_id) => format!("key       {key_id}\n"),
        None => "key       none: secrets are not sealed\n".to_owned(),
    };
    if secrets.changing {
        line.push_str("          the key is being changed: `nonos secrets rotate` goes on\n");
    }
    if secrets.plaintext > 0 {
        let plaintext = secrets.plaintext;
        let _written = writeln!(line, "          {plaintext} secrets are not sealed");
    }
    if secrets.purge_needed {
        line.push_str("          files may hold what was not sealed: `nonos compact --purge`\n");
    }
    line
}

#[cfg(not(feature = "encrypted-storage"))]
fn key_line(_status: &Status) -> String {
    String::new()
}

fn table(status: &Status) -> String {
    let mut trees = Table::new();
    trees.load_style(comfy_table::presets::NOTHING);
    trees.set_header(["TREE", "ENTRIES"]);
    for tree in &status.trees {
        trees.add_row([tree.name.to_owned(), tree.entries.to_string()]);
    }
    let sample = match &status.newest_sample {
        Some(Sample { time, metrics }) => {
            let percent = |usage: Option<f32>| match usage {
                Some(usage) => format!("{usage:.1} %"),
                None => "unknown".to_owned(),
            };
            format!(
                "{time}, CPU {}, memory {}",
                percent(metrics.cpu_usage),
                percent(metrics.memory_usage)
            )
        }
        None => "none yet".to_owned(),
    };
    format!(
        "database  {}\nheld by   {}\nschema    {}, created {}\nsize      {}\n{}sample    {sample}\n\n{trees}",
        status.database.display(),
        status.held_by.as_deref().unwrap_or("nobody"),
        status.schema.version,
        status.schema.created_at,
        mib(status.size_on_disk_bytes),
        key_line(status),
    )
}
