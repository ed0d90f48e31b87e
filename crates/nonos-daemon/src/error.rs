//! Why a verb failed.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use nonos_daemon::encryption::{CryptError, EncryptionError};
use nonos_daemon::settings::SettingsError;
use nonos_storage::{
    CatalogError, ConfigError, CoreError, CryptoError, ErrorCode, NonosError, StorageError,
};

use crate::exit;

/// The code of a backup that would hold secrets as they were given.
const PLAIN_SECRETS: &str = "PLAIN_SECRETS";

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Storage(NonosError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("there is no database at {}", path.display())]
    NoDatabase { path: PathBuf },
    #[cfg(feature = "encrypted-storage")]
    #[error("there is no database at {}, but {} says that this node has had one", path.display(), left.display())]
    DatabaseGone { path: PathBuf, left: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot set up {what}")]
    Setup {
        what: &'static str,
        source: io::Error,
    },
    #[cfg(feature = "encrypted-storage")]
    #[error(transparent)]
    KeyFile(#[from] nonos_storage::KeyFileError),
    #[cfg(feature = "encrypted-storage")]
    #[error("the keys of this node do not come from a key file")]
    KeysNotInFile,
    #[cfg(feature = "encrypted-storage")]
    #[error("a secret is not written to a terminal")]
    OnTerminal,
    #[cfg(feature = "encrypted-storage")]
    #[error("a secret is not part of a JSON result")]
    NeedsFile,
    #[cfg(feature = "encrypted-storage")]
    #[error("there is no {what} {name:?}")]
    NoSuch { what: &'static str, name: String },
    #[error("there is no record {key:?} in {tree}")]
    NoRecord { tree: &'static str, key: String },
    #[error("{what}")]
    Findings { what: &'static str },
    #[error("there is no tree {name:?}")]
    NoTree { name: String },
    #[error(transparent)]
    Place(#[from] nonos_daemon::object_target::OpenError),
    #[error(transparent)]
    BackupKeys(#[from] EncryptionError),
    #[error("cannot use {}", path.display())]
    Encrypted { path: PathBuf, source: CryptError },
    #[error("{count} secrets are not sealed: a backup would hold them as they are")]
    PlainSecrets { count: u64 },
    #[error("cannot listen at {address}")]
    Listen {
        address: std::net::SocketAddr,
        source: io::Error,
    },
    #[error("{address} can be reached from elsewhere, and there is no token")]
    Exposed { address: std::net::SocketAddr },
    #[error("{} has no token of 16 characters or more in its first line", path.display())]
    Token { path: PathBuf },
    /// What the daemon says.
    #[error("{}", failed.detail)]
    Daemon { failed: crate::admin::Failed },
    #[error("the daemon did not answer what was asked")]
    DaemonAnswer,
    #[error("the daemon ended before it answered")]
    DaemonEnded,
    #[error("another restore works in {}", path.display())]
    Restoring { path: PathBuf },
    #[error("{what}")]
    Usage { what: &'static str },
    #[error("{what}")]
    CommandLine { what: String },
    #[cfg(feature = "encrypted-storage")]
    #[error("a change of keys is under way: {} exists", path.display())]
    Rotating { path: PathBuf },
    #[error("{} is no directory of backups", path.display())]
    NoPlace { path: PathBuf },
    #[error("there is no backup {name}")]
    NoBackup { name: String },
    #[error("{} is not named relative to the data directory, so a copy would use it as well", path.display())]
    Outside { path: PathBuf },
    #[error("{} exists", path.display())]
    Exists { path: PathBuf },
    #[error(
        "this database was restored to commit {commit}, and it was not said yet which node it is"
    )]
    WhichNode { commit: u64 },
    #[error("the database has no identity: it is not the node that it was")]
    NoNode,
    #[error("a head has 64 hexadecimal digits")]
    Head,
    #[error("not confirmed: {what}")]
    NotConfirmed { what: String },
    /// Of looking at a database; opening it says the same.
    #[error("the records are of schema {from}, and were not migrated")]
    Pending { from: u32 },
    /// Of a dry run with `--exit-code`: its result was written.
    #[error("there is something to do")]
    WorkToDo,
    #[error("this host cannot be sampled")]
    Host { source: sysinfo::Error },
    /// Of the daemon, whose database has to be opened again.
    #[error("the database takes no writes: {reason}")]
    NoWrites { reason: String },
    #[error("the daemon's task ended early")]
    Task { source: tokio::task::JoinError },
    #[error("cannot write the result")]
    Output { source: io::Error },
    /// The error was already written to standard output, as the result of a `-o json`.
    #[error("{source}")]
    Reported { source: Box<CliError> },
}

impl From<NonosError> for CliError {
    fn from(error: NonosError) -> Self {
        match error {
            NonosError::Config(ConfigError::NoHome { path }) => {
                SettingsError::NoHome { path }.into()
            }
            error => Self::Storage(error),
        }
    }
}

impl CliError {
    /// Whether the database is older than the anchor says.
    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn is_rollback(&self) -> bool {
        matches!(
            self,
            Self::Storage(NonosError::Encryption(CryptoError::RolledBack { .. }))
        )
    }

    /// The stable name of what happened.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Storage(NonosError::Storage(StorageError::Catalog(CatalogError::Plain {
                ..
            }))) => PLAIN_SECRETS,
            Self::Storage(NonosError::Storage(error)) => error.code().name(),
            Self::Storage(NonosError::Config(_)) | Self::Settings(_) => "CONFIG",
            Self::Storage(_) => "ENCRYPTION",
            #[cfg(feature = "encrypted-storage")]
            Self::KeyFile(_) | Self::KeysNotInFile => "KEY_FILE",
            #[cfg(feature = "encrypted-storage")]
            Self::OnTerminal | Self::NeedsFile => "USAGE",
            #[cfg(feature = "encrypted-storage")]
            Self::NoSuch { .. } => ErrorCode::NotFound.name(),
            Self::NoRecord { .. } => ErrorCode::NotFound.name(),
            Self::Findings { .. } => "FINDINGS",
            Self::NoBackup { .. } | Self::NoPlace { .. } => ErrorCode::NotFound.name(),
            Self::Outside { .. } => "OUTSIDE",
            #[cfg(feature = "encrypted-storage")]
            Self::Rotating { .. } => "ROTATING",
            Self::WhichNode { .. } | Self::NoNode => "WHICH_NODE",
            Self::Daemon { failed } => &failed.code,
            Self::DaemonAnswer => "UNEXPECTED",
            Self::DaemonEnded => ErrorCode::Cancelled.name(),
            Self::Listen { .. } => "LISTEN",
            Self::Exposed { .. } | Self::Token { .. } => "CONFIG",
            Self::Restoring { .. } => ErrorCode::Locked.name(),
            Self::PlainSecrets { .. } => PLAIN_SECRETS,
            Self::BackupKeys(_) => "BACKUP_KEYS",
            Self::Encrypted { source, .. } => match source {
                CryptError::NoIdentity => ErrorCode::KeyRequired.name(),
                CryptError::Damaged | CryptError::Differs => ErrorCode::BackupInvalid.name(),
                _ => ErrorCode::Io.name(),
            },
            Self::Head
            | Self::NoTree { .. }
            | Self::Place(_)
            | Self::Usage { .. }
            | Self::CommandLine { .. }
            | Self::Exists { .. } => "USAGE",
            Self::NoDatabase { .. } => ErrorCode::NotFound.name(),
            #[cfg(feature = "encrypted-storage")]
            Self::DatabaseGone { .. } => ErrorCode::NotFound.name(),
            Self::Io { .. } | Self::Setup { .. } | Self::Output { .. } => ErrorCode::Io.name(),
            Self::Task { .. } | Self::Host { .. } => "UNEXPECTED",
            Self::NotConfirmed { .. } => "NOT_CONFIRMED",
            Self::NoWrites { .. } => ErrorCode::Poisoned.name(),
            Self::Pending { .. } => ErrorCode::MigrationNeeded.name(),
            Self::WorkToDo => "WORK_TO_DO",
            Self::Reported { source } => source.code(),
        }
    }

    /// What the operator can do about it.
    pub(crate) fn remedy(&self) -> &str {
        self.own_remedy()
            .or_else(|| system_remedy(self))
            .or_else(|| {
                let is_missing = self.code() == ErrorCode::NotFound.name();
                is_missing.then_some("`nonos ls` and `nonos secrets list` show what there is")
            })
            .unwrap_or_else(|| match exit::code(self) {
                exit::DISK_FULL => {
                    "free disk space and run it again: what was acknowledged before is kept"
                }
                exit::INTERRUPTED => "run it again: what was done stays, each record whole",
                exit::USAGE => "`nonos help VERB` says what each verb takes",
                exit::INTEGRITY => {
                    "`nonos verify --deep` lists what is damaged, `nonos repair --dry-run` what can be saved"
                }
                exit::BACKUP_INVALID => "`nonos backup list` shows older ones; make a full one now",
                exit::KEY => "give the key file of this node with --key-file",
                _ => "`nonos doctor` looks for what is wrong around the database; -vv logs more",
            })
    }

    fn own_remedy(&self) -> Option<&str> {
        match self {
            Self::Storage(NonosError::Storage(StorageError::Core(CoreError::NoJournal {
                ..
            }))) => Some(
                "if the first implementation wrote it, `nonos migrate`; if its journal was removed, put that back, or \
                 `nonos restore`: the index alone may lack what is newest, and `nonos compact` takes it as it is",
            ),
            Self::Storage(NonosError::Storage(error))
                if error.code() == ErrorCode::MigrationNeeded =>
            {
                Some("`nonos migrate --dry-run` shows what it would do, `nonos migrate` does it")
            }
            Self::Storage(NonosError::Storage(error)) => error.remedy(),
            Self::Storage(NonosError::Encryption(error)) => encryption_remedy(error),
            #[cfg(feature = "encrypted-storage")]
            Self::KeyFile(error) => error.remedy(),
            #[cfg(feature = "encrypted-storage")]
            Self::KeysNotInFile => Some("give the key file with --key-file"),
            #[cfg(feature = "encrypted-storage")]
            Self::OnTerminal => Some("give --to FILE, a pipe, or --show"),
            #[cfg(feature = "encrypted-storage")]
            Self::NeedsFile => Some("give --to FILE"),
            Self::NoTree { .. } => Some(
                "give schema, identity, peers, metrics, epochs, config, claims, secrets or audit_log",
            ),
            Self::Settings(error) => error.remedy(),
            Self::Findings { .. } => Some("each finding says what helps"),
            Self::NoPlace { .. } => Some("name one with --from, or make a backup first"),
            Self::NoBackup { .. } => Some("`nonos backup list` shows what there is"),
            #[cfg(feature = "encrypted-storage")]
            Self::Rotating { .. } => Some("`nonos secrets rotate` finishes it"),
            Self::Outside { .. } => Some(
                "name it relative to the data directory in config.toml, or use `nonos restore --into`",
            ),
            Self::Exists { .. } => Some("name a directory that does not exist"),
            Self::Daemon { failed } => failed.fix.as_deref(),
            Self::DaemonAnswer => {
                Some("restart the daemon with this release, or stop it and run this again")
            }
            Self::DaemonEnded => {
                Some("some of it may be done, each record whole: run it again once the daemon runs")
            }
            Self::Listen { .. } => Some(
                "end the program that has it, or give another one with --listen or as server.listen; \"\" is none",
            ),
            Self::Exposed { .. } => Some(
                "name the file of a token as server.token_file in config.toml, or listen at 127.0.0.1",
            ),
            Self::Token { .. } => Some("`openssl rand -hex 32` makes one"),
            Self::Restoring { .. } => Some("wait until it ends"),
            Self::PlainSecrets { .. } => Some(
                "give the node its keys, which seals them; or encrypt the backup with --recipient; or leave \
                 them out with --redact secrets",
            ),
            Self::BackupKeys(EncryptionError::NotBuiltIn) => {
                Some("use a program that was built with the feature backup-age, or `age` itself")
            }
            Self::Encrypted {
                source: CryptError::NoIdentity,
                ..
            } => Some("name the file of an age identity with --identity"),
            Self::NoNode => Some("`nonos run --new-identity` makes it another one"),
            Self::WhichNode { .. } => Some(
                "if the node that it was runs nowhere any more, `nonos run --same-node`; if it does, \
                 `nonos run --new-identity`",
            ),
            Self::NoDatabase { .. } => {
                Some("run `nonos init`, or name the node's directory with --data-dir")
            }
            #[cfg(feature = "encrypted-storage")]
            Self::DatabaseGone { .. } => Some(
                "mount the disk that it is on, or put it back with `nonos restore`; `nonos init` makes an empty one",
            ),
            Self::Reported { source } => source.own_remedy(),
            Self::Pending { .. } => {
                Some("`nonos migrate --dry-run` shows what it would do, `nonos migrate` does it")
            }
            Self::NoWrites { .. } => Some("restart the daemon: opening the database recovers it"),
            Self::NotConfirmed { .. } => Some("answer yes, or give --yes"),
            _ => None,
        }
    }
}

/// By what the operating system says.
fn system_remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    let kind = loop {
        match cause?.downcast_ref::<io::Error>() {
            Some(found) => break found.kind(),
            None => cause = cause.and_then(Error::source),
        }
    };
    match kind {
        io::ErrorKind::PermissionDenied => Some(
            "run it as the user of the node, as `runuser -u nonos -- nonos ...`, or give that user what is named",
        ),
        io::ErrorKind::ReadOnlyFilesystem => Some("mount it for writing"),
        io::ErrorKind::NotFound => Some("name what is there"),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            Some("name a file where a file is needed, a directory where a directory is")
        }
        _ => None,
    }
}

fn encryption_remedy(error: &CryptoError) -> Option<&'static str> {
    match error {
        CryptoError::KeyRequired { .. } => {
            Some("name the key file with --key-file, or secrets.key_file in config.toml")
        }
        CryptoError::WrongKey { .. } => Some("give the key file of the first of the two keys"),
        CryptoError::RekeyInProgress { .. } => Some("`nonos secrets rotate` goes on with it"),
        CryptoError::KeyringMissing => Some(
            "restore a backup; or, if what is there is right, `nonos secrets repair-keyring` makes it anew",
        ),
        CryptoError::ManifestMismatch => Some(
            "find out who changed the database and restore a backup; or, if what is there is right, \
             `nonos secrets repair-keyring`",
        ),
        CryptoError::RolledBack { .. } => {
            Some("if that was done on purpose, `nonos secrets accept-rollback` takes it as it is")
        }
        CryptoError::Unauthenticated => {
            Some("if you know who stored it, `nonos secrets adopt` vouches for it")
        }
        CryptoError::SecretKeyRequired => Some("give the key file that has the secret key"),
        CryptoError::PassphraseRequired => {
            Some("run it on a terminal, or give the passphrase through --passphrase-fd")
        }
        CryptoError::FeatureDisabled => {
            Some("use a program that was built with the feature encrypted-storage")
        }
        _ => None,
    }
}
