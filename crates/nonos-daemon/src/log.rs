//! The log, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat, Verb};

/// Of what libraries say, warnings; of what this program says, as much as is asked for. The daemon tells
/// what it does; a verb's result is told by its output.
pub(crate) fn start(args: &Args) {
    let is_daemon = matches!(args.verb, Verb::Run { .. });
    let level = match (args.quiet, args.verbose) {
        (true, _) if is_daemon => "warn",
        (true, _) => "error",
        (false, 0) if is_daemon => "info",
        (false, 0) => "warn",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let crates = [
        "nonos",
        "nonos_storage",
        "storage_ops",
        "storage_schema",
        "storage_core",
        "storage_journal",
    ];
    let of_ours = crates.map(|name| format!("{name}={level}")).join(",");
    let filter = EnvFilter::builder().parse_lossy(format!("warn,{of_ours}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(args.color.is_on());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
