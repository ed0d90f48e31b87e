//! nonos-storage beside other embedded engines: the same typed records, the same durability, one run.
//!
//! The process that is started by hand starts one for each engine and workload, in turn, so that no engine
//! has the memory or the threads of another beside it, and prints the medians as a table. `cargo xtask
//! bench` is what builds and starts it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod arguments;
mod codec;
mod engine;
mod error;
mod harness;
mod machine;
mod memory;
mod records;
mod rows;
mod scale;
mod table;
mod workload;

use std::process::ExitCode;

use arguments::Arguments;
use error::Result;

/// As in `nonos`, for all engines that are written in Rust.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    if let Some(workload) = &arguments.child {
        return workload::run(workload, &arguments.task()?);
    }
    let measured = harness::measure(&arguments)?;
    print!("{}", table::heading(&arguments)?);
    print!("{}", table::tables(&arguments.engines, &measured));
    Ok(())
}
