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

/// Temporary directories may be on a file system that it warns of, and nothing is backed up here.
fn without_place(mut codes: Vec<String>) -> Vec<String> {
    codes.retain(|code| code != "FILE_SYSTEM" && code != "BACKUP_MISSING");
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
    node.write_config(&format!("{config}# to = \"s3://me:password@bucket/x\"\n"))?;
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

/// The keys are looked at as the daemon will: absent, broken, of another node.
#[cfg(feature = "encrypted-storage")]
#[test]
fn keys_that_open_nothing_are_found() -> TestResult {
    let node = healthy()?;
    let key = node.path("storage.key");
    let own = fs::read_to_string(&key)?;
    let other = fs::read_to_string(healthy()?.path("storage.key"))?;
    let write = |text: &str| fs::write(&key, text);
    let examine = || node.json(&["doctor", "-o", "json"], 7);
    write("no key at all\n")?;
    assert_eq!(without_place(codes(&examine()?)), ["KEY_FILE"]);
    write(&other)?;
    let found = examine()?;
    assert_eq!(without_place(codes(&found)), ["KEY_FILE"]);
    fs::remove_file(&key)?;
    // The service may have it as a credential, which is not here.
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(without_place(codes(&found)), ["KEY_FILE"]);
    assert!(found.to_string().contains("is not there"), "{found}");
    // Beside it nothing else is wrong, and what is deep says that secrets were not looked at.
    let deep = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(codes(&deep), ["SECRETS_NOT_CHECKED"], "{deep}");
    assert_eq!(deep["data"]["secrets_checked"], false, "{deep}");
    // One that is named is asked for.
    let key = node.path("storage.key").display().to_string();
    node.json(&["--key-file", &key, "verify", "--deep", "-o", "json"], 9)?;
    fs::write(&key, own)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    node.json(&["doctor", "-o", "json"], 0)?;
    let deep = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(deep["data"]["secrets_checked"], true, "{deep}");
    let quick = node.json(&["verify", "--quick", "-o", "json"], 0)?;
    assert_eq!(quick["data"]["entries"], deep["data"]["entries"]);
    Ok(())
}

#[test]
fn a_place_for_backups_that_cannot_be_used_is_found() -> TestResult {
    let node = healthy()?;
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert!(
        codes(&found).contains(&"BACKUP_MISSING".to_owned()),
        "{found}"
    );
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert!(
        !codes(&found).contains(&"BACKUP_MISSING".to_owned()),
        "{found}"
    );
    let config = fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("identity_file = \"\"", "identity_file = \"not there\""))?;
    let found = node.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["BACKUP_KEYS"], "{found}");
    Ok(())
}

/// Root that works in the directory of another user leaves what that user's daemon cannot read.
#[test]
fn files_of_another_user_are_found_and_not_made_unasked() -> TestResult {
    use std::os::unix::fs::{MetadataExt, chown};
    let node = healthy()?;
    if fs::metadata(node.path(""))?.uid() != 0 {
        eprintln!("skipped: only root can give files away");
        return Ok(());
    }
    // A volume of another user whose node root runs.
    chown(node.path(""), Some(12_345), None)?;
    node.json(&["compact", "-o", "json"], 0)?;
    chown(node.path("data.sled.journal"), Some(12_345), None)?;
    let found = node.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["OWNER"], "{found}");
    let verbs: [&[&str]; 8] = [
        &["compact"],
        &["migrate"],
        &["init"],
        &["repair"],
        &["backup", "create"],
        &["backup", "verify"],
        &["backup", "drill"],
        &[
            "prune",
            "--tree",
            "audit_log",
            "--keep-last",
            "1",
            "--yes",
            "--compact",
        ],
    ];
    // The place for backups is his as well.
    fs::create_dir(node.path("backups"))?;
    node.json(&["backup", "create", "--yes", "-o", "json"], 0)?;
    chown(node.path("backups"), Some(12_345), None)?;
    for verb in &verbs[..7] {
        let refused = node.json(&[*verb, &["-o", "json"]].concat(), 10)?;
        assert!(refused.to_string().contains("runuser"), "{refused}");
    }
    node.json(&[verbs[7], &["-o", "json"]].concat(), 0)?;
    // What a file system keeps there is nobody's.
    std::fs::create_dir(node.path("lost+found"))?;
    let given = |but: &str| {
        std::process::Command::new("find")
            .arg(node.path(""))
            .args(["-not", "-name", but, "-exec", "chown", "12345", "{}", "+"])
            .status()
    };
    assert!(given("lost+found")?.success());
    // The key is as the node's own user needs it.
    let found = node.json(&["doctor", "-o", "json"], 0)?;
    assert_eq!(without_place(codes(&found)), [""; 0], "{found}");
    let deep = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(deep["data"]["secrets_checked"], false, "{deep}");
    // One that is named is asked for.
    let key = node.path("storage.key").display().to_string();
    node.json(&["--key-file", &key, "verify", "--deep", "-o", "json"], 9)?;
    // However deep it lies.
    let mut notes = std::process::Command::new("find");
    notes.arg(node.path("backups")).args(["-name", "*.json"]);
    let notes = String::from_utf8(notes.output()?.stdout)?;
    let first = notes.lines().next().ok_or("no backup")?;
    chown(first, Some(0), None)?;
    let found = node.json(&["doctor", "-o", "json"], 7)?;
    assert_eq!(without_place(codes(&found)), ["OWNER"], "{found}");
    Ok(())
}
