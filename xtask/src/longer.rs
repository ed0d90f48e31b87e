//! Tests of the normal run, with many times as much of what they do.

use std::path::Path;
use std::process::Command;

use crate::Error;

/// Lives of simulated databases.
pub(crate) fn lifetimes(root: &Path, lives: Option<&str>) -> Result<bool, Error> {
    let how_many = ("NONOS_LIFETIMES", lives.unwrap_or("40000"));
    run(root, "storage-core", "lifetimes", how_many)
}

/// Days of a node.
pub(crate) fn soak(root: &Path, days: Option<&str>) -> Result<bool, Error> {
    let how_many = ("NONOS_SOAK_DAYS", days.unwrap_or("365"));
    run(root, "storage-ops", "soak", how_many)
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
