//! `nonos run` on the real machine.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::program::{Node, TestResult};

/// A running daemon, killed at drop if it still runs.
pub(crate) struct Daemon<'n>(Child, &'n Node, BufReader<ChildStderr>);

impl<'n> Daemon<'n> {
    pub(crate) fn start(node: &'n Node) -> std::io::Result<Self> {
        Self::start_with(node, &[])
    }

    pub(crate) fn start_with(node: &'n Node, more: &[&str]) -> std::io::Result<Self> {
        let command = node.command(&[&["run", "-vv", "--log-format", "json"], more].concat());
        Self::of(node, command)
    }

    /// One that is started by this.
    pub(crate) fn of(node: &'n Node, mut command: Command) -> std::io::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take().map(BufReader::new);
        let log = log.ok_or_else(|| std::io::Error::other("no log"))?;
        Ok(Self(child, node, log))
    }

    /// Reads the log until `count` lines have `message`; the log of a daemon that ends is an error.
    pub(crate) fn wait_for(&mut self, message: &str, count: usize) -> TestResult {
        self.last_of(message, count).map(drop)
    }

    /// The fields of the last of `count` lines that have `message`.
    pub(crate) fn last_of(
        &mut self,
        message: &str,
        count: usize,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        let (mut seen, mut line) = (0, String::new());
        let mut fields = serde_json::Value::Null;
        while seen < count {
            line.clear();
            if self.2.read_line(&mut line)? == 0 {
                return Err(format!("the daemon ended after {seen} of {message:?}").into());
            }
            self.1.look(line.as_bytes());
            let entry: serde_json::Value = serde_json::from_str(&line)?;
            if entry["fields"]["message"] == message {
                seen += 1;
                fields = entry["fields"].clone();
            }
        }
        Ok(fields)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) -> TestResult {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status()?;
        assert!(sent.success());
        Ok(())
    }

    /// Sends a signal and returns the exit code.
    pub(crate) fn end(self, signal: &str) -> Result<Option<i32>, Box<dyn std::error::Error>> {
        self.signal(signal)?;
        self.ended()
    }

    /// Waits until it ended by itself, and returns the exit code.
    pub(crate) fn ended(mut self) -> Result<Option<i32>, Box<dyn std::error::Error>> {
        // The log must not fill the pipe while the daemon closes.
        let mut rest = Vec::new();
        self.2.read_to_end(&mut rest)?;
        self.1.look(&rest);
        Ok(self.0.wait()?.code())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// How many samples a status tells.
fn entries(status: &serde_json::Value) -> Option<u64> {
    let trees = status["data"]["trees"].as_array()?;
    let metrics = trees.iter().find(|tree| tree["name"] == "metrics")?;
    metrics["entries"].as_u64()
}

#[test]
fn samples_of_this_host_are_kept_over_a_restart() -> TestResult {
    let node = Node::new()?;
    node.write_config("[metrics]\ninterval_secs = 1\n")?;
    let mut first = Daemon::start(&node)?;
    first.wait_for("sample", 5)?;
    // Beside the daemon it shows what is stored so far.
    let beside = node.json(&["status", "-o", "json"], 0)?;
    assert!(entries(&beside) >= Some(4), "{beside}");
    let held_by = beside["data"]["held_by"].as_str().unwrap_or_default();
    assert!(
        held_by.contains(&format!("pid {}", first.0.id())),
        "{beside}"
    );
    assert_eq!(first.end("-TERM")?, Some(0));

    let status = node.json(&["status", "-o", "json"], 0)?;
    let before = entries(&status).ok_or("no metrics tree")?;
    assert!(
        (4..=6).contains(&before),
        "five samples, a second apart: {status}"
    );
    let sample = &status["data"]["newest_sample"];
    for field in ["cpu_usage", "memory_usage"] {
        let percent = sample[field].as_f64().ok_or(field)?;
        assert!((0.0..=100.0).contains(&percent), "{field}: {sample}");
    }
    assert!(sample["memory_usage"].as_f64() > Some(0.0), "{sample}");
    assert!(sample["uptime_secs"].as_u64() > Some(0), "{sample}");

    let mut second = Daemon::start(&node)?;
    // The first may be of the second in which the other daemon took its last.
    second.wait_for("sample", 2)?;
    assert_eq!(second.end("-INT")?, Some(0));
    let after = entries(&node.json(&["status", "-o", "json"], 0)?);
    assert!(after > Some(before), "{before} samples, then {after:?}");
    Ok(())
}

#[test]
fn a_killed_daemon_frees_its_lock() -> TestResult {
    let node = Node::new()?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("the database is open", 1)?;
    assert_eq!(daemon.end("-KILL")?, None);
    node.json(&["status", "-o", "json"], 0)?;
    Ok(())
}

#[test]
fn a_fresh_directory_is_initialized() -> TestResult {
    let node = Node::new()?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("the database is open", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let written = std::fs::read_to_string(node.path("config.toml"))?;
    assert!(written.contains("interval_secs = 60"), "{written}");
    Ok(())
}

#[test]
fn limits_of_what_is_kept_are_taken() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    for wrong in [
        "metrics_days = -1",
        "metrics_days = \"x\"",
        "metric_days = 3",
    ] {
        node.write_config(&config.replace("metrics_days = 0", wrong))?;
        assert_eq!(node.output(&["run"])?.status.code(), Some(2), "{wrong}");
    }
    node.write_config(&config.replace("metrics_days = 0", "metrics_days = 30"))?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("the database is open", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

#[test]
fn a_hangup_has_the_configuration_read_again() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("interval_secs = 60", "interval_secs = 86400"))?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    // What cannot be read changes nothing.
    node.write_config("[metrics]\ninterval_secs = 0\n")?;
    daemon.signal("-HUP")?;
    daemon.wait_for("the configuration stays as it was", 1)?;
    node.write_config(&config.replace("interval_secs = 60", "interval_secs = 1"))?;
    daemon.signal("-HUP")?;
    daemon.wait_for("the configuration was read again", 1)?;
    daemon.wait_for("sample", 3)?;
    // What needs a restart is said.
    let other = config
        .replace("interval_secs = 60", "interval_secs = 1")
        .replace("flush_every_ms = 30000", "flush_every_ms = 100");
    node.write_config(&other)?;
    daemon.signal("-HUP")?;
    daemon.wait_for(
        "changes of [storage], [secrets] and [server] need a restart",
        1,
    )?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// Built in, as a daemon's threads come and go, and what they leave is seldom looked at again: docs/decisions/0004.
#[test]
fn the_allocator_returns_pages_soon() -> TestResult {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nonos"));
    command
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "stats_print:true");
    let told = command.output()?.stderr;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("opt.dirty_decay_ms: 100 "), "{told}");
    assert!(told.contains("opt.background_thread: true"), "{told}");
    Ok(())
}
