//! Every secret sealed to a new key.

use std::path::PathBuf;

use nonos_storage::{Access, CryptoError, KeyId, NodeStorage, destroy_key_file};
use serde::Serialize;

use super::view;
use crate::args::Args;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::keys;
use crate::places::Places;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Rotation {
    pub(super) key_id: Option<String>,
    pub(super) new_key_id: Option<String>,
    pub(super) key_file: PathBuf,
    pub(super) old_key_file: Option<PathBuf>,
    pub(super) old_key_destroyed: bool,
    pub(super) records: u64,
    pub(super) dry_run: bool,
}

/// New keys, everything sealed to them, the files rid of what was sealed to the old ones.
pub(super) fn rotate(args: &Args, destroy_old: bool, dry_run: bool) -> Result<Rotation, CliError> {
    if dry_run {
        return planned(args);
    }
    let (storage, settings) = keys::open_locked(args)?;
    let next = keys::next_of(args, &settings).ok_or(CliError::KeysNotInFile)?;
    if destroy_old {
        confirm(
            args,
            "destroying the old key: backups made before, and copies of the database, become unreadable",
        )?;
    }
    let status = storage.secrets_status()?;
    let active = status.active;
    let old = keys::load(args, &settings)?
        .ok_or_else(|| keys::encryption(CryptoError::KeyRequired { key_id: None }))?;
    if let Some(kept) = keys::kept_of(args, &settings, &status, &old)? {
        let rotated = keys::resume_rotation(args, &settings, &storage, old, kept)?;
        return finished(storage, rotated, status.previous, destroy_old);
    }
    if !next.exists() {
        // What is wrong with the keys in use is said before new ones are made.
        if old.keys.access() != Access::Full {
            return Err(keys::encryption(CryptoError::SecretKeyRequired));
        }
        if let Some(expected) = active.filter(|active| *active != old.keys.key_id()) {
            let got = old.keys.key_id();
            return Err(keys::encryption(CryptoError::WrongKey { expected, got }));
        }
        if let (Some(from), Some(to)) = (status.previous, active) {
            // A third key would open nothing of it.
            let from = Some(from);
            return Err(keys::encryption(CryptoError::RekeyInProgress { from, to }));
        }
        let store_id = Some(storage.store_id());
        keys::create(&next, &settings, store_id, old.protection())?;
    }
    let rotated = keys::finish_rotation(args, &settings, &storage, old)?;
    finished(storage, rotated, active, destroy_old)
}

/// Rids the files of what was sealed to the old keys, and destroys these where that is asked for.
fn finished(
    storage: NodeStorage,
    rotated: keys::Rotated,
    from: Option<KeyId>,
    destroy_old: bool,
) -> Result<Rotation, CliError> {
    storage.purge()?;
    let new_key_id = storage.secrets_status()?.active.map(|id| id.to_string());
    storage.close()?;
    if destroy_old {
        destroy_key_file(&rotated.old)?;
        // What else has its name is somebody's, unless it says that it is a copy.
        let is_copy = |file: &&PathBuf| from.is_some_and(|old| keys::says_it_holds(file, old));
        let copies = rotated.others.iter().filter(is_copy);
        copies
            .map(|file| destroy_key_file(file))
            .fold(Ok(()), Result::and)?;
    }
    Ok(Rotation {
        key_id: from.map(|id| id.to_string()),
        new_key_id,
        key_file: rotated.key_file,
        old_key_file: (!destroy_old).then_some(rotated.old),
        old_key_destroyed: destroy_old,
        records: rotated.records,
        dry_run: false,
    })
}

fn planned(args: &Args) -> Result<Rotation, CliError> {
    let settings = Places::of(args)?.load()?;
    keys::next_of(args, &settings).ok_or(CliError::KeysNotInFile)?;
    keys::load(args, &settings)?;
    let status = view(args, false)?.secrets_status()?;
    Ok(Rotation {
        key_id: status.active.map(|id| id.to_string()),
        new_key_id: None,
        key_file: settings.secrets.key_file.clone(),
        old_key_file: None,
        old_key_destroyed: false,
        records: status.counts.sealed + status.counts.anonymous + status.counts.plaintext,
        dry_run: true,
    })
}

pub(super) fn rotated(rotation: &Rotation) -> String {
    let key = |id: &Option<String>| id.as_deref().unwrap_or("none").to_owned();
    if rotation.dry_run {
        let records = rotation.records;
        return format!("{records} records would be sealed to a new key");
    }
    let old = match &rotation.old_key_file {
        Some(file) => format!(
            "the old key is kept for old backups, in {}; destroy it when they are gone",
            file.display()
        ),
        None => "the old key is destroyed".to_owned(),
    };
    format!(
        "key {} to {}: {} records are sealed anew\nkey file  {}\n{old}",
        key(&rotation.key_id),
        key(&rotation.new_key_id),
        rotation.records,
        rotation.key_file.display()
    )
}
