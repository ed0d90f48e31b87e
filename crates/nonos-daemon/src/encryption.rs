//! Backups that only the owner of a key can read: the age format (C2SP, age-encryption.org/v1), to X25519
//! recipients.
//!
//! Files are encrypted whole and have `.age` behind their name: `age --decrypt` gives the backup without
//! this program. The notes beside them stay as they are: how old, how long, of which database.
//!
//! # Invariants
//!
//! - What goes to a place is never there as it is: files are made beside the database, not at the place.
//! - Before a file is sent it was decrypted again, with a key that is made for it and forgotten.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nonos_storage::{Target, TargetError, file_hash, in_scratch};

#[cfg(feature = "backup-age")]
#[path = "encryption/age.rs"]
mod format;
#[cfg(not(feature = "backup-age"))]
#[path = "encryption/none.rs"]
mod format;

use format::{Identities, Recipients};

/// The ending of encrypted files.
pub const ENDING: &str = ".age";

/// Why the keys for backups cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptionError {
    /// Not the public key of a recipient.
    #[error("what was given is no recipient: one begins with age1, as age-keygen prints it")]
    Recipient,
    /// The file holds no identity, or something else.
    #[error("{} holds something else than identities, as age-keygen writes them", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read, or not only its owner can.
    #[cfg(feature = "backup-age")]
    #[error(transparent)]
    File(#[from] nonos_storage::KeyFileError),
    /// This program does not encrypt backups.
    #[error("this program was built without the feature backup-age, which encrypts backups")]
    NotBuiltIn,
}

/// Why a file was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptError {
    /// None of the identities is that of a recipient, or there is none.
    #[error("it is encrypted, and no identity was given that opens it")]
    NoIdentity,
    /// Damaged, or not in the age format.
    #[error("it is damaged, or not encrypted in the binary format of age")]
    Damaged,
    /// What was encrypted is not what is decrypted.
    #[error("what was encrypted is not what is decrypted")]
    Differs,
    /// A file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl CryptError {
    /// The same, of a file at a place for backups.
    fn at(self, action: &'static str, name: &str) -> TargetError {
        let name = name.to_owned();
        match self {
            Self::NoIdentity => TargetError::Encrypted { name },
            Self::Damaged | Self::Differs => TargetError::Differs { name },
            Self::Io { source, .. } => TargetError::failed(action, &name, source),
        }
    }
}

/// To whom backups are encrypted, and who reads them here.
#[derive(Default)]
pub struct BackupKeys {
    recipients: Recipients,
    identities: Identities,
}

impl fmt::Debug for BackupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypts = !self.recipients.is_empty();
        f.debug_struct("BackupKeys")
            .field("encrypts", &encrypts)
            .finish_non_exhaustive()
    }
}

impl BackupKeys {
    /// Recipients as `age1…`, and a file of identities that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::Recipient`] for a text that is none; [`EncryptionError::Identity`], or what is wrong with
    /// the file; [`EncryptionError::NotBuiltIn`] for either without the feature `backup-age`.
    pub fn new(recipients: &[String], identities: Option<&Path>) -> Result<Self, EncryptionError> {
        Ok(Self {
            recipients: Recipients::parse(recipients)?,
            identities: identities.map_or(Ok(Identities::default()), Identities::read)?,
        })
    }

    /// Whether backups are encrypted.
    pub fn encrypts(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// The recipients, in order; `None` if there are none.
    pub fn readers(&self) -> Option<String> {
        self.encrypts().then(|| self.recipients.names())
    }

    /// Whether what is encrypted can be read here, if it is for one of the identities.
    pub fn decrypts(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Encrypts a file to another one, which is durable and was decrypted again.
    ///
    /// # Errors
    ///
    /// [`CryptError`]: the other one is not there.
    pub fn encrypt(&self, from: &Path, to: &Path) -> Result<(), CryptError> {
        filled(to, |file| self.recipients.encrypt(from, file, to))
    }

    /// [`encrypt`](Self::encrypt) to a file that appears under its name whole and durable, in the place of what
    /// has it.
    ///
    /// # Errors
    ///
    /// [`CryptError`]: no new file appears.
    pub fn publish(&self, from: &Path, to: &Path) -> Result<(), CryptError> {
        let io = |source| io_error(to, source);
        let parent = to.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        // In a directory of its own: another one may be made under the same name.
        let published = in_scratch(parent, |directory| {
            let part = directory.join("encrypted");
            self.encrypt(from, &part)?;
            fs::rename(&part, to).map_err(io)?;
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(io)
        });
        published.map_err(|error| io(io::Error::other(error)))?
    }

    /// Decrypts a file to another one, not durably.
    ///
    /// # Errors
    ///
    /// [`CryptError`]: the other one is not there.
    pub fn decrypt(&self, from: &Path, to: &Path) -> Result<(), CryptError> {
        filled(to, |file| self.identities.decrypt(from, file, to))
    }
}

/// A place where the files of backups are encrypted. It also has those that are not.
#[derive(Debug)]
pub struct EncryptedTarget {
    place: Box<dyn Target>,
    keys: BackupKeys,
}

impl EncryptedTarget {
    /// The place, with these keys.
    pub fn new(place: Box<dyn Target>, keys: BackupKeys) -> Self {
        Self { place, keys }
    }

    /// Whether files are encrypted.
    pub fn encrypts(&self) -> bool {
        self.keys.encrypts()
    }

    /// Whether files are encrypted to somebody whose identity is not here.
    pub fn is_sealed_to_others(&self) -> bool {
        self.keys.encrypts() && !self.keys.decrypts()
    }

    fn is_involved(&self) -> bool {
        self.keys.encrypts() || self.keys.decrypts()
    }
}

/// Whether it is a backup itself, not the note of one.
fn is_content(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "nonos" | "log")))
}

fn encrypted(name: &str) -> String {
    name.to_owned() + ENDING
}

/// Where a file lies while it is encrypted or decrypted.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

impl Target for EncryptedTarget {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        let mut names = self.place.list(prefix)?;
        for name in &mut names {
            if let Some(plain) = name.strip_suffix(ENDING)
                && is_content(plain)
            {
                *name = plain.to_owned();
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        if !self.keys.encrypts() || !is_content(name) {
            return self.place.upload(name, file, hash);
        }
        // Where the place has room for files on their way, it takes this one by a rename: none is left there.
        let beside = file.parent().unwrap_or(Path::new("."));
        let sent = in_scratch(self.place.scratch().unwrap_or(beside), |directory| {
            let sent = directory.join("encrypted");
            let encrypted_file = self.keys.encrypt(file, &sent);
            encrypted_file.map_err(|error| error.at("encrypt", name))?;
            let hash =
                file_hash(&sent).map_err(|error| TargetError::failed("read", name, error))?;
            self.place.upload(&encrypted(name), &sent, &hash)
        });
        sent.map_err(|error| TargetError::failed("encrypt", name, error))?
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        if !is_content(name) {
            return self.place.download(name, file);
        }
        if !self.keys.decrypts() {
            // There may be one that is not encrypted.
            match self.place.download(name, file) {
                Err(TargetError::Missing { .. }) => {}
                downloaded => return downloaded,
            }
        }
        let received = beside(file);
        match self.place.download(&encrypted(name), &received) {
            Err(TargetError::Missing { .. }) => return self.place.download(name, file),
            downloaded => downloaded?,
        }
        let decrypted = self.keys.decrypt(&received, file);
        let _removed = fs::remove_file(&received);
        decrypted.map_err(|error| error.at("decrypt", name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.place.write(name, bytes)
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        self.place.read(name, max)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        if is_content(name) {
            self.place.remove(&encrypted(name))?;
        }
        self.place.remove(name)
    }

    fn readers(&self) -> Option<String> {
        self.keys.readers()
    }

    fn takes_plain_secrets(&self) -> bool {
        self.keys.encrypts()
    }

    fn scratch(&self) -> Option<&Path> {
        // What is not encrypted yet, or any more, does not go to the place.
        self.place.scratch().filter(|_| !self.is_involved())
    }
}

/// Makes a file, which is removed again if `fill` fails.
fn filled(
    path: &Path,
    fill: impl FnOnce(File) -> Result<(), CryptError>,
) -> Result<(), CryptError> {
    let mut options = fs::OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(path);
    let filled = fill(created.map_err(|source| io_error(path, source))?);
    if filled.is_err() {
        // The error is what must be told.
        let _removed = fs::remove_file(path);
    }
    filled
}

fn io_error(path: &Path, source: io::Error) -> CryptError {
    let path = path.to_owned();
    CryptError::Io { path, source }
}
