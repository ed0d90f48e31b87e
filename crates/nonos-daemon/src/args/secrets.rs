//! The verbs of secrets and their keys.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SecretsVerb {
    /// The names of all secrets
    List,
    /// Store a secret, from standard input or a file; replacing one asks
    Put {
        /// Its name
        name: String,
        /// The file that holds it
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Say whether there is one of this name, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write a secret to a file or a pipe
    Get {
        /// Its name
        name: String,
        /// The file, which must not exist
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Write it to a terminal
        #[arg(long)]
        show: bool,
    },
    /// Remove a secret
    Rm {
        /// Its name
        name: String,
        /// Say whether it is there, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a new key, seal everything to it, and purge what was sealed to the old one
    Rotate {
        /// Destroy the old key file: backups made before become unreadable
        #[arg(long)]
        destroy_old: bool,
        /// Say how much there is to do, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// How secrets are kept
    Status,
    /// Vouch for a secret that somebody with only the public key stored
    Adopt {
        /// Its name
        name: String,
        /// Say whether it is there, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the database as it is, although a newer state of it was seen
    AcceptRollback {
        /// Show the state that would be taken, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the records of the keys anew from secrets that all are vouched for
    RepairKeyring {
        /// Show what the store says of its secrets, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Key files
    Key {
        #[command(subcommand)]
        what: KeyVerb,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a key file of a new key
    New {
        /// The file, which must not exist
        file: PathBuf,
        /// Protect it by a passphrase
        #[arg(long)]
        passphrase: bool,
    },
    /// What a key file says, but for its secret
    Show {
        /// The file [default: the one of this node]
        file: Option<PathBuf>,
    },
    /// Write a key file that stores and verifies, but cannot read
    ExportWriter {
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Write a copy of the key file that is protected by a passphrase, to be kept elsewhere
    Protect {
        /// The file, which must not exist
        file: PathBuf,
        /// Make each guess four times as expensive: 256 MiB
        #[arg(long)]
        strong: bool,
    },
}
