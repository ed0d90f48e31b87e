//! Where backups are kept, by its name.

use std::path::{Path, PathBuf};

use nonos_daemon::encryption::{BackupKeys, EncryptedTarget};
use nonos_daemon::object_target::ObjectTarget;
use nonos_daemon::settings::Settings;
use nonos_storage::{BackupDirectory, NonosError, Target};

use crate::args::Args;
use crate::cmd;
use crate::error::CliError;
use crate::places::{Places, expand_home};

/// The place that `--from` names, or the configuration: it is there, or nothing is.
pub(crate) fn existing(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
    keys: BackupKeys,
) -> Result<EncryptedTarget, CliError> {
    match directory(args, settings, named)? {
        Some(path) if !path.is_dir() => Err(CliError::NoPlace { path }),
        _ => open(args, settings, named, keys),
    }
}

/// The place that `--to` names, or the configuration; a directory is made where there is none.
pub(crate) fn open(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
    keys: BackupKeys,
) -> Result<EncryptedTarget, CliError> {
    let place: Box<dyn Target> = match directory(args, settings, named)? {
        Some(path) => Box::new(BackupDirectory::new(&path).map_err(NonosError::from)?),
        None => ObjectTarget::open(named.unwrap_or(&settings.backup.to))?,
    };
    Ok(EncryptedTarget::new(place, keys))
}

/// To whom backups are encrypted: by the configuration, if nobody is named.
pub(crate) fn writing_keys(
    settings: &Settings,
    recipients: &[String],
) -> Result<BackupKeys, CliError> {
    let recipients = match recipients {
        [] => &settings.backup.recipients,
        named => named,
    };
    Ok(BackupKeys::new(recipients, None)?)
}

/// Who reads encrypted backups here, and to whom they are encrypted.
pub(crate) fn reading_keys(
    args: &Args,
    settings: &Settings,
    identity: Option<&Path>,
) -> Result<BackupKeys, CliError> {
    let recipients = &settings.backup.recipients;
    let configured = &settings.backup.identity_file;
    let identity = match identity {
        Some(named) => Some(expand_home(named)?),
        None if configured.as_os_str().is_empty() => None,
        None => Some(Places::of(args)?.data_dir.join(expand_home(configured)?)),
    };
    Ok(BackupKeys::new(recipients, identity.as_deref())?)
}

/// Whether a place that is named is that of the configuration.
pub(crate) fn is_configured(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<bool, CliError> {
    let place = |named| {
        let found = directory(args, settings, named)?;
        // One that is not there yet has no other name.
        Ok::<_, CliError>(found.map(|path| path.canonicalize().unwrap_or(path)))
    };
    Ok(match (place(named)?, place(None)?) {
        (None, None) => {
            let url = named.unwrap_or(&settings.backup.to);
            url.trim_end_matches('/') == settings.backup.to.trim_end_matches('/')
        }
        (of_named, configured) => of_named == configured,
    })
}

/// Asks before root changes another user's place for backups, or makes one in his data directory.
pub(crate) fn as_owner(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<(), CliError> {
    let Some(path) = directory(args, settings, named)? else {
        return Ok(());
    };
    let there = path.ancestors().find(|above| above.exists());
    there.map_or(Ok(()), |there| cmd::as_owner(args, there, there))
}

/// Whether the place of the configuration is not a directory.
pub(crate) fn is_remote(args: &Args, settings: &Settings) -> Result<bool, CliError> {
    Ok(directory(args, settings, None)?.is_none())
}

/// The path, if the name is one and no URL: that of the configuration is relative to the data directory.
fn directory(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<Option<PathBuf>, CliError> {
    let name = named.unwrap_or(&settings.backup.to);
    let path = match name.strip_prefix("file://") {
        None if name.contains("://") => return Ok(None),
        path => Path::new(path.unwrap_or(name)),
    };
    let path = expand_home(path)?;
    Ok(Some(match named {
        Some(_) => path,
        None => Places::of(args)?.data_dir.join(path),
    }))
}
