//! Databases of the first implementation, through the operator's verbs.

use std::fs;
use std::path::Path;

use storage_testkit::damage::copy;
use storage_testkit::first_implementation::FirstImplementation;

use crate::program::{Node, TestResult};

/// A node whose database the first implementation wrote.
fn old_node(name: &'static str) -> Result<Node, Box<dyn std::error::Error>> {
    let (node, fixture) = (Node::new()?, FirstImplementation::unpack(name)?);
    node.write_config("")?;
    copy(&fixture.database(), &node.path("data.sled"))?;
    Ok(node)
}

fn entries(status: &serde_json::Value, tree: &str) -> Option<u64> {
    let trees = status["data"]["trees"].as_array()?;
    trees.iter().find(|found| found["name"] == tree)?["entries"].as_u64()
}

#[test]
fn an_old_database_is_looked_at_planned_and_migrated() -> TestResult {
    let node = old_node("stamped-2")?;
    for verb in ["status", "init"] {
        node.json(&[verb, "-o", "json"], 6)?;
    }
    assert_eq!(
        node.output(&["run", "--no-migrate"])?.status.code(),
        Some(6)
    );
    let shown = node.json(&["schema", "show", "-o", "json"], 0)?;
    assert_eq!(
        (&shown["data"]["version"], &shown["data"]["stamped"]),
        (&1.into(), &2.into())
    );

    let dry = node.json(&["migrate", "--dry-run", "-o", "json"], 0)?;
    let plan = node.json(&["schema", "plan", "-o", "json"], 0)?;
    assert_eq!(dry["data"], plan["data"]);
    let peers = dry["data"]["trees"].as_array().ok_or("no trees")?;
    let peers = peers
        .iter()
        .find(|tree| tree["name"] == "peers")
        .ok_or("no peers")?;
    assert_eq!(
        (&peers["records"], &peers["changed"]),
        (&300.into(), &300.into())
    );
    let exit = node.output(&["migrate", "--dry-run", "--exit-code", "-o", "json"])?;
    assert_eq!(exit.status.code(), Some(13));
    assert!(
        !node.path("data.sled.journal").exists(),
        "the dry run wrote something"
    );

    let output = node.output(&["migrate", "-o", "json", "--progress", "json"])?;
    assert_eq!(output.status.code(), Some(0));
    let migrated: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        migrated["data"]["steps"][0]["converted"],
        dry["data"]["records"]
    );
    let events = String::from_utf8(output.stderr)?;
    let mut events = events
        .lines()
        .filter(|line| line.contains("\"op\":\"migrate\""));
    let last: serde_json::Value = serde_json::from_str(events.next_back().ok_or("no event")?)?;
    assert_eq!(
        (&last["event"], &last["step"]),
        (&"progress".into(), &"1->2".into())
    );
    assert_eq!(
        (&last["done"], &last["tree"]),
        (&last["total"], &"peers".into())
    );

    assert_eq!(
        entries(&node.json(&["status", "-o", "json"], 0)?, "peers"),
        Some(300)
    );
    let history = node.json(&["schema", "history", "-o", "json"], 0)?;
    let newest = history["data"]
        .as_array()
        .and_then(|all| all.last())
        .cloned();
    assert_eq!(newest.ok_or("no history")?["to_version"], 2);
    let again = node.json(&["migrate", "-o", "json"], 0)?;
    assert_eq!(again["data"]["steps"], serde_json::json!([]));
    let current = node.output(&["migrate", "--dry-run", "--exit-code"])?;
    assert_eq!(current.status.code(), Some(0));
    node.json(&["migrate", "--abort", "--yes", "-o", "json"], 1)?;
    Ok(())
}

#[test]
fn its_files_are_imported_and_written_again() -> TestResult {
    let fixture = FirstImplementation::unpack("stamped-1")?;
    let backup = fixture.backup().display().to_string();
    let node = Node::new()?;
    let imported = node.json(&["import", &backup, "-o", "json"], 0)?;
    assert_eq!(imported["data"]["schema_version"], 2);
    let status = node.json(&["status", "-o", "json"], 0)?;
    assert_eq!(
        (entries(&status, "peers"), entries(&status, "metrics")),
        (Some(120), Some(480))
    );
    node.json(&["import", &backup, "-o", "json"], 2)?;

    let back = node.path("back.nonos").display().to_string();
    let export = [
        "export",
        "--as",
        "first-implementation",
        &back,
        "-o",
        "json",
    ];
    let written = node.json(&export, 0)?;
    // And what importing did with its secrets: they were sealed, and the files rid of the plain ones.
    let entries_of = |result: &serde_json::Value| result["data"]["entries"].as_u64();
    assert_eq!(entries_of(&written), entries_of(&imported).map(|n| n + 3));
    assert_eq!(written["data"]["bytes"], fs::metadata(&back)?.len());
    node.json(&export, 10)?;
    let again = Node::new()?;
    again.json(&["import", &back, "-o", "json"], 0)?;
    assert_eq!(
        entries(&again.json(&["status", "-o", "json"], 0)?, "peers"),
        Some(120)
    );
    Ok(())
}

#[test]
fn wrong_sources_and_flags_are_refused() -> TestResult {
    let node = Node::new()?;
    node.json(&["migrate", "-o", "json"], 3)?;
    node.json(&["schema", "show", "-o", "json"], 3)?;
    node.json(&["import", "/nowhere", "-o", "json"], 1)?;
    assert!(!Path::new(&node.path("data.sled")).exists());
    node.write_config("")?;
    fs::write(node.path("not a backup"), b"something else")?;
    let file = node.path("not a backup").display().to_string();
    node.json(&["import", &file, "-o", "json"], 8)?;
    for args in [
        &["migrate", "--exit-code"][..],
        &["export", "--as", "csv", "x"],
        &["migrate", "--lock-timeout", "5 parsecs"],
    ] {
        assert_eq!(node.output(args)?.status.code(), Some(2), "{args:?}");
    }
    Ok(())
}

#[test]
fn secrets_that_an_old_key_does_not_open_are_named_and_left_out() -> TestResult {
    let fixture = FirstImplementation::unpack("stamped-1")?;
    let backup = fixture.backup().display().to_string();
    let node = Node::new()?;
    // Nothing is made before the old key is known to be one.
    node.json(
        &["import", &backup, "--old-key", "/nowhere", "-o", "json"],
        9,
    )?;
    assert!(!node.path("data.sled").exists());

    let plain = Node::new()?;
    plain.json(&["import", &backup, "-o", "json"], 0)?;
    let list = ["secrets", "list", "-o", "json"];
    let names = plain.json(&list, 0)?["data"]["secrets"].clone();
    assert!(
        names.as_array().is_some_and(|names| !names.is_empty()),
        "{names}"
    );

    let key = node.path("old.key").display().to_string();
    node.json(&["secrets", "key", "new", &key, "-o", "json"], 0)?;
    let imported = node.json(&["import", &backup, "--old-key", &key, "-o", "json"], 0)?;
    // They are plain, so no key opens them.
    assert_eq!(imported["data"]["secrets_left_out"], names);
    assert_eq!(imported["data"]["secrets_opened"], serde_json::json!([]));
    assert_eq!(
        node.json(&list, 0)?["data"]["secrets"],
        serde_json::json!([])
    );
    Ok(())
}
