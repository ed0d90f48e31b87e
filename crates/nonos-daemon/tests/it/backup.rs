//! Backups and restores, as an operator makes them.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

mod interrupted;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// A node with a few samples and, where that is built in, an identity and a secret.
fn node() -> Fallible<Node> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    sampled(&node, 3)?;
    Ok(node)
}

/// Runs the daemon for a few samples.
fn sampled(node: &Node, count: usize) -> TestResult {
    let config = fs::read_to_string(node.path("config.toml"))?;
    let config = config.replace("interval_secs = 60", "interval_secs = 1");
    node.write_config(&config)?;
    let mut daemon = Daemon::start(node)?;
    daemon.wait_for("sample", count)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

fn samples(node: &Node) -> Fallible<u64> {
    let status = node.json(&["status", "-o", "json"], 0)?;
    let trees = status["data"]["trees"].as_array().ok_or("no trees")?;
    let metrics = trees.iter().find(|tree| tree["name"] == "metrics");
    Ok(metrics.ok_or("no metrics")?["entries"]
        .as_u64()
        .ok_or("no number")?)
}

fn backups(node: &Node) -> Fallible<Vec<Value>> {
    let listed = node.json(&["backup", "list", "-o", "json"], 0)?;
    assert_eq!(listed["data"]["unreadable"], serde_json::json!([]));
    Ok(listed["data"]["backups"]
        .as_array()
        .ok_or("no list")?
        .clone())
}

#[test]
fn backups_are_made_listed_verified_drilled_and_pruned() -> TestResult {
    let node = node()?;
    let create = ["backup", "create", "--incremental", "-o", "json"];
    let first = node.json(&create, 0)?;
    assert_eq!(first["data"]["backups"][0]["kind"], "full");
    let nothing = node.json(&create, 0)?;
    assert_eq!(nothing["data"]["backups"], serde_json::json!([]));
    sampled(&node, 2)?;
    let second = node.json(&create, 0)?;
    assert_eq!(second["data"]["backups"][0]["kind"], "increment");
    let listed = backups(&node)?;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["verified_at"], Value::Null);

    let name = listed[1]["name"].as_str().ok_or("no name")?;
    let shown = node.json(&["backup", "show", name, "-o", "json"], 0)?;
    assert_eq!(shown["data"]["commit"], listed[1]["commit"]);
    node.json(&["backup", "verify", name, "-o", "json"], 0)?;
    assert!(backups(&node)?[1]["verified_at"].is_string());
    let drill = node.json(&["backup", "drill", "-o", "json"], 0)?;
    assert_eq!(drill["data"]["is_sound"], true);
    assert_eq!(drill["data"]["backup"]["name"], name);

    // A backup that is not there, and a place that is not built in.
    node.json(&["backup", "show", "nothing", "-o", "json"], 1)?;
    node.json(&["backup", "verify", "nothing", "-o", "json"], 1)?;
    node.json(
        &["backup", "list", "--from", "ftp://host/x", "-o", "json"],
        2,
    )?;
    let mistyped = text(&node.path("bakcups"));
    for verb in [&["backup", "list"][..], &["backup", "drill"], &["restore"]] {
        let args = [verb, &["--from", &mistyped, "--yes", "-o", "json"]].concat();
        node.json(&args, 1)?;
    }
    assert!(!node.path("bakcups").exists(), "reading makes nothing");

    node.json(&["backup", "create", "-o", "json"], 0)?;
    let prune = ["backup", "prune", "--keep-last", "1", "-o", "json"];
    let dry = node.json(&[&prune[..], &["--dry-run"]].concat(), 0)?;
    // The newest is not verified, so what was verified stays as well.
    assert_eq!(dry["data"]["backups"], serde_json::json!([]));
    node.json(&["backup", "verify", "-o", "json"], 0)?;
    let dry = node.json(&[&prune[..], &["--dry-run"]].concat(), 0)?;
    assert_eq!(dry["data"]["backups"].as_array().map(Vec::len), Some(2));
    node.json(&prune, 10)?;
    assert_eq!(backups(&node)?.len(), 3);
    let pruned = node.json(&[&prune[..], &["--yes"]].concat(), 0)?;
    assert_eq!(pruned["data"]["backups"], dry["data"]["backups"]);
    assert_eq!(backups(&node)?.len(), 1);

    // A changed byte.
    let listed = backups(&node)?;
    let name = listed[0]["name"].as_str().ok_or("no name")?;
    let file = node.path("backups").join(name);
    let mut bytes = fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes)?;
    node.json(&["backup", "verify", name, "-o", "json"], 8)?;
    node.json(&["backup", "drill", "-o", "json"], 8)?;
    Ok(())
}

#[test]
fn a_restored_database_runs_once_it_was_said_which_node_it_is() -> TestResult {
    let node = node()?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let before = samples(&node)?;
    let id = node.json(&["init", "-o", "json"], 0)?["data"]["node_id"].clone();
    sampled(&node, 2)?;
    assert!(samples(&node)? > before);

    let restore = ["restore", "-o", "json"];
    let dry = node.json(&[&restore[..], &["--dry-run"]].concat(), 0)?;
    assert_eq!(dry["data"]["kept"], Value::Null);
    assert!(samples(&node)? > before, "a dry run changes nothing");
    node.json(&restore, 10)?;
    let done = node.json(&[&restore[..], &["--yes"]].concat(), 0)?;
    assert_eq!(done["data"]["commit"], dry["data"]["commit"]);
    assert_eq!(samples(&node)?, before);
    let kept = PathBuf::from(done["data"]["kept"].as_str().ok_or("nothing kept")?);
    assert!(kept.is_dir(), "{}", kept.display());

    let refused = node.output(&["run"])?;
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("--same-node") && said.contains("--new-identity"),
        "{said}"
    );
    let mut daemon = Daemon::start_with(&node, &["--same-node"])?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    // Once is enough.
    sampled(&node, 1)?;
    assert_eq!(
        node.json(&["init", "-o", "json"], 0)?["data"]["node_id"],
        id
    );
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    let audit = node.json(&["audit", "tail", "-o", "json"], 0)?.to_string();
    assert!(audit.contains("the same node"), "{audit}");

    // Back to what is now the past, as another node.
    node.json(&["backup", "create", "-o", "json"], 0)?;
    node.json(&["restore", "--yes", "-o", "json"], 0)?;
    let mut daemon = Daemon::start_with(&node, &["--new-identity"])?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let other = node.json(&["init", "-o", "json"], 0)?["data"]["node_id"].clone();
    assert_ne!(other, id);
    node.json(&["audit", "verify", "-o", "json"], 0)?;
    Ok(())
}

#[test]
fn a_file_and_a_time_are_restored_into_a_directory() -> TestResult {
    let node = node()?;
    let file = text(&node.path("one.nonos"));
    node.json(&["backup", "create", "--to", &file, "-o", "json"], 0)?;
    node.json(&["backup", "verify", &file, "-o", "json"], 0)?;
    node.json(&["backup", "create", "--to", &file, "-o", "json"], 10)?;
    let count = samples(&node)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let state_at = backups(&node)?[0]["state_at"]
        .as_str()
        .ok_or("no time")?
        .to_owned();
    sampled(&node, 2)?;
    node.json(&["backup", "create", "--incremental", "-o", "json"], 0)?;
    let into = text(&node.path("other"));
    for from in [&["--from", &file][..], &["--at", &state_at]] {
        let args = [&["restore", "--into", &into, "-o", "json"][..], from].concat();
        node.json(&args, 0)?;
        node.json(&args, 2)?;
        let args = ["--data-dir", &into, "status", "-o", "json"];
        let status = node.json(&args, 0)?;
        let trees = status["data"]["trees"].to_string();
        assert!(
            trees.contains(&format!("\"entries\":{count},")),
            "{count}: {trees}"
        );
        fs::remove_dir_all(&into)?;
    }
    let early = [
        "restore",
        "--at",
        "2001-01-01T00:00:00Z",
        "--into",
        &into,
        "-o",
        "json",
    ];
    node.json(&early, 1)?;
    assert!(!node.path("other/data.sled").exists());
    let usage = node.output(&["restore", "--at", "yesterday"])?;
    assert_eq!(usage.status.code(), Some(2));
    Ok(())
}

#[test]
fn a_clone_is_the_node_at_another_place() -> TestResult {
    let node = node()?;
    let to = text(&node.path("copy"));
    let done = node.json(&["clone", "--to", &to, "-o", "json"], 0)?;
    node.json(&["clone", "--to", &to, "-o", "json"], 2)?;
    assert!(done["data"]["files"].to_string().contains("config.toml"));
    let status = node.json(&["--data-dir", &to, "status", "-o", "json"], 0)?;
    let of_node = node.json(&["status", "-o", "json"], 0)?;
    assert_eq!(status["data"]["trees"], of_node["data"]["trees"]);
    node.json(&["--data-dir", &to, "verify", "--deep", "-o", "json"], 0)?;
    let refused = node.output(&["--data-dir", &to, "run"])?;
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");

    let outside = fs::read_to_string(node.path("config.toml"))?;
    // An absolute path leads back here, also one within.
    for name in ["../elsewhere.sled", "data.sled"] {
        let elsewhere = format!("db_path = {:?}", text(&node.path(name)));
        node.write_config(&outside.replace("db_path = \"data.sled\"", &elsewhere))?;
        let again = text(&node.path("again"));
        let refused = node.json(&["clone", "--to", &again, "-o", "json"], 2)?;
        assert_eq!(refused["findings"][0]["code"], "OUTSIDE");
    }
    Ok(())
}

/// The daemon ships what is new; a machine that is lost costs what came since.
#[test]
fn what_the_daemon_shipped_outlives_the_machine() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = fs::read_to_string(node.path("config.toml"))?;
    let config = config
        .replace("interval_secs = 60", "interval_secs = 1")
        .replace("every_secs = 0", "every_secs = 1")
        .replace("drill_every_secs = 604800", "drill_every_secs = 1")
        .replace("scrub_every_secs = 604800", "scrub_every_secs = 1");
    node.write_config(&config)?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("backed up", 4)?;
    let shipped = backups(&node)?;
    daemon.wait_for("the newest backup was restored and verified", 1)?;
    daemon.wait_for("every record is as it was written", 2)?;
    daemon.end("-KILL")?;
    assert!(shipped.iter().any(|b| b["kind"] == "increment"));
    let commit = shipped.last().ok_or("nothing")?["commit"].as_u64();
    for name in ["data.sled", "data.sled.journal"] {
        fs::remove_dir_all(node.path(name))?;
    }
    let done = node.json(&["restore", "-o", "json"], 0)?;
    assert!(done["data"]["commit"].as_u64() >= commit, "{done}");
    assert!(samples(&node)? >= 3);
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    let mut daemon = Daemon::start_with(&node, &["--same-node"])?;
    daemon.wait_for("backed up", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// A place for backups that cannot be used stops no node, neither at its start nor when the configuration is read again.
#[test]
fn the_daemon_goes_on_where_no_backup_can_be_made() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = fs::read_to_string(node.path("config.toml"))?;
    let good = config
        .replace("interval_secs = 60", "interval_secs = 1")
        .replace("every_secs = 0", "every_secs = 1");
    let to = |place: &str| good.replace("to = \"backups\"", &format!("to = \"{place}\""));
    assert_ne!(to("elsewhere"), good);
    fs::write(node.path("a file"), "")?;
    node.write_config(&to("a file/below"))?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("no backup can be made; it is tried again", 1)?;
    daemon.wait_for("sample", 2)?;
    node.write_config(&good)?;
    daemon.signal("-HUP")?;
    daemon.wait_for("backed up", 1)?;
    node.write_config(&to("ftp://somewhere"))?;
    daemon.signal("-HUP")?;
    daemon.wait_for("the configuration stays as it was", 1)?;
    node.write_config(&to("a file/below"))?;
    daemon.signal("-HUP")?;
    daemon.wait_for("no backup can be made; it is tried again", 1)?;
    daemon.wait_for("sample", 2)?;
    node.write_config(&good)?;
    daemon.signal("-HUP")?;
    daemon.wait_for("backed up", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}
