//! `nonos backup`: making, showing, verifying and removing backups.

use std::path::{Path, PathBuf};

use comfy_table::Table;
use nonos_storage::{Backup, BackupInfo, BackupKind, Keep, Listing, NodeStorage, Target};
use serde::Serialize;
use time::OffsetDateTime;

use crate::args::{Args, BackupVerb, StoreId};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, hex, mib, push_line, rfc3339, rfc3339_ms};
use crate::settings::{Places, Settings, expand_home};
use crate::targets;

/// A backup, as all verbs show it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    kind: &'static str,
    store_id: String,
    history: String,
    commit: u64,
    /// When the last commit in it was made.
    state_at: String,
    created_at: String,
    bytes: u64,
    /// Records in a full one.
    entries: Option<u64>,
    schema_version: u32,
    blake2b_256: String,
    program: String,
    verified_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Backups {
    backups: Vec<Shown>,
    /// Notes that cannot be read.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Drill {
    backup: Shown,
    entries: u64,
    is_sound: bool,
    errors: u64,
    warnings: u64,
}

/// What a backup file says of itself.
#[derive(Debug, Serialize)]
struct OfFile {
    file: PathBuf,
    store_id: String,
    commit: u64,
    created_at: String,
    bytes: u64,
    entries: u64,
    schema_version: u32,
    program: String,
}

pub(crate) fn backup(args: &Args, what: &BackupVerb) -> Result<(), CliError> {
    let settings = Places::of(args)?.load()?;
    let target = |named: &Option<String>| targets::existing(args, &settings, named.as_deref());
    let start = |schema| Report::start(schema, args.output);
    match what {
        BackupVerb::Create { to: Some(to), .. } if is_file(to) => {
            let report = start("nonos.backup_create/1");
            let made = export(args, &settings, Path::new(to));
            report.finish(made, told)
        }
        BackupVerb::Create { to, incremental } => {
            let report = start("nonos.backup_create/1");
            let made = create(args, &settings, to.as_deref(), *incremental);
            report.finish(made, |made| match made.backups.len() {
                0 => "nothing new since the last backup".to_owned(),
                _ => table(made),
            })
        }
        BackupVerb::List { from } => {
            let report = start("nonos.backup_list/1");
            let listed = target(from).and_then(|target| listing(&*target));
            report.finish(listed.map(|l| all(l.backups, l.unreadable)), table)
        }
        BackupVerb::Show { name, .. } if is_file(name) && Path::new(name).exists() => {
            let report = start("nonos.backup_show/1");
            report.finish(verify_file(Path::new(name)), told)
        }
        BackupVerb::Show { name, from } => {
            let report = start("nonos.backup_show/1");
            let found = target(from).and_then(|target| named(&*target, name));
            report.finish(found.map(shown), detailed)
        }
        BackupVerb::Verify {
            name: Some(name), ..
        } if Path::new(name).is_file() => {
            let report = start("nonos.backup_verify/1");
            report.finish(verify_file(Path::new(name)), told)
        }
        BackupVerb::Verify { name, from, store } => {
            let report = start("nonos.backup_verify/1");
            let verified = target(from).and_then(|target| {
                let name = match name {
                    Some(name) => name.clone(),
                    None => NodeStorage::newest_backup(&*target, *store)?.name(),
                };
                Ok(NodeStorage::verify_backup_at(
                    &*target,
                    &name,
                    &scratch(&settings)?,
                )?)
            });
            report.finish(verified.map(shown), |found| {
                format!("{} is whole\n{}", found.name, detailed(found))
            })
        }
        BackupVerb::Prune {
            keep_last,
            keep_daily,
            from,
            store,
            dry_run,
        } => {
            let report = start("nonos.backup_prune/1");
            let keep = Keep {
                last: keep_last.unwrap_or(1),
                daily: keep_daily.unwrap_or(0),
            };
            let removed =
                target(from).and_then(|target| prune(args, &*target, *store, (keep, *dry_run)));
            report.finish(removed.map(|removed| all(removed, Vec::new())), |removed| {
                let bytes = removed.backups.iter().map(|b| b.bytes).sum();
                let (count, done) = (
                    removed.backups.len(),
                    if *dry_run { "to remove" } else { "removed" },
                );
                format!("{}\n{count} backups, {} {done}", table(removed), mib(bytes))
            })
        }
        BackupVerb::Drill { from, store } => {
            let report = start("nonos.backup_drill/1");
            let drilled = target(from).and_then(|target| drill(&settings, &*target, *store));
            let is_unsound = drilled.as_ref().is_ok_and(|drilled| !drilled.is_sound);
            report.finish(drilled, |drill| {
                let (errors, warnings) = (drill.errors, drill.warnings);
                let (name, entries) = (&drill.backup.name, drill.entries);
                format!("restored {name}: {entries} records, {errors} errors, {warnings} warnings")
            })?;
            if is_unsound {
                return Err(CliError::Findings {
                    what: "records in the backup are not as they were written",
                });
            }
            Ok(())
        }
    }
}

fn drill(
    settings: &Settings,
    target: &dyn Target,
    store: Option<StoreId>,
) -> Result<Drill, CliError> {
    let scratch = scratch(settings)?;
    let drilled = NodeStorage::drill(target, store, &scratch, &settings.storage)?;
    Ok(Drill {
        backup: shown(drilled.backup),
        entries: drilled.entries,
        is_sound: drilled.is_sound,
        errors: drilled.integrity.errors,
        warnings: drilled.integrity.warnings,
    })
}

fn create(
    args: &Args,
    settings: &Settings,
    to: Option<&str>,
    is_incremental: bool,
) -> Result<Backups, CliError> {
    let storage = cmd::view(&settings.storage)?;
    #[cfg(feature = "encrypted-storage")]
    {
        let plain = storage.secrets_status()?.counts.plaintext;
        if plain > 0 {
            tracing::warn!(
                plain,
                "secrets that are not sealed are in the backup as they are"
            );
        }
    }
    let place = targets::open(args, settings, to)?;
    Ok(all(storage.back_up(&*place, is_incremental)?, Vec::new()))
}

/// Whether a name is that of a single backup file, not of a place for backups.
pub(crate) fn is_file(name: &str) -> bool {
    let is_local = !name.contains("://");
    is_local && Path::new(name).extension().is_some_and(|e| e == "nonos")
}

fn export(args: &Args, settings: &Settings, file: &Path) -> Result<OfFile, CliError> {
    let storage = cmd::view(&settings.storage)?;
    if file.exists() {
        confirm(args, &format!("replacing {}", file.display()))?;
    }
    storage.export_backup(file)?;
    verify_file(file)
}

fn verify_file(file: &Path) -> Result<OfFile, CliError> {
    let info: BackupInfo = NodeStorage::verify_backup(file)?;
    Ok(OfFile {
        file: file.to_owned(),
        store_id: hex(&info.store_id),
        commit: info.commit,
        created_at: rfc3339(info.created_at),
        bytes: info.bytes,
        entries: info.entries,
        schema_version: info.schema_version,
        program: info.program_version,
    })
}

fn told(found: &OfFile) -> String {
    format!(
        "{}\n{} records at commit {}, {}, made {} by {}\nstore {}, schema {}",
        found.file.display(),
        found.entries,
        found.commit,
        mib(found.bytes),
        found.created_at,
        found.program,
        found.store_id,
        found.schema_version,
    )
}

fn listing(target: &dyn Target) -> Result<Listing, CliError> {
    Ok(NodeStorage::list_backups(target)?)
}

fn named(target: &dyn Target, name: &str) -> Result<Backup, CliError> {
    let found = listing(target)?
        .backups
        .into_iter()
        .find(|b| b.name() == name);
    found.ok_or_else(|| CliError::NoBackup {
        name: name.to_owned(),
    })
}

fn prune(
    args: &Args,
    target: &dyn Target,
    store: Option<StoreId>,
    (keep, dry_run): (Keep, bool),
) -> Result<Vec<Backup>, CliError> {
    let told = NodeStorage::prune_backups(target, store, keep, true)?;
    if dry_run || told.is_empty() {
        return Ok(told);
    }
    confirm(args, &format!("removing {} backups", told.len()))?;
    Ok(NodeStorage::prune_backups(target, store, keep, false)?)
}

/// Where files on their way lie: beside the database.
pub(crate) fn scratch(settings: &Settings) -> Result<PathBuf, CliError> {
    let path = expand_home(&settings.storage.path)?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    Ok(parent.unwrap_or(Path::new(".")).to_owned())
}

fn all(backups: Vec<Backup>, unreadable: Vec<String>) -> Backups {
    Backups {
        backups: backups.into_iter().map(shown).collect(),
        unreadable,
    }
}

fn shown(backup: Backup) -> Shown {
    Shown {
        name: backup.name(),
        kind: match backup.kind {
            BackupKind::Full => "full",
            _ => "increment",
        },
        store_id: hex(&backup.store_id),
        history: hex(&backup.history),
        commit: backup.commit,
        state_at: rfc3339_ms(backup.last_at_ms),
        created_at: rfc3339(backup.created_at),
        bytes: backup.bytes,
        entries: (backup.kind == BackupKind::Full).then_some(backup.entries),
        schema_version: backup.schema_version,
        blake2b_256: hex(&backup.hash),
        program: backup.program,
        verified_at: backup.verified_at.map(rfc3339),
    }
}

fn table(found: &Backups) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["STATE OF", "COMMIT", "KIND", "SIZE", "VERIFIED", "NAME"]);
    for backup in &found.backups {
        table.add_row([
            backup.state_at.clone(),
            backup.commit.to_string(),
            backup.kind.to_owned(),
            mib(backup.bytes),
            backup.verified_at.clone().unwrap_or_else(|| "-".to_owned()),
            backup.name.clone(),
        ]);
    }
    let mut text = table.to_string();
    for name in &found.unreadable {
        push_line(
            &mut text,
            format_args!("warning: the note {name} cannot be read"),
        );
    }
    text
}

fn detailed(found: &Shown) -> String {
    let mut text = format!(
        "{} of store {}, history {}\nstate of {}, commit {}\n{}, made {} by {}\nBLAKE2b-256 {}",
        found.kind,
        found.store_id,
        found.history,
        found.state_at,
        found.commit,
        mib(found.bytes),
        found.created_at,
        found.program,
        found.blake2b_256,
    );
    if let Some(at) = &found.verified_at {
        push_line(&mut text, format_args!("verified {at}"));
    }
    text
}

/// Now, for names of what is kept.
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
