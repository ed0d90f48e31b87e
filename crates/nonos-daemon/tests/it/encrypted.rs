//! Backups that are encrypted, and those without secrets.

#[cfg(feature = "encrypted-storage")]
use std::fs;
#[cfg(feature = "encrypted-storage")]
use std::path::Path;

#[cfg(feature = "encrypted-storage")]
use nonos_daemon::{NodeStorage, StorageConfig};
#[cfg(feature = "encrypted-storage")]
use storage_testkit::logs::forbid;

use crate::program::{Node, TestResult};

#[cfg(feature = "backup-age")]
mod with_age;

#[cfg(feature = "encrypted-storage")]
const PLAIN: &[u8] = b"a secret that nobody sealed";

/// A node whose database has a secret as it was given, and a setting to look for.
#[cfg(feature = "encrypted-storage")]
fn with_a_plain_secret() -> Result<Node, Box<dyn std::error::Error>> {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    forbid(PLAIN);
    let storage = NodeStorage::open(StorageConfig {
        path: node.path("data.sled"),
        compression_enabled: false,
        ..StorageConfig::default()
    })?;
    storage.store_secret("wallet", PLAIN)?;
    storage.store_config("motto", &"a setting that is no secret")?;
    storage.close()?;
    Ok(node)
}

#[cfg(feature = "encrypted-storage")]
/// The files below a directory, those in its directories as well.
fn files(directory: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(feature = "encrypted-storage")]
fn holds(file: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let content = fs::read(file)?;
    Ok(content.windows(bytes.len()).any(|window| window == bytes))
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn secrets_that_are_not_sealed_are_refused_or_left_out() -> TestResult {
    let node = with_a_plain_secret()?;
    let whole = node.path("whole.nonos").display().to_string();
    for create in [
        &["backup", "create", "-o", "json"][..],
        &["backup", "create", "--to", &whole, "-o", "json"],
    ] {
        let refused = node.json(create, 10)?;
        assert_eq!(refused["findings"][0]["code"], "PLAIN_SECRETS", "{refused}");
    }
    assert!(!node.path("backups").exists() && !node.path("whole.nonos").exists());
    // An increment cannot leave anything out.
    node.json(
        &["backup", "create", "--redact", "secrets", "-o", "json"],
        2,
    )?;

    let given = node.path("given.nonos");
    let to = given.display().to_string();
    let create = ["backup", "create", "--to", &to, "--redact", "secrets"];
    let made = node.json(&[&create[..], &["-o", "json"]].concat(), 0)?;
    assert_eq!(made["data"]["redacted"], true, "{made}");
    // The control: so it is found where it is.
    let segments = files(&node.path("data.sled.journal"))?;
    let found = segments.iter().map(|file| holds(file, PLAIN));
    assert!(found.collect::<Result<Vec<_>, _>>()?.contains(&true));
    assert!(!holds(&given, PLAIN)?);
    // And so it would be found here.
    assert!(holds(&given, b"setting that is no secret")?);
    let left = files(&node.path(""))?;
    let scratch = left
        .iter()
        .filter(|file| file.to_string_lossy().contains(".scratch"));
    assert_eq!(scratch.count(), 0, "{left:?}");

    let other = node.path("other");
    let into = other.display().to_string();
    let restore = ["restore", "--from", &to, "--into", &into, "-o", "json"];
    let done = node.json(&restore, 0)?;
    assert_eq!(done["data"]["redacted"], true);
    let restored = NodeStorage::open(StorageConfig {
        path: other.join("data.sled"),
        ..StorageConfig::default()
    })?;
    assert_eq!(restored.list_secrets()?, [""; 0]);
    let motto: Option<String> = restored.load_config("motto")?;
    assert_eq!(motto.as_deref(), Some("a setting that is no secret"));
    let verified = restored.verify_integrity_with(None, 10, true)?;
    assert_eq!(verified.errors, 0, "{:?}", verified.findings);
    // It is a database like any other: secrets can be stored in it again.
    restored.store_secret("wallet", PLAIN)?;
    restored.close()?;
    Ok(())
}

/// What was removed since the last backup is in the commits of an increment.
#[cfg(feature = "encrypted-storage")]
#[test]
fn an_increment_holds_no_plain_secret_that_was_removed() -> TestResult {
    let node = with_a_plain_secret()?;
    let open = || {
        NodeStorage::open(StorageConfig {
            path: node.path("data.sled"),
            compression_enabled: false,
            ..StorageConfig::default()
        })
    };
    let storage = open()?;
    storage.delete_secret("wallet")?;
    storage.close()?;
    let create = ["backup", "create", "--incremental", "-o", "json"];
    node.json(&create, 0)?;
    let storage = open()?;
    storage.store_secret("wallet", PLAIN)?;
    storage.store_config("motto", &"between the two")?;
    storage.close()?;
    node.json(&create, 10)?;
    let storage = open()?;
    storage.delete_secret("wallet")?;
    storage.close()?;
    let made = node.json(&create, 0)?;
    assert_eq!(
        made["data"]["backups"].as_array().map(Vec::len),
        Some(1),
        "{made}"
    );
    assert_eq!(made["data"]["backups"][0]["kind"], "full", "{made}");
    for file in files(&node.path("backups"))? {
        assert!(!holds(&file, PLAIN)?, "{}", file.display());
    }
    let storage = open()?;
    storage.store_config("motto", &"and from there on")?;
    storage.close()?;
    let made = node.json(&create, 0)?;
    assert_eq!(made["data"]["backups"][0]["kind"], "increment", "{made}");
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn a_database_of_a_redacted_backup_is_another_node_and_its_backups_are_complete() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let given = node.path("given.nonos").display().to_string();
    let create = ["backup", "create", "--to", &given, "--redact", "secrets"];
    node.json(&[&create[..], &["-o", "json"]].concat(), 0)?;
    node.json(&["restore", "--from", &given, "--yes", "-o", "json"], 0)?;
    let refused = node.output(&["run", "--same-node"])?;
    assert_eq!(refused.status.code(), Some(10), "{refused:?}");
    let mut daemon = crate::run::Daemon::start_with(&node, &["--new-identity"])?;
    daemon.wait_for("the database is open", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let whole = node.path("whole.nonos").display().to_string();
    let made = node.json(&["backup", "create", "--to", &whole, "-o", "json"], 0)?;
    assert_eq!(made["data"]["redacted"], false, "{made}");
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn a_sealed_node_is_given_away_without_its_keyring_and_identity() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let given = node.path("given.nonos").display().to_string();
    let create = ["backup", "create", "--to", &given, "--redact", "secrets"];
    node.json(&[&create[..], &["-o", "json"]].concat(), 0)?;
    let other = node.path("other");
    let into = other.display().to_string();
    node.json(
        &["restore", "--from", &given, "--into", &into, "-o", "json"],
        0,
    )?;
    let path = other.join("data.sled");
    let restored = NodeStorage::open(StorageConfig {
        path,
        ..StorageConfig::default()
    })?;
    assert_eq!(restored.load_node_id()?, None);
    assert_eq!(restored.secrets_status()?.active, None);
    let verified = restored.verify_integrity_with(None, 10, true)?;
    assert_eq!(
        (verified.errors, verified.warnings),
        (0, 0),
        "{:?}",
        verified.findings
    );
    // Keys of its own.
    restored.set_encryption_keys(nonos_daemon::EncryptionKeys::generate())?;
    restored.store_secret("wallet", b"sealed to another key")?;
    assert!(restored.secrets_status()?.active.is_some());
    restored.close()?;
    Ok(())
}

#[cfg(not(feature = "backup-age"))]
#[test]
fn without_the_feature_who_asks_for_encryption_is_refused() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let create = ["backup", "create", "--recipient", recipient, "-o", "json"];
    let refused = node.json(&create, 2)?;
    assert_eq!(refused["findings"][0]["code"], "BACKUP_KEYS", "{refused}");
    assert!(!node.path("backups").exists());
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    let config = config.replace(
        "recipients = []",
        &format!("recipients = [\"{recipient}\"]"),
    );
    node.write_config(&config)?;
    node.json(&["backup", "create", "-o", "json"], 2)?;
    node.json(&["backup", "list", "-o", "json"], 2)?;
    assert!(!node.path("backups").exists());
    Ok(())
}
