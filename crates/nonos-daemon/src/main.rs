//! `nonos`: the daemon of a node, and the operator's verbs on its storage.

mod admin;
mod args;
mod cmd;
mod daemon;
mod error;
mod exit;
#[cfg(feature = "encrypted-storage")]
mod keys;
mod log;
mod output;
mod places;
mod progress;
#[cfg(test)]
mod schemas;
mod targets;

use std::process::ExitCode;

use clap::Parser;

use nonos_storage::TreeId;

use crate::args::{Args, MetricsVerb, Verb};
use crate::error::CliError;

/// Returns memory after long work, where the C library's keeps twice as much, and is faster under the
/// engine's many small allocations: docs/decisions/0004.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return cmd::not_begun::not_understood(&error).into(),
    };
    log::start(&args);
    match work(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // What there is to do was told.
        Err(CliError::WorkToDo) => exit::code(&CliError::WorkToDo).into(),
        // What `run` says is its log.
        Err(error) if matches!(args.verb, Verb::Run { .. }) => {
            output::diagnose(&error, args.color);
            exit::code(&error).into()
        }
        Err(error) => cmd::not_begun::tell(error, args.output, args.color).into(),
    }
}

fn work(args: &Args) -> Result<(), CliError> {
    match args.verb {
        Verb::Init { .. } => cmd::init::init(args),
        Verb::Run {
            listen,
            no_migrate,
            same_node,
            #[cfg(feature = "encrypted-storage")]
            new_identity,
        } => {
            #[cfg(not(feature = "encrypted-storage"))]
            let new_identity = false;
            let node = match (same_node, new_identity) {
                (true, _) => Some(cmd::run::Which::Same),
                (false, true) => Some(cmd::run::Which::Other),
                (false, false) => None,
            };
            cmd::run::run(args, !no_migrate, node, listen)
        }
        Verb::Backup { ref what } => cmd::backup::backup(args, what),
        Verb::Restore { .. } => cmd::restore::restore(args),
        Verb::Clone { ref to } => cmd::clone::clone(args, to),
        Verb::Schema { what } => cmd::schema::schema(args, what),
        Verb::Migrate { .. } => cmd::migrate::migrate(args),
        Verb::Import { ref path, .. } => cmd::import::import(args, path),
        Verb::Export {
            form,
            tree,
            ref file,
        } => cmd::export::export(args, form, tree, file),
        Verb::Ls(ref what) => cmd::records::ls(args, what),
        Verb::Get { tree, ref key } => cmd::records::get(args, tree, key),
        Verb::Hash { tree } => cmd::hash::hash(args, tree),
        Verb::Diff(ref what) => cmd::diff::diff(args, what),
        Verb::Peers(ref what) => cmd::records::of_tree(args, TreeId::Peers, what),
        Verb::Metrics {
            what: None,
            ref list,
        } => cmd::records::of_tree(args, TreeId::Metrics, list),
        Verb::Metrics {
            what: Some(MetricsVerb::Plot { ref field, since }),
            ..
        } => cmd::plot::plot(args, field, since),
        Verb::Epochs(ref what) => cmd::records::of_tree(args, TreeId::Epochs, what),
        Verb::Claims(ref what) => cmd::records::of_tree(args, TreeId::Claims, what),
        Verb::Config(ref what) => cmd::records::of_tree(args, TreeId::Config, what),
        Verb::Doctor { ref bundle } => cmd::doctor::doctor(args, bundle.as_deref()),
        Verb::Wipe {
            ref trees,
            including_identity,
            look,
        } => cmd::wipe::wipe(args, trees, including_identity, look),
        Verb::Completions { shell } => cmd::completions::completions(shell),
        Verb::Man { ref to } => cmd::completions::man(to.as_deref()),
        Verb::Status { watch } => cmd::status::status(args, watch),
        Verb::Prune {
            ref tree,
            older_than,
            keep_last,
            max_bytes,
            look,
            compact,
        } => {
            let limits = cmd::prune::Limits {
                older_than_secs: older_than,
                keep_last,
                max_bytes,
            };
            cmd::prune::prune(args, tree, limits, (look, compact))
        }
        Verb::Repair { .. } => cmd::repair::repair(args),
        Verb::Compact { purge, look } => cmd::compact::compact(args, purge, look),
        #[cfg(feature = "encrypted-storage")]
        Verb::Secrets { ref what } => cmd::secrets::secrets(args, what),
        Verb::Audit { ref what } => cmd::audit::audit(args, what),
        Verb::Verify {
            quick,
            deep,
            ref tree,
            max_errors,
        } => {
            let depth = match (quick, deep) {
                (true, _) => cmd::verify::Depth::Quick,
                (false, true) => cmd::verify::Depth::Deep,
                (false, false) => cmd::verify::Depth::Records,
            };
            cmd::verify::verify(args, depth, tree.as_deref(), max_errors)
        }
        Verb::Version => cmd::version::version(args),
    }
}
