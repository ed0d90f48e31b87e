//! The key after a rotation, and what is left of the one before.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nonos_daemon::settings::Settings;
use nonos_storage::{KeyId, NodeStorage, SecretsStatus, read_key_file, sync_key_file};

use super::{Loaded, Source, parse};
use crate::args::Args;
use crate::cmd::restore::with_ending;
use crate::error::CliError;
use crate::progress;

/// Where a rotation writes the new key file, if the keys come from one.
pub(crate) fn next_of(args: &Args, settings: &Settings) -> Option<PathBuf> {
    match Source::of(args, settings) {
        Source::File(path) => Some(with_ending(&path, ".next")),
        Source::Descriptor(_) | Source::Credential(_) => None,
    }
}

/// What a rotation made of the key files.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The key file, which holds the new key.
    pub(crate) key_file: PathBuf,
    /// Where the old one is now.
    pub(crate) old: PathBuf,
    /// Files that had its name before.
    pub(crate) others: Vec<PathBuf>,
    pub(crate) records: u64,
}

/// Where the key before is, if `own` is the one that everything is being sealed to: the change ended once, and a backup
/// from its midst was restored.
pub(crate) fn kept_of(
    args: &Args,
    settings: &Settings,
    status: &SecretsStatus,
    own: KeyId,
) -> Option<PathBuf> {
    let Source::File(key_file) = Source::of(args, settings) else {
        return None;
    };
    let from = status.previous.filter(|_| status.active == Some(own))?;
    let kept = with_ending(&key_file, &format!(".{from}"));
    kept.exists().then_some(kept)
}

/// Goes on with sealing everything to the keys in the key file, with those before from the file `kept`. Who only reads
/// holds both.
pub(crate) fn resume_rotation(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    new: Loaded,
    kept: PathBuf,
) -> Result<Rotated, CliError> {
    let Source::File(key_file) = Source::of(args, settings) else {
        return Err(CliError::KeysNotInFile);
    };
    let text = read_key_file(&kept, &settings.storage.path)?;
    let old = parse(args, &text, new.passphrase)?.keys;
    storage.set_encryption_keys(new.keys)?;
    let records = if storage.is_read_only() {
        storage.set_previous_keys(old)?;
        0
    } else {
        let show = progress::rekeying(args);
        let mut watch = |done: nonos_storage::RekeyProgress| {
            show(done);
            ControlFlow::Continue(())
        };
        storage.resume_rekey(old, &mut watch)?.records
    };
    Ok(Rotated {
        key_file,
        old: kept,
        others: Vec::new(),
        records,
    })
}

/// Seals everything to the keys in the file beside the key file, which holds `old`, and puts that file in
/// its place. The old one is kept under the id of its key. Whatever an interruption left done is not done
/// again.
pub(crate) fn finish_rotation(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    old: Loaded,
) -> Result<Rotated, CliError> {
    let Source::File(key_file) = Source::of(args, settings) else {
        return Err(CliError::KeysNotInFile);
    };
    let next = with_ending(&key_file, ".next");
    let text = read_key_file(&next, &settings.storage.path)?;
    // Whoever wrote it: nothing is sealed to a key that a power cut takes away.
    sync_key_file(&next)?;
    let new = parse(args, &text, old.passphrase)?.keys;
    let old = old.keys;
    let (old_id, new_id) = (old.key_id(), new.key_id());
    let show = progress::rekeying(args);
    let mut watch = |done: nonos_storage::RekeyProgress| {
        show(done);
        ControlFlow::Continue(())
    };
    let status = storage.secrets_status()?;
    let records = if status.active == Some(new_id) {
        storage.set_encryption_keys(new)?;
        if status.is_rekeying {
            storage.resume_rekey(old, &mut watch)?.records
        } else {
            0
        }
    } else {
        storage.set_encryption_keys(old)?;
        storage.rekey(new, &mut watch)?.records
    };
    let io = |action, path: &Path, source| CliError::Io {
        action,
        path: path.to_owned(),
        source,
    };
    // A second name first: the old key is at no moment without one.
    let (kept, others) = linked(&key_file, &format!(".{old_id}"))
        .map_err(|(path, source)| io("create", &path, source))?;
    fs::rename(&next, &key_file).map_err(|e| io("rename", &next, e))?;
    let directory = key_file.parent().unwrap_or(Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|e| io("sync", directory, e))?;
    tracing::info!(key = %new_id, records, "the keys were changed");
    Ok(Rotated {
        key_file,
        old: kept,
        others,
        records,
    })
}

/// Links a file under a name with this ending, or the next that is free; returns also the files that have such names
/// and are others.
fn linked(file: &Path, ending: &str) -> Result<(PathBuf, Vec<PathBuf>), (PathBuf, io::Error)> {
    let mut others = Vec::new();
    loop {
        let mut name = with_ending(file, ending);
        if !others.is_empty() {
            name = with_ending(&name, &format!(".{}", others.len()));
        }
        let made = match fs::hard_link(file, &name) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => is_same(file, &name),
            made => made.map(|()| true),
        };
        match made {
            Ok(true) => return Ok((name, others)),
            Ok(false) => others.push(name),
            Err(source) => return Err((name, source)),
        }
    }
}

/// Whether both are names of one file: an interrupted rotation left the second.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (fs::metadata(one)?, fs::symlink_metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
