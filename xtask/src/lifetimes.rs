//! Lives of simulated databases, many times those of the normal test run.

use std::path::Path;
use std::process::Command;

use crate::Error;

const LIVES: &str = "40000";

/// Runs the tests of that name with so many lives.
pub(crate) fn run(root: &Path, lives: Option<&str>) -> Result<bool, Error> {
    let ended = Command::new("cargo")
        .args(["test", "--release", "--locked", "--package", "storage-core"])
        .args(["--test", "it", "--", "lifetimes"])
        .env("NONOS_LIFETIMES", lives.unwrap_or(LIVES))
        .current_dir(root)
        .status();
    let ended = ended.map_err(|source| Error::Process {
        what: "running the tests",
        source,
    })?;
    Ok(ended.success())
}
