//! Rotation of the key.

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use nonos_storage::{EncryptionKeys, NodeStorage, StorageConfig, key_text};

use super::{SECRET, with_a_secret};
use crate::program::{Node, TestResult};

#[test]
fn rotating_seals_everything_anew_and_keeps_or_destroys_the_old_key() -> TestResult {
    let node = with_a_secret()?;
    let (before, old) = (node.key_id()?, fs::read(node.path("storage.key"))?);
    let dry = node.json(&["secrets", "rotate", "--dry-run", "-o", "json"], 0)?;
    assert_eq!(dry["data"]["records"], 2);
    assert_eq!(node.key_id()?, before);

    let rotated = node.json(&["secrets", "rotate", "-o", "json"], 0)?;
    let after = node.key_id()?;
    assert_eq!(rotated["data"]["new_key_id"], after.as_str());
    assert_ne!(before, after);
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    assert_eq!(fs::read(node.path(&format!("storage.key.{before}")))?, old);
    assert!(!node.path("storage.key.next").exists());

    node.json(&["secrets", "rotate", "--destroy-old", "-o", "json"], 10)?;
    assert_eq!(node.key_id()?, after);
    let destroyed = ["secrets", "rotate", "--destroy-old", "--yes", "-o", "json"];
    node.json(&destroyed, 0)?;
    assert!(!node.path(&format!("storage.key.{after}")).exists());
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    Ok(())
}

#[test]
fn an_interrupted_rotation_is_gone_on_with() -> TestResult {
    // The new key file was written, and nothing else was done.
    let node = with_a_secret()?;
    let next = node.path("storage.key.next").display().to_string();
    node.json(&["secrets", "key", "new", &next, "-o", "json"], 0)?;
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    let before = node.key_id()?;
    node.json(&["secrets", "rotate", "-o", "json"], 0)?;
    assert_ne!(node.key_id()?, before);
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);

    // Everything was sealed anew, and the files were not yet exchanged.
    let (new, id) = (fs::read(node.path("storage.key"))?, node.key_id()?);
    fs::rename(node.path("storage.key"), &next)?;
    fs::rename(
        node.path(&format!("storage.key.{before}")),
        node.path("storage.key"),
    )?;
    assert_eq!(node.put("more", b"x")?.status.code(), Some(0));
    assert_eq!(fs::read(node.path("storage.key"))?, new);
    assert_eq!(node.key_id()?, id);
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    Ok(())
}

/// Whatever moment it is killed at, key files and database go on together.
#[test]
fn a_rotation_killed_at_any_moment_is_gone_on_with() -> TestResult {
    let node = with_a_secret()?;
    let (mut killed, mut completed) = (0, 0);
    for round in 0..30_u64 {
        let mut command = node.command(&["secrets", "rotate", "-o", "json"]);
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let moment = std::time::Duration::from_millis(round * 4);
        let deadline = std::time::Instant::now() + moment;
        while std::time::Instant::now() < deadline && child.try_wait()?.is_none() {
            std::thread::yield_now();
        }
        child.kill()?;
        match child.wait()?.code() {
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, 0, "round {round}");
                completed += 1;
            }
        }
        assert_eq!(
            node.put("more", b"x")?.status.code(),
            Some(0),
            "round {round}"
        );
        assert_eq!(node.get("wallet_key")?.stdout, SECRET, "round {round}");
    }
    assert!(killed >= 5, "{killed} killed, {completed} completed");
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    Ok(())
}

#[test]
fn a_rotated_key_file_keeps_its_passphrase() -> TestResult {
    let node = Node::new()?;
    let init = ["--passphrase-fd", "0", "init", "--passphrase"];
    assert_eq!(node.fed(&init, b"tractor beam\n")?.status.code(), Some(0));
    let before = fs::read_to_string(node.path("storage.key"))?;
    let rotate = ["--passphrase-fd", "0", "secrets", "rotate"];
    let rotated = node.fed(&rotate, b"tractor beam\n")?;
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    let after = fs::read_to_string(node.path("storage.key"))?;
    assert_ne!(before, after);
    assert!(after.contains("\nprotection = argon2id\n"), "{after}");
    let status = ["--passphrase-fd", "0", "secrets", "status"];
    let status = node.fed(&status, b"tractor beam\n")?;
    assert!(String::from_utf8(status.stdout)?.contains("access     full"));
    Ok(())
}

fn keys(file: &Path) -> Result<EncryptionKeys, Box<dyn std::error::Error>> {
    let (keys, _) = key_text::read(&fs::read_to_string(file)?, None)?;
    Ok(keys)
}

/// The rotation ended since: its keys are in the key file, and those before in the file that is kept.
#[test]
fn a_backup_from_the_midst_of_a_rotation_is_gone_on_with() -> TestResult {
    let node = with_a_secret()?;
    let (key, next) = (node.path("storage.key"), node.path("storage.key.next"));
    let before = node.key_id()?;
    let new = next.display().to_string();
    node.json(&["secrets", "key", "new", &new, "-o", "json"], 0)?;
    let config = StorageConfig {
        path: node.path("data.sled"),
        ..StorageConfig::default()
    };
    let storage = NodeStorage::open(config)?;
    storage.set_encryption_keys(keys(&key)?)?;
    let stopped = storage.rekey(keys(&next)?, &mut |_| ControlFlow::Break(()));
    assert!(stopped.is_err());
    storage.close()?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let rotated = node.json(&["secrets", "rotate", "-o", "json"], 0)?;
    let after = rotated["data"]["new_key_id"].clone();

    let put_back = || -> TestResult {
        node.json(&["restore", "--yes", "-o", "json"], 0)?;
        let status = node.json(&["secrets", "status", "-o", "json"], 0)?;
        assert_eq!(status["data"]["changing"], true, "{status}");
        Ok(())
    };
    put_back()?;
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    let put = node.put("more", b"x")?;
    assert_eq!(put.status.code(), Some(0), "{put:?}");
    let status = node.json(&["secrets", "status", "-o", "json"], 0)?;
    assert_eq!(status["data"]["changing"], false, "{status}");

    // The hint says that this goes on: it makes no third key.
    put_back()?;
    let rotated = node.json(&["secrets", "rotate", "-o", "json"], 0)?;
    let data = &rotated["data"];
    assert_eq!(
        (&data["key_id"], &data["new_key_id"]),
        (&before.clone().into(), &after)
    );
    assert!(!next.exists());
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);

    // Without the old key there is none either.
    put_back()?;
    fs::remove_file(node.path(&format!("storage.key.{before}")))?;
    node.json(&["secrets", "rotate", "-o", "json"], 9)?;
    assert!(!next.exists());
    Ok(())
}

/// A file that has the name of the old key already.
#[test]
fn a_rotation_destroys_the_old_key_and_not_another_file_in_its_place() -> TestResult {
    let node = with_a_secret()?;
    let other = |id: &str| -> std::io::Result<std::path::PathBuf> {
        let other = node.path(&format!("storage.key.{id}"));
        fs::write(&other, "somebody's")?;
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600))?;
        Ok(other)
    };
    let (id, old) = (node.key_id()?, fs::read(node.path("storage.key"))?);
    let taken = other(&id)?;
    let rotated = node.json(&["secrets", "rotate", "-o", "json"], 0)?;
    let kept = rotated["data"]["old_key_file"].as_str().ok_or("no file")?;
    assert_eq!(fs::read(kept)?, old);
    assert_eq!(fs::read(taken)?, b"somebody's");

    let (id, copy) = (node.key_id()?, node.path("storage.key"));
    let taken = other(&id)?;
    let copied = node.path(&format!("storage.key.{id}.1"));
    fs::copy(&copy, &copied)?;
    let mut open = File::open(node.path("storage.key"))?;
    node.json(
        &["secrets", "rotate", "--destroy-old", "--yes", "-o", "json"],
        0,
    )?;
    let mut left = Vec::new();
    open.read_to_end(&mut left)?;
    assert!(left.iter().all(|byte| *byte == 0), "the old key is there");
    assert!(!copied.exists(), "a copy of the old key is there");
    assert_eq!(fs::read(taken)?, b"somebody's");
    Ok(())
}

#[test]
fn a_rotated_key_file_is_as_hard_to_guess_as_before() -> TestResult {
    let node = with_a_secret()?;
    let copy = node.path("strong.key").display().to_string();
    let protect = [
        "--passphrase-fd",
        "0",
        "secrets",
        "key",
        "protect",
        "--strong",
    ];
    let made = node.fed(&[&protect[..], &[&copy]].concat(), b"tractor beam\n")?;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    fs::rename(&copy, node.path("storage.key"))?;
    let kdf = || -> Result<String, Box<dyn std::error::Error>> {
        let text = fs::read_to_string(node.path("storage.key"))?;
        let line = text.lines().find(|line| line.starts_with("kdf = "));
        let cost = line.and_then(|line| line.split(" salt").next());
        Ok(cost.ok_or("not protected")?.to_owned())
    };
    let before = kdf()?;
    let rotate = ["--passphrase-fd", "0", "secrets", "rotate"];
    let rotated = node.fed(&rotate, b"tractor beam\n")?;
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    assert_eq!(kdf()?, before);
    Ok(())
}
