//! `nonos secrets`: what is sealed, put in, taken out, and sealed anew.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nonos_storage::{Access, CryptoError, NodeStorage, SecretsStatus};
use serde::Serialize;

use crate::admin::Writer;
use crate::args::{Args, Output, SecretsVerb};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::keys;
use crate::output::{Report, chain, push_line};
use crate::places::Places;

pub(crate) mod key;
pub(crate) mod rotate;

use rotate::{rotate, rotated};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Names {
    secrets: Vec<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done {
    name: String,
    changed: bool,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Stored {
    name: String,
    /// There is, or was, one of this name.
    replaced: bool,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Written {
    name: String,
    file: PathBuf,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Status {
    mode: &'static str,
    access: Option<&'static str>,
    key_id: Option<String>,
    changing: bool,
    counter: u64,
    sealed: u64,
    anonymous: u64,
    plaintext: u64,
    remaining: u64,
    purge_needed: bool,
}

pub(crate) fn secrets(args: &Args, what: &SecretsVerb) -> Result<(), CliError> {
    match what {
        SecretsVerb::List => {
            let report = Report::start("nonos.secrets-list/1", args.output);
            report.finish(list(args), |names| names.secrets.join("\n"))
        }
        SecretsVerb::Put {
            name,
            from,
            dry_run,
        } => {
            let report = Report::start("nonos.secrets-put/1", args.output);
            report.finish(put(args, name, from.as_deref(), *dry_run), stored)
        }
        SecretsVerb::Get { name, to, show } => get(args, name, to.as_deref(), *show),
        SecretsVerb::Rm { name, dry_run } => {
            let report = Report::start("nonos.secrets-rm/1", args.output);
            report.finish(remove(args, name, *dry_run), |done| removed(done, *dry_run))
        }
        SecretsVerb::Rotate {
            destroy_old,
            dry_run,
        } => {
            let report = Report::start("nonos.secrets-rotate/1", args.output);
            report.finish(rotate(args, *destroy_old, *dry_run), rotated)
        }
        SecretsVerb::Status => {
            let report = Report::start("nonos.secrets-status/1", args.output);
            report.finish(status(args), table)
        }
        SecretsVerb::Adopt { name, dry_run } => {
            let report = Report::start("nonos.secrets-adopt/1", args.output);
            report.finish(adopt(args, name, *dry_run), |done| {
                let would = if done.dry_run { "would be" } else { "is" };
                format!("{} {would} vouched for by the keys of this node", done.name)
            })
        }
        SecretsVerb::AcceptRollback { dry_run } => {
            let report = Report::start("nonos.secrets-accept-rollback/1", args.output);
            report.finish(accept_rollback(args, *dry_run), table)
        }
        SecretsVerb::RepairKeyring { dry_run } => {
            let report = Report::start("nonos.secrets-repair-keyring/1", args.output);
            report.finish(repair_keyring(args, *dry_run), table)
        }
        SecretsVerb::Key { what } => key::key(args, what),
    }
}

/// The read-only view, beside a daemon as well, with its keys set where they are needed.
fn view(args: &Args, with_keys: bool) -> Result<NodeStorage, CliError> {
    let settings = Places::of(args)?.load()?;
    let storage = cmd::view(&settings)?;
    if with_keys && storage.secrets_status()?.active.is_some() {
        keys::unlock(args, &settings, &storage)?;
    }
    Ok(storage)
}

/// The database with its keys set, or the daemon that has it so.
fn writer(args: &Args) -> Result<Writer, CliError> {
    let places = Places::of(args)?;
    cmd::writer(args, &places.data_dir, || {
        keys::open_unlocked(args).map(|(storage, _)| storage)
    })
}

fn list(args: &Args) -> Result<Names, CliError> {
    let secrets = view(args, false)?.list_secrets()?;
    Ok(Names { secrets })
}

/// Whether there is a secret of this name, which anybody may know.
fn is_there(args: &Args, name: &str) -> Result<bool, CliError> {
    Ok(view(args, false)?.list_secrets()?.iter().any(|n| n == name))
}

fn put(args: &Args, name: &str, from: Option<&Path>, dry_run: bool) -> Result<Stored, CliError> {
    let replaced = is_there(args, name)?;
    let stored = Stored {
        name: name.to_owned(),
        replaced,
        dry_run,
    };
    if dry_run {
        return Ok(stored);
    }
    let writer = writer(args)?;
    if replaced {
        confirm(args, &format!("replacing the secret {name:?} for good"))?;
    }
    let value = keys::read_value(from)?;
    writer.store_secret(name, &value)?;
    writer.close()?;
    Ok(stored)
}

fn stored(stored: &Stored) -> String {
    let name = &stored.name;
    match (stored.dry_run, stored.replaced) {
        (true, true) => format!("{name} is there, and would be replaced"),
        (true, false) => format!("there is no secret {name} yet"),
        (false, true) => format!("{name} is stored, sealed, in place of what it was"),
        (false, false) => format!("{name} is stored, sealed"),
    }
}

/// A secret goes to a file or a pipe; to a terminal only where that was said.
fn get(args: &Args, name: &str, to: Option<&Path>, show: bool) -> Result<(), CliError> {
    if to.is_none() && args.output != Output::Table {
        return Err(CliError::NeedsFile);
    }
    if to.is_none() && io::stdout().is_terminal() && !show {
        return Err(CliError::OnTerminal);
    }
    let report = Report::start("nonos.secrets-get/1", args.output);
    let secret = view(args, true).and_then(|storage| {
        let found = storage.load_secret_zeroizing(name)?;
        found.ok_or_else(|| CliError::NoSuch {
            what: "secret",
            name: name.to_owned(),
        })
    });
    let Some(to) = to else {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&secret?).and_then(|()| stdout.flush());
        return written.map_err(|source| CliError::Output { source });
    };
    let written = secret.and_then(|secret| {
        let io = |source| CliError::Io {
            action: "write",
            path: to.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(to).map_err(io)?;
        file.write_all(&secret)
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        Ok(Written {
            name: name.to_owned(),
            file: to.to_owned(),
        })
    });
    report.finish(written, |written| {
        format!("{} is in {}", written.name, written.file.display())
    })
}

fn remove(args: &Args, name: &str, dry_run: bool) -> Result<Done, CliError> {
    if dry_run {
        return Ok(Done {
            name: name.to_owned(),
            changed: is_there(args, name)?,
            dry_run,
        });
    }
    let writer = writer(args)?;
    confirm(args, &format!("removing the secret {name:?} for good"))?;
    let changed = writer.delete_secret(name)?;
    writer.close()?;
    Ok(Done {
        name: name.to_owned(),
        changed,
        dry_run,
    })
}

fn removed(done: &Done, dry_run: bool) -> String {
    let name = &done.name;
    match (done.changed, dry_run) {
        (true, true) => format!("{name} would be removed"),
        (true, false) => format!(
            "{name} is removed; `nonos compact --purge` removes its bytes from the files as well"
        ),
        (false, _) => format!("there is no secret {name}"),
    }
}

fn status(args: &Args) -> Result<Status, CliError> {
    let settings = Places::of(args)?.load()?;
    let storage = view(args, false)?;
    // Without a key file the status is that of the store.
    let of_store = storage.secrets_status()?;
    if of_store.active.is_some() {
        match keys::unlock_if_there(args, &settings, &storage) {
            // It is looked at before it is taken as it is.
            Err(error) if error.is_rollback() => {
                let error = chain(&error);
                tracing::warn!(error, "the keys are not set");
                return Ok(told(&of_store));
            }
            unlocked => drop(unlocked?),
        }
    }
    Ok(told(&storage.secrets_status()?))
}

fn told(status: &SecretsStatus) -> Status {
    Status {
        mode: match status.mode {
            nonos_storage::EncryptionMode::None => "none",
            nonos_storage::EncryptionMode::SealedBox => "sealed_box",
        },
        access: status.access.map(Access::name),
        key_id: status.active.map(|id| id.to_string()),
        changing: status.is_rekeying,
        counter: status.counter,
        sealed: status.counts.sealed,
        anonymous: status.counts.anonymous,
        plaintext: status.counts.plaintext,
        remaining: status.counts.rekey_remaining,
        purge_needed: status.purge_needed,
    }
}

fn table(status: &Status) -> String {
    let mut text = format!(
        "mode       {}\nkey        {}\naccess     {}\nsealed     {}\nanonymous  {}\nplaintext  {}",
        status.mode,
        status.key_id.as_deref().unwrap_or("none"),
        status.access.unwrap_or("no keys"),
        status.sealed,
        status.anonymous,
        status.plaintext,
    );
    if status.changing {
        push_line(
            &mut text,
            format_args!(
                "changing   {} records are left: `nonos secrets rotate` goes on",
                status.remaining
            ),
        );
    }
    if status.purge_needed {
        text.push_str("\nold bytes  may be in the files: `nonos compact --purge` removes them");
    }
    text
}

fn adopt(args: &Args, name: &str, dry_run: bool) -> Result<Done, CliError> {
    let done = Done {
        name: name.to_owned(),
        changed: true,
        dry_run,
    };
    if dry_run {
        let name = name.to_owned();
        let what = "secret";
        let is_there = is_there(args, &name)?;
        return is_there
            .then_some(done)
            .ok_or(CliError::NoSuch { what, name });
    }
    let writer = writer(args)?;
    confirm(args, &format!("vouching for the secret {name:?}"))?;
    writer.adopt_secret(name)?;
    writer.close()?;
    Ok(done)
}

fn accept_rollback(args: &Args, dry_run: bool) -> Result<Status, CliError> {
    if dry_run {
        return Ok(told(&view(args, false)?.secrets_status()?));
    }
    let (storage, settings) = keys::open_locked(args)?;
    confirm(
        args,
        "taking the database as it is, although a newer state was seen",
    )?;
    storage.accept_rollback()?;
    keys::unlock(args, &settings, &storage)?;
    let status = told(&storage.secrets_status()?);
    storage.close()?;
    Ok(status)
}

fn repair_keyring(args: &Args, dry_run: bool) -> Result<Status, CliError> {
    if dry_run {
        return Ok(told(&view(args, false)?.secrets_status()?));
    }
    let (storage, settings) = keys::open_locked(args)?;
    let given = keys::load(args, &settings)?
        .ok_or_else(|| keys::encryption(CryptoError::KeyRequired { key_id: None }))?;
    keys::make_durable(args, &settings)?;
    confirm(
        args,
        "making the records of the keys anew: whether a secret was removed cannot be told",
    )?;
    let status = told(&storage.repair_keyring(given.keys)?);
    storage.close()?;
    Ok(status)
}
