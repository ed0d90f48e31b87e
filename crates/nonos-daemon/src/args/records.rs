//! The verbs that look at records, on the command line.

use std::path::PathBuf;

use clap::Subcommand;
use nonos_storage::TreeId;

use super::age;

/// A tree by its name.
pub(crate) fn tree(name: &str) -> Result<TreeId, String> {
    TreeId::from_name(name).ok_or_else(|| {
        let names = TreeId::ALL.map(TreeId::name).join(", ");
        format!("give one of {names}")
    })
}

/// Which records of a tree.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// The tree; without one, all trees and how many records they have
    #[arg(value_name = "TREE", value_parser = tree)]
    pub(crate) tree: Option<TreeId>,
    /// From this key on; a time as 2026-01-31T12:00:00Z or a number
    #[arg(long, value_name = "KEY", requires = "tree")]
    pub(crate) from: Option<String>,
    /// Up to this key, which is included
    #[arg(long, value_name = "KEY", requires = "tree")]
    pub(crate) to: Option<String>,
    /// Keys that begin so
    #[arg(long, value_name = "TEXT", requires = "tree")]
    pub(crate) prefix: Option<String>,
    /// Last keys first
    #[arg(long, requires = "tree")]
    pub(crate) reverse: bool,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Records that have this text in their key or their value, in capitals or not
    #[arg(long, value_name = "TEXT", requires = "tree")]
    pub(crate) search: Option<String>,
}

/// Which records of a tree that people look at.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Not older than this, as 90s, 30m, 24h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) since: Option<i64>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Records that have this text in their key or their value, in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

/// What can be drawn of a sample.
pub(crate) const SAMPLE_FIELDS: [&str; 11] = [
    "avg_latency_ms",
    "cpu_usage",
    "error_count",
    "memory_usage",
    "network_bytes_received",
    "network_bytes_sent",
    "peer_count",
    "quality_score",
    "successful_requests",
    "total_requests",
    "uptime_secs",
];

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MetricsVerb {
    /// Draw a field over time
    Plot {
        /// The field
        #[arg(long, value_name = "FIELD", default_value = "cpu_usage", value_parser = SAMPLE_FIELDS)]
        field: String,
        /// Not older than this, as 90s, 30m, 24h, 7d
        #[arg(long, value_name = "AGE", value_parser = age, default_value = "24h")]
        since: i64,
    },
}

/// With what this database is compared.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// A data directory, a database, or a backup file
    pub(crate) other: PathBuf,
    /// Only this tree
    #[arg(long, value_name = "TREE", value_parser = tree)]
    pub(crate) tree: Option<TreeId>,
    /// So many differences are listed; all are counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// The file of the age identity that opens an encrypted backup file [default: in config.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Exit with 13 if they differ
    #[arg(long)]
    pub(crate) exit_code: bool,
}
