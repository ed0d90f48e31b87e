//! Where backups are kept, by its name.

use std::path::{Path, PathBuf};

use nonos_daemon::object_target::ObjectTarget;
use nonos_storage::{BackupDirectory, NonosError, Target};

use crate::args::Args;
use crate::error::CliError;
use crate::settings::{Places, Settings, expand_home};

/// The place that `--from` names, or the configuration: it is there, or nothing is.
pub(crate) fn existing(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<Box<dyn Target>, CliError> {
    match directory(args, settings, named)? {
        Some(path) if !path.is_dir() => Err(CliError::NoPlace { path }),
        _ => open(args, settings, named),
    }
}

/// The place that `--to` names, or the configuration; a directory is made where there is none.
pub(crate) fn open(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<Box<dyn Target>, CliError> {
    match directory(args, settings, named)? {
        Some(path) => {
            let directory = BackupDirectory::new(&path).map_err(NonosError::from)?;
            Ok(Box::new(directory))
        }
        None => Ok(ObjectTarget::open(named.unwrap_or(&settings.backup.to))?),
    }
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
