//! `nonos`: the daemon of a node, and the operator's verbs on its storage.

mod args;
mod cmd;
mod daemon;
mod error;
mod exit;
mod output;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Verb};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.verb {
        Verb::Init => cmd::init::init(&args),
        Verb::Run => cmd::run::run(&args),
        Verb::Status => cmd::status::status(&args),
        Verb::Version => cmd::version::version(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::diagnose(&error);
            exit::code(&error).into()
        }
    }
}
