//! The command line.

use std::path::PathBuf;

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
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the data directory, its documented config.toml and an empty database
    Init,
    /// Run the daemon: sample this host into the database until SIGTERM or SIGINT
    Run,
    /// Show schema, records, size and the newest sample
    Status,
    /// Show the versions of this program and its formats
    Version,
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
