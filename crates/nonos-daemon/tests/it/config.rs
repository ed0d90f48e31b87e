//! `config.toml`, as somebody in a hurry writes it: every key of the documented file, wrong in type, in range, in
//! spelling; and what else can be wrong before a node starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Tables, keys and defaults, as the file that `init` writes has them.
fn keys(node: &Node) -> Fallible<Vec<(String, String, toml::Value)>> {
    let file: toml::Table = fs::read_to_string(node.path("config.toml"))?.parse()?;
    let mut keys = Vec::new();
    for (table, content) in &file {
        for (key, value) in content.as_table().ok_or("no table")? {
            keys.push((table.clone(), key.clone(), value.clone()));
        }
    }
    Ok(keys)
}

/// What the program says of a file: an error in one line, and what helps.
fn refused(node: &Node, text: &str) -> Fallible<String> {
    node.write_config(text)?;
    let output = node.command(&["status"]).output()?;
    assert_eq!(output.status.code(), Some(2), "{text}: {output:?}");
    assert!(output.stdout.is_empty(), "{text}: {output:?}");
    let told = String::from_utf8(output.stderr)?;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{text}: {told}");
    assert!(
        told.starts_with("error: ") && told.contains("config.toml"),
        "{text}: {told}"
    );
    assert!(
        lines.last().is_some_and(|line| line.starts_with("help: ")),
        "{text}: {told}"
    );
    Ok(told)
}

#[test]
fn every_key_of_a_wrong_type_or_spelling_is_said_in_a_line() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    let keys = keys(&node)?;
    assert!(keys.len() >= 24, "{}", keys.len());
    for (table, key, value) in keys {
        let wrong: &[&str] = match value {
            toml::Value::String(_) => &["5", "true", "[\"x\"]"],
            toml::Value::Integer(_) => &["true", "1.5", "-1", "[1]", "9223372036854775808"],
            toml::Value::Boolean(_) => &["1", "\"yes\""],
            toml::Value::Array(_) => &["5", "\"x\"", "[5]"],
            other => return Err(format!("{table}.{key}: {other}").into()),
        };
        for value in wrong {
            let told = refused(&node, &format!("[{table}]\n{key} = {value}\n"))?;
            assert!(told.contains(&key), "{table}.{key} = {value}: {told}");
        }
        // One letter too few, and the same in capitals.
        let (start, end) = key.split_at(key.len() / 2);
        let short = format!("{start}{}", end.get(1..).unwrap_or_default());
        for misspelt in [short, key.to_uppercase()] {
            let told = refused(&node, &format!("[{table}]\n{misspelt} = 1\n"))?;
            assert!(
                told.contains("unknown key") && told.contains(&misspelt),
                "{told}"
            );
        }
        let told = refused(&node, &format!("[{table}]\n{key} = \n"))?;
        assert!(told.contains("line 2"), "{told}");
    }
    Ok(())
}

#[test]
fn every_value_out_of_range_names_what_is_in_it() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    for (table, key, value, says) in [
        ("storage", "db_path", "\"\"", "empty"),
        ("storage", "cache_capacity_bytes", "1048575", "1048576"),
        ("storage", "flush_every_ms", "0", "flush_every_ms"),
        ("storage", "flush_every_ms", "\"sometimes\"", "never"),
        ("storage", "encryption_mode", "\"rot13\"", "sealed_box"),
        ("secrets", "key_file", "\"\"", "empty"),
        ("metrics", "interval_secs", "0", "1 to 86400"),
        ("metrics", "interval_secs", "86401", "1 to 86400"),
        ("retention", "metrics_days", "4294967296", "metrics_days"),
        (
            "retention",
            "audit_log_days",
            "4294967296",
            "audit_log_days",
        ),
        ("retention", "epochs_days", "4294967296", "epochs_days"),
        ("retention", "peers_days", "4294967296", "peers_days"),
        ("server", "listen", "\"9464\"", "127.0.0.1:9464"),
        ("server", "listen", "\"127.0.0.1:99999\"", "127.0.0.1:9464"),
        ("maintenance", "scrub_every_secs", "0", "1 to 31536000"),
        (
            "maintenance",
            "scrub_every_secs",
            "9223372036854775807",
            "1 to 31536000",
        ),
        ("maintenance", "compact_above_percent", "101", "0 to 100"),
        ("maintenance", "stop_within_secs", "61", "0 to 60"),
        ("backup", "to", "\"\"", "empty"),
        ("backup", "to", "\"s3:/bucket\"", "s3://BUCKET"),
        ("backup", "to", "\"ftp://host/x\"", "s3://BUCKET"),
        ("backup", "to", "\"s3://user@bucket\"", "user"),
        ("backup", "recipients", "[\"x\"]", "backup.recipients"),
        ("backup", "every_secs", "86401", "0 to 86400"),
        (
            "backup",
            "drill_every_secs",
            "9223372036854775807",
            "0 to 31536000",
        ),
    ] {
        let told = refused(&node, &format!("[{table}]\n{key} = {value}\n"))?;
        assert!(
            told.contains(key) && told.contains(says),
            "{table}.{key} = {value}: {told}"
        );
    }
    // The largest that are taken do not end the daemon either.
    let text = "[storage]\nflush_every_ms = 9223372036854775807\n[metrics]\ninterval_secs = 86400\n\
                [maintenance]\nscrub_every_secs = 31536000\nscrub_bytes_per_sec = 9223372036854775807\n\
                [retention]\nmetrics_days = 4294967295\n[backup]\nevery_secs = 86400\n\
                keep_last = 9223372036854775807\nkeep_daily = 9223372036854775807\n\
                drill_every_secs = 31536000\n";
    node.write_config(text)?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

#[test]
fn a_place_for_backups_or_a_recipient_that_is_none_is_said() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    for (text, code) in [
        ("[backup]\nto = \"ftp://host/x\"\nevery_secs = 60\n", 2),
        ("[backup]\nrecipients = [\"nobody\"]\n", 2),
    ] {
        node.write_config(text)?;
        let told = node.output(&["backup", "create"])?;
        assert_eq!(told.status.code(), Some(code), "{text}: {told:?}");
    }
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn a_key_file_that_cannot_be_used_is_said_and_nothing_is_stored() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let key = node.path("storage.key");
    let whole = fs::read_to_string(&key)?;
    let put = ["secrets", "put", "x", "--from", "/dev/null", "-o", "json"];
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let refused = node.json(&put, 9)?;
    assert_eq!(refused["findings"][0]["code"], "KEY_FILE", "{refused}");
    let fix = refused["findings"][0]["fix"].as_str().unwrap_or_default();
    assert!(fix.contains("chmod"), "{refused}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    fs::write(&key, whole.get(..whole.len() / 2).unwrap_or_default())?;
    node.json(&put, 9)?;
    assert_eq!(node.output(&["run"])?.status.code(), Some(9));
    fs::remove_file(&key)?;
    fs::create_dir(&key)?;
    node.json(&put, 9)?;
    fs::remove_dir(&key)?;
    node.json(&put, 9)?;
    fs::write(&key, whole)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    assert_eq!(
        node.json(&["ls", "secrets", "-o", "json"], 0)?["data"]["records"],
        serde_json::json!([])
    );
    Ok(())
}

/// What a daemon that was killed leaves, and what somebody else made there.
#[test]
fn a_socket_that_is_left_over_is_replaced() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    drop(UnixListener::bind(node.path("nonos.sock"))?);
    assert!(node.path("nonos.sock").exists());
    // Nobody answers, and nobody has the database: the verb does it itself.
    node.json(&["compact", "-o", "json"], 0)?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    node.json(&["compact", "-o", "json"], 0)?;
    assert_eq!(daemon.end("-KILL")?, None);
    node.json(&["compact", "-o", "json"], 0)?;
    Ok(())
}
