//! Every kind of keys on every kind of store: what each call then returns, as the specification says.

use nonos_storage::{EncryptionKeys, EncryptionMode, NodeStorage, StorageConfig, TreeId};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, cancel_after, edit, full, on, outcome, public, writer};
use crate::watched::Watched as _;

const OLD: u8 = 1;
const RIGHT: u8 = 2;
const WRONG: u8 = 3;
const NEW: u8 = 4;

/// The columns. `new name` and `over old` store under a name that is unused, and used; `before` is
/// sealed to the keys before where there are such.
const CALLS: [&str; 9] = [
    "set", "status", "list", "load", "before", "identity", "new name", "over old", "delete",
];

/// The keys, what `set` and each call after it return, and what `rekey` does.
type Row = (&'static str, [&'static str; 10]);

const SKR: &str = "SecretKeyRequired";
const KR: &str = "KeyRequired";
const RIP: &str = "RekeyInProgress";
const MISSING: &str = "KeyringMissing";

/// All but status and names fail with this; `set` as given.
const fn latched(set: &'static str, with: &'static str) -> [&'static str; 10] {
    [set, "ok", "ok", with, with, with, with, with, with, with]
}

const ALL_OK: [&str; 10] = ["ok"; 10];
const READS_NOT: [&str; 10] = ["ok", "ok", "ok", SKR, SKR, SKR, "ok", "ok", "ok", SKR];

/// In mode `None`; the other mode differs where there are no keys and no keyring.
const PLAIN: [Row; 7] = [
    // Section 4, policy (d): as it is given, and nothing to change keys of.
    (
        "no keys",
        ["-", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", KR],
    ),
    // Nobody could prove a keyring that public keys began.
    ("Public", latched(SKR, SKR)),
    ("Writer", READS_NOT),
    // The first keys of a store cannot be compared with anything.
    ("Full right", ALL_OK),
    ("Full wrong", ALL_OK),
    ("Full old", ALL_OK),
    ("Full new", ALL_OK),
];

const ACTIVE: [Row; 7] = [
    ("no keys", latched("-", KR)),
    (
        "Public",
        ["ok", "ok", "ok", SKR, SKR, SKR, "ok", SKR, SKR, SKR],
    ),
    ("Writer", READS_NOT),
    ("Full right", ALL_OK),
    ("Full wrong", latched("WrongKey", "WrongKey")),
    ("Full old", latched("WrongKey", "WrongKey")),
    ("Full new", latched("WrongKey", "WrongKey")),
];

/// From OLD to NEW. "Full right" has both in hand.
const REKEYING: [Row; 7] = [
    ("no keys", latched("-", KR)),
    (
        "Public",
        ["ok", "ok", "ok", SKR, KR, KR, "ok", SKR, SKR, SKR],
    ),
    (
        "Writer",
        ["ok", "ok", "ok", SKR, KR, KR, "ok", "ok", "ok", SKR],
    ),
    (
        "Full right",
        ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", RIP],
    ),
    ("Full wrong", latched("WrongKey", "WrongKey")),
    ("Full old", latched(RIP, RIP)),
    (
        "Full new",
        ["ok", "ok", "ok", "ok", KR, KR, "ok", "ok", "ok", RIP],
    ),
];

/// Sealed records without a keyring: for nobody.
const KEYRING_MISSING: [Row; 7] = [
    ("no keys", latched("-", MISSING)),
    ("Public", latched(MISSING, MISSING)),
    ("Writer", latched(MISSING, MISSING)),
    ("Full right", latched(MISSING, MISSING)),
    ("Full wrong", latched(MISSING, MISSING)),
    ("Full old", latched(MISSING, MISSING)),
    ("Full new", latched(MISSING, MISSING)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Plain,
    Active,
    Rekeying,
    KeyringMissing,
}

impl Store {
    const ALL: [Self; 4] = [
        Self::Plain,
        Self::Active,
        Self::Rekeying,
        Self::KeyringMissing,
    ];

    fn expected(self) -> [Row; 7] {
        match self {
            Self::Plain => PLAIN,
            Self::Active => ACTIVE,
            Self::Rekeying => REKEYING,
            Self::KeyringMissing => KEYRING_MISSING,
        }
    }

    /// The active keys: those that are right.
    fn right(self) -> u8 {
        match self {
            Self::Rekeying => NEW,
            _ => RIGHT,
        }
    }

    fn make(self) -> Fallible<OnDisk> {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        if self != Self::Plain {
            storage.set_encryption_keys(full(OLD))?;
        }
        storage.keep_secret("before", b"before")?;
        // More than the records of one commit, so that an interruption leaves some.
        for number in 0..70 {
            storage.keep_secret(&format!("a{number:02}"), b"one of many")?;
        }
        storage.keep_identity(&NODE, b"identity")?;
        match self {
            Self::Plain => {}
            Self::Rekeying => {
                let stopped = storage.rekey(full(NEW), &mut cancel_after(0));
                assert_eq!(outcome(&stopped), "CANCELLED");
                let status = storage.secrets_status()?;
                assert!(status.is_rekeying && status.counts.rekey_remaining > 0);
            }
            Self::Active | Self::KeyringMissing => {
                storage.rekey(full(RIGHT), &mut on)?;
            }
        }
        for name in ["load", "delete", "over old"] {
            storage.keep_secret(name, name.as_bytes())?;
        }
        storage.close()?;
        if self == Self::KeyringMissing {
            edit(&disk, |view, commit| {
                commit.remove(view, TreeId::Schema, b"__keyring__".to_vec())
            })?;
        }
        Ok(disk)
    }

    fn keys(self, name: &str) -> Option<EncryptionKeys> {
        match name {
            "Public" => Some(public(self.right())),
            "Writer" => Some(writer(self.right())),
            "Full right" => Some(full(self.right())),
            "Full wrong" => Some(full(WRONG)),
            "Full old" => Some(full(OLD)),
            "Full new" => Some(full(NEW)),
            _ => None,
        }
    }
}

fn outcomes(storage: &NodeStorage, store: Store, keys: &str) -> Fallible<[String; 10]> {
    let set = match store.keys(keys) {
        Some(keys) => outcome(&storage.set_encryption_keys(keys)),
        None => "-".to_owned(),
    };
    if (store, keys) == (Store::Rekeying, "Full right") {
        storage.set_previous_keys(full(OLD))?;
    }
    let loaded = |name: &str, value: &[u8]| -> Fallible<String> {
        let loaded = storage.load_secret(name);
        if let Ok(found) = &loaded {
            assert_eq!(found.as_deref(), Some(value), "{store:?}, {keys}, {name}");
        }
        Ok(outcome(&loaded))
    };
    let identity = storage.load_encrypted_key();
    if let Ok(found) = &identity {
        assert_eq!(
            found.as_deref(),
            Some(&b"identity"[..]),
            "{store:?}, {keys}"
        );
    }
    let found = [
        set,
        outcome(&storage.secrets_status()),
        outcome(&storage.list_secrets()),
        loaded("load", b"load")?,
        loaded("before", b"before")?,
        outcome(&identity),
        outcome(&storage.keep_secret("new name", b"new")),
        outcome(&storage.keep_secret("over old", b"newer")),
        outcome(&storage.delete_secret("delete")),
        outcome(&storage.rekey(full(9), &mut on)),
    ];
    // What was refused is not there.
    let names = storage.list_secrets()?;
    let has = |name: &str| names.iter().any(|found| found == name);
    assert_eq!(has("new name"), found[6] == "ok", "{store:?}, {keys}");
    assert_eq!(has("delete"), found[8] != "ok", "{store:?}, {keys}");
    Ok(found)
}

#[test]
fn every_kind_of_keys_on_every_kind_of_store_does_what_is_specified() -> TestResult {
    let mut differences = Vec::new();
    for store in Store::ALL {
        let made = store.make()?;
        for mode in [EncryptionMode::None, EncryptionMode::SealedBox] {
            for (keys, mut expected) in store.expected() {
                let is_keyless = keys == "no keys" && mode == EncryptionMode::SealedBox;
                if is_keyless && [Store::Plain, Store::KeyringMissing].contains(&store) {
                    expected = latched("-", KR);
                }
                let trial = OnDisk::new()?;
                copy(made.directory.root(), trial.directory.root())?;
                let config = StorageConfig {
                    encryption_mode: mode,
                    ..trial.config.clone()
                };
                let storage = NodeStorage::open(config)?;
                let found = outcomes(&storage, store, keys)?;
                let calls = CALLS.iter().chain(&["rekey"]);
                for (call, (found, expected)) in calls.zip(found.iter().zip(expected)) {
                    if found != expected {
                        differences.push(format!(
                            "{store:?}, mode {mode:?}, {keys}: {call} returned {found}, expected {expected}"
                        ));
                    }
                }
                storage.close()?;
            }
        }
    }
    assert_eq!(differences, Vec::<String>::new(), "{differences:#?}");
    Ok(())
}
