//! Verbs beside `run`, and what they say to bad input.

use std::os::unix::fs::PermissionsExt;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

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

/// Whoever asked for JSON gets it, whatever is wrong with the rest of the line.
#[test]
fn a_line_that_is_not_understood_is_told_in_the_form_that_was_asked_for() -> TestResult {
    let node = Node::new()?;
    for args in [
        &["status", "--no-such-flag", "-o", "json"][..],
        &["no-such-verb", "-ojson"],
        &["prune", "--output=ndjson"],
        &["metrics", "plot", "--since", "5 parsecs", "-o", "ndjson"],
    ] {
        let told = node.json(args, 2)?;
        assert_eq!(told["schema"], "nonos.error/1", "{told}");
        assert_eq!(told["findings"][0]["code"], "USAGE", "{told}");
        let detail = told["findings"][0]["detail"].as_str().unwrap_or_default();
        assert!(detail.len() > 10 && !detail.starts_with("error"), "{told}");
    }
    let told = node.command(&["status", "--no-such-flag"]).output()?;
    assert_eq!(told.status.code(), Some(2));
    assert!(told.stdout.is_empty() && told.stderr.starts_with(b"error: "));
    let help = node.command(&["status", "--help", "-o", "json"]).output()?;
    assert_eq!(help.status.code(), Some(0));
    Ok(())
}

#[test]
fn a_dry_run_says_by_its_exit_code_whether_there_is_something_to_do() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let dry = |verb: &[&str], code| {
        let args = [verb, &["--dry-run", "--exit-code", "-o", "json"]].concat();
        node.json(&args, code)
    };
    let prune = ["prune", "--tree", "audit_log", "--keep-last", "1"];
    dry(&prune, 13)?;
    dry(&["prune", "--tree", "metrics", "--keep-last", "1"], 0)?;
    dry(&["wipe", "--trees", "metrics"], 0)?;
    dry(&["wipe", "--including-identity"], 13)?;
    dry(&["compact"], 0)?;
    dry(&["repair"], 0)?;
    dry(&["migrate"], 0)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let backups = ["backup", "prune", "--keep-last", "1"];
    dry(&backups, 0)?;
    node.json(&["compact", "-o", "json"], 0)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    dry(&backups, 13)?;
    dry(&["restore"], 13)?;
    // Without a dry run there is nothing that the code would tell.
    node.json(&["compact", "--exit-code", "-o", "json"], 2)?;
    Ok(())
}

/// The index of a database whose journal is gone is taken as it is, and that is said.
#[test]
fn a_journal_that_is_gone_is_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let journal = node.path("data.sled.journal");
    std::fs::rename(&journal, node.path("elsewhere"))?;
    for verb in [&["status"][..], &["ls"], &["verify"]] {
        let told = node.json(&[verb, &["-o", "json"]].concat(), 6)?;
        assert!(
            told.to_string().contains("its journal was removed"),
            "{told}"
        );
        assert!(told.to_string().contains("nonos restore"), "{told}");
    }
    let copy = Node::new()?;
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([node.path(""), copy.path("")])
        .status()?;
    assert!(copied.success());
    let told = copy.json(&["compact", "-o", "json"], 0)?;
    assert_eq!(told["findings"][0]["code"], "DAMAGE", "{told}");
    assert!(told.to_string().contains("the journal was gone"), "{told}");

    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("the database was damaged", 1)?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    node.json(&["status", "-o", "json"], 0)?;
    Ok(())
}

#[test]
fn the_end_of_a_journal_that_is_no_commit_is_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let mut segments = std::fs::read_dir(node.path("data.sled.journal"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    segments.sort();
    let last = segments.last().ok_or("no segment")?;
    let mut bytes = std::fs::read(last)?;
    bytes.extend([0x5a; 40]);
    std::fs::write(last, bytes)?;
    let told = node.json(&["verify", "--quick", "-o", "json"], 0)?;
    assert_eq!(told["findings"][0]["code"], "JOURNAL", "{told}");
    let table = node.output(&["verify", "--quick"])?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        !table.contains("is whole") && table.contains("nonos compact"),
        "{table}"
    );
    node.json(&["compact", "-o", "json"], 0)?;
    let told = node.json(&["verify", "--quick", "-o", "json"], 0)?;
    assert_eq!(told["data"]["warnings"], 0, "{told}");
    Ok(())
}

/// An empty database in place of one that is not mounted would be another node, that nobody asked for.
#[cfg(feature = "encrypted-storage")]
#[test]
fn a_node_whose_database_is_gone_is_given_no_empty_one() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    for name in ["data.sled", "data.sled.journal"] {
        std::fs::remove_dir_all(node.path(name))?;
    }
    let refused = node.output(&["run"])?;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!node.path("data.sled").exists());
    assert!(!node.path("data.sled.journal").exists());
    node.json(&["init", "-o", "json"], 10)?;
    assert!(!node.path("data.sled").exists());
    let made = node.json(&["init", "--yes", "-o", "json"], 0)?;
    assert_eq!(made["data"]["database_created"], true);
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

/// On another machine, with the key file and without a configuration: secrets stay sealed.
#[cfg(feature = "encrypted-storage")]
#[test]
fn a_node_that_is_put_back_on_another_machine_has_its_secrets_sealed() -> TestResult {
    let (old, new) = (Node::new()?, Node::new()?);
    old.json(&["init", "-o", "json"], 0)?;
    old.json(&["backup", "create", "-o", "json"], 0)?;
    std::fs::create_dir_all(new.path(""))?;
    std::fs::copy(old.path("storage.key"), new.path("storage.key"))?;
    let from = old.path("backups").display().to_string();
    new.json(&["restore", "--from", &from, "-o", "json"], 0)?;
    let mut daemon = Daemon::start_with(&new, &["--same-node"])?;
    daemon.wait_for("sample", 1)?;
    let config = std::fs::read_to_string(new.path("config.toml"))?;
    assert!(
        config.contains("encryption_mode = \"sealed_box\""),
        "{config}"
    );
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let deep = new.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(deep["data"]["secrets_checked"], true, "{deep}");
    Ok(())
}

/// A database below the home directory is found there by every start, not only by the library.
#[test]
fn a_database_below_home_is_the_same_at_every_start() -> TestResult {
    let (node, home) = (Node::new()?, Node::new()?);
    std::fs::create_dir_all(home.path(""))?;
    node.write_config(
        "[storage]\ndb_path = \"~/store/data.sled\"\n[metrics]\ninterval_secs = 1\n",
    )?;
    for _ in 0..3 {
        let mut command = node.command(&["run", "-vv", "--log-format", "json"]);
        command.env("HOME", home.path(""));
        let mut daemon = Daemon::of(&node, command)?;
        daemon.wait_for("sample", 1)?;
        let mut migrate = node.command(&["migrate", "--lock-timeout", "1h", "-o", "json"]);
        let locked = migrate.env("HOME", home.path("")).output()?;
        assert_eq!(locked.status.code(), Some(4), "at once: {locked:?}");
        assert_eq!(daemon.end("-TERM")?, Some(0));
    }
    assert!(home.path("store/data.sled.journal").is_dir());
    let mut status = node.command(&["status", "-o", "json"]);
    let status = status.env("HOME", home.path("")).output()?;
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    Ok(())
}

/// A key that was made for a node before its first start is no sign of a database.
#[cfg(feature = "encrypted-storage")]
#[test]
fn a_node_is_begun_with_the_key_that_was_put_there_for_it() -> TestResult {
    let node = Node::new()?;
    node.write_config("[metrics]\ninterval_secs = 1\n")?;
    let key = node.path("storage.key").display().to_string();
    node.json(&["secrets", "key", "new", &key, "-o", "json"], 0)?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

#[test]
fn words_that_are_no_text_are_a_usage_error() -> TestResult {
    use std::os::unix::ffi::OsStrExt;
    let node = Node::new()?;
    let mut command = node.command(&["-o", "json", "get", "peers"]);
    let told = command.arg(std::ffi::OsStr::from_bytes(b"\xff")).output()?;
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!(told["findings"][0]["code"], "USAGE", "{told}");
    Ok(())
}
