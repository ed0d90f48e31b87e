//! The tests of what threads do beside each other, under many schedules of the model checker.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Error, failed, number};

/// The crates that have such tests.
const CRATES: [&str; 2] = ["storage-journal", "storage-core"];

/// Builds into a directory of its own, as every crate is built with the cfg. What fails leaves its schedule there, for
/// `--replay`.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<bool, Error> {
    let target = root.join("target/shuttle");
    let failures = target.join("failures");
    fs::create_dir_all(&failures).map_err(|source| Error::Io {
        path: failures.clone(),
        source,
    })?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--locked", "--lib"])
        .args(CRATES.map(|name| format!("--package={name}")))
        .env("RUSTFLAGS", "--cfg nonos_shuttle")
        .env("CARGO_TARGET_DIR", &target)
        .env("NONOS_SHUTTLE_FAILURES", &failures)
        .current_dir(root);
    let mut test = "schedules::";
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let mut value = |what| {
            args.next()
                .ok_or_else(|| failed(format!("{arg} takes {what}")))
        };
        match arg {
            "--iterations" => {
                let iterations = number("schedules", Some(value("a number")?), 0_usize)?;
                command.env("NONOS_SHUTTLE_ITERATIONS", iterations.to_string())
            }
            "--seconds" => {
                let seconds = number("seconds", Some(value("a number")?), 0_u64)?;
                command.env("NONOS_SHUTTLE_SECONDS", seconds.to_string())
            }
            "--replay" => {
                let schedule = root.join(value("a file, and a test")?);
                test = value("a file, and a test")?;
                command.env("NONOS_SHUTTLE_REPLAY", schedule)
            }
            _ => return Err(failed(format!("shuttle knows no {arg}"))),
        };
    }
    command.args([test, "--", "--nocapture", "--test-threads=1"]);
    let status = command.status().map_err(|source| Error::Process {
        what: "cargo test",
        source,
    })?;
    Ok(status.success())
}
