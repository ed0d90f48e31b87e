//! The program, built, and a daemon of it that answers over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Error, failed};

/// Builds the program and says where it is.
pub(crate) fn build(root: &Path, profile: &str, more: &[&str]) -> Result<PathBuf, Error> {
    let built = Command::new("cargo")
        .args(["build", "--locked", "--package", "nonos-daemon"])
        .args(["--profile", profile])
        .args(more)
        .current_dir(root)
        .status();
    if !built.map_err(failed)?.success() {
        return Err(failed("the program could not be built"));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let directory = if profile == "dev" { "debug" } else { profile };
    Ok(target.join(directory).join("nonos"))
}

/// A daemon, killed at drop.
pub(crate) struct Daemon {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts it and waits until its log, which goes to this file, and its status page say that it is ready.
    pub(crate) fn start(
        command: &mut Command,
        log: &Path,
        is_ready: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let child = command
            .args(["run", "--log-format", "json"])
            .stdin(Stdio::null())
            .stderr(fs::File::create(log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let mut daemon = Self {
            child,
            address: String::new(),
            log: log.to_owned(),
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let log = daemon.log();
            if let Some((_, rest)) = log.split_once("\"address\":\"") {
                let address = rest.split('"').next().unwrap_or_default();
                address.clone_into(&mut daemon.address);
                let answer = daemon.get("/readyz");
                if is_ready(&log) && answer.is_some_and(|answer| answer.contains(" 200 ")) {
                    return Ok(daemon);
                }
            }
            daemon.check()?;
            if Instant::now() > deadline {
                return Err(failed(format!("the daemon is not ready: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it ended by itself, with its log.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait().map_err(failed)? {
            Some(ended) => {
                let log = self.log();
                Err(failed(format!(
                    "the daemon ended by itself: {ended}: {log}"
                )))
            }
            None => Ok(()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The whole answer, head and body.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let address = &self.address;
        let mut stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn kill(mut self) -> Result<(), Error> {
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }

    /// Ends it by SIGTERM and returns its exit code.
    pub(crate) fn end(mut self) -> Result<Option<i32>, Error> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .map_err(failed)?;
        Ok(self.child.wait().map_err(failed)?.code())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
