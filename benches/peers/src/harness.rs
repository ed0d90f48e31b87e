//! Rounds of all workloads, engine after engine, each in a process of its own.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::arguments::Arguments;
use crate::error::{Error, Result, failed};
use crate::workload::{CRASH, GROW, LOAD};

/// The values of each row and engine, one of each round.
pub(crate) type Measured = HashMap<(String, &'static str), Vec<f64>>;

/// What later workloads find in the directory.
const FIRST: &str = "load";

/// Those that make databases of their own.
const ALONE: [&str; 3] = ["burst", "growth", "migration"];

pub(crate) fn measure(arguments: &Arguments) -> Result<Measured> {
    let root = match &arguments.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let mut measured = Measured::new();
    for round in 0..arguments.rounds {
        let mut engines = arguments.engines.clone();
        // Nobody is always the first, or always behind the same one.
        let first = round % engines.len().max(1);
        engines.rotate_left(first);
        let directory = root.path().join(round.to_string());
        let mut others = arguments
            .workloads
            .iter()
            .filter(|one| !ALONE.contains(one));
        if others.next().is_some_and(|one| *one != FIRST) {
            for engine in &engines {
                let mut unused = Measured::new();
                step(arguments, FIRST, engine, &directory, &mut unused)?;
            }
        }
        for workload in &arguments.workloads {
            for engine in &engines {
                let started = Instant::now();
                step(arguments, workload, engine, &directory, &mut measured)?;
                let (of, took) = (arguments.rounds, started.elapsed().as_secs_f64());
                eprintln!(
                    "round {} of {of}: {workload}, {engine}: {took:.1} s",
                    round + 1
                );
            }
        }
        fs::remove_dir_all(directory)?;
    }
    Ok(measured)
}

/// One workload of one engine: one process, or several.
fn step(
    arguments: &Arguments,
    workload: &str,
    engine: &'static str,
    round: &Path,
    measured: &mut Measured,
) -> Result<()> {
    let directory = round.join(engine);
    let mut one = |part: &str, directory: &Path, size, kill| {
        fs::create_dir_all(directory)?;
        for (row, value) in child(arguments, part, engine, directory, size, kill)? {
            measured.entry((row, engine)).or_default().push(value);
        }
        Ok::<_, Error>(())
    };
    match workload {
        "load" => LOAD
            .iter()
            .try_for_each(|part| one(part, &directory, 0, false)),
        "crash" => {
            let [write, open] = CRASH;
            one(write, &directory, 0, true)?;
            one(open, &directory, 0, false)
        }
        "growth" => {
            let directory = round.join(format!("{engine}-growth"));
            for size in 0..arguments.scale().sizes {
                for part in GROW {
                    one(part, &directory, size, false)?;
                }
                fs::remove_dir_all(&directory)?;
            }
            Ok(())
        }
        "burst" | "migration" => {
            let directory = round.join(format!("{engine}-{workload}"));
            one(workload, &directory, 0, false)
        }
        _ => one(workload, &directory, 0, false),
    }
}

/// Starts this program for one workload and reads what it tells; with `kill`, kills it at its first word.
fn child(
    arguments: &Arguments,
    workload: &str,
    engine: &str,
    directory: &Path,
    size: usize,
    kill: bool,
) -> Result<Vec<(String, f64)>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", workload, "--engines", engine]);
    command
        .args(["--size", &size.to_string(), "--directory"])
        .arg(directory);
    if arguments.quick {
        command.arg("--quick");
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or_else(|| failed("no output"))?;
    let mut told = Vec::new();
    for line in BufReader::new(out).lines() {
        if kill {
            child.kill()?;
            break;
        }
        told.extend(parse(&line?));
    }
    let status = child.wait()?;
    if !status.success() && !kill {
        return Err(failed(format!("{workload} of {engine}: {status}")));
    }
    Ok(told)
}

fn parse(line: &str) -> Option<(String, f64)> {
    let (row, value) = line.split_once(' ')?;
    Some((row.to_owned(), value.parse().ok()?))
}
