//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nonos_storage::TreeId;

mod backup;
mod dry_run;
mod forms;
mod records;
#[cfg(feature = "encrypted-storage")]
mod secrets;
mod values;

pub(crate) use backup::{BackupVerb, CreateArgs, PruneBackupsArgs};
pub(crate) use dry_run::DryRun;
pub(crate) use forms::{Color, Form, LogFormat, Output, Shown};
#[cfg(test)]
pub(crate) use records::SAMPLE_FIELDS;
pub(crate) use records::{DiffArgs, ListArgs, LsArgs, MetricsVerb, tree};
#[cfg(feature = "encrypted-storage")]
pub(crate) use secrets::{KeyVerb, SecretsVerb};
pub(crate) use values::StoreId;
use values::{age, duration, store_id, time_ms};

/// The storage of a NONOS node: its daemon, and what an operator does with it.
#[derive(Debug, Parser)]
#[command(name = "nonos", version, disable_version_flag = false)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    /// Where the node keeps its files
    #[arg(
        short,
        long,
        global = true,
        env = "NONOS_DATA_DIR",
        default_value = "~/.nonos",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// The configuration [default: config.toml in the data directory]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// How results are written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,

    /// Log less: of the daemon warnings and errors, of a verb errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Log more; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How the log is written to standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// Whether standard error is coloured
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) color: Color,

    /// How the progress of long work is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) progress: Shown,

    /// How long to wait for another holder of the database, as 500ms, 10s or 2m; 0s for not at all
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) lock_timeout: Duration,

    /// The key file [default: the one that config.toml names]
    #[cfg(feature = "encrypted-storage")]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_fd")]
    pub(crate) key_file: Option<PathBuf>,

    /// Read the key file from this open file descriptor
    #[cfg(feature = "encrypted-storage")]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) key_fd: Option<u32>,

    /// Read a passphrase from this open file descriptor: its first line
    #[cfg(feature = "encrypted-storage")]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,

    /// Do not ask a daemon that has the database to change it, but fail
    #[arg(long, global = true)]
    pub(crate) offline: bool,

    /// Do what destroys something without asking
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the data directory: its documented config.toml, the key file, an empty database, the identity
    /// of the node
    Init {
        /// Make no key file: no secret can be stored, and the node gets no identity
        #[arg(long)]
        no_key: bool,
        /// Protect the key file by a passphrase, which every start then needs
        #[cfg(feature = "encrypted-storage")]
        #[arg(long, conflicts_with = "no_key")]
        passphrase: bool,
    },
    /// Run the daemon: sample this host into the database until SIGTERM or SIGINT
    Run {
        /// Where the status page and /metrics are, as 127.0.0.1:9464 [default: server.listen]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<std::net::SocketAddr>,
        /// Refuse a database of an older schema instead of migrating it
        #[arg(long)]
        no_migrate: bool,
        /// Of a restored database: it is the node that it was, which runs nowhere else
        #[arg(long, conflicts_with = "new_identity")]
        same_node: bool,
        /// Of a restored database: the node that it was still runs; this is another one
        #[cfg(feature = "encrypted-storage")]
        #[arg(long)]
        new_identity: bool,
    },
    /// Show schema, records, size and the newest sample
    Status {
        /// Show it again and again, so often, as 5s
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", value_parser = duration)]
        watch: Option<Duration>,
    },
    /// The trees, or the records of one, decoded
    Ls(LsArgs),
    /// One record, decoded
    Get {
        /// Its tree
        #[arg(value_name = "TREE", value_parser = tree)]
        tree: TreeId,
        /// Its key: a name, an epoch, or a time as 2026-01-31T12:00:00Z or a number
        key: String,
    },
    /// The hash of the content: the same for the same records, compressed or not
    Hash {
        /// Only this tree
        #[arg(long, value_name = "TREE", value_parser = tree)]
        tree: Option<TreeId>,
    },
    /// The records in which another database, or a backup file, differs from this one
    Diff(DiffArgs),
    /// The peers, by their ids
    Peers(ListArgs),
    /// The samples of this host, newest first, or drawn
    Metrics {
        #[command(subcommand)]
        what: Option<MetricsVerb>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// The epochs, newest first
    Epochs(ListArgs),
    /// The claims, newest first
    Claims(ListArgs),
    /// The configuration values in the database
    Config(ListArgs),
    /// Show the schema version, the migrations that were applied, or what the next one would do
    Schema {
        #[command(subcommand)]
        what: SchemaVerb,
    },
    /// Bring a database of an older schema to the current one. A dry run converts everything without writing. No daemon
    /// may have the database
    Migrate {
        #[command(flatten)]
        look: DryRun,
        /// Undo a migration that was interrupted: every record is again what it was
        #[arg(long)]
        abort: bool,
        /// Set records that do not convert aside, in a file beside the database that lists them
        #[arg(long, conflicts_with = "abort")]
        allow_quarantine: bool,
    },
    /// Make the database of a directory or a backup file of the first implementation
    Import {
        /// The directory or the file; it is not changed
        path: PathBuf,
        /// The key file of its secrets, if it sealed them: those that it does not open are left out
        #[cfg(feature = "encrypted-storage")]
        #[arg(long, value_name = "FILE")]
        old_key: Option<PathBuf>,
    },
    /// Write everything, or a tree, to a file for other programs
    Export {
        /// Which form
        #[arg(long = "as", value_enum)]
        form: Form,
        /// Only this tree; for CSV there must be one
        #[arg(long, value_name = "TREE", value_parser = tree)]
        tree: Option<TreeId>,
        /// The file, or - for standard output; one that exists is replaced, which asks
        file: PathBuf,
    },
    /// Read the records and say what is not as it was written; beside the daemon as well
    Verify {
        /// Only that the journal is whole, and how many records there are
        #[arg(long, conflicts_with = "deep")]
        quick: bool,
        /// Also the chain of the audit log, and whether the keys vouch for sealed records
        #[arg(long)]
        deep: bool,
        /// Only this tree
        #[arg(long, value_name = "T", conflicts_with = "quick")]
        tree: Option<String>,
        /// How many findings to list; all are counted
        #[arg(long, value_name = "N", default_value_t = 100)]
        max_errors: usize,
    },
    /// Back the database up, beside the daemon as well, and handle backups
    Backup {
        #[command(subcommand)]
        what: BackupVerb,
    },
    /// Put a database back from a backup: beside, verified, and then in place of the one there is, which is kept.
    /// No daemon may have it
    Restore {
        /// A backup file, or where backups are [default: backup.to of config.toml]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
        /// The state at this time, as 2026-01-31T12:00:00Z: that of the last commit before
        #[arg(long, value_name = "TIME", value_parser = time_ms, conflicts_with = "name")]
        at: Option<i64>,
        /// The backup of this name, as `backup list` shows it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Of which database, where there are backups of several
        #[arg(long, value_name = "ID", value_parser = store_id)]
        store: Option<StoreId>,
        /// The file of the age identity that opens encrypted backups [default: in config.toml]
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Make the database in this data directory, which has none, instead of the present one
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        #[command(flatten)]
        look: DryRun,
    },
    /// Copy this node, as one verified set: its database, its configuration, its key file
    Clone {
        /// The new data directory, which does not exist
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a new database of everything that is intact of one that does not open. No daemon may have it
    Repair {
        #[command(flatten)]
        look: DryRun,
        /// Where the new one will be [default: the old one's name with .repaired at its end]
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        /// Put the new one at the place of the old one, which is kept
        #[arg(long, conflicts_with = "dry_run")]
        commit: bool,
    },
    /// Remove what is no longer kept: the oldest records of a tree
    #[command(group = clap::ArgGroup::new("limits").required(true).multiple(true))]
    Prune {
        /// One of metrics, epochs, peers, `audit_log`
        #[arg(long, value_name = "T")]
        tree: String,
        /// What is older than this, as 90s, 30m, 24h, 7d
        #[arg(long, value_name = "AGE", value_parser = age, group = "limits")]
        older_than: Option<i64>,
        /// All but so many of the newest
        #[arg(long, value_name = "N", group = "limits")]
        keep_last: Option<u64>,
        /// All but the newest that together have so many bytes
        #[arg(long, value_name = "BYTES", group = "limits")]
        max_bytes: Option<u64>,
        #[command(flatten)]
        look: DryRun,
        /// Compact afterwards, which returns the space to the disk
        #[arg(long)]
        compact: bool,
    },
    /// Make the index anew, which returns free space and heals it
    Compact {
        /// Overwrite and remove everything of the past as well: what was deleted, replaced or sealed since
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        look: DryRun,
    },
    /// Store, read, remove and seal secrets, and handle their keys
    #[cfg(feature = "encrypted-storage")]
    Secrets {
        #[command(subcommand)]
        what: SecretsVerb,
    },
    /// Show, check or write out the log of what was done to sensitive records
    Audit {
        #[command(subcommand)]
        what: AuditVerb,
    },
    /// Look for what is wrong around the database, and say what helps
    Doctor {
        /// Write what somebody who helps wants to see to this file, a tar archive without secrets
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Remove the data of this node: peers, metrics, epochs, configuration values and claims. Its identity and its
    /// secrets stay unless they are named
    Wipe {
        /// Only these trees, as `peers,metrics`
        #[arg(long, value_name = "TREES", value_parser = tree, value_delimiter = ',')]
        trees: Vec<TreeId>,
        /// The identity as well: the next start makes another one
        #[arg(long)]
        including_identity: bool,
        #[command(flatten)]
        look: DryRun,
    },
    /// Write a script that completes these verbs in a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual, or its pages to a directory
    Man {
        /// The directory
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Show the versions of this program and its formats
    Version,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum SchemaVerb {
    /// The version of the records and that of this program
    Show,
    /// The migrations that were applied, oldest first
    History,
    /// What the next migration would do to each tree
    Plan,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// The newest entries
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
        count: usize,
    },
    /// Whether no entry was changed, removed or moved, and none of the newest cut off
    Verify {
        /// The number of an entry whose hash was noted before
        #[arg(long, value_name = "NUMBER", requires = "head")]
        since: Option<u64>,
        /// Its hash
        #[arg(long, value_name = "HASH", requires = "since")]
        head: Option<String>,
    },
    /// Write all entries to a file, a JSON object a line
    Export {
        /// The file; one that exists is replaced, which asks
        file: PathBuf,
    },
}
