//! `nonos status`: what is in the database, without changing it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use nonos_storage::{
    CURRENT_SCHEMA_VERSION, ErrorCode, NodeStorage, NonosError, StoredMetrics, holder,
};
use serde::Serialize;

use crate::admin;
use crate::args::{Args, Output};
use crate::cmd;
use crate::error::CliError;
use crate::output::{Event, Finding, Report, diagnose, mib, nobody_reads, push_line, rfc3339};
use crate::settings::{Places, Settings};
use crate::targets;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Status {
    data_dir: PathBuf,
    database: PathBuf,
    held_by: Option<String>,
    schema: Schema,
    last_commit: Option<u64>,
    /// Milliseconds until a buffered write survives a power cut at the latest; none if it never is made to.
    flush_every_ms: Option<u64>,
    /// Commits that a power cut would lose now; none if no daemon says so.
    unsynced_commits: Option<u64>,
    trees: Vec<TreeStatus>,
    size_on_disk_bytes: u64,
    disk: Option<Disk>,
    checkpoint: Option<Checkpoint>,
    backups: Backups,
    upkeep: Option<Upkeep>,
    newest_sample: Option<Sample>,
    #[cfg(feature = "encrypted-storage")]
    secrets: Option<Secrets>,
    #[serde(skip)]
    is_pending: bool,
}

#[cfg(feature = "encrypted-storage")]
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Secrets {
    key_id: Option<String>,
    changing: bool,
    plaintext: u64,
    purge_needed: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Schema {
    version: u32,
    /// The one of this program.
    supported: u32,
    /// A migration to it was begun and did not end.
    migration_interrupted: bool,
    created_at: String,
    last_migration: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TreeStatus {
    name: &'static str,
    entries: usize,
    /// Of keys and stored values.
    bytes: u64,
}

/// What the files take, in bytes.
#[expect(
    clippy::struct_field_names,
    reason = "fields of JSON, which have their unit"
)]
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Disk {
    index_bytes: u64,
    journal_bytes: u64,
    /// Of keys and stored values, once.
    live_bytes: u64,
    /// What compacting returns at least.
    reclaimable_bytes: u64,
    free_bytes: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Checkpoint {
    commit: u64,
    bytes: u64,
    #[serde(flatten)]
    made: Event,
}

/// The newest backup, where that can be told without asking a server.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Backups {
    to: String,
    is_remote: bool,
    newest: Option<Backup>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Backup {
    name: String,
    commit: u64,
    #[serde(flatten)]
    made: Event,
    /// When it was read whole.
    verified: Option<Event>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Upkeep {
    scrub: Option<Event>,
    scrub_errors: u64,
    drill: Option<Event>,
    compaction: Option<Event>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Sample {
    time: String,
    #[serde(flatten)]
    #[cfg_attr(test, schemars(with = "crate::schemas::Metrics"))]
    metrics: StoredMetrics,
}

pub(crate) fn status(args: &Args, watch: Option<Duration>) -> Result<(), CliError> {
    let Some(pause) = watch else {
        return tell(args);
    };
    let is_shown = args.output == Output::Table && io::stdout().is_terminal();
    loop {
        if is_shown {
            // To the upper left, and nothing below.
            let cleared = io::stdout().write_all(b"\x1b[H\x1b[2J");
            cleared.map_err(|source| CliError::Output { source })?;
        }
        match tell(args) {
            // A daemon that is being restarted, or a restore: it is looked at again.
            Err(error) if is_shown => diagnose(&error, args.color),
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

fn tell(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.status/1", args.output);
    let judge = |status: &Status| {
        if !status.is_pending {
            return (None, Vec::new());
        }
        let from = status.schema.version;
        let error = CliError::Pending { from };
        let finding = Finding::of(&error);
        (Some(error), vec![finding])
    };
    report.judged(read(args), judge, table)
}

fn read(args: &Args) -> Result<Status, CliError> {
    let places = Places::of(args)?;
    let settings = places.load()?;
    let config = &settings.storage;
    let outlook = cmd::schema::outlook(args, false)?.1;
    let storage = match cmd::view(config) {
        Err(CliError::Storage(NonosError::Storage(error)))
            if error.code() == ErrorCode::MigrationNeeded
                && (outlook.is_interrupted || outlook.version < CURRENT_SCHEMA_VERSION) =>
        {
            None
        }
        opened => Some(opened?),
    };
    let held_by = holder(&config.path).map_err(NonosError::from)?;
    let unsynced_commits = admin::unsynced(args, &places.data_dir);
    let mut status = Status {
        data_dir: places.data_dir,
        database: config.path.clone(),
        held_by: held_by.map(|holder| holder.to_string()),
        schema: Schema {
            version: outlook.version,
            supported: CURRENT_SCHEMA_VERSION,
            migration_interrupted: outlook.is_interrupted,
            created_at: rfc3339(outlook.info.created_at),
            last_migration: outlook.info.last_migration.map(rfc3339),
        },
        last_commit: None,
        flush_every_ms: config.flush_every_ms,
        unsynced_commits,
        trees: Vec::new(),
        size_on_disk_bytes: 0,
        disk: None,
        checkpoint: None,
        backups: backups(args, &settings, storage.as_ref())?,
        upkeep: None,
        newest_sample: None,
        #[cfg(feature = "encrypted-storage")]
        secrets: None,
        is_pending: storage.is_none(),
    };
    if let Some(storage) = storage {
        look(&storage, &mut status)?;
        storage.close()?;
    }
    Ok(status)
}

fn look(storage: &NodeStorage, status: &mut Status) -> Result<(), CliError> {
    let bytes = storage.tree_bytes()?;
    let trees = storage.tree_sizes()?.by_tree().into_iter();
    status.trees = trees
        .map(|(tree, entries)| TreeStatus {
            name: tree.name(),
            entries,
            bytes: bytes.get(usize::from(tree.number())).copied().unwrap_or(0),
        })
        .collect();
    status.last_commit = Some(storage.last_commit());
    status.size_on_disk_bytes = storage.size_on_disk()?;
    let space = storage.space()?;
    status.disk = Some(Disk {
        index_bytes: space.index_bytes,
        journal_bytes: space.journal_bytes,
        live_bytes: bytes.iter().sum(),
        reclaimable_bytes: space.reclaimable_bytes,
        free_bytes: storage.free_bytes()?,
    });
    status.checkpoint = space.checkpoint.map(|of| Checkpoint {
        commit: of.commit,
        bytes: of.bytes,
        made: Event::new(of.created_at),
    });
    let upkeep = storage.upkeep()?;
    status.upkeep = Some(Upkeep {
        scrub: upkeep.scrubbed_at.map(Event::new),
        scrub_errors: upkeep.scrub_errors,
        drill: upkeep.drilled_at.map(Event::new),
        compaction: upkeep.compacted_at.map(Event::new),
    });
    let newest = storage.load_latest_metrics(1)?.pop();
    status.newest_sample = newest.map(|(time, metrics)| Sample {
        time: rfc3339(time),
        metrics,
    });
    #[cfg(feature = "encrypted-storage")]
    {
        let secrets = storage.secrets_status()?;
        status.secrets = Some(Secrets {
            key_id: secrets.active.map(|id| id.to_string()),
            changing: secrets.is_rekeying,
            plaintext: secrets.counts.plaintext,
            purge_needed: secrets.purge_needed,
        });
    }
    Ok(())
}

/// What is known of backups. A bucket is not asked: `nonos backup list` does.
fn backups(
    args: &Args,
    settings: &Settings,
    storage: Option<&NodeStorage>,
) -> Result<Backups, CliError> {
    let is_remote = targets::is_remote(args, settings)?;
    let newest = || {
        let storage = storage.filter(|_| !is_remote)?;
        // Their names and what was noted beside them need no key.
        let keys = targets::writing_keys(settings, &[]).ok()?;
        let target = targets::existing(args, settings, None, keys).ok()?;
        let store_id = Some(storage.store_id().0);
        NodeStorage::newest_backup(&target, store_id).ok()
    };
    Ok(Backups {
        to: settings.backup.to.clone(),
        is_remote,
        newest: newest().map(|backup| Backup {
            name: backup.name(),
            commit: backup.commit,
            made: Event::new(backup.created_at),
            verified: backup.verified_at.map(Event::new),
        }),
    })
}

#[cfg(feature = "encrypted-storage")]
fn key_lines(status: &Status, text: &mut String) {
    let Some(secrets) = &status.secrets else {
        return;
    };
    match &secrets.key_id {
        Some(key_id) => push_line(text, format_args!("key         {key_id}")),
        None => push_line(
            text,
            format_args!("key         none: secrets are not sealed"),
        ),
    }
    if secrets.changing {
        let what = "the key is being changed: `nonos secrets rotate` goes on";
        push_line(text, format_args!("            {what}"));
    }
    if secrets.plaintext > 0 {
        let plaintext = secrets.plaintext;
        push_line(
            text,
            format_args!("            {plaintext} secrets are not sealed"),
        );
    }
    if secrets.purge_needed {
        let what = "files may hold what was not sealed: `nonos compact --purge`";
        push_line(text, format_args!("            {what}"));
    }
}

#[cfg(not(feature = "encrypted-storage"))]
fn key_lines(_status: &Status, _text: &mut String) {}

/// How long ago something was, in its largest unit.
fn ago(event: &Event) -> String {
    let (number, unit) = match event.age_secs {
        age @ 0..120 => (age, "s"),
        age @ 120..7_200 => (age / 60, "min"),
        age @ 7_200..172_800 => (age / 3600, "h"),
        age => (age / 86_400, "days"),
    };
    format!("{number} {unit} ago")
}

fn or_never(event: Option<&Event>) -> String {
    event.map_or_else(|| "never".to_owned(), ago)
}

/// What a power cut takes.
fn window(status: &Status) -> String {
    let mut window = match status.flush_every_ms {
        Some(ms) => format!("buffered writes survive a power cut after {ms} ms"),
        None => "buffered writes survive a power cut once something flushes".to_owned(),
    };
    if let Some(commits) = status.unsynced_commits {
        let _written = write!(window, "; one now would lose {commits} commits");
    }
    window
}

/// What is known of the newest backup.
fn newest(backups: &Backups) -> String {
    match (&backups.newest, backups.is_remote) {
        (Some(newest), _) => {
            let verified = newest
                .verified
                .as_ref()
                .map(|at| format!("verified {}", ago(at)));
            let verified = verified.unwrap_or_else(|| "not verified".to_owned());
            format!(
                "{}, {verified}, commit {}",
                ago(&newest.made),
                newest.commit
            )
        }
        (None, true) => format!("at {}: `nonos backup list`", backups.to),
        (None, false) => "none: `nonos backup create`".to_owned(),
    }
}

fn table(status: &Status) -> String {
    let schema = &status.schema;
    let mut text = format!("database    {}", status.database.display());
    let mut line = |name: &str, value: String| {
        push_line(&mut text, format_args!("{name:<12}{value}"));
    };
    line(
        "held by",
        status
            .held_by
            .clone()
            .unwrap_or_else(|| "nobody".to_owned()),
    );
    let pending = match (
        schema.migration_interrupted,
        schema.version < schema.supported,
    ) {
        (true, _) => ", a migration was interrupted",
        (false, true) => ", older than this program: a migration is pending",
        (false, false) => "",
    };
    line(
        "schema",
        format!("{}{pending}, created {}", schema.version, schema.created_at),
    );
    if let Some(disk) = &status.disk {
        line(
            "disk",
            format!(
                "{}: index {}, journal {}; {} live, {} reclaimable, {} free",
                mib(status.size_on_disk_bytes),
                mib(disk.index_bytes),
                mib(disk.journal_bytes),
                mib(disk.live_bytes),
                mib(disk.reclaimable_bytes),
                mib(disk.free_bytes),
            ),
        );
    }
    line("durability", window(status));
    if let Some(commit) = status.last_commit {
        let checkpoint = match &status.checkpoint {
            Some(of) => format!("checkpoint at {}, {}", of.commit, ago(&of.made)),
            None => "no checkpoint yet".to_owned(),
        };
        line("commit", format!("{commit}, {checkpoint}"));
    }
    line("backup", newest(&status.backups));
    if let Some(upkeep) = &status.upkeep {
        let mut scrub = or_never(upkeep.scrub.as_ref());
        if upkeep.scrub_errors > 0 {
            let _written = write!(
                scrub,
                ", {} errors: `nonos verify --deep`",
                upkeep.scrub_errors
            );
        }
        line("scrubbed", scrub);
        line("drilled", or_never(upkeep.drill.as_ref()));
    }
    let sample = match &status.newest_sample {
        Some(Sample { time, metrics }) => {
            let percent = |usage: Option<f32>| match usage {
                Some(usage) => format!("{usage:.1} %"),
                None => "unknown".to_owned(),
            };
            let (cpu, memory) = (percent(metrics.cpu_usage), percent(metrics.memory_usage));
            format!("{time}, CPU {cpu}, memory {memory}")
        }
        None => "none yet".to_owned(),
    };
    if !status.is_pending {
        line("sample", sample);
    }
    key_lines(status, &mut text);
    if !status.trees.is_empty() {
        push_line(&mut text, format_args!("\n{}", trees(status)));
    }
    text
}

fn trees(status: &Status) -> Table {
    let mut trees = Table::new();
    trees.load_style(comfy_table::presets::NOTHING);
    trees.set_header(["TREE", "ENTRIES", "BYTES"]);
    for tree in &status.trees {
        let (entries, bytes) = (tree.entries.to_string(), tree.bytes.to_string());
        trees.add_row([tree.name.to_owned(), entries, bytes]);
    }
    for column in trees.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    trees
}
