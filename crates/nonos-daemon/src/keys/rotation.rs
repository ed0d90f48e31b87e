//! The key after a rotation, and what is left of the one before.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nonos_daemon::settings::Settings;
use nonos_storage::{
    Access, EncryptionKeys, KeyId, NodeStorage, SecretsStatus, read_key_file, read_private,
    sync_key_file,
};

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

/// The key before, of files that are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    file: PathBuf,
    keys: EncryptionKeys,
    /// Further files that had its name before.
    others: Vec<PathBuf>,
}

/// The key before, if it is here and `own` are the keys that everything is being sealed to: the change ended once, and a
/// backup from its midst was restored.
pub(crate) fn kept_of(
    args: &Args,
    settings: &Settings,
    status: &SecretsStatus,
    own: &Loaded,
) -> Result<Option<Kept>, CliError> {
    let is_own = status.active == Some(own.keys.key_id()) && own.keys.access() == Access::Full;
    let (Source::File(key_file), Some(from)) = (
        Source::of(args, settings),
        status.previous.filter(|_| is_own),
    ) else {
        return Ok(None);
    };
    let names = (0..).map(|number| kept_name(&key_file, from, number));
    let mut names: Vec<_> = names.take_while(|name| name.exists()).collect();
    let mut failed = None;
    for number in 0..names.len() {
        let Some(file) = names.get(number) else { break };
        let read = read_key_file(file, &settings.storage.path)
            .map_err(CliError::from)
            .and_then(|text| Ok(parse(args, &text, own.passphrase.clone())?.keys));
        match read {
            Ok(keys) if keys.key_id() == from => {
                let file = names.remove(number);
                let others = names;
                return Ok(Some(Kept { file, keys, others }));
            }
            Ok(_) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The names that an old key file is kept under, the first that is free of them.
fn kept_name(key_file: &Path, of: KeyId, number: usize) -> PathBuf {
    let name = with_ending(key_file, &format!(".{of}"));
    match number {
        0 => name,
        number => with_ending(&name, &format!(".{number}")),
    }
}

/// Whether a file says that it holds this key.
pub(crate) fn says_it_holds(file: &Path, key: KeyId) -> bool {
    let line = format!("key-id = {key}");
    read_private(file).is_ok_and(|text| text.lines().any(|of| of == line))
}

/// Goes on with sealing everything to the keys in the key file, with those before, which are `kept`. Who only reads
/// holds both.
pub(crate) fn resume_rotation(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    new: Loaded,
    kept: Kept,
) -> Result<Rotated, CliError> {
    let Source::File(key_file) = Source::of(args, settings) else {
        return Err(CliError::KeysNotInFile);
    };
    if !storage.is_read_only() {
        sync_key_file(&key_file)?;
    }
    let old = kept.keys;
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
        old: kept.file,
        others: kept.others,
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
    let (kept, others) =
        linked(&key_file, old_id).map_err(|(path, source)| io("create", &path, source))?;
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

/// Links the file of an old key under the first of its names that is free; returns also the files that have such names
/// and are others.
fn linked(file: &Path, key: KeyId) -> Result<(PathBuf, Vec<PathBuf>), (PathBuf, io::Error)> {
    let mut others = Vec::new();
    loop {
        let name = kept_name(file, key, others.len());
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
