//! Verbs beside `run`, and what they say to bad input.

use std::os::unix::fs::PermissionsExt;

use crate::program::{Node, TestResult};

#[test]
fn init_makes_everything_once() -> TestResult {
    let node = Node::new()?;
    let made = node.json(&["init", "-o", "json"], 0)?;
    assert_eq!(made["schema"], "nonos.init/1");
    assert_eq!(made["data"]["config_written"], true, "{made}");
    assert_eq!(made["data"]["database_created"], true, "{made}");
    for (name, mode) in [("", 0o700), ("config.toml", 0o600), ("data.sled", 0o700)] {
        let found = std::fs::metadata(node.path(name))?.permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let again = node.json(&["init", "-o", "json"], 0)?;
    assert_eq!(again["data"]["config_written"], false, "{again}");
    assert_eq!(again["data"]["database_created"], false, "{again}");
    Ok(())
}

#[test]
fn status_of_nothing_exits_3_and_makes_nothing() -> TestResult {
    let node = Node::new()?;
    let found = node.json(&["status", "-o", "ndjson"], 3)?;
    assert_eq!(found["findings"][0]["code"], "NOT_FOUND");
    assert!(!node.path("").exists());
    Ok(())
}

#[test]
fn version_names_the_schema() -> TestResult {
    let version = Node::new()?.json(&["version", "-o", "json"], 0)?;
    assert_eq!(version["data"]["schema_version"], 2);
    Ok(())
}

#[test]
fn a_bad_configuration_exits_2_and_makes_nothing() -> TestResult {
    for (config, expected) in [
        (
            "[storage]\nflush_evry_ms = 5\n",
            "did you mean \"flush_every_ms\"?",
        ),
        ("[storage]\nflush_every_ms = 0\n", "flush_every_ms"),
        (
            "[storage]\ncache_capacity_bytes = 1000\n",
            "give 1048576 or more",
        ),
        ("[metrics]\ninterval_secs = 0\n", "give 1 to 86400"),
        ("[storage\n", "not valid"),
    ] {
        for verb in ["run", "init", "status"] {
            let node = Node::new()?;
            node.write_config(config)?;
            if verb == "status" {
                std::fs::create_dir(node.path("data.sled"))?;
            }
            let output = node.output(&[verb])?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{verb} {config:?}: {stderr}");
            assert!(stderr.contains(expected), "{verb} {config:?}: {stderr}");
            assert!(!node.path("data.sled.lock").exists(), "{verb} {config:?}");
        }
    }
    Ok(())
}

#[test]
fn bad_usage_exits_2() -> TestResult {
    let node = Node::new()?;
    for args in [
        &["frobnicate"][..],
        &[],
        &["status", "-o", "xml"],
        &["run", "-q", "-v"],
    ] {
        let output = node.output(args)?;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    Ok(())
}

#[test]
fn a_database_path_that_is_a_file_is_refused() -> TestResult {
    let node = Node::new()?;
    node.write_config("")?;
    std::fs::write(node.path("data.sled"), "mine")?;
    let output = node.output(&["run"])?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a directory"));
    assert_eq!(std::fs::read(node.path("data.sled"))?, b"mine");
    Ok(())
}

#[test]
fn verify_reads_every_record_and_finds_nothing_in_a_new_database() -> TestResult {
    let node = Node::new()?;
    node.json(&["verify", "-o", "json"], 3)?;
    node.json(&["init", "-o", "json"], 0)?;
    for depth in [&["--quick"][..], &[], &["--deep"]] {
        let verified = node.json(&[&["verify", "-o", "json"], depth].concat(), 0)?;
        assert_eq!(verified["data"]["errors"], 0, "{verified}");
        assert!(verified["data"]["entries"].as_u64() > Some(0), "{verified}");
    }
    let one = node.json(&["verify", "--tree", "identity", "-o", "json"], 0)?;
    assert_eq!(one["data"]["entries"], 2);
    node.json(&["verify", "--tree", "nothing", "-o", "json"], 2)?;
    Ok(())
}

#[test]
fn prune_asks_says_what_it_would_remove_and_removes_that() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let dry = [
        "prune",
        "--tree",
        "audit_log",
        "--keep-last",
        "1",
        "--dry-run",
        "-o",
        "json",
    ];
    assert_eq!(node.json(&dry, 0)?["data"]["records"], 1);
    let prune = [
        "prune",
        "--tree",
        "audit_log",
        "--keep-last",
        "1",
        "-o",
        "json",
    ];
    node.json(&prune, 10)?;
    let done = node.json(&[&prune[..], &["--yes"]].concat(), 0)?;
    assert_eq!(done["data"]["records"], 1);
    let chain = node.json(&["audit", "verify", "-o", "json"], 0)?;
    assert_eq!(
        (&chain["data"]["first"], &chain["data"]["unsealed"]),
        (&1.into(), &0.into())
    );
    // The keys take the chain with its new beginning.
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(
        node.output(&["prune", "--tree", "metrics"])?.status.code(),
        Some(2)
    );
    let claims = [
        "prune",
        "--tree",
        "claims",
        "--older-than",
        "7d",
        "-o",
        "json",
    ];
    node.json(&claims, 2)?;
    Ok(())
}

#[test]
fn a_status_that_is_watched_is_shown_until_nobody_reads() -> TestResult {
    use std::io::{BufRead, BufReader};
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let mut child = node
        .command(&["status", "--watch", "200ms", "-o", "ndjson"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    for _ in 0..3 {
        let line = lines.next().ok_or("it ended")??;
        let status: serde_json::Value = serde_json::from_str(&line)?;
        assert_eq!(status["ok"], true, "{status}");
    }
    drop(lines);
    assert_eq!(child.wait()?.code(), Some(0));
    Ok(())
}
