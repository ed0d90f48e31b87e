//! Repairing a database that does not open.

use std::fs;

use crate::program::{Node, TestResult};

/// A node of which both copies are damaged.
fn damaged_node() -> Result<Node, Box<dyn std::error::Error>> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    // A second segment, so that a damaged first one is no tail of a power cut.
    let prune = ["prune", "--tree", "metrics", "--older-than", "90d"];
    node.json(&[&prune[..], &["-o", "json"]].concat(), 0)?;
    let journal = fs::read_dir(node.path("data.sled.journal"))?;
    for file in journal.collect::<Result<Vec<_>, _>>()? {
        let mut bytes = fs::read(file.path())?;
        if file.file_name().to_string_lossy().starts_with("checkpoint") {
            fs::remove_file(file.path())?;
        } else if file.file_name() == "00000000000000000001.log" {
            // The second of its frames; the first begins at 4148 with its length, without 41 bytes.
            let first: [u8; 4] = bytes[4148..4152].try_into()?;
            let second = 4148 + 41 + usize::try_from(u32::from_le_bytes(first))?;
            bytes[second + 16..second + 60].fill(0x5a);
            fs::write(file.path(), bytes)?;
        }
    }
    fs::remove_file(node.path("data.sled/db"))?;
    Ok(node)
}

#[test]
fn repair_makes_a_new_database_and_lists_what_is_damaged() -> TestResult {
    let node = damaged_node()?;
    node.json(&["compact", "-o", "json"], 7)?;
    let dry = node.json(&["repair", "--dry-run", "-o", "json"], 0)?;
    assert!(!node.path("data.sled.repaired.journal").exists());
    let repaired = node.json(&["repair", "-o", "json"], 0)?;
    assert_eq!(repaired["schema"], "nonos.repair/1");
    let data = &repaired["data"];
    assert_eq!(data["trees"], dry["data"]["trees"]);
    assert_eq!(data["lost_commits"], dry["data"]["lost_commits"]);
    assert!(data["records"].as_u64() > Some(0), "{data}");
    assert!(data["damaged_pieces"].as_u64() > Some(0), "{data}");
    let list = fs::read_to_string(node.path("data.sled.repaired.quarantine.ndjson"))?;
    for line in list.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        assert!(
            line["found_in"].is_string() && line["value_hex"].is_string(),
            "{line}"
        );
    }
    node.json(&["repair", "-o", "json"], 2)?;
    // The new one opens.
    node.write_config("[storage]\ndb_path = \"data.sled.repaired\"\n")?;
    node.json(
        &["verify", "-o", "json"],
        data["verified"]["errors"]
            .as_i64()
            .map_or(0, |n| if n > 0 { 7 } else { 0 }),
    )?;
    Ok(())
}

#[test]
fn repair_of_nothing_and_a_swap_that_is_not_confirmed_are_refused() -> TestResult {
    let node = Node::new()?;
    node.json(&["repair", "-o", "json"], 3)?;
    assert!(!node.path("data.sled.repaired").exists());
    node.json(&["init", "-o", "json"], 0)?;
    node.json(&["repair", "--commit", "-o", "json"], 10)?;
    let before = node.json(&["status", "-o", "json"], 0)?;
    let done = node.json(&["repair", "--commit", "--yes", "-o", "json"], 0)?;
    let kept = std::path::PathBuf::from(done["data"]["kept"].as_str().ok_or("not kept")?);
    assert!(kept.is_dir());
    assert!(!node.path("data.sled.repaired").exists());
    let after = node.json(&["status", "-o", "json"], 0)?;
    assert_eq!(after["data"]["trees"], before["data"]["trees"]);
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    let into = node.path("elsewhere").display().to_string();
    let repaired = node.json(&["repair", "--into", &into, "-o", "json"], 0)?;
    assert_eq!(repaired["data"]["lost_commits"], serde_json::json!([]));
    assert_eq!(repaired["data"]["quarantine"], serde_json::Value::Null);
    let shown = node.output(&["repair", "--dry-run"])?;
    assert!(String::from_utf8(shown.stdout)?.contains("records would be in"));
    Ok(())
}
