//! Where backups are kept, by its name.

use std::path::Path;

use nonos_daemon::object_target::ObjectTarget;
use nonos_storage::{BackupDirectory, Target};

use crate::args::Args;
use crate::error::CliError;
use crate::settings::{Places, Settings, expand_home};

/// What `--to` or `--from` says, or the configuration.
pub(crate) fn open(
    args: &Args,
    settings: &Settings,
    named: Option<&str>,
) -> Result<Box<dyn Target>, CliError> {
    match named {
        Some(name) => at(name, Path::new("")),
        None => at(&settings.backup.to, &Places::of(args)?.data_dir),
    }
}

/// A URL, or a directory below `base`.
fn at(name: &str, base: &Path) -> Result<Box<dyn Target>, CliError> {
    if name.contains("://") {
        return Ok(ObjectTarget::open(name)?);
    }
    let path = base.join(expand_home(Path::new(name))?);
    let directory = BackupDirectory::new(&path).map_err(nonos_storage::NonosError::from)?;
    Ok(Box::new(directory))
}
