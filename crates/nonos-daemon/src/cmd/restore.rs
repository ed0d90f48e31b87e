//! `nonos restore`: a database of a backup, made beside, verified, and put in place.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use nonos_daemon::settings::Settings;
use nonos_storage::{
    CoreError, NodeStorage, NonosError, RestoreReport, StorageConfig, Wanted, holder,
};
use serde::Serialize;

use crate::args::{Args, Verb};
use crate::cmd;
use crate::cmd::backup::{Of, decrypted, is_file, now};
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, mib, push_line};
use crate::places::{Places, expand_home};
use crate::progress;
use crate::targets;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Restored {
    database: PathBuf,
    commit: u64,
    entries: u64,
    bytes: u64,
    /// The backup's schema, if it was an older one.
    migrated_from: Option<u32>,
    /// Secrets and the node's identity were left out of the backup.
    redacted: bool,
    /// Where the database is that was there before.
    kept: Option<PathBuf>,
    /// Nothing was changed.
    dry_run: bool,
}

pub(crate) fn restore(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.restore/1", args.output);
    let Verb::Restore { look, .. } = args.verb else {
        return Ok(());
    };
    let judge = |done: &Restored| look.judge(done.dry_run);
    report.judged(make(args), judge, |done| {
        let (entries, commit) = (done.entries, done.commit);
        if done.dry_run {
            return format!("{entries} records at commit {commit} can be restored; nothing was changed");
        }
        let mut text = format!(
            "{entries} records at commit {commit}, read from {}, are in {}",
            mib(done.bytes),
            done.database.display()
        );
        if let Some(version) = done.migrated_from {
            push_line(&mut text, format_args!("migrated from schema {version}"));
        }
        if done.redacted {
            push_line(&mut text, format_args!("secrets and the node's identity were left out of the backup"));
        }
        if let Some(kept) = &done.kept {
            let kept = kept.display();
            push_line(&mut text, format_args!("what was there before is in {kept}"));
        }
        let told = "say which node it is when you start it: `nonos run --same-node` if it runs nowhere \
                    else any more, `nonos run --new-identity` if it does";
        push_line(&mut text, format_args!("{told}"));
        text
    })
}

fn make(args: &Args) -> Result<Restored, CliError> {
    let Verb::Restore { into, look, .. } = &args.verb else {
        return Err(CliError::NoBackup {
            name: String::new(),
        });
    };
    let dry_run = look.dry_run;
    let places = Places::of(args)?;
    let settings = places.load()?;
    let mut config = settings.storage.clone();
    if let Some(directory) = into {
        let name = config.path.file_name().unwrap_or_default().to_owned();
        config.path = expand_home(directory)?.join(name);
    }
    if dry_run {
        let intent = with_ending(&config.path, ".intent");
        if intent.exists() {
            // What is staged is needed to finish it.
            return Err(NonosError::from(CoreError::Exchanging { path: intent }).into());
        }
    } else {
        let directory = into.as_deref().unwrap_or(&places.data_dir);
        cmd::alone(args, directory, &config.path)?;
        NodeStorage::finish_exchange(&config)?;
    }
    let there_is = exists(&config.path)?;
    if there_is && into.is_some() {
        return Err(CliError::Exists { path: config.path });
    }
    if !dry_run && let Some(holder) = holder(&config.path).map_err(NonosError::from)? {
        // Said before anything is fetched; the exchange takes the lock.
        return Err(NonosError::from(CoreError::Locked { holder }).into());
    }
    if there_is && !dry_run {
        confirm(args, &format!("replacing {}", config.path.display()))?;
    }
    let _alone = alone(&config.path)?;
    let staged = StorageConfig {
        path: with_ending(&config.path, ".restored"),
        ..config.clone()
    };
    // What an interrupted restore left is no database that anybody opens.
    remove(&staged.path)?;
    let done = stage(args, &settings, &staged).and_then(|report| {
        verify(args, &staged)?;
        if dry_run {
            return Ok((report, None));
        }
        let kept = kept_path(&config.path)?;
        NodeStorage::exchange(&config, &staged.path, &kept)?;
        // It is older than what was seen, on purpose: the next opening notes what it finds.
        #[cfg(feature = "encrypted-storage")]
        if into.is_none() {
            remove_file(&settings.secrets.anchor_file)?;
        }
        Ok((report, there_is.then_some(kept)))
    });
    let is_pending = with_ending(&config.path, ".intent").exists();
    if (done.is_err() || dry_run) && !is_pending {
        remove(&staged.path)?;
    }
    let (report, kept) = done?;
    Ok(Restored {
        database: config.path,
        commit: report.commit,
        entries: report.entries,
        bytes: report.bytes,
        migrated_from: report.migrated_from,
        redacted: report.is_redacted,
        kept,
        dry_run,
    })
}

/// Holds the directory of a database, so that another restore does not take what this one stages for left.
fn alone(path: &Path) -> Result<File, CliError> {
    // The nearest one that is there: nothing is made before it is known that there is something to restore.
    let directory = path
        .ancestors()
        .skip(1)
        .find(|directory| directory.is_dir());
    let directory = directory.unwrap_or(Path::new("."));
    let io = |source| CliError::Io {
        action: "lock",
        path: directory.to_owned(),
        source,
    };
    let held = File::open(directory).map_err(io)?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(TryLockError::WouldBlock) => Err(CliError::Restoring {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Makes the database beside the one that it is to replace.
fn stage(
    args: &Args,
    settings: &Settings,
    staged: &StorageConfig,
) -> Result<RestoreReport, CliError> {
    let Verb::Restore {
        from,
        at,
        name,
        store,
        identity,
        ..
    } = &args.verb
    else {
        return Err(CliError::NoBackup {
            name: String::new(),
        });
    };
    let identity = identity.as_deref();
    if let Some(file) = from.as_deref().filter(|from| is_file(from)) {
        let of = Of::new(args, settings);
        return decrypted(of, Path::new(file), identity, |plain| {
            let how = progress::cancellable(args, staged.clone())?;
            Ok(NodeStorage::restore_backup_with(plain, how)?)
        });
    }
    let keys = targets::reading_keys(args, settings, identity)?;
    let target = targets::existing(args, settings, from.as_deref(), keys)?;
    let wanted = match (at, name) {
        (Some(time_ms), _) => Wanted::At(*time_ms),
        (None, Some(name)) => Wanted::Named(name.clone()),
        (None, None) => Wanted::Newest,
    };
    let how = progress::cancellable(args, staged.clone())?;
    Ok(NodeStorage::restore_from(&target, *store, &wanted, how)?)
}

/// Every record of it is sound.
pub(crate) fn verify(args: &Args, config: &StorageConfig) -> Result<(), CliError> {
    let how = progress::cancellable(args, config.clone())?;
    let storage = cmd::viewed(&config.path, how)?;
    if storage.verify_integrity_with(None, 1, true)?.errors > 0 {
        return Err(CliError::Findings {
            what: "records in the backup are not as they were written: nothing was changed",
        });
    }
    Ok(())
}

/// Where a database is kept that another one takes the place of.
pub(crate) fn kept_path(path: &Path) -> Result<PathBuf, CliError> {
    let mut kept = with_ending(path, &format!(".before-{}", now()));
    while exists(&kept)? {
        kept = with_ending(&kept, "-1");
    }
    Ok(kept)
}

/// Whether there is anything of a database at a path.
pub(crate) fn exists(path: &Path) -> Result<bool, CliError> {
    let is_there = |path: &Path| {
        path.try_exists().map_err(|source| CliError::Io {
            action: "look at",
            path: path.to_owned(),
            source,
        })
    };
    Ok(is_there(path)? || is_there(&with_ending(path, ".journal"))?)
}

/// Removes a database that nobody has open.
pub(crate) fn remove(path: &Path) -> Result<(), CliError> {
    // The last one is an index on its way.
    for path in [
        path.to_owned(),
        with_ending(path, ".journal"),
        with_ending(path, ".new"),
    ] {
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let action = "remove";
                return Err(CliError::Io {
                    action,
                    path,
                    source,
                });
            }
            _ => {}
        }
    }
    remove_file(&with_ending(path, ".lock"))
}

fn remove_file(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(CliError::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
