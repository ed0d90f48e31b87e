//! With the feature: backups encrypted to recipients, as age reads them.

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
