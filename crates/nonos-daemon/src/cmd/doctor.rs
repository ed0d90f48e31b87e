//! `nonos doctor`: what is wrong around a database, each with what helps; nothing is changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use comfy_table::Table;
use nonos_daemon::settings::Settings;
use nonos_storage::{Health, NodeStorage, holder};
use serde::Serialize;

use crate::args::Args;
use crate::cmd;
use crate::daemon::node::{EARLIEST, now};
use crate::daemon::server::findings;
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::keys;
use crate::output::{Finding, Report, chain, push_line};
use crate::places::Places;
use crate::targets;

mod bundle;
mod mounts;

/// How far ahead of the clock a sample may be, in seconds.
const AHEAD: i64 = 300;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Examined {
    data_dir: PathBuf,
    database: Option<PathBuf>,
    file_system: Option<String>,
    free_bytes: Option<u64>,
    held_by: Option<String>,
    errors: usize,
    warnings: usize,
    /// The file that holds all of this, if one was asked for.
    bundle: Option<PathBuf>,
    #[serde(skip)]
    findings: Vec<Finding>,
}

pub(crate) fn doctor(args: &Args, bundle: Option<&Path>) -> Result<(), CliError> {
    let report = Report::start("nonos.doctor/1", args.output);
    let judge = |found: &Examined| {
        let what = "the node needs looking after";
        let error = (found.errors > 0).then_some(CliError::Findings { what });
        (error, found.findings.clone())
    };
    report.judged(examine(args, bundle), judge, table)
}

fn examine(args: &Args, bundle: Option<&Path>) -> Result<Examined, CliError> {
    let places = Places::of(args)?;
    let mut found = Vec::new();
    let mut examined = Examined {
        data_dir: places.data_dir.clone(),
        database: None,
        file_system: None,
        free_bytes: None,
        held_by: None,
        errors: 0,
        warnings: 0,
        bundle: None,
        findings: Vec::new(),
    };
    private(&places.data_dir, &mut found);
    let loaded = places.load();
    owner(&places.data_dir, loaded.as_ref().ok(), &mut found);
    clock(&mut found);
    match loaded {
        Ok(settings) => {
            let path = settings.storage.path.clone();
            examined.held_by = holder(&path)
                .ok()
                .flatten()
                .map(|holder| holder.to_string());
            let mount = mounts::of(&path);
            if let Some(kind) = mount.as_deref().filter(|kind| mounts::is_unsafe(kind)) {
                let detail = format!(
                    "{} is on {kind}, which may not keep what it said it has",
                    path.display()
                );
                found.push(Finding::warning(
                    "FILE_SYSTEM",
                    detail,
                    "move the data directory to a local disk, with `nonos clone --to DIR`",
                ));
            }
            examined.file_system = mount;
            leftovers(&path, &mut found);
            key_files(args, &settings, &mut found);
            backups(args, &settings, &mut found);
            database(&settings, &mut examined, &mut found);
            examined.database = Some(path);
        }
        Err(error) => {
            let error = CliError::from(error);
            let fix = error.remedy();
            found.push(Finding::error("CONFIG", chain(&error), fix));
        }
    }
    examined.errors = found.iter().filter(|of| of.severity == "error").count();
    examined.warnings = found.len() - examined.errors;
    examined.findings = found;
    if let Some(file) = bundle {
        bundle::write(args, file, &places, &examined, &examined.findings)?;
        examined.bundle = Some(file.to_owned());
    }
    Ok(examined)
}

/// Others read or change nothing in it.
fn private(data_dir: &Path, found: &mut Vec<Finding>) {
    let Ok(of) = fs::metadata(data_dir) else {
        let detail = format!("{} is not there", data_dir.display());
        return found.push(Finding::error("NO_DATA_DIR", detail, "nonos init"));
    };
    if of.mode() & 0o077 != 0 {
        let detail = format!("others can look into {}", data_dir.display());
        found.push(Finding::warning(
            "PERMISSIONS",
            detail,
            &format!("chmod 700 {}", data_dir.display()),
        ));
    }
}

/// What another user left there, the daemon cannot use. Root's daemon can.
fn owner(data_dir: &Path, settings: Option<&Settings>, found: &mut Vec<Finding>) {
    let journal = settings.map(|of| cmd::restore::with_ending(&of.storage.path, ".journal"));
    let whose = journal.filter(|path| path.exists());
    let whose = whose.as_deref().unwrap_or(data_dir);
    let owner = fs::metadata(whose).map_or(0, |of| of.uid());
    if owner == 0 {
        return;
    }
    if let Some(path) = of_another(data_dir, owner) {
        let (path, whose, dir) = (path.display(), whose.display(), data_dir.display());
        let detail = format!("{path} belongs to another user than {whose}");
        let fix = format!("chown -R --reference={whose} {dir}");
        found.push(Finding::error("OWNER", detail, &fix));
    }
}

/// The first path below a directory that belongs to another user, but for what a file system keeps there.
fn of_another(directory: &Path, owner: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name() != "lost+found")
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        let of = fs::symlink_metadata(&path).ok()?;
        if of.uid() != owner {
            return Some(path);
        }
        of.is_dir().then(|| of_another(&path, owner)).flatten()
    })
}

/// Whether backups can be made, and one is there.
fn backups(args: &Args, settings: &Settings, found: &mut Vec<Finding>) {
    if let Err(error) = targets::reading_keys(args, settings, None) {
        let fix = error.remedy();
        found.push(Finding::error(error.code(), chain(&error), fix));
    }
    let newest = targets::writing_keys(settings, &[])
        .and_then(|keys| targets::existing(args, settings, None, keys))
        .and_then(|target| Ok(NodeStorage::list_backups(&target)?.backups.is_empty()));
    match newest {
        Ok(false) => {}
        Ok(true) | Err(CliError::NoPlace { .. }) => {
            let detail = format!("there is no backup at {}", settings.backup.to);
            found.push(Finding::warning(
                "BACKUP_MISSING",
                detail,
                "nonos backup create",
            ));
        }
        // Credentials may be of the service's environment alone.
        Err(error) if targets::is_remote(args, settings).unwrap_or(false) => {
            let fix = "run it with the environment of the service, as `nonos backup list`";
            found.push(Finding::warning("BACKUP_PLACE", chain(&error), fix));
        }
        Err(error) => {
            let fix = error.remedy();
            found.push(Finding::error("BACKUP_PLACE", chain(&error), fix));
        }
    }
}

fn clock(found: &mut Vec<Finding>) {
    if now() < EARLIEST {
        let detail = "the clock of this machine is years behind".to_owned();
        found.push(Finding::error(
            "CLOCK",
            detail,
            "set the clock, or install a time service",
        ));
    }
}

/// What interrupted work left beside a database.
fn leftovers(path: &Path, found: &mut Vec<Finding>) {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let entry_name = entry.file_name().to_string_lossy().into_owned();
        let at = entry.path();
        let shown = at.display();
        let Some(ending) = entry_name.strip_prefix(&name) else {
            if entry_name.starts_with(".scratch-") {
                let detail = format!("{shown} is of a backup that is being made, or was killed");
                found.push(Finding::warning(
                    "LEFTOVER",
                    detail,
                    "the next backup removes it",
                ));
            }
            continue;
        };
        let (what, fix) = match ending {
            ".intent" => ("says that the database is being exchanged", "nonos compact"),
            ".restored" | ".restored.journal" => (
                "was made by a restore that did not end",
                "the next restore removes it",
            ),
            _ if ending.starts_with(".damaged-") => (
                "is a damaged index that was moved aside",
                "make a verified backup, then remove it",
            ),
            _ if ending.starts_with(".before-") && !ending.ends_with(".journal") => (
                "is what a restore or a repair replaced",
                "remove it, and its journal, once it is not needed",
            ),
            ".repaired" => (
                "was made by a repair",
                "remove it and its journal; `nonos repair --commit` makes one and puts it in place",
            ),
            _ => continue,
        };
        found.push(Finding::warning("LEFTOVER", format!("{shown} {what}"), fix));
    }
}

#[cfg(feature = "encrypted-storage")]
fn key_files(args: &Args, settings: &Settings, found: &mut Vec<Finding>) {
    let file = &settings.secrets.key_file;
    let active = cmd::view(settings)
        .and_then(|storage| Ok(storage.secrets_status()?.active))
        .unwrap_or_default();
    match (keys::examine(args, settings), active) {
        // Root looks at the node of another user, who has it as it is to be.
        (Err(_), _) if keys::is_of_node(args, settings) => {}
        (Err(error), _) => {
            let fix = error.remedy();
            found.push(Finding::error("KEY_FILE", chain(&error), fix));
        }
        (Ok(keys::Held::Nothing), Some(active)) => {
            let detail = format!(
                "{} is not there, and the secrets are sealed to the key {active}",
                file.display()
            );
            let fix = "nothing, if the service has it as a credential; else put it back from its copy, or name it \
                       as secrets.key_file in config.toml";
            found.push(Finding::warning("KEY_FILE", detail, fix));
        }
        (Ok(keys::Held::Key(held)), Some(active)) if held != active => {
            let detail = format!(
                "the key file is of the key {held}, and the secrets are sealed to {active}"
            );
            found.push(Finding::error(
                "KEY_FILE",
                detail,
                "put the key file of that key back",
            ));
        }
        (Ok(_), _) => {}
    }
    let next = cmd::restore::with_ending(file, ".next");
    if next.exists() {
        let detail = format!("{} is of a change of keys that did not end", next.display());
        found.push(Finding::warning("ROTATING", detail, "nonos secrets rotate"));
    }
}

#[cfg(not(feature = "encrypted-storage"))]
fn key_files(_args: &Args, _settings: &Settings, _found: &mut Vec<Finding>) {}

/// What the database says of itself, read beside a daemon.
fn database(settings: &Settings, examined: &mut Examined, found: &mut Vec<Finding>) {
    let storage = match cmd::view(settings) {
        Ok(storage) => storage,
        Err(error) => {
            let fix = error.remedy();
            return found.push(Finding::error(error.code(), chain(&error), fix));
        }
    };
    if let Err(error) = look(&storage, examined, found) {
        let fix = error.remedy();
        found.push(Finding::error(error.code(), chain(&error), fix));
    }
}

fn look(
    storage: &NodeStorage,
    examined: &mut Examined,
    found: &mut Vec<Finding>,
) -> Result<(), CliError> {
    if let Health::Degraded { reason } | Health::Poisoned { reason } = storage.health() {
        found.push(Finding::error(
            "HEALTH",
            reason,
            "open it once for writing: `nonos compact`",
        ));
    }
    let free = storage.free_bytes()?;
    examined.free_bytes = Some(free);
    found.extend(findings::low_space(free));
    if let Some((newest, _)) = storage.load_latest_metrics(1)?.pop()
        && newest > now().saturating_add(AHEAD)
    {
        let detail =
            "the newest sample is of the future: the clock was ahead, or is behind".to_owned();
        found.push(Finding::warning(
            "CLOCK",
            detail,
            "set the clock, or install a time service",
        ));
    }
    if let Some(origin) = storage.origin()?.filter(|origin| !origin.is_settled) {
        let detail = format!(
            "restored to commit {}, and not said yet which node it is",
            origin.commit
        );
        found.push(Finding::error(
            "WHICH_NODE",
            detail,
            "nonos run --same-node, or --new-identity",
        ));
    }
    findings::secrets(storage, found)
}

fn table(found: &Examined) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let text = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
    for (name, value) in [
        ("data directory", Some(found.data_dir.display().to_string())),
        ("database", text(&found.database)),
        ("held by", found.held_by.clone()),
        ("file system", found.file_system.clone()),
        ("free", found.free_bytes.map(crate::output::mib)),
        ("bundle", text(&found.bundle)),
    ] {
        table.add_row([name.to_owned(), value.unwrap_or_else(|| "-".to_owned())]);
    }
    let mut text = table.to_string();
    for finding in &found.findings {
        push_line(
            &mut text,
            format_args!("{}: {}", finding.severity, finding.detail),
        );
        if let Some(fix) = &finding.fix {
            push_line(&mut text, format_args!("  help: {fix}"));
        }
    }
    let (errors, warnings) = (found.errors, found.warnings);
    push_line(
        &mut text,
        format_args!("{errors} errors, {warnings} warnings"),
    );
    text
}
