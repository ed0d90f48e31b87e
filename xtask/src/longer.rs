//! Tests of the normal run, with many times as much of what they do.

use std::path::Path;
use std::process::Command;

use crate::{Error, failed, number};

/// Lives of simulated databases.
pub(crate) fn lifetimes(root: &Path, lives: Option<&str>) -> Result<bool, Error> {
    let lives = number("lives", lives, 40_000)?;
    let how_many = ("NONOS_LIFETIMES", lives.to_string());
    run(root, "storage-core", "lifetimes", how_many)
}

/// Lives of a node's storage with everything that it does. Says the seed of each that fails.
pub(crate) fn simulate(
    root: &Path,
    mut words: impl Iterator<Item = String>,
) -> Result<bool, Error> {
    let (mut first, mut seeds) = (0, 10_000);
    while let Some(word) = words.next() {
        let value = words.next();
        match word.as_str() {
            "--seeds" => seeds = number("seeds", value.as_deref(), seeds)?,
            "--first" => first = number("seeds", value.as_deref(), first)?,
            _ => return Err(failed("simulate takes --seeds N and --first N")),
        }
    }
    let which = ("NONOS_SIMULATION", format!("{first} {seeds}"));
    run(root, "nonos-storage", "whole_lives", which)
}

/// Days of a node.
pub(crate) fn soak(root: &Path, days: Option<&str>) -> Result<bool, Error> {
    let days = number("days", days, 365)?;
    let how_many = ("NONOS_SOAK_DAYS", days.to_string());
    run(root, "storage-ops", "soak", how_many)
}

/// Runs the tests of that name.
fn run(
    root: &Path,
    package: &str,
    name: &str,
    (variable, how_many): (&str, String),
) -> Result<bool, Error> {
    let ended = Command::new("cargo")
        .args(["test", "--release", "--locked", "--package", package])
        .args(package.eq("nonos-storage").then_some("--all-features"))
        .args(["--test", "it", "--", "--nocapture", name])
        .env(variable, how_many)
        .current_dir(root)
        .status();
    let ended = ended.map_err(|source| Error::Process {
        what: "running the tests",
        source,
    })?;
    Ok(ended.success())
}
