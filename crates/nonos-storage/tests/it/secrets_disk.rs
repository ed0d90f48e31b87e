//! What is left of secrets in files: random bytes as secrets, and a look into every file. Each look that
//! must find nothing has one beside it that finds the same bytes where they are.

use std::fs;

use nonos_storage::{EncryptionKeys, NodeStorage, StorageConfig};
use storage_testkit::first_implementation::{FIXTURES, FirstImplementation};

use crate::TestResult;
use crate::canaries::{Canaries, Hunt};
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, body, full, on, outcome};
use crate::watched::Watched as _;

fn on_disk(compression_enabled: bool) -> Fallible<OnDisk> {
    let mut disk = OnDisk::new()?;
    disk.config.compression_enabled = compression_enabled;
    Ok(disk)
}

pub(crate) fn hunt<'a>(sought: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Hunt {
    let mut hunt = Hunt::default();
    for (name, bytes) in sought {
        hunt.add(name, bytes);
    }
    hunt
}

/// Everything below the temporary directory of a test.
pub(crate) fn found(hunt: &Hunt, disk: &OnDisk) -> Fallible<Vec<String>> {
    Ok(hunt.found(disk.directory.root())?)
}

/// The sealed record of a secret and of the node's key, read beside the open handle.
pub(crate) fn sealed(disk: &OnDisk, names: &[&str]) -> Fallible<Vec<Vec<u8>>> {
    use storage_core::{Db, DbOptions, TreeId};
    let options = DbOptions::new(disk.config.path.clone(), 2, || 0);
    let db = Db::open_readonly(&options)?;
    let mut records = Vec::new();
    for name in names {
        let (tree, key) = match *name {
            "(identity)" => (TreeId::Identity, "encrypted_key"),
            name => (TreeId::Secrets, name),
        };
        records.push(body(&db.view(), tree, key.as_bytes())?);
    }
    Ok(records)
}

#[test]
fn a_plain_secret_is_found_until_it_is_deleted_and_purged() -> TestResult {
    for compression in [true, false] {
        let canaries = Canaries::new();
        let (live, deleted, replaced) = (canaries.get(1), canaries.get(2), canaries.get(3));
        let large: Vec<u8> = (100..2148)
            .flat_map(|number| canaries.get(number))
            .collect();
        assert_eq!(large.len(), 64 * 1024);
        let disk = on_disk(compression)?;
        let storage = disk.open()?;
        storage.keep_secret("live", &live)?;
        storage.keep_secret("deleted", &deleted)?;
        storage.keep_secret("replaced", &replaced)?;
        storage.keep_secret("large", &large)?;
        storage.keep_identity(&NODE, &canaries.get(4))?;
        let first_key = canaries.get(4);
        let gone = hunt([
            ("deleted", deleted.as_slice()),
            ("replaced", &replaced),
            ("large", &large),
            ("the first key", &first_key),
        ]);
        storage.flush()?;
        storage.delete_secret("deleted")?;
        storage.keep_secret("replaced", b"another")?;
        storage.delete_secret("large")?;
        storage.keep_identity(&NODE, b"another key")?;
        let all = found(&gone, &disk)?;
        for name in ["deleted", "replaced", "large", "the first key"] {
            assert!(
                all.iter().any(|found| found.starts_with(name)),
                "{name} before: {all:?}"
            );
        }
        // Closing and opening do not promise it.
        let storage = disk.reopen(storage)?;
        assert!(!found(&gone, &disk)?.is_empty());
        storage.purge()?;
        assert_eq!(
            found(&gone, &disk)?,
            Vec::<String>::new(),
            "compression {compression}"
        );
        let kept = hunt([("live", live.as_slice())]);
        assert!(
            found(&kept, &disk)?.len() > 1,
            "index and journal have what is live"
        );
        assert_eq!(storage.load_secret("live")?, Some(live));
        // Nor is it there once the handle is closed, and another one was opened.
        let storage = disk.reopen(storage)?;
        assert_eq!(found(&gone, &disk)?, Vec::<String>::new(), "reopened");
        assert_eq!(
            storage.load_encrypted_key()?.as_deref(),
            Some(&b"another key"[..])
        );
    }
    Ok(())
}

#[test]
fn what_was_sealed_from_the_start_is_in_no_file() -> TestResult {
    for compression in [true, false] {
        let canaries = Canaries::new();
        let disk = on_disk(compression)?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        let mut plain = Hunt::default();
        for number in 0..20 {
            let canary = canaries.get(number);
            plain.add(format!("canary {number}"), &canary);
            // Compressible around it, so that compression would show.
            let value = [&[7; 300], canary.as_slice(), &[7; 300]].concat();
            storage.keep_secret(&format!("s{}", number % 15), &value)?;
            if number % 4 == 0 {
                storage.delete_secret(&format!("s{number}"))?;
            }
        }
        storage.keep_identity(&NODE, &canaries.get(30))?;
        plain.add("the node's key", &canaries.get(30));
        let large: Vec<u8> = (100..2148)
            .flat_map(|number| canaries.get(number))
            .collect();
        storage.keep_secret("large", &large)?;
        plain.add("large", &large);
        plain.add("start of large", large.split_at(32).0);
        // Files of every kind, with a backup beside.
        let backup = disk.directory.root().join("backup.nonos");
        storage.export_backup(&backup)?;
        storage.compact()?;
        storage.rekey(full(2), &mut on)?;
        let storage = disk.reopen(storage)?;
        storage.set_encryption_keys(full(2))?;
        storage.export_backup(disk.directory.root().join("another.nonos"))?;
        assert_eq!(
            found(&plain, &disk)?,
            Vec::<String>::new(),
            "compression {compression}"
        );
        storage.close()?;
        assert_eq!(found(&plain, &disk)?, Vec::<String>::new(), "closed");
        // The same look finds them where they are.
        fs::write(
            disk.directory.root().join("leak"),
            [&[1; 9], canaries.get(3).as_slice()].concat(),
        )?;
        assert_eq!(found(&plain, &disk)?.len(), 1);
        // And the files are really those of the backup.
        let restored = on_disk(compression)?;
        NodeStorage::restore_backup(&backup, restored.config.clone())?;
        let storage = restored.open()?;
        storage.set_encryption_keys(full(1))?;
        assert!(storage.load_secret("large")? == Some(large));
        assert_eq!(found(&plain, &restored)?, Vec::<String>::new(), "restored");
    }
    Ok(())
}

#[test]
fn after_sealing_or_changing_keys_a_purge_leaves_nothing_of_before() -> TestResult {
    for compression in [true, false] {
        let canaries = Canaries::new();
        let (a, b, key) = (canaries.get(1), canaries.get(2), canaries.get(3));
        let disk = on_disk(compression)?;
        let storage = disk.open()?;
        storage.keep_secret("a", &a)?;
        storage.keep_secret("b", &b)?;
        storage.keep_identity(&NODE, &key)?;
        let plain = hunt([("a", a.as_slice()), ("b", &b), ("the node's key", &key)]);
        storage.set_encryption_keys(full(1))?;
        assert!(
            !found(&plain, &disk)?.is_empty(),
            "sealing alone does not promise it"
        );
        assert!(storage.secrets_status()?.purge_needed);
        storage.purge()?;
        assert_eq!(
            found(&plain, &disk)?,
            Vec::<String>::new(),
            "sealed, {compression}"
        );
        assert!(!storage.secrets_status()?.purge_needed);

        // Now the sealed records themselves.
        let names = ["a", "b", "(identity)"];
        let first = sealed(&disk, &names)?;
        let of_first = hunt(names.into_iter().zip(first.iter().map(Vec::as_slice)));
        assert!(found(&of_first, &disk)?.len() >= 3, "what is live is there");
        storage.keep_secret("a", &a)?;
        storage.delete_secret("b")?;
        storage.keep_identity(&NODE, &key)?;
        assert!(!found(&of_first, &disk)?.is_empty());
        storage.purge()?;
        assert_eq!(
            found(&of_first, &disk)?,
            Vec::<String>::new(),
            "replaced, {compression}"
        );

        let names = ["a", "(identity)"];
        let before = sealed(&disk, &names)?;
        let of_before = hunt(names.into_iter().zip(before.iter().map(Vec::as_slice)));
        storage.rekey(full(2), &mut on)?;
        let storage = disk.reopen(storage)?;
        storage.set_encryption_keys(full(2))?;
        assert!(
            !found(&of_before, &disk)?.is_empty(),
            "changing keys alone does not promise it"
        );
        assert!(storage.secrets_status()?.purge_needed);
        storage.purge()?;
        assert_eq!(
            found(&of_before, &disk)?,
            Vec::<String>::new(),
            "changed, {compression}"
        );
        assert_eq!(found(&plain, &disk)?, Vec::<String>::new(), "{compression}");
        assert_eq!(storage.load_secret("a")?, Some(a));
        assert_eq!(storage.load_encrypted_key()?, Some(key));
    }
    Ok(())
}

/// A database of the first implementation, whose secrets are plain, and the checkpoint that its
/// migration keeps.
#[test]
fn of_a_migrated_database_a_purge_leaves_no_plain_secret() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let listing = fixture.listing()?;
        let mut plain = Hunt::default();
        for (name, secret) in listing["secrets"].as_object().ok_or("no secrets")? {
            let secret = secret.as_str().ok_or("no text")?;
            if secret.len() >= 8 {
                plain.add(name.as_str(), secret.as_bytes());
            }
        }
        let config = StorageConfig {
            path: fixture.database(),
            ..Default::default()
        };
        let storage = NodeStorage::open(config)?;
        let root = fixture.database();
        let of_this = |found: Vec<String>| -> Vec<String> {
            let root = root.display().to_string();
            found
                .into_iter()
                .filter(|found| found.contains(&root))
                .collect()
        };
        storage.set_encryption_keys(EncryptionKeys::generate())?;
        assert!(
            !of_this(plain.found(fixture.root())?).is_empty(),
            "{name}: nothing to purge"
        );
        assert_eq!(outcome(&storage.purge()), "ok");
        assert_eq!(
            of_this(plain.found(fixture.root())?),
            Vec::<String>::new(),
            "{name}"
        );
    }
    Ok(())
}
