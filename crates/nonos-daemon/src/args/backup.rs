//! `nonos backup` on the command line.

use std::path::PathBuf;

use clap::Subcommand;

use super::{DryRun, StoreId, store_id};

/// How a backup is made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// A file that ends in .nonos, or where backups are kept [default: backup.to of config.toml]
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Only what came since the last backup there, if that can be
    #[arg(long)]
    pub(crate) incremental: bool,
    /// Encrypt it to this age1... recipient; to several, given more than once [default: those of config.toml]
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) recipient: Vec<String>,
    /// Leave secrets and the node's identity out of a backup file, to give it to somebody
    #[arg(long, value_name = "WHAT", conflicts_with = "incremental")]
    pub(crate) redact: Option<Redact>,
}

/// Which backups are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PruneBackupsArgs {
    /// Keep so many of the newest full backups, with what goes on from them
    #[arg(long, value_name = "N", required_unless_present = "keep_daily")]
    pub(crate) keep_last: Option<usize>,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "N")]
    pub(crate) keep_daily: Option<usize>,
    /// Where backups are kept [default: backup.to of config.toml]
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// Of which database, where there are backups of several
    #[arg(long, value_name = "ID", value_parser = store_id)]
    pub(crate) store: Option<StoreId>,
    #[command(flatten)]
    pub(crate) look: DryRun,
}

/// What is left out of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Redact {
    /// Secrets, what they are sealed with, and the node's identity.
    Secrets,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Back everything up, exact at one commit; the daemon goes on meanwhile
    Create(CreateArgs),
    /// The backups there are
    List {
        /// Where backups are kept [default: backup.to of config.toml]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
    /// Everything that is noted of a backup, or what a backup file says
    Show {
        /// Its name, as `backup list` shows it, or a file
        name: String,
        /// Where backups are kept [default: backup.to of config.toml]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// The file of the age identity that opens encrypted backups [default: in config.toml]
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Read a backup whole, as restoring it would
    Verify {
        /// Its name, as `backup list` shows it, or a file [default: the newest]
        name: Option<String>,
        /// Where backups are kept [default: backup.to of config.toml]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// Of which database, where there are backups of several
        #[arg(long, value_name = "ID", value_parser = store_id)]
        store: Option<StoreId>,
        /// The file of the age identity that opens encrypted backups [default: in config.toml]
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Remove old backups; the newest, and the newest that was verified, stay
    Prune(PruneBackupsArgs),
    /// Restore the newest backup to a directory that is removed again, and verify every record of it
    Drill {
        /// Where backups are kept [default: backup.to of config.toml]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// Of which database, where there are backups of several
        #[arg(long, value_name = "ID", value_parser = store_id)]
        store: Option<StoreId>,
        /// The file of the age identity that opens encrypted backups [default: in config.toml]
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
}
