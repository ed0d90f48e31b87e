//! `nonos backup`: making, showing, verifying and removing backups.

use std::path::{Path, PathBuf};

use nonos_daemon::encryption::{BackupKeys, EncryptedTarget};
use nonos_daemon::settings::Settings;
use nonos_storage::{Backup, Keep, Listing, NodeStorage, Target};
use serde::Serialize;
use time::OffsetDateTime;

use crate::admin::{self, Done};
use crate::args::{Args, BackupVerb, CreateArgs, PruneBackupsArgs, StoreId};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::daemon::node::LastBackup;
use crate::error::CliError;
use crate::output::{Report, mib};
use crate::places::Places;
use crate::progress;
use crate::targets;

pub(crate) mod file;
mod table;

pub(crate) use file::{decrypted, is_file};
pub(crate) use table::Shown;
use table::{detailed, shown, table};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Backups {
    backups: Vec<Shown>,
    /// Notes that cannot be read.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Drill {
    backup: Shown,
    entries: u64,
    is_sound: bool,
    errors: u64,
    warnings: u64,
}

pub(crate) fn backup(args: &Args, what: &BackupVerb) -> Result<(), CliError> {
    let settings = Places::of(args)?.load()?;
    let of = Of::new(args, &settings);
    match what {
        BackupVerb::Create(what) => of.create(what),
        BackupVerb::List { from } => {
            let report = of.start("nonos.backup-list/1");
            let listed = of
                .listed(from.as_deref())
                .and_then(|target| listing(&target));
            report.finish(listed.map(|l| all(l.backups, l.unreadable)), table)
        }
        BackupVerb::Show {
            name,
            from,
            identity,
        } => {
            if is_file(name) && Path::new(name).exists() {
                return of.start(file::SCHEMA).finish(
                    file::verify(of, Path::new(name), identity.as_deref()),
                    file::told,
                );
            }
            let report = of.start("nonos.backup-show/1");
            let found = of
                .target(from.as_deref(), identity.as_deref())
                .and_then(|target| named(&target, name));
            report.finish(found.map(shown), detailed)
        }
        BackupVerb::Verify {
            name,
            from,
            store,
            identity,
        } => {
            if let Some(file) = name.as_deref().map(Path::new).filter(|name| name.is_file()) {
                let report = of.start(file::SCHEMA);
                return report.finish(file::verify(of, file, identity.as_deref()), file::told);
            }
            let report = of.start("nonos.backup-verify/1");
            let verified = of
                .target(from.as_deref(), identity.as_deref())
                .and_then(|target| {
                    let name = match name {
                        Some(name) => name.clone(),
                        None => NodeStorage::newest_backup(&target, *store)?.name(),
                    };
                    // That it was read is noted beside it.
                    targets::as_owner(args, of.settings, from.as_deref())?;
                    let scratch = scratch(of.settings);
                    let verified = NodeStorage::verify_backup_at(&target, &name, &scratch)?;
                    of.tell(from.as_deref(), &verified, false)?;
                    Ok(verified)
                });
            report.finish(verified.map(shown), |found| {
                format!("{} is whole\n{}", found.name, detailed(found))
            })
        }
        BackupVerb::Prune(what) => of.prune(what),
        BackupVerb::Drill {
            from,
            store,
            identity,
        } => {
            let report = of.start("nonos.backup-drill/1");
            let drilled = of
                .target(from.as_deref(), identity.as_deref())
                .and_then(|target| drill(of, from.as_deref(), &target, *store));
            let judge = |drill: &Drill| {
                let what = "records in the backup are not as they were written";
                let error = (!drill.is_sound).then_some(CliError::Findings { what });
                (error, Vec::new())
            };
            report.judged(drilled, judge, |drill| {
                let (errors, warnings) = (drill.errors, drill.warnings);
                let (name, entries) = (&drill.backup.name, drill.entries);
                format!("restored {name}: {entries} records, {errors} errors, {warnings} warnings")
            })
        }
    }
}

/// What every one of these verbs is told.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    args: &'a Args,
    settings: &'a Settings,
}

impl<'a> Of<'a> {
    pub(crate) fn new(args: &'a Args, settings: &'a Settings) -> Self {
        Self { args, settings }
    }

    fn start(self, schema: &'static str) -> Report {
        Report::start(schema, self.args.output)
    }

    fn target(
        self,
        named: Option<&str>,
        identity: Option<&Path>,
    ) -> Result<EncryptedTarget, CliError> {
        let keys = targets::reading_keys(self.args, self.settings, identity)?;
        targets::existing(self.args, self.settings, named, keys)
    }

    /// A place whose files are not read.
    fn listed(self, named: Option<&str>) -> Result<EncryptedTarget, CliError> {
        let keys = targets::writing_keys(self.settings, &[])?;
        targets::existing(self.args, self.settings, named, keys)
    }

    fn create(self, what: &CreateArgs) -> Result<(), CliError> {
        let CreateArgs {
            to,
            incremental,
            recipient,
            redact,
        } = what;
        if let Some(to) = to.as_deref().filter(|to| is_file(to)) {
            let report = self.start(file::SCHEMA);
            let made = file::create(self, Path::new(to), recipient, redact.is_some());
            return report.finish(made, file::told);
        }
        let report = self.start("nonos.backup-create/1");
        let made = if redact.is_some() {
            Err(CliError::Usage {
                what: "secrets are left out of a single file only: name one that ends in .nonos with --to",
            })
        } else {
            targets::writing_keys(self.settings, recipient)
                .and_then(|keys| self.back_up(to.as_deref(), *incremental, keys))
        };
        report.finish(made, |made| match made.backups.len() {
            0 => "nothing new since the last backup".to_owned(),
            _ => table(made),
        })
    }

    fn back_up(
        self,
        to: Option<&str>,
        is_incremental: bool,
        keys: BackupKeys,
    ) -> Result<Backups, CliError> {
        let storage = cmd::long_view(self.args, self.settings)?;
        targets::as_owner(self.args, self.settings, to)?;
        refuse_plain_secrets(&storage, &keys)?;
        // What is in it is looked at as well: an increment holds what was removed since.
        let place = targets::open(self.args, self.settings, to, keys)?;
        let made = storage.back_up(&place, is_incremental)?;
        if let Some(last) = made.last() {
            self.tell(to, last, false)?;
        }
        Ok(all(made, Vec::new()))
    }

    /// Tells the daemon of the backup's database, if it runs here. What is at another place than it uses is none of it.
    fn tell(self, named: Option<&str>, backup: &Backup, is_drilled: bool) -> Result<(), CliError> {
        if !targets::is_configured(self.args, self.settings, named)? {
            return Ok(());
        }
        let data_dir = Places::of(self.args)?.data_dir;
        let store_id = backup.store_id;
        let backup = LastBackup::of(backup);
        let done = Done::BackedUp { store_id, backup };
        admin::tell(self.args, &data_dir, done);
        if is_drilled {
            admin::tell(self.args, &data_dir, Done::Drilled { store_id });
        }
        Ok(())
    }

    fn prune(self, what: &PruneBackupsArgs) -> Result<(), CliError> {
        let PruneBackupsArgs {
            keep_last,
            keep_daily,
            from,
            store,
            look,
        } = what;
        let dry_run = look.dry_run;
        let report = self.start("nonos.backup-prune/1");
        let keep = Keep {
            last: keep_last.unwrap_or(1),
            daily: keep_daily.unwrap_or(0),
        };
        let removed = self
            .listed(from.as_deref())
            .and_then(|target| prune(self.args, &target, *store, (keep, dry_run)));
        let removed = removed.map(|removed| all(removed, Vec::new()));
        let judge = |removed: &Backups| look.judge(!removed.backups.is_empty());
        report.judged(removed, judge, |removed| {
            let bytes = removed.backups.iter().map(|b| b.bytes).sum();
            let (count, done) = (
                removed.backups.len(),
                if dry_run { "to remove" } else { "removed" },
            );
            format!("{}\n{count} backups, {} {done}", table(removed), mib(bytes))
        })
    }
}

fn drill(
    of: Of<'_>,
    from: Option<&str>,
    target: &dyn Target,
    store: Option<StoreId>,
) -> Result<Drill, CliError> {
    targets::as_owner(of.args, of.settings, from)?;
    let scratch = scratch(of.settings);
    let how = progress::cancellable(of.args, of.settings.storage.clone())?;
    let drilled = NodeStorage::drill(target, store, &scratch, &how)?;
    if drilled.is_sound {
        of.tell(from, &drilled.backup, true)?;
    }
    Ok(Drill {
        backup: shown(drilled.backup),
        entries: drilled.entries,
        is_sound: drilled.is_sound,
        errors: drilled.integrity.errors,
        warnings: drilled.integrity.warnings,
    })
}

/// Who has a backup that is not encrypted has the secrets in it that are not sealed.
fn refuse_plain_secrets(storage: &NodeStorage, keys: &BackupKeys) -> Result<(), CliError> {
    match storage.plain_secrets()? {
        count if count > 0 && !keys.encrypts() => Err(CliError::PlainSecrets { count }),
        _ => Ok(()),
    }
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
pub(crate) fn scratch(settings: &Settings) -> PathBuf {
    let parent = settings
        .storage
        .path
        .parent()
        .filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn all(backups: Vec<Backup>, unreadable: Vec<String>) -> Backups {
    Backups {
        backups: backups.into_iter().map(shown).collect(),
        unreadable,
    }
}

/// Now, for names of what is kept.
pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
