//! What the daemon tells over HTTP.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

mod refused;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A node whose daemon runs, and where its page is.
fn served<'n>(node: &'n Node, more: &[&str]) -> Fallible<(Daemon<'n>, SocketAddr)> {
    let mut daemon = Daemon::start_with(node, more)?;
    let fields = daemon.last_of("the status page", 1)?;
    let address = fields["address"].as_str().ok_or("no address")?.parse()?;
    daemon.wait_for("the database is open", 1)?;
    Ok((daemon, address))
}

/// The status, the head and the body of an answer.
fn ask(address: SocketAddr, request: &str) -> Fallible<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, head.to_lowercase(), body.to_owned()))
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Fallible<(u16, String, String)> {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    )
}

#[test]
fn the_page_its_numbers_and_the_metrics_say_the_same() -> TestResult {
    let node = Node::new()?;
    let (daemon, address) = served(&node, &[])?;
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/history", "application/json"),
        ("/metrics", "application/openmetrics-text"),
        ("/healthz", "text/plain"),
        ("/readyz", "text/plain"),
    ] {
        let (status, head, body) = get(address, path)?;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(
            head.contains(&format!("content-type: {kind}")),
            "{path}: {head}"
        );
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{path}"
        );
        assert!(head.contains("x-content-type-options: nosniff"), "{path}");
        assert!(
            !body.contains("http://") && !body.contains("https://") || path == "/page.js",
            "{path}"
        );
    }
    let (_, _, status) = get(address, "/api/v1/status")?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["phase"], "open");
    assert_eq!(status["open"]["health"], "ok");
    let trees = status["open"]["trees"].as_array().ok_or("no trees")?;
    assert_eq!(trees.len(), 8);
    let (_, _, metrics) = get(address, "/metrics")?;
    for tree in trees {
        let name = tree["name"].as_str().ok_or("no name")?;
        if name == "metrics" {
            // A sample may come in between.
            continue;
        }
        let line = format!("nonos_records{{tree=\"{name}\"}} {}", tree["entries"]);
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    for name in [
        "nonos_poisoned 0",
        "nonos_opening 0",
        "nonos_commit_seconds_count{class=\"durable\"} ",
        "nonos_commit_seconds_bucket{le=\"+Inf\",class=\"buffered\"} ",
        "nonos_tree_writes_total{tree=\"identity\"} 2",
        "# EOF",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(name)),
            "{name}: {metrics}"
        );
    }
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// The rules and the dashboard that are shipped, and what is written of the numbers.
const MONITORING: [&str; 3] = [
    "packaging/alerts.yml",
    "packaging/grafana.json",
    "docs/MONITORING.md",
];

/// They ask for numbers that there are, and each number is described.
#[test]
fn what_is_shipped_for_monitoring_asks_for_numbers_that_there_are() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let (mut daemon, address) = served(&node, &[])?;
    daemon.wait_for("sample", 1)?;
    let (_, _, metrics) = get(address, "/metrics")?;
    let families: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    // What never happened has no age.
    let known = |name: &str| {
        let endings = ["", "_total", "_bucket", "_info"];
        let mut stems = endings
            .iter()
            .filter_map(|ending| name.strip_suffix(ending));
        name.ends_with("_age_seconds") || stems.any(|stem| families.contains(stem))
    };
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    for file in MONITORING {
        let path = format!("{}/../../{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path)?;
        let words = text.split(|c: char| !is_part(c));
        let names: BTreeSet<&str> = words.filter(|word| word.starts_with("nonos_")).collect();
        assert!(names.len() >= 5, "{file}: {names:?}");
        for name in &names {
            assert!(known(name), "{file}: {name}");
        }
        if file.starts_with("docs/") {
            for family in &families {
                let is_described = names.iter().any(|name| name.starts_with(family));
                assert!(is_described, "{family} is not in {file}");
            }
        }
        if file.contains("grafana") {
            serde_json::from_str::<Value>(&text)?;
        }
    }
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// Reads a scrape from standard input and counts what is in it.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics import parser
families = list(parser.text_string_to_metric_families(sys.stdin.read()))
print(len(families), sum(len(family.samples) for family in families))
";

/// A parser that is not ours: the Python client of Prometheus, and promtool where it is. Who has neither is told; CI has
/// the first.
#[test]
fn parsers_of_prometheus_read_the_numbers_and_the_rules() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let (mut daemon, address) = served(&node, &[])?;
    daemon.wait_for("sample", 1)?;
    let (_, _, metrics) = get(address, "/metrics")?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let has_client = |python: &&str| {
        let import = ["-c", "import prometheus_client.openmetrics.parser"];
        let imported = Command::new(python)
            .args(import)
            .stderr(Stdio::null())
            .status();
        imported.is_ok_and(|status| status.success())
    };
    match ["python3", "/usr/bin/python3"].into_iter().find(has_client) {
        Some(python) => {
            let parsed = fed(Command::new(python).args(["-c", PARSER]), &metrics)?;
            let counts: Vec<usize> = parsed
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let families = metrics
                .lines()
                .filter(|line| line.starts_with("# TYPE "))
                .count();
            let samples = metrics
                .lines()
                .filter(|line| !line.starts_with('#'))
                .count();
            assert_eq!(counts, [families, samples]);
            assert!(families > 25 && samples > 90, "{counts:?}");
        }
        None if std::env::var_os("NONOS_PARSERS").is_some() => {
            return Err("python3-prometheus-client is not installed".into());
        }
        None => skipped("python3-prometheus-client is not installed"),
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/alerts.yml");
    match Command::new("promtool")
        .args(["check", "rules", rules])
        .output()
    {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skipped(&format!("promtool: {error}")),
    }
    Ok(())
}

fn skipped(why: &str) {
    // There is nobody to tell that standard error does not take it.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// What a program says of what it is given.
fn fed(command: &mut Command, input: &str) -> Fallible<String> {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    stdin.ok_or("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Compacting and scrubbing tell how far they are as opening does.
#[test]
fn a_node_that_is_being_looked_after_is_ready() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("scrub_every_secs = 604800", "scrub_every_secs = 1"))?;
    let (mut daemon, address) = served(&node, &[])?;
    node.json(&["compact", "-o", "json"], 0)?;
    daemon.wait_for("every record is as it was written", 2)?;
    assert_eq!(get(address, "/readyz")?.0, 200);
    let (_, _, status) = get(address, "/api/v1/status")?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["phase"], "open", "{status}");
    assert!(
        status["open"]["scrub"]["age_secs"].as_u64() < Some(60),
        "{status}"
    );
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// What a verb does by itself is as good as what the daemon does: it has account of both.
#[test]
fn what_verbs_do_beside_the_daemon_is_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let (daemon, address) = served(&node, &[])?;
    let open = || -> Fallible<Value> {
        let (_, _, status) = get(address, "/api/v1/status")?;
        let mut status: Value = serde_json::from_str(&status)?;
        Ok(status["open"].take())
    };
    let before = open()?;
    for name in ["backup", "verified_backup", "drill", "scrub", "compaction"] {
        assert_eq!(before[name], Value::Null, "{before}");
    }
    node.json(&["backup", "create", "-o", "json"], 0)?;
    assert!(open()?["backup"].is_object());
    node.json(&["backup", "verify", "-o", "json"], 0)?;
    assert!(open()?["verified_backup"].is_object());
    // One of another database is none of it.
    let other = Node::new()?;
    other.json(&["init", "-o", "json"], 0)?;
    other.json(&["backup", "create", "-o", "json"], 0)?;
    let from = other.path("backups").display().to_string();
    node.json(&["backup", "drill", "--from", &from, "-o", "json"], 0)?;
    assert_eq!(open()?["drill"], Value::Null);
    // What lies elsewhere than the daemon's own is none of its.
    let elsewhere = node.path("elsewhere").display().to_string();
    node.json(&["backup", "create", "--to", &elsewhere, "-o", "json"], 0)?;
    node.json(&["backup", "drill", "--from", &elsewhere, "-o", "json"], 0)?;
    assert_eq!(open()?["drill"], Value::Null);
    // By whatever name its own place is called.
    let own = node.path("elsewhere/../backups").display().to_string();
    node.json(&["backup", "drill", "--from", &own, "-o", "json"], 0)?;
    assert!(open()?["drill"].is_object());
    node.json(&["verify", "--tree", "peers", "-o", "json"], 0)?;
    assert_eq!(open()?["scrub"], Value::Null);
    // What looks at less than a scrub takes nothing back of what one found.
    let key = node.path("storage.key");
    let aside = node.path("aside.key");
    node.json(&["verify", "-o", "json"], 0)?;
    node.json(&["verify", "--deep", "--offline", "-o", "json"], 0)?;
    std::fs::rename(&key, &aside)?;
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    std::fs::rename(&aside, &key)?;
    // Another database of the same store is not the one that the daemon has.
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([
            node.path("data.sled.journal"),
            node.path("copy.sled.journal"),
        ])
        .status()?;
    assert!(copied.success());
    let config = node.path("copy.toml");
    std::fs::write(&config, "[storage]\ndb_path = \"copy.sled\"\n")?;
    let config = config.display().to_string();
    let of_copy = node.json(&["-c", &config, "verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(of_copy["data"]["index_compared"], false, "{of_copy}");
    assert_eq!(open()?["scrub"], Value::Null);
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert!(open()?["scrub"].is_object());
    node.json(&["compact", "-o", "json"], 0)?;
    assert!(open()?["compaction"].is_object());
    let status = node.json(&["status", "-o", "json"], 0)?;
    assert!(status["data"]["unsynced_commits"].is_u64(), "{status}");
    assert!(status["data"]["upkeep"]["drill"].is_object(), "{status}");
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// What the last scrub found may be mended: the next start looks again, and says how it is now.
#[test]
fn errors_that_are_mended_are_told_no_more() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let storage = nonos_daemon::NodeStorage::open(nonos_daemon::StorageConfig {
        path: node.path("data.sled"),
        ..nonos_daemon::StorageConfig::default()
    })?;
    storage.note_upkeep(|upkeep| upkeep.scrub_errors = 3)?;
    storage.close()?;
    let (mut daemon, address) = served(&node, &[])?;
    daemon.wait_for("every record is as it was written", 1)?;
    let (_, _, status) = get(address, "/api/v1/status")?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["open"]["scrub_errors"], 0, "{status}");
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// A drill that fails is an error of the status until one succeeds.
#[test]
fn a_backup_that_cannot_be_restored_is_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    let config = config
        .replace("every_secs = 0", "every_secs = 86400")
        .replace("drill_every_secs = 604800", "drill_every_secs = 1");
    node.write_config(&config)?;
    let made = node.json(&["backup", "create", "-o", "json"], 0)?;
    let name = made["data"]["backups"][0]["name"]
        .as_str()
        .ok_or("no name")?;
    let file = node.path("backups").join(name);
    let whole = std::fs::read(&file)?;
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged)?;
    let codes = |address| -> Fallible<Vec<String>> {
        let (_, _, status) = get(address, "/api/v1/status")?;
        let status: Value = serde_json::from_str(&status)?;
        let findings = status["findings"].as_array().ok_or("no findings")?;
        let code = |found: &Value| found["code"].as_str().unwrap_or_default().to_owned();
        Ok(findings.iter().map(code).collect())
    };
    let is_told = |codes: &[String]| codes.iter().any(|code| code == "DRILL_FAILED");

    let (mut daemon, address) = served(&node, &[])?;
    // It is logged just before it is noted: the second comes after the first is.
    daemon.wait_for("the newest backup cannot be restored", 2)?;
    let told = codes(address)?;
    assert!(is_told(&told), "{told:?}");
    std::fs::write(&file, whole)?;
    daemon.wait_for("the newest backup was restored and verified", 2)?;
    let told = codes(address)?;
    assert!(!is_told(&told), "{told:?}");
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}
