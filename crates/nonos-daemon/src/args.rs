//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

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

    /// Log warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Log more; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How the log is written to standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// How the progress of long work is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) progress: Shown,

    /// How long to wait for another holder of the database, as 500ms, 10s or 2m
    #[arg(long, global = true, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) lock_timeout: Duration,

    /// Do what destroys something without asking
    #[arg(long, global = true)]
    pub(crate) yes: bool,
}

/// A number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|e| format!("{digits:?}: {e}"))?;
    let millis = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(number),
        "s" | "" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        unit => return Err(format!("{unit:?} is no unit; give ms, s or m")),
    };
    let longest = Duration::from_hours(24);
    let given = millis.map(Duration::from_millis);
    given
        .filter(|given| *given <= longest)
        .ok_or_else(|| "the longest is a day".to_owned())
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the data directory, its documented config.toml and an empty database
    Init,
    /// Run the daemon: sample this host into the database until SIGTERM or SIGINT
    Run {
        /// Refuse a database of an older schema instead of migrating it
        #[arg(long)]
        no_migrate: bool,
    },
    /// Show schema, records, size and the newest sample
    Status,
    /// Show the schema version, the migrations that were applied, or what the next one would do
    Schema {
        #[command(subcommand)]
        what: SchemaVerb,
    },
    /// Bring a database of an older schema to the current one
    Migrate {
        /// Convert everything without writing, and show the counts
        #[arg(long, conflicts_with = "abort")]
        dry_run: bool,
        /// With --dry-run: exit with 13 if there is something to do
        #[arg(long, requires = "dry_run")]
        exit_code: bool,
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
    },
    /// Write everything to a file of another program
    Export {
        /// Which program's
        #[arg(long = "as", value_enum)]
        form: Form,
        /// The file; one that exists is replaced, which asks
        file: PathBuf,
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

/// A form to export in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// The backup file of the first implementation
    FirstImplementation,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// A bar on a terminal, else nothing
    #[default]
    Auto,
    /// Nothing
    None,
    /// One JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For a person
    #[default]
    Table,
    /// One JSON object, indented
    Json,
    /// One JSON object on one line
    Ndjson,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a person
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
