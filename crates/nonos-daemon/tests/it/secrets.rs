//! Secrets, their keys and the audit log, as an operator handles them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Output, Stdio};

use crate::program::{Node, TestResult};

mod rotation;

const SECRET: &[u8] = b"correct horse battery staple";

impl Node {
    fn put(&self, name: &str, value: &[u8]) -> std::io::Result<Output> {
        self.fed(&["secrets", "put", name, "--yes"], value)
    }

    /// Runs the program with this on its standard input.
    fn fed(&self, args: &[&str], input: &[u8]) -> std::io::Result<Output> {
        storage_testkit::logs::forbid(input);
        let mut command = self.command(&[args, &["-vv"]].concat());
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may refuse before it reads.
            let _refused = stdin.write_all(input);
        }
        let output = child.wait_with_output()?;
        self.look(&output.stderr);
        Ok(output)
    }

    fn get(&self, name: &str) -> std::io::Result<Output> {
        self.output(&["secrets", "get", name])
    }

    fn key_id(&self) -> Result<String, Box<dyn std::error::Error>> {
        let status = self.json(&["secrets", "status", "-o", "json"], 0)?;
        Ok(status["data"]["key_id"]
            .as_str()
            .ok_or("no key")?
            .to_owned())
    }
}

fn with_a_secret() -> Result<Node, Box<dyn std::error::Error>> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let put = node.put("wallet_key", SECRET)?;
    assert_eq!(put.status.code(), Some(0), "{put:?}");
    Ok(node)
}

#[test]
fn init_makes_a_key_file_for_its_owner_alone_and_says_what_losing_it_means() -> TestResult {
    let node = Node::new()?;
    let made = node.output(&["init"])?;
    let text = String::from_utf8(made.stdout)?;
    assert!(text.contains("nobody can recover them"), "{text}");
    assert!(text.contains("node id        nxnd_"), "{text}");
    let key_file = node.path("storage.key");
    assert_eq!(fs::metadata(&key_file)?.permissions().mode() & 0o777, 0o600);
    let key = fs::read(&key_file)?;
    let config = fs::read_to_string(node.path("config.toml"))?;
    assert!(config.contains("\nencryption_mode = \"sealed_box\"\n"));

    let again = node.json(&["init", "-o", "json"], 0)?;
    assert_eq!(again["data"]["key_file_written"], false);
    assert_eq!(fs::read(&key_file)?, key);
    let first = text.split("nxnd_").nth(1).unwrap_or_default();
    let id = again["data"]["node_id"].as_str().unwrap_or_default();
    assert!(first.starts_with(id.trim_start_matches("nxnd_")), "{again}");
    Ok(())
}

#[test]
fn a_secret_is_stored_listed_read_and_removed() -> TestResult {
    let node = with_a_secret()?;
    let listed = node.json(&["secrets", "list", "-o", "json"], 0)?;
    assert_eq!(listed["data"]["secrets"], serde_json::json!(["wallet_key"]));
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);

    let file = node.path("secret").display().to_string();
    let to = ["secrets", "get", "wallet_key", "--to", &file, "-o", "json"];
    node.json(&to, 0)?;
    assert_eq!(fs::read(&file)?, SECRET);
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    node.json(&to, 1)?;
    // No result for programs holds a secret.
    let json = node.json(&["secrets", "get", "wallet_key", "-o", "json"], 2)?;
    assert_eq!(json["data"], serde_json::Value::Null, "{json}");
    assert_eq!(json["schema"], "nonos.error/1", "{json}");
    assert_eq!(json["findings"][0]["code"], "USAGE", "{json}");

    let dry = ["secrets", "rm", "wallet_key", "--dry-run", "-o", "json"];
    assert_eq!(node.json(&dry, 0)?["data"]["changed"], true);
    node.json(&["secrets", "rm", "wallet_key", "-o", "json"], 10)?;
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    let removed = ["secrets", "rm", "wallet_key", "--yes", "-o", "json"];
    assert_eq!(node.json(&removed, 0)?["data"]["changed"], true);
    assert_eq!(node.get("wallet_key")?.status.code(), Some(1));
    assert_eq!(node.json(&removed, 0)?["data"]["changed"], false);
    Ok(())
}

#[test]
fn without_its_key_or_with_another_everything_is_refused() -> TestResult {
    let node = with_a_secret()?;
    let (key, elsewhere) = (node.path("storage.key"), node.path("elsewhere.key"));
    let other = node.path("other.key").display().to_string();
    node.json(&["secrets", "key", "new", &other, "-o", "json"], 0)?;
    fs::rename(&key, &elsewhere)?;
    for verb in [&["secrets", "get", "wallet_key"][..], &["run"]] {
        let refused = node.output(verb)?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(9), "{verb:?}: {error}");
        assert!(error.contains("--key-file"), "{error}");
    }
    // Another key is not made, and neither is one used that is not the store's.
    node.json(&["init", "-o", "json"], 9)?;
    assert!(!key.exists());
    assert_eq!(node.put("another", b"x")?.status.code(), Some(9));
    let wrong = ["--key-file", &other, "secrets", "get", "wallet_key"];
    assert_eq!(node.output(&wrong)?.status.code(), Some(9));
    let elsewhere = elsewhere.display().to_string();
    let right = ["--key-file", &elsewhere, "secrets", "get", "wallet_key"];
    assert_eq!(node.output(&right)?.stdout, SECRET);
    Ok(())
}

#[test]
fn a_key_file_that_others_can_reach_is_refused() -> TestResult {
    let node = with_a_secret()?;
    let key = node.path("storage.key");
    let refused = |why: &str| -> TestResult {
        let output = node.get("wallet_key")?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(9), "{error}");
        assert!(error.contains(why), "{error}");
        Ok(())
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640))?;
    refused("can be read or written by others")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);

    fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o770))?;
    refused("in a directory that others can write")?;
    fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o700))?;

    let real = node.path("real.key");
    fs::rename(&key, &real)?;
    symlink(&real, &key)?;
    refused("is a link")?;
    fs::remove_file(&key)?;

    let inside = node.path("data.sled/storage.key");
    fs::copy(&real, &inside)?;
    let inside = inside.display().to_string();
    let output = node.output(&["--key-file", &inside, "secrets", "get", "wallet_key"])?;
    assert_eq!(output.status.code(), Some(9));
    assert!(String::from_utf8_lossy(&output.stderr).contains("inside of the database"));
    Ok(())
}

#[test]
fn keys_come_from_a_descriptor_or_the_service_manager_as_well() -> TestResult {
    let node = with_a_secret()?;
    let moved = node.path("moved.key");
    fs::rename(node.path("storage.key"), &moved)?;
    let text = fs::read(&moved)?;
    let piped = node.fed(&["--key-fd", "0", "secrets", "get", "wallet_key"], &text)?;
    assert_eq!(piped.stdout, SECRET, "{piped:?}");

    let credentials = node.path("credentials");
    fs::create_dir(&credentials)?;
    fs::copy(&moved, credentials.join("nonos-storage-key"))?;
    let mut command = node.command(&["secrets", "get", "wallet_key"]);
    let output = command
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .output()?;
    assert_eq!(output.stdout, SECRET, "{output:?}");
    Ok(())
}

#[test]
fn a_protected_copy_opens_with_its_passphrase_alone() -> TestResult {
    let node = with_a_secret()?;
    let copy = node.path("copy.key").display().to_string();
    let protect = ["--passphrase-fd", "0", "secrets", "key", "protect", &copy];
    let made = node.fed(&protect, b"tractor beam\n")?;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert!(!fs::read_to_string(&copy)?.contains("\nsecret = "));

    let get = ["--key-file", &copy, "secrets", "get", "wallet_key"];
    assert_eq!(node.output(&get)?.status.code(), Some(9));
    let get = [&["--passphrase-fd", "0"][..], &get].concat();
    assert_eq!(node.fed(&get, b"tractor beam\n")?.stdout, SECRET);
    let wrong = node.fed(&get, b"tractor beams\n")?;
    assert_eq!((wrong.status.code(), wrong.stdout), (Some(9), Vec::new()));
    Ok(())
}

#[test]
fn a_writer_stores_and_cannot_read() -> TestResult {
    let node = with_a_secret()?;
    let writer = node.path("writer.key").display().to_string();
    let export = ["secrets", "key", "export-writer", &writer, "-o", "json"];
    assert_eq!(node.json(&export, 0)?["data"]["access"], "writer");
    let put = ["--key-file", &writer, "secrets", "put", "from_writer"];
    assert_eq!(node.fed(&put, b"written")?.status.code(), Some(0));
    let get = ["--key-file", &writer, "secrets", "get", "from_writer"];
    assert_eq!(node.output(&get)?.status.code(), Some(9));
    assert_eq!(node.get("from_writer")?.stdout, b"written");
    Ok(())
}

#[test]
fn the_audit_log_is_shown_checked_and_written_out() -> TestResult {
    let node = with_a_secret()?;
    let shown = node.json(&["audit", "tail", "-n", "1", "-o", "json"], 0)?;
    let newest = &shown["data"]["entries"][0];
    assert_eq!(
        (&newest["operation"], &newest["details"]),
        (&"store".into(), &"wallet_key".into())
    );
    let checked = node.json(&["audit", "verify", "-o", "json"], 0)?;
    let chain = &checked["data"];
    assert_eq!(
        (&chain["faults"], &chain["unsealed"]),
        (&0.into(), &0.into())
    );
    let head = chain["head"].as_str().ok_or("no head")?.to_owned();
    let number = (chain["next"].as_u64().ok_or("no number")? - 1).to_string();

    node.put("another", b"x")?;
    let since = ["audit", "verify", "--since", &number, "--head", &head];
    assert_eq!(node.output(&since)?.status.code(), Some(0));
    let other = "0".repeat(64);
    let since = ["audit", "verify", "--since", &number, "--head", &other];
    let found = node.output(&since)?;
    assert_eq!(found.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&found.stdout).contains("not in this chain"));

    // Who has no key cannot tell whether the head is one that somebody vouched for.
    let tells = |unchecked: bool| -> TestResult {
        let told = node.output(&["audit", "verify"])?;
        assert_eq!(told.status.code(), Some(0));
        let text = String::from_utf8(told.stdout)?;
        assert_eq!(text.contains("tag not checked"), unchecked, "{text}");
        let checked = node.json(&["audit", "verify", "-o", "json"], 0)?;
        let findings = checked["findings"].as_array().map_or(0, Vec::len);
        assert_eq!(findings, usize::from(unchecked), "{checked}");
        Ok(())
    };
    let (key, away) = (node.path("storage.key"), node.path("away.key"));
    tells(false)?;
    fs::rename(&key, &away)?;
    tells(true)?;
    // One that is refused ends it, and the chain is told all the same.
    let other = key.display().to_string();
    node.json(&["secrets", "key", "new", &other, "-o", "json"], 0)?;
    let refused = node.json(&["audit", "verify", "-o", "json"], 9)?;
    assert_eq!(refused["data"]["faults"], 0, "{refused}");
    fs::rename(&away, &key)?;

    let file = node.path("audit.ndjson").display().to_string();
    node.json(&["audit", "export", &file, "-o", "json"], 0)?;
    let lines = fs::read_to_string(&file)?;
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(!lines.contains("correct horse"));
    node.json(&["audit", "export", &file, "-o", "json"], 10)?;
    Ok(())
}

#[test]
fn purging_asks_and_leaves_everything_that_is_stored() -> TestResult {
    let node = with_a_secret()?;
    let looked = node.json(&["compact", "--purge", "--dry-run", "-o", "json"], 0)?;
    assert_eq!(looked["data"]["dry_run"], true);
    node.json(&["compact", "--purge", "-o", "json"], 10)?;
    let purged = node.json(&["compact", "--purge", "--yes", "-o", "json"], 0)?;
    assert_eq!(purged["data"]["purged"], true);
    node.json(&["compact", "-o", "json"], 0)?;
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    Ok(())
}

#[test]
fn a_database_that_was_put_back_is_noticed_and_accepted_on_purpose() -> TestResult {
    let node = with_a_secret()?;
    let (database, kept) = (node.path("data.sled"), node.path("kept"));
    let journal = node.path("data.sled.journal");
    fs::create_dir(&kept)?;
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let args = [from, to];
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args(args)
            .status();
        copied.map(|status| assert!(status.success()))
    };
    copy(&database, &kept.join("index"))?;
    copy(&journal, &kept.join("journal"))?;
    assert_eq!(node.put("newer", b"x")?.status.code(), Some(0));
    fs::remove_dir_all(&database)?;
    fs::remove_dir_all(&journal)?;
    fs::rename(kept.join("index"), &database)?;
    fs::rename(kept.join("journal"), &journal)?;

    // Also by who only reads.
    for refused in [node.put("again", b"x")?, node.get("wallet_key")?] {
        assert_eq!(refused.status.code(), Some(9));
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains("accept-rollback"), "{error}");
    }
    let verified = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(verified["findings"][0]["code"], "ROLLED_BACK", "{verified}");
    node.json(&["secrets", "status", "-o", "json"], 0)?;
    node.json(&["secrets", "accept-rollback", "-o", "json"], 10)?;
    node.json(&["secrets", "accept-rollback", "--yes", "-o", "json"], 0)?;
    assert_eq!(node.put("again", b"x")?.status.code(), Some(0));
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    Ok(())
}

#[test]
fn without_a_key_no_secret_is_stored_and_the_node_has_no_identity() -> TestResult {
    let node = Node::new()?;
    let made = node.json(&["init", "--no-key", "-o", "json"], 0)?;
    assert_eq!(made["data"]["node_id"], serde_json::Value::Null);
    assert!(!node.path("storage.key").exists());
    let refused = node.put("wallet_key", SECRET)?;
    assert_eq!(refused.status.code(), Some(9));
    let listed = node.json(&["secrets", "list", "-o", "json"], 0)?;
    assert_eq!(listed["data"]["secrets"], serde_json::json!([]));

    // A key made later is used, and gives the identity.
    let made = node.json(&["init", "-o", "json"], 0)?;
    assert_eq!(made["data"]["key_file_written"], true);
    assert_eq!(node.put("wallet_key", SECRET)?.status.code(), Some(0));
    Ok(())
}

#[test]
fn a_key_file_with_a_passphrase_is_needed_with_it_at_every_start() -> TestResult {
    let node = Node::new()?;
    let init = ["--passphrase-fd", "0", "init", "--passphrase"];
    let made = node.fed(&init, b"tractor beam\n")?;
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let text = fs::read_to_string(node.path("storage.key"))?;
    assert!(text.contains("\nprotection = argon2id\n"), "{text}");
    let refused = node.output(&["secrets", "get", "wallet_key"])?;
    assert_eq!(refused.status.code(), Some(9));
    node.json(&["audit", "verify", "-o", "json"], 0)?;
    let list = ["--passphrase-fd", "0", "secrets", "status"];
    let status = node.fed(&list, b"tractor beam\n")?;
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(String::from_utf8(status.stdout)?.contains("access     full"));
    // Of what database it is, nobody sees: one that is gone is not begun anew beside it.
    for entry in fs::read_dir(node.path(""))?.flatten() {
        let name = entry.file_name();
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if name != "storage.key" && name != "config.toml" {
            fs::remove_file(entry.path())?;
        }
    }
    let refused = node.fed(&["--passphrase-fd", "0", "run"], b"tractor beam\n")?;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!node.path("data.sled.journal").exists());
    Ok(())
}

#[test]
fn half_a_key_file_that_a_crash_left_is_none() -> TestResult {
    let node = Node::new()?;
    fs::create_dir_all(node.path(""))?;
    fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o700))?;
    fs::write(node.path("storage.key.writing"), b"nsec-key 1\ntype = f")?;
    node.json(&["init", "-o", "json"], 0)?;
    assert!(!node.path("storage.key.writing").exists());
    let put = node.put("wallet_key", SECRET)?;
    assert_eq!(put.status.code(), Some(0), "{put:?}");
    assert_eq!(node.get("wallet_key")?.stdout, SECRET);
    Ok(())
}

#[test]
fn a_secret_that_is_not_there_is_not_a_missing_database() -> TestResult {
    let node = with_a_secret()?;
    node.json(&["secrets", "adopt", "nothing", "--yes", "-o", "json"], 1)?;
    assert_eq!(node.get("nothing")?.status.code(), Some(1));
    Ok(())
}
