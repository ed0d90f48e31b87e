//! The keys of this node: where they come from, and what a storage is told of them.
//!
//! In order: `--key-fd`, the credential of the service manager, the key file. Never the command line or
//! the environment, which others can read.
//!
//! A rotation writes the new key file beside the old one first, so there always is a file that opens the
//! database; [`unlock`] goes on with a rotation that was interrupted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nonos_daemon::settings::Settings;
use nonos_storage::key_text::{self, About, Strength};
use nonos_storage::{
    Access, CryptoError, EncryptionKeys, KeyFileError, KeyId, NodeIdentity, NodeStorage,
    NonosError, Zeroizing, read_key_file, read_private, sync_key_file, write_key_file,
};

use crate::args::Args;
use crate::cmd;
use crate::cmd::restore::{exists, with_ending};
use crate::error::CliError;
use crate::output::chain;
use crate::places::Places;
use crate::progress;

mod passphrase;
mod rotation;

use passphrase::{Passphrase, read_descriptor};
pub(crate) use passphrase::{new_passphrase, passphrase, read_value};
pub(crate) use rotation::{
    Rotated, finish_rotation, kept_of, next_of, resume_rotation, says_it_holds,
};

/// The name of the service manager's credential.
const CREDENTIAL: &str = "nonos-storage-key";

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Descriptor(u32),
    Credential(PathBuf),
    File(PathBuf),
}

impl Source {
    pub(crate) fn of(args: &Args, settings: &Settings) -> Self {
        if let Some(number) = args.key_fd {
            return Self::Descriptor(number);
        }
        if let Some(file) = &args.key_file {
            return Self::File(file.clone());
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY");
        let credential = credential.map(|directory| Path::new(&directory).join(CREDENTIAL));
        match credential.filter(|path| path.exists()) {
            Some(path) => Self::Credential(path),
            None => Self::File(settings.secrets.key_file.clone()),
        }
    }

    /// The text of a key file; `None` if there is no file and none was named.
    fn text(
        &self,
        args: &Args,
        settings: &Settings,
    ) -> Result<Option<Zeroizing<String>>, CliError> {
        match self {
            Self::Descriptor(number) => Ok(Some(read_descriptor(*number)?)),
            Self::Credential(path) => Ok(Some(read_private(path)?)),
            Self::File(path) => match read_key_file(path, &settings.storage.path) {
                Err(KeyFileError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && args.key_file.is_none() =>
                {
                    Ok(None)
                }
                text => Ok(Some(text?)),
            },
        }
    }
}

/// What a key file holds.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) keys: EncryptionKeys,
    pub(crate) about: About,
    passphrase: Passphrase,
    strength: Option<Strength>,
}

impl Loaded {
    /// How a new key file in place of this one is protected.
    pub(crate) fn protection(&self) -> Option<(&str, Strength)> {
        let passphrase = self.passphrase.0.as_deref()?;
        Some((passphrase, self.strength?))
    }
}

/// The keys of this node; `None` if there is no key file and none was named.
pub(crate) fn load(args: &Args, settings: &Settings) -> Result<Option<Loaded>, CliError> {
    let source = Source::of(args, settings);
    let Some(text) = source.text(args, settings)? else {
        return Ok(None);
    };
    parse(args, &text, Passphrase::default()).map(Some)
}

/// The keys in a key file of this name.
pub(crate) fn load_file(args: &Args, settings: &Settings, path: &Path) -> Result<Loaded, CliError> {
    let text = read_key_file(path, &settings.storage.path)?;
    parse(args, &text, Passphrase::default())
}

/// What can be told of the key file without a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is none.
    Nothing,
    Key(KeyId),
    /// A passphrase opens it.
    Protected,
}

/// Looks into the key file.
pub(crate) fn examine(args: &Args, settings: &Settings) -> Result<Held, CliError> {
    let Some(text) = Source::of(args, settings).text(args, settings)? else {
        return Ok(Held::Nothing);
    };
    if key_text::is_protected(&text).map_err(encryption)? {
        return Ok(Held::Protected);
    }
    let (keys, _) = key_text::read(&text, None).map_err(encryption)?;
    Ok(Held::Key(keys.key_id()))
}

/// Whether root looks at a key file, which nobody named, that is as the node's own user needs it.
pub(crate) fn is_of_node(args: &Args, settings: &Settings) -> bool {
    let Source::File(file) = Source::of(args, settings) else {
        return false;
    };
    if args.key_file.is_some() {
        return false;
    }
    let Ok(places) = Places::of(args) else {
        return false;
    };
    let whose = cmd::other_owner(&places.data_dir, &settings.storage.path);
    let of = fs::metadata(file);
    whose.is_some() && of.is_ok_and(|of| Some(of.uid()) == whose && of.mode().trailing_zeros() >= 6)
}

/// What is left of a node whose database is gone; `None` if it is there, or never was.
pub(crate) fn left_of_gone(args: &Args, settings: &Settings) -> Result<Option<PathBuf>, CliError> {
    let path = &settings.storage.path;
    if exists(path)? || with_ending(path, ".intent").exists() {
        return Ok(None);
    }
    let anchor = settings.secrets.anchor_file.clone();
    if anchor.is_file() {
        return Ok(Some(anchor));
    }
    // One that was put there for a new node is of no database yet. One that cannot be read does not say: `init` is asked.
    let source = Source::of(args, settings);
    let is_of_one = match source.text(args, settings) {
        Ok(None) => false,
        Ok(Some(text)) => {
            key_text::read(&text, None).map_or(true, |(_, about)| about.store_id.is_some())
        }
        Err(_unreadable) => true,
    };
    Ok(match source {
        Source::File(file) if is_of_one && args.key_file.is_none() => Some(file),
        _ => None,
    })
}

/// Asks for a passphrase if the file needs one and none is known.
fn parse(args: &Args, text: &str, known: Passphrase) -> Result<Loaded, CliError> {
    let strength = key_text::strength(text).map_err(encryption)?;
    let passphrase = match known.0 {
        _ if strength.is_none() => None,
        Some(known) => Some(known),
        None => Some(passphrase(args, "passphrase of the key file: ")?),
    };
    let given = passphrase.as_deref().map(String::as_str);
    let (keys, about) = key_text::read(text, given).map_err(encryption)?;
    Ok(Loaded {
        keys,
        about,
        passphrase: Passphrase(passphrase),
        strength,
    })
}

/// Sets the keys of this node on a storage; without any, a storage that needs them is refused.
pub(crate) fn unlock(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
) -> Result<(), CliError> {
    if unlock_if_there(args, settings, storage)? {
        return Ok(());
    }
    match storage.secrets_status()?.active {
        Some(active) => Err(encryption(CryptoError::KeyRequired {
            key_id: Some(active),
        })),
        None => Ok(()),
    }
}

/// Sets the keys of this node on a storage, if there is a key file; whether there is.
pub(crate) fn unlock_if_there(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
) -> Result<bool, CliError> {
    let Some(loaded) = load(args, settings)? else {
        return Ok(false);
    };
    let status = storage.secrets_status()?;
    let own = loaded.keys.key_id();
    let is_other = status.active.is_some_and(|active| active != own);
    let next = next_of(args, settings);
    if is_other && !storage.is_read_only() && next.as_deref().is_some_and(Path::exists) {
        finish_rotation(args, settings, storage, loaded)?;
        return Ok(true);
    }
    match kept_of(args, settings, &status, &loaded) {
        Ok(Some(kept)) => resume_rotation(args, settings, storage, loaded, kept).map(drop)?,
        kept => {
            if let Err(error) = kept {
                // The keys in use open what is sealed to them by now.
                let error = chain(&error);
                tracing::warn!(error, "the change of keys cannot be gone on with");
            }
            if status.active.is_none() {
                make_durable(args, settings)?;
            }
            storage.set_encryption_keys(loaded.keys)?;
        }
    }
    Ok(true)
}

/// Before anything is sealed to the keys of a file.
pub(crate) fn make_durable(args: &Args, settings: &Settings) -> Result<(), CliError> {
    match Source::of(args, settings) {
        Source::File(file) => Ok(sync_key_file(&file)?),
        Source::Descriptor(_) | Source::Credential(_) => Ok(()),
    }
}

/// Makes a key file of new keys, with a passphrase if one is given.
pub(crate) fn create(
    path: &Path,
    settings: &Settings,
    store_id: Option<nonos_storage::StoreId>,
    passphrase: Option<(&str, Strength)>,
) -> Result<EncryptionKeys, CliError> {
    let keys = EncryptionKeys::try_generate().map_err(encryption)?;
    write(&keys, path, settings, store_id, passphrase)?;
    Ok(keys)
}

/// Writes keys to a key file that does not exist.
pub(crate) fn write(
    keys: &EncryptionKeys,
    path: &Path,
    settings: &Settings,
    store_id: Option<nonos_storage::StoreId>,
    passphrase: Option<(&str, Strength)>,
) -> Result<(), CliError> {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let about = About::new(now, store_id);
    let text = match passphrase {
        Some((passphrase, strength)) => key_text::protect(keys, about, passphrase, strength),
        None => key_text::write(keys, about),
    };
    let text = text.map_err(encryption)?;
    Ok(write_key_file(path, &text, &settings.storage.path)?)
}

/// Makes the key file of a store that has no keys yet; whether it was made. One that is there is used.
pub(crate) fn ensure(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    passphrase: Option<&str>,
) -> Result<bool, CliError> {
    let Source::File(path) = Source::of(args, settings) else {
        unlock(args, settings, storage)?;
        return Ok(false);
    };
    let is_missing = std::fs::symlink_metadata(&path).is_err();
    if !is_missing || storage.secrets_status()?.active.is_some() {
        unlock(args, settings, storage)?;
        return Ok(false);
    }
    let protection = passphrase.map(|passphrase| (passphrase, Strength::Normal));
    // On disk before anything is sealed to it.
    let keys = create(&path, settings, Some(storage.store_id()), protection)?;
    storage.set_encryption_keys(keys)?;
    Ok(true)
}

/// Gives the node its identity, once and for ever: an Ed25519 key pair, the secret key sealed.
pub(crate) fn ensure_identity(storage: &NodeStorage) -> Result<(), CliError> {
    let is_full = storage.secrets_status()?.access == Some(Access::Full);
    if let Some(id) = storage.load_node_id()? {
        if is_full {
            // Whoever has the whole keys and cannot read it must not run with it.
            storage.load_encrypted_key_zeroizing()?;
        }
        tracing::debug!(%id, "the node has its identity");
        return Ok(());
    }
    if !is_full {
        tracing::warn!("this node has no identity, and its keys cannot be used for one");
        return Ok(());
    }
    let identity = NodeIdentity::generate().map_err(encryption)?;
    let id = nonos_storage::NodeId(identity.node_id);
    storage.store_identity(&id, identity.expose_seed())?;
    tracing::info!(%id, "made the identity of this node");
    Ok(())
}

pub(crate) fn encryption(error: CryptoError) -> CliError {
    CliError::Storage(NonosError::Encryption(error))
}

/// Opens the database for writing, with its keys set.
pub(crate) fn open_unlocked(args: &Args) -> Result<(NodeStorage, Settings), CliError> {
    let (storage, settings) = open_locked(args)?;
    unlock(args, &settings, &storage)?;
    Ok((storage, settings))
}

/// Opens a database that is there for writing, without its keys.
pub(crate) fn open_locked(args: &Args) -> Result<(NodeStorage, Settings), CliError> {
    let places = Places::of(args)?;
    let settings = places.load()?;
    cmd::alone(args, &places.data_dir, &settings.storage.path)?;
    if crate::cmd::schema::version(&settings.storage)?.is_none() {
        let path = settings.storage.path;
        return Err(CliError::NoDatabase { path });
    }
    let opening = progress::opening(args, settings.storage.clone());
    let storage = guarded(opening, &settings).migrate(false).open()?;
    Ok((storage, settings))
}

/// How this program opens a storage: nothing is stored plainly, and a rollback is noticed.
pub(crate) fn guarded(
    opening: nonos_storage::OpenOptions,
    settings: &Settings,
) -> nonos_storage::OpenOptions {
    let opening = opening.require_sealed_secrets(true);
    if settings.secrets.anchor_file.as_os_str().is_empty() {
        opening
    } else {
        opening.anchor(&settings.secrets.anchor_file)
    }
}
