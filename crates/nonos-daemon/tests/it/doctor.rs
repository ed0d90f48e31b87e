//! `nonos doctor`: what is broken is found, with what helps; what it says helps.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nonos_daemon::{NodeStorage, StorageConfig};
use serde_json::Value;

use crate::program::{Node, TestResult};

const SECRET: &[u8] = b"that no bundle holds";

fn codes(found: &Value) -> Vec<String> {
    let findings = found["findings"].as_array().cloned().unwrap_or_default();
    let codes = findings
        .iter()
        .filter_map(|finding| finding["code"].as_str());
    codes.map(str::to_owned).collect()
}

fn healthy() -> Result<Node, Box<dyn std::error::Error>> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    Ok(node)
}

/// Temporary directories may be on a file system that it warns of.
fn without_place(mut codes: Vec<String>) -> Vec<String> {
    codes.retain(|code| code != "FILE_SYSTEM");
    codes
}

#[test]
fn a_new_node_is_healthy() -> TestResult {
    let node = healthy()?;
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(without_place(codes(&found)), [""; 0], "{found}");
    assert!(found["data"]["file_system"].is_string(), "{found}");
    assert!(found["data"]["free_bytes"].as_u64() > Some(0));
    let table = node.output(&["doctor"])?;
    assert!(String::from_utf8_lossy(&table.stdout).contains("0 errors"));
    Ok(())
}

#[test]
fn each_thing_that_is_broken_is_found() -> TestResult {
    let nothing = Node::new()?;
    let found = nothing.json(&["doctor", "-o", "json"], 7)?;
    assert!(codes(&found).contains(&"NO_DATA_DIR".to_owned()), "{found}");
    assert!(codes(&found).contains(&"NOT_FOUND".to_owned()), "{found}");
    assert!(!nothing.path("").exists(), "looking makes nothing");

    let open_to_all = healthy()?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(open_to_all.path(""), mode)?;
    let found = open_to_all.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(without_place(codes(&found)), ["PERMISSIONS"], "{found}");

    let key = healthy()?;
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(key.path("storage.key"), mode)?;
    let found = key.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["KEY_FILE"], "{found}");

    let config = healthy()?;
    config.write_config("[metrics]\nintervall_secs = 60\n")?;
    let found = config.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["CONFIG"], "{found}");

    let damaged = healthy()?;
    for entry in fs::read_dir(damaged.path("data.sled.journal"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            let mut bytes = fs::read(&path)?;
            // Behind the header, and the mark that follows it: of the first commit.
            for byte in bytes.iter_mut().skip(4420).take(64) {
                *byte ^= 0xff;
            }
            fs::write(path, bytes)?;
        }
    }
    let found = damaged.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["CORRUPT"], "{found}");

    let left = healthy()?;
    for name in [
        "data.sled.restored",
        "data.sled.damaged-1790000000",
        "data.sled.before-1790000000",
    ] {
        fs::create_dir(left.path(name))?;
    }
    fs::create_dir(left.path(".scratch-0000000000000000-00000000000000000000000000000000"))?;
    let found = left.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(without_place(codes(&found)), ["LEFTOVER"; 4], "{found}");
    Ok(())
}

#[test]
fn plain_secrets_and_a_sample_of_the_future_are_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    storage_testkit::logs::forbid(SECRET);
    let storage = NodeStorage::open(StorageConfig {
        path: node.path("data.sled"),
        ..StorageConfig::default()
    })?;
    storage.store_secret("wallet", SECRET)?;
    storage.store_metrics(9_000_000_000, &nonos_daemon::StoredMetrics::default())?;
    storage.close()?;
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(
        without_place(codes(&found)),
        ["CLOCK", "PLAIN_SECRETS"],
        "{found}"
    );

    // What is handed on holds what helps, and no secret.
    let bundle = node.path("bundle.tar");
    let file = bundle.display().to_string();
    let config = fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("to = \"backups\"", "to = \"s3://me:password@bucket/x\""))?;
    let found = node.json(&["doctor", "--bundle", &file, "-o", "json"], 0)?;
    assert_eq!(found["data"]["bundle"], file.as_str());
    let bytes = fs::read(&bundle)?;
    assert_eq!(fs::metadata(&bundle)?.permissions().mode() & 0o777, 0o600);
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    for name in [
        "nonos/doctor.json",
        "nonos/files.txt",
        "nonos/config.toml",
        "nonos/schema.json",
        "nonos/trees.json",
    ] {
        assert!(holds(name.as_bytes()), "{name}");
    }
    assert!(holds(b"PLAIN_SECRETS") && holds(b"interval_secs"));
    assert!(!holds(SECRET) && !holds(b"password"));
    // One that is there is not replaced unasked.
    node.json(&["doctor", "--bundle", &file, "-o", "json"], 10)?;
    Ok(())
}
