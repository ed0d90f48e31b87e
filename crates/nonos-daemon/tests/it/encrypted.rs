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

#[cfg(feature = "backup-age")]
mod with_age {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use nonos_daemon::BackupDirectory;
    use nonos_daemon::encryption::{BackupKeys, EncryptedTarget};

    use super::*;
    use crate::run::Daemon;
    use crate::targets::conforms;

    type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

    /// A file of an identity as `age-keygen` makes it, and its recipient.
    fn identity(file: &Path) -> Fallible<String> {
        let made = Command::new("age-keygen")
            .arg("-o")
            .arg(file)
            .output()
            .map_err(|error| format!("age-keygen of the package age: {error}"))?;
        assert!(made.status.success());
        let told = fs::read_to_string(file)?;
        let line = told.lines().find(|line| line.contains("public key: "));
        let (_, recipient) = line
            .and_then(|line| line.split_once(": "))
            .ok_or("no key")?;
        Ok(recipient.to_owned())
    }

    /// What the first implementation of age makes of a file.
    fn age(args: &[&str], input: &[u8]) -> Fallible<Vec<u8>> {
        let mut child = Command::new("age")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("no pipe")?;
        let input = input.to_vec();
        let fed = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output()?;
        fed.join().map_err(|_panic| "the thread")??;
        assert!(output.status.success(), "{args:?}");
        Ok(output.stdout)
    }

    struct Encrypted {
        node: Node,
        identity: PathBuf,
        recipient: String,
    }

    impl Encrypted {
        /// A node with a plain secret, and an identity beside it.
        fn new() -> Fallible<Self> {
            let node = with_a_plain_secret()?;
            let identity = node.path("backup.identity");
            let recipient = identity_of(&identity)?;
            Ok(Self {
                node,
                identity,
                recipient,
            })
        }

        fn identity(&self) -> String {
            self.identity.display().to_string()
        }

        fn run(&self, args: &[&str], exit_code: i32) -> Fallible<serde_json::Value> {
            self.node.json(&[args, &["-o", "json"]].concat(), exit_code)
        }
    }

    fn identity_of(file: &Path) -> Fallible<String> {
        let recipient = identity(file)?;
        let text = fs::read_to_string(file)?;
        for line in text.lines().filter(|line| line.starts_with("AGE-SECRET")) {
            forbid(line.as_bytes());
        }
        Ok(recipient)
    }

    #[test]
    fn a_place_that_encrypts_conforms() -> TestResult {
        let dir = tempfile::tempdir()?;
        let identity = dir.path().join("identity");
        let recipient = identity_of(&identity)?;
        let keys = BackupKeys::new(&[recipient], Some(&identity))?;
        let place = BackupDirectory::new(&dir.path().join("place"))?;
        let target = EncryptedTarget::new(Box::new(place), keys);
        conforms(&target, dir.path())
    }

    #[test]
    fn what_is_at_the_place_is_encrypted_and_the_identity_restores_it() -> TestResult {
        let of = Encrypted::new()?;
        let recipient = ["--recipient", &of.recipient];
        let create = [&["backup", "create", "--incremental"][..], &recipient].concat();
        let full = of.run(&create, 0)?;
        assert_eq!(full["data"]["backups"][0]["kind"], "full");
        let storage = NodeStorage::open(StorageConfig {
            path: of.node.path("data.sled"),
            compression_enabled: false,
            ..StorageConfig::default()
        })?;
        storage.store_secret("another", PLAIN)?;
        storage.close()?;
        let increment = of.run(&create, 0)?;
        assert_eq!(increment["data"]["backups"][0]["kind"], "increment");

        let mut encrypted = 0;
        for file in files(&of.node.path("backups"))? {
            assert!(!holds(&file, PLAIN)?, "{}", file.display());
            if holds(&file, b"age-encryption.org/v1")? {
                encrypted += 1;
            } else {
                assert!(
                    file.to_string_lossy().ends_with(".json"),
                    "{}",
                    file.display()
                );
            }
        }
        assert_eq!(encrypted, 2);
        let listed = of.run(&["backup", "list"], 0)?;
        assert_eq!(listed["data"]["backups"].as_array().map(Vec::len), Some(2));

        // Without the identity, with another one, and with it.
        let other = of.node.path("other.identity");
        identity_of(&other)?;
        let other = other.display().to_string();
        for verb in [
            &["backup", "verify"][..],
            &["backup", "drill"],
            &["restore", "--yes"],
        ] {
            let refused = of.run(verb, 9)?;
            assert_eq!(refused["findings"][0]["code"], "KEY_REQUIRED", "{refused}");
            of.run(&[verb, &["--identity", &other]].concat(), 9)?;
        }
        let identity = of.identity();
        let opened = ["--identity", &identity];
        of.run(&[&["backup", "verify"][..], &opened].concat(), 0)?;
        let drill = of.run(&[&["backup", "drill"][..], &opened].concat(), 0)?;
        assert_eq!(drill["data"]["is_sound"], true);
        let into = of.node.path("restored");
        let to = into.display().to_string();
        of.run(&[&["restore", "--into", &to][..], &opened].concat(), 0)?;
        let restored = NodeStorage::open(StorageConfig {
            path: into.join("data.sled"),
            ..StorageConfig::default()
        })?;
        assert_eq!(restored.load_secret("another")?.as_deref(), Some(PLAIN));
        restored.close()?;

        // Any other byte is noticed, and nothing is restored.
        let backups = files(&of.node.path("backups"))?;
        let file = backups
            .iter()
            .find(|file| file.to_string_lossy().ends_with(".nonos.age"));
        let file = file.ok_or("no file")?;
        let whole = fs::read(file)?;
        for at in (0..whole.len()).step_by(whole.len() / 12) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(file, bytes)?;
            let output = of
                .node
                .output(&["backup", "verify", "--identity", &identity])?;
            let code = output.status.code();
            // The stanza of the recipient is not his any more.
            assert!(matches!(code, Some(8 | 9)), "byte {at}: {output:?}");
        }
        for len in (0..whole.len()).step_by(whole.len() / 8) {
            fs::write(file, whole.get(..len).unwrap_or_default())?;
            let output = of
                .node
                .output(&["backup", "verify", "--identity", &identity])?;
            assert!(
                matches!(output.status.code(), Some(8)),
                "cut to {len}: {output:?}"
            );
        }
        fs::write(file, &whole)?;
        of.run(&[&["backup", "verify"][..], &opened].concat(), 0)?;

        let prune = ["backup", "prune", "--keep-last", "1", "--yes"];
        of.run(&[&["backup", "create"][..], &recipient].concat(), 0)?;
        of.run(&[&["backup", "verify"][..], &opened].concat(), 0)?;
        of.run(&prune, 0)?;
        assert_eq!(files(&of.node.path("backups"))?.len(), 2);
        Ok(())
    }

    #[test]
    fn age_itself_reads_a_file_and_makes_one_that_is_restored() -> TestResult {
        let of = Encrypted::new()?;
        let (file, identity) = (of.node.path("x.nonos.age"), of.identity());
        let to = file.display().to_string();
        let create = [
            "backup",
            "create",
            "--to",
            &to,
            "--recipient",
            &of.recipient,
        ];
        of.run(&create, 0)?;
        let plain = age(&["--decrypt", "--identity", &identity], &fs::read(&file)?)?;
        let own = of.node.path("own.nonos");
        fs::write(&own, &plain)?;
        let own = own.display().to_string();
        let shown = of.run(&["backup", "verify", &own], 0)?;
        assert_eq!(shown["data"]["redacted"], false);

        let theirs = of.node.path("theirs.nonos.age");
        fs::write(&theirs, age(&["--recipient", &of.recipient], &plain)?)?;
        let theirs = theirs.display().to_string();
        of.run(&["backup", "verify", &theirs], 9)?;
        let opened = of.run(&["backup", "verify", &theirs, "--identity", &identity], 0)?;
        assert_eq!(opened["data"]["commit"], shown["data"]["commit"]);
        let into = of.node.path("restored");
        let to = into.display().to_string();
        let restore = [
            "restore",
            "--from",
            &theirs,
            "--into",
            &to,
            "--identity",
            &identity,
        ];
        of.run(&restore, 0)?;
        let restored = NodeStorage::open(StorageConfig {
            path: into.join("data.sled"),
            ..StorageConfig::default()
        })?;
        assert_eq!(restored.load_secret("wallet")?.as_deref(), Some(PLAIN));
        restored.close()?;
        let left = files(&of.node.path(""))?;
        let scratch = left
            .iter()
            .filter(|file| file.to_string_lossy().contains(".scratch"));
        assert_eq!(scratch.count(), 0, "{left:?}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() -> TestResult {
        let of = Encrypted::new()?;
        let plain = of.node.path("x.nonos").display().to_string();
        let named = of.node.path("x.nonos.age").display().to_string();
        of.run(
            &[
                "backup",
                "create",
                "--to",
                &plain,
                "--recipient",
                &of.recipient,
            ],
            2,
        )?;
        of.run(&["backup", "create", "--to", &named], 2)?;
        for wrong in ["age1", "", "ssh-ed25519 AAAA", &of.recipient[..40]] {
            of.run(&["backup", "create", "--recipient", wrong], 2)?;
        }
        let missing = of.node.path("missing").display().to_string();
        of.run(&["backup", "verify", "--identity", &missing], 9)?;
        let config = of.node.path("config.toml").display().to_string();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        of.run(&["backup", "verify", "--identity", &config], 9)?;
        fs::set_permissions(&of.identity, fs::Permissions::from_mode(0o644))?;
        of.run(&["backup", "verify", "--identity", &of.identity()], 9)?;
        assert!(!of.node.path("backups").exists());
        assert!(!Path::new(&named).exists() && !Path::new(&plain).exists());
        Ok(())
    }

    /// Who reads the increments must be able to read what they go on from.
    #[test]
    fn other_recipients_begin_with_a_full_backup() -> TestResult {
        let of = Encrypted::new()?;
        let other = of.node.path("other.identity");
        let recipient = identity_of(&other)?;
        let create = |recipient: &str| {
            of.run(
                &[
                    "backup",
                    "create",
                    "--incremental",
                    "--recipient",
                    recipient,
                ],
                0,
            )
        };
        create(&of.recipient)?;
        of.node.json(&["compact", "-o", "json"], 0)?;
        let made = create(&recipient)?;
        assert_eq!(made["data"]["backups"][0]["kind"], "full", "{made}");
        of.run(
            &[
                "backup",
                "verify",
                "--identity",
                &other.display().to_string(),
            ],
            0,
        )?;
        Ok(())
    }

    #[test]
    fn an_identity_that_is_not_there_stops_only_who_reads() -> TestResult {
        let of = Encrypted::new()?;
        let config = fs::read_to_string(of.node.path("config.toml"))?;
        let config = config
            .replace(
                "recipients = []",
                &format!("recipients = [\"{}\"]", of.recipient),
            )
            .replace(
                "identity_file = \"\"",
                "identity_file = \"/nonexistent/stick\"",
            );
        of.node.write_config(&config)?;
        of.run(&["backup", "create"], 0)?;
        of.run(&["backup", "list"], 0)?;
        of.run(&["backup", "prune", "--keep-last", "1"], 0)?;
        of.run(&["backup", "verify"], 9)?;
        let mut daemon = Daemon::start(&of.node)?;
        daemon.wait_for("the database is open", 1)?;
        assert_eq!(daemon.end("-TERM")?, Some(0));
        Ok(())
    }

    #[test]
    fn a_private_key_that_is_given_as_recipient_is_not_shown() -> TestResult {
        let of = Encrypted::new()?;
        let text = fs::read_to_string(&of.identity)?;
        let key = text
            .lines()
            .find(|line| line.starts_with("AGE-SECRET"))
            .ok_or("no key")?;
        for form in ["table", "json"] {
            let output = of
                .node
                .output(&["backup", "create", "--recipient", key, "-o", form])?;
            assert_eq!(output.status.code(), Some(2));
            let shown = [output.stdout, output.stderr].concat();
            assert!(!String::from_utf8_lossy(&shown).contains(key));
        }
        Ok(())
    }

    #[test]
    fn the_daemon_ships_encrypted_and_drills_if_it_has_the_identity() -> TestResult {
        let of = Encrypted::new()?;
        let config = fs::read_to_string(of.node.path("config.toml"))?;
        let config = config
            .replace("every_secs = 0", "every_secs = 1")
            .replace("drill_every_secs = 604800", "drill_every_secs = 1")
            .replace(
                "recipients = []",
                &format!("recipients = [\"{}\"]", of.recipient),
            );
        of.node.write_config(&config)?;
        let mut daemon = Daemon::start(&of.node)?;
        daemon.wait_for("backed up", 1)?;
        assert_eq!(daemon.end("-TERM")?, Some(0));
        for file in files(&of.node.path("backups"))? {
            assert!(!holds(&file, PLAIN)?, "{}", file.display());
        }
        of.node.write_config(&config.replace(
            "identity_file = \"\"",
            "identity_file = \"backup.identity\"",
        ))?;
        let mut daemon = Daemon::start(&of.node)?;
        daemon.wait_for("the newest backup was restored and verified", 1)?;
        assert_eq!(daemon.end("-TERM")?, Some(0));
        Ok(())
    }
}
