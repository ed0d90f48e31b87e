//! The workspace's own checks and measurements: `cargo xtask <name>`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod bench;
mod costs;
mod crash;
mod daemon;
mod daemon_soak;
mod damage;
mod disk_full;
mod documents;
mod fuzz;
mod layers;
mod longer;
mod migrations;
mod mount;
mod oracle;
mod page;
mod power_cut;
mod sample_node;
mod shuttle;
mod tidy;
mod writer;

use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;

/// As in `nonos`, so that memory and speed are measured as they are there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "\
usage: cargo xtask <name>

checks, which also run as tests:
  layers              no crate imports one that its layer may not
  tidy                the rules of the tree that no compiler checks

trials:
  damage [TRIALS]     damages files of index and journal, 1,000 times
  crash [TRIALS]      kills a process that compacts, or restores, 200 times
  lifetimes [LIVES]   simulated databases of six crashes each, 40,000 times
  simulate [--seeds N] [--first N]
                      whole lives of a node's storage, each the same for its seed, 10,000 seeds
  daemon-soak [MIN]   the daemon at 200 writes/s with all that it does beside, killed 20 times, 15 minutes
  soak [DAYS]         a node's days, 365: samples, pruning, checkpoints, the disk's use

  migrations          upgrades every fixture, by directory and by backup
  migrations --kill   stops migrations at every commit and at 200 random moments
  migrations --bench  a million peers: rate, memory, progress

  oracle [ROUNDS]     sealed records against libsodium, 500 each way (needs Python; skipped without)

  fuzz [--seconds N] [TARGET...]   every decoder, and whole lives, on any bytes; 60 s each (needs nightly, cargo-fuzz)
  fuzz --seed                      adds seeds to fuzz/corpus
  fuzz --keep [TARGET...]          takes into fuzz/corpus what runs found that covers more

  shuttle [--iterations N] [--seconds N]   what threads do beside each other, under random schedules and those of PCT,
                                           2,000 each, two minutes each at most
  shuttle --replay FILE TEST               the schedule that a test failed under

trials, which need root and loop devices (skipped with a message otherwise):
  power-cut [TRIALS]  shuts a file system down under a writer, 100 times
  disk-full           fills a file system of 24 MB under a writer

to look at:
  page                the status page in chromium: its numbers, its console, its pictures
  sample-node DIR     fills the database of a data directory with a month of a node

measurements:
  bench [FLAGS]       the library beside other engines (benches/peers), into docs/PERFORMANCE.md; --quick: two
                      minutes, not written; --rounds N; --only WORKLOADS; --engines NAMES, with commas
  costs               what a durable commit costs, alone and with others, and a sealed secret; what
                      backup, verify, restore and rebuild move in a second
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next();
    let argument = args.next();
    if cfg!(debug_assertions)
        && let Some("costs" | "--bench") = argument.as_deref().or(name.as_deref())
    {
        return optimized();
    }
    let done = match name.as_deref() {
        Some("layers") => layers::check(&root()).map(report),
        Some("tidy") => tidy::check(&root()).map(report),
        Some("damage") => damage::run(argument.as_deref()),
        Some(damage::NAME) => damage::write(argument.as_deref(), args.next().as_deref()),
        Some("crash") => crash::run(argument.as_deref()),
        Some(crash::RESTORE) => crash::restore_until_stopped(argument.as_deref()),
        Some("migrations") => migrations::run(argument.as_deref()),
        Some(migrations::NAME) => migrations::stop_at(argument.as_deref(), args.next().as_deref()),
        Some(migrations::MEASURED) => migrations::measured(argument.as_deref()),
        Some("lifetimes") => longer::lifetimes(&root(), argument.as_deref()),
        Some("simulate") => longer::simulate(&root(), argument.into_iter().chain(args)),
        Some("daemon-soak") => daemon_soak::run(&root(), argument.as_deref()),
        Some("page") => page::run(&root()),
        Some("soak") => longer::soak(&root(), argument.as_deref()),
        Some("oracle") => oracle::run(&root(), argument.as_deref()),
        Some("fuzz") => {
            let rest: Vec<String> = argument.into_iter().chain(args).collect();
            fuzz::run(&root(), &rest)
        }
        Some("shuttle") => {
            let rest: Vec<String> = argument.into_iter().chain(args).collect();
            shuttle::run(&root(), &rest)
        }
        Some("power-cut") => power_cut::run(argument.as_deref()),
        Some("disk-full") => disk_full::run(),
        Some("sample-node") => sample_node::run(argument.as_deref()),
        Some("bench") => {
            let flags: Vec<String> = std::env::args().skip(2).collect();
            bench::run(&root(), &flags)
        }
        Some("costs") => costs::run(),
        Some(writer::NAME) => writer::run(argument.as_deref(), false),
        Some(writer::COMPACTING) => writer::run(argument.as_deref(), true),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the same in a program that the compiler optimized: no other is worth measuring.
fn optimized() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let same = ["run", "--quiet", "--release", "--package", "xtask", "--"];
    let status = Command::new(cargo)
        .args(same)
        .args(std::env::args_os().skip(1))
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

/// A number of the command line, or how many it is without one.
fn number<T>(of: &str, given: Option<&str>, otherwise: T) -> Result<T, Error>
where
    T: FromStr<Err = ParseIntError>,
{
    let Some(given) = given else {
        return Ok(otherwise);
    };
    let wrong = |error| failed(format!("{given:?} is no number of {of}: {error}"));
    given.parse().map_err(wrong)
}

/// Prints findings; none is success.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of a value"
)]
fn report(findings: Vec<String>) -> bool {
    if findings.is_empty() {
        println!("ok");
    } else {
        println!("{}", findings.join("\n"));
    }
    findings.is_empty()
}

/// The workspace's directory.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn read_table(path: &Path) -> Result<toml::Table, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    text.parse().map_err(|source| Error::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{what}: {source}")]
    Process {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("{0}")]
    Storage(#[from] nonos_storage::NonosError),
    #[error("{0}")]
    Journal(#[from] storage_journal::JournalError),
    #[error("{0}")]
    Failed(String),
    #[error("{}: {source}", path.display())]
    Toml {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
}
