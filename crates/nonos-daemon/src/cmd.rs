//! The verbs, one file each.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nonos_daemon::settings::Settings;
use nonos_storage::{CoreError, ErrorCode, NodeStorage, NonosError, OpenOptions, holder};

use crate::admin::{self, Writer};
use crate::args::Args;
use crate::cmd::migrate::confirm;
use crate::cmd::restore::with_ending;
use crate::error::CliError;
use crate::progress;

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod clone;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod hash;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod migrate;
pub(crate) mod not_begun;
pub(crate) mod plot;
pub(crate) mod prune;
pub(crate) mod records;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod schema;
#[cfg(feature = "encrypted-storage")]
pub(crate) mod secrets;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod version;
pub(crate) mod wipe;

/// The node's database as a verb reads it: without a lock, beside a daemon as well.
pub(crate) fn view(settings: &Settings) -> Result<NodeStorage, CliError> {
    of_node(settings, OpenOptions::new(settings.storage.clone()))
}

/// [`view`] for long work: its progress is shown, and a signal cancels it.
pub(crate) fn long_view(args: &Args, settings: &Settings) -> Result<NodeStorage, CliError> {
    of_node(
        settings,
        progress::cancellable(args, settings.storage.clone())?,
    )
}

fn of_node(settings: &Settings, how: OpenOptions) -> Result<NodeStorage, CliError> {
    #[cfg(feature = "encrypted-storage")]
    let how = crate::keys::guarded(how, settings);
    viewed(&settings.storage.path, how)
}

/// A database that may be another one than the node's.
pub(crate) fn viewed(path: &Path, how: OpenOptions) -> Result<NodeStorage, CliError> {
    match how.open_readonly() {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::NotFound => {
            let path = path.to_owned();
            Err(CliError::NoDatabase { path })
        }
        opened => Ok(opened?),
    }
}

/// A database that a verb changes: opened here, or, where a daemon has it, changed by that.
pub(crate) fn writer(
    args: &Args,
    data_dir: &Path,
    open: impl FnOnce() -> Result<NodeStorage, CliError>,
) -> Result<Writer, CliError> {
    // A daemon that answers has the database: nobody waits for its lock.
    let socket = admin::socket(data_dir);
    if !args.offline && UnixStream::connect(&socket).is_ok() {
        return Ok(Writer::Daemon(socket));
    }
    Ok(Writer::Own(Box::new(open()?)))
}

/// A verb that must have the database to itself: a daemon that has it is not waited for.
pub(crate) fn alone(args: &Args, data_dir: &Path, database: &Path) -> Result<(), CliError> {
    if !args.offline
        && UnixStream::connect(admin::socket(data_dir)).is_ok()
        && let Some(holder) = holder(database).map_err(NonosError::from)?
    {
        return Err(NonosError::from(CoreError::Locked { holder }).into());
    }
    as_owner(args, data_dir, database)
}

/// What root leaves in another user's directory, that user's daemon cannot read: somebody has to want it.
pub(crate) fn as_owner(args: &Args, directory: &Path, database: &Path) -> Result<(), CliError> {
    let Some(owner) = other_owner(directory, database) else {
        return Ok(());
    };
    let directory = directory.display();
    confirm(
        args,
        &format!(
            "root is about to change {directory}, which belongs to the user {owner}: its daemon cannot read what \
             that leaves; `runuser -u '#{owner}' -- nonos ...` runs it as that user"
        ),
    )
}

/// Whose a database is that root works on, if it is not root's: by its journal, which stays as it was made, else by its
/// directory.
pub(crate) fn other_owner(directory: &Path, database: &Path) -> Option<u32> {
    let journal = with_ending(database, ".journal");
    let of = fs::metadata(journal).or_else(|_absent| fs::metadata(directory));
    let owner = of.ok()?.uid();
    (owner != 0 && rustix::process::geteuid().is_root()).then_some(owner)
}
