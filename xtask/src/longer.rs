//! Tests of the normal run, with many times as much of what they do.

use std::path::Path;
use std::process::Command;

use crate::Error;

/// Lives of simulated databases.
pub(crate) fn lifetimes(root: &Path, lives: Option<&str>) -> Result<bool, Error> {
    let how_many = ("NONOS_LIFETIMES", lives.unwrap_or("40000"));
    run(root, "storage-core", "lifetimes", how_many)
}

/// Lives of a node's storage with everything that it does. Says the seed of each that fails.
pub(crate) fn simulate(
    root: &Path,
    mut words: impl Iterator<Item = String>,
) -> Result<bool, Error> {
    let (mut first, mut seeds) = (0, 10_000);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|number| number.parse::<u64>().ok());
        match (word.as_str(), number) {
            ("--seeds", Some(number)) => seeds = number,
            ("--first", Some(number)) => first = number,
            _ => return Err(crate::failed("simulate takes --seeds N and --first N")),
        }
    }
    let which = ("NONOS_SIMULATION", format!("{first} {seeds}"));
    run(root, "nonos-storage", "whole_lives", (which.0, &which.1))
}

/// Days of a node.
pub(crate) fn soak(root: &Path, days: Option<&str>) -> Result<bool, Error> {
    let how_many = ("NONOS_SOAK_DAYS", days.unwrap_or("365"));
    run(root, "storage-ops", "soak", how_many)
}

/// Files of settings, of anything.
pub(crate) fn settings(root: &Path, files: Option<&str>) -> Result<bool, Error> {
    let how_many = ("NONOS_SETTINGS", files.unwrap_or("1000000"));
    run(root, "nonos-daemon", "a_file_of_anything", how_many)
}

/// Runs the tests of that name.
fn run(
    root: &Path,
    package: &str,
    name: &str,
    (variable, how_many): (&str, &str),
) -> Result<bool, Error> {
    let ended = Command::new("cargo")
        .args(["test", "--release", "--locked", "--package", package])
        .args(package.eq("nonos-storage").then_some("--all-features"))
        .args(match package {
            // The settings are the program's own.
            "nonos-daemon" => ["--bin", "nonos"],
            _ => ["--test", "it"],
        })
        .args(["--", "--nocapture", name])
        .env(variable, how_many)
        .current_dir(root)
        .status();
    let ended = ended.map_err(|source| Error::Process {
        what: "running the tests",
        source,
    })?;
    Ok(ended.success())
}
