//! Keys that allow less than all, handles that do less than all, and copies of a store.

use nonos_storage::{Access, NodeStorage, TreeId};
use storage_core::Encoding;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{
    Fallible, NODE, all_secrets, audited, cancel_after, edit, entry, full, on, outcome, public,
    put_sealed, record_of, writer,
};
use crate::watched::Watched as _;

#[test]
fn public_keys_store_what_is_read_once_somebody_vouches_for_it() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("old", b"tagged")?;
    storage.set_encryption_keys(public(1))?;
    assert_eq!(
        outcome(&storage.keep_secret("old", b"forged")),
        "SecretKeyRequired"
    );
    assert_eq!(outcome(&storage.delete_secret("old")), "SecretKeyRequired");
    assert_eq!(
        outcome(&storage.keep_identity(&NODE, b"x")),
        "SecretKeyRequired"
    );
    storage.keep_secret("dropped", b"by somebody")?;
    assert_eq!(
        outcome(&storage.keep_secret("dropped", b"again")),
        "SecretKeyRequired"
    );
    assert_eq!(
        outcome(&storage.delete_secret("dropped")),
        "SecretKeyRequired"
    );
    assert_eq!(outcome(&storage.load_secret("dropped")), "Unauthenticated");
    assert_eq!(
        outcome(&storage.adopt_secret("dropped")),
        "SecretKeyRequired"
    );
    let counter = storage.secrets_status()?.counter;

    let storage = disk.reopen(storage)?;
    let status = storage.set_encryption_keys(full(1))?;
    assert_eq!((status.counts.sealed, status.counts.anonymous), (1, 1));
    assert_eq!(status.counter, counter);
    assert_eq!(outcome(&storage.load_secret("dropped")), "Unauthenticated");
    assert_eq!(outcome(&storage.adopt_secret("none")), "NOT_FOUND");
    storage.adopt_secret("dropped")?;
    assert_eq!(audited(&storage, 1)?, [entry("adopt", "dropped")]);
    assert_eq!(
        storage.load_secret("dropped")?.as_deref(),
        Some(&b"by somebody"[..])
    );
    // Adopted twice is adopted.
    storage.adopt_secret("dropped")?;
    let status = storage.secrets_status()?;
    assert_eq!((status.counts.sealed, status.counts.anonymous), (2, 0));
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(writer(1))?;
    assert_eq!(storage.secrets_status()?.access, Some(Access::Writer));
    storage.keep_secret("old", b"by a writer")?;
    storage.keep_identity(&NODE, b"by a writer")?;
    assert_eq!(outcome(&storage.load_secret("old")), "SecretKeyRequired");
    assert!(storage.delete_secret("dropped")?);
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(
        storage.load_secret("old")?.as_deref(),
        Some(&b"by a writer"[..])
    );
    assert_eq!(
        storage.load_encrypted_key()?.as_deref(),
        Some(&b"by a writer"[..])
    );
    assert_eq!(storage.load_secret("dropped")?, None);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

#[test]
fn what_is_stored_in_an_update_is_sealed_and_is_undone_with_it() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    let counter = storage.secrets_status()?.counter;
    let dropped = storage.update(true, |update| {
        update.store_identity(&NODE, b"never")?;
        assert_eq!(update.load_encrypted_key()?.as_deref(), Some(&b"never"[..]));
        Err::<(), _>(nonos_storage::CryptoError::Unopenable.into())
    });
    assert_eq!(outcome(&dropped), "Unopenable");
    assert_eq!(storage.load_encrypted_key()?, None);
    assert_eq!(storage.secrets_status()?.counter, counter);
    // Twice in one update, and the memory of the update before does not mislead.
    storage.update(true, |update| {
        update.store_identity(&NODE, b"first")?;
        update.store_config("name", "a node")?;
        update.store_identity(&NODE, b"second")
    })?;
    assert_eq!(
        storage.load_encrypted_key()?.as_deref(),
        Some(&b"second"[..])
    );
    storage.keep_secret("a", b"2")?;
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(
        storage.load_encrypted_key()?.as_deref(),
        Some(&b"second"[..])
    );
    assert_eq!(storage.load_secret("a")?.as_deref(), Some(&b"2"[..]));
    storage.close()?;
    let db = disk.directory.open_core()?;
    let frame = storage_core::Read::get(&db.view(), TreeId::Identity, b"encrypted_key")?;
    let frame = storage_core::open_frame(
        TreeId::Identity,
        b"encrypted_key",
        &frame.unwrap_or_default(),
    )?;
    assert_eq!(frame.encoding, Encoding::Sealed);
    Ok(())
}

#[test]
fn a_handle_for_reading_opens_secrets_and_writes_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let plain = NodeStorage::open_readonly(disk.config.clone())?;
    assert_eq!(outcome(&plain.set_encryption_keys(full(1))), "READ_ONLY");
    drop(plain);
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    storage.keep_identity(&NODE, b"key")?;
    let view = NodeStorage::open_readonly(disk.config.clone())?;
    assert_eq!(outcome(&view.load_secret("a")), "KeyRequired");
    assert_eq!(outcome(&view.set_encryption_keys(full(2))), "WrongKey");
    assert_eq!(outcome(&view.load_secret("a")), "WrongKey");
    let status = view.set_encryption_keys(full(1))?;
    assert_eq!(
        (status.access, status.counts.sealed),
        (Some(Access::Full), 2)
    );
    let before = all_secrets(&storage)?;
    assert_eq!(all_secrets(&view)?, before);
    for refused in [
        outcome(&view.keep_secret("a", b"2")),
        outcome(&view.delete_secret("a")),
        outcome(&view.keep_identity(&NODE, b"x")),
        outcome(&view.adopt_secret("a")),
        outcome(&view.rekey(full(2), &mut on)),
        outcome(&view.accept_rollback().and(view.purge())),
        outcome(&view.repair_keyring(full(1))),
    ] {
        assert_eq!(refused, "READ_ONLY");
    }
    assert_eq!(all_secrets(&view)?, before, "after what was refused");
    assert_eq!(all_secrets(&storage)?, before);
    // It follows the writer, also to other keys.
    storage.keep_secret("a", b"2")?;
    view.refresh()?;
    assert_eq!(view.load_secret("a")?.as_deref(), Some(&b"2"[..]));
    let stopped = storage.rekey(full(2), &mut cancel_after(0));
    assert_eq!(outcome(&stopped), "CANCELLED");
    view.refresh()?;
    assert_eq!(outcome(&view.load_secret("a")), "RekeyInProgress");
    view.set_encryption_keys(full(2))?;
    view.set_previous_keys(full(1))?;
    assert_eq!(view.load_secret("a")?.as_deref(), Some(&b"2"[..]));
    assert_eq!(view.load_encrypted_key()?.as_deref(), Some(&b"key"[..]));
    Ok(())
}

#[test]
fn a_restored_backup_opens_with_the_keys_of_its_time() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("a", b"1")?;
    storage.keep_identity(&NODE, b"key")?;
    let plain = disk.directory.root().join("plain.nonos");
    storage.export_backup(&plain)?;
    storage.set_encryption_keys(full(1))?;
    let sealed = disk.directory.root().join("sealed.nonos");
    storage.export_backup(&sealed)?;
    let before = all_secrets(&storage)?;
    storage.rekey(full(2), &mut on)?;
    let rekeyed = disk.directory.root().join("rekeyed.nonos");
    storage.export_backup(&rekeyed)?;
    let status = storage.secrets_status()?;
    for (file, keys, wrong) in [(&sealed, 1, 2), (&rekeyed, 2, 1), (&plain, 7, 0)] {
        let restored = OnDisk::new()?;
        NodeStorage::restore_backup(file, restored.config.clone())?;
        let again = restored.open()?;
        if wrong != 0 {
            assert_eq!(
                outcome(&again.load_secret("a")),
                "KeyRequired",
                "{}",
                file.display()
            );
            assert_eq!(outcome(&again.set_encryption_keys(full(wrong))), "WrongKey");
        }
        let found = again.set_encryption_keys(full(keys))?;
        assert_eq!(all_secrets(&again)?, before, "{}", file.display());
        if keys == 2 {
            assert_eq!(
                (found.counter, found.counts),
                (status.counter, status.counts)
            );
        }
        assert_eq!(
            again.verify_audit_log(None)?.faults,
            0,
            "{}",
            file.display()
        );
        again.keep_secret("b", b"2")?;
        let again = restored.reopen(again)?;
        again.set_encryption_keys(full(keys))?;
        assert_eq!(again.load_secret("b")?.as_deref(), Some(&b"2"[..]));
    }
    Ok(())
}

/// A sealed record of one store, put into another of the same keys.
#[test]
fn a_record_of_another_store_of_the_same_keys_is_refused() -> TestResult {
    let make = || -> Fallible<OnDisk> {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        storage.keep_secret("a", b"a wallet of this store alone")?;
        storage.close()?;
        Ok(disk)
    };
    let (one, other) = (make()?, make()?);
    let record = record_of(&one, "a")?;
    edit(&other, |_, commit| put_sealed(commit, "a", &record))?;
    let storage = other.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "ManifestMismatch"
    );
    assert_eq!(outcome(&storage.repair_keyring(full(1))), "Unopenable");
    Ok(())
}
