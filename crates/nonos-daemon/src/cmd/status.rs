//! `nonos status`: what is in the database, without changing it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use nonos_daemon::settings::Settings;
use nonos_storage::{CURRENT_SCHEMA_VERSION, ErrorCode, NodeStorage, NonosError, holder};

use crate::admin;
use crate::args::{Args, Output};
use crate::cmd;
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::output::push_line;
use crate::output::{Event, Finding, Report, diagnose, nobody_reads, rfc3339};
use crate::places::Places;
use crate::targets;

mod shape;
mod table;

#[cfg(feature = "encrypted-storage")]
use shape::Secrets;
pub(crate) use shape::Status;
use shape::{Backup, Backups, Checkpoint, Disk, Sample, Schema, TreeStatus, Upkeep};
use table::{ago, table};

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
    let storage = match cmd::view(&settings) {
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
