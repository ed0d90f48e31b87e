//! What stores plainly, what seals, what is refused, and what becomes of what was there before.

use nonos_storage::{
    Access, EncryptionKeys, EncryptionMode, NodeStorage, NonosResult, OpenOptions, StorageConfig,
    TreeId,
};
use storage_core::Encoding;

use crate::TestResult;
use crate::on_disk::{OnDisk, in_both_modes};
use crate::sealed_disk::{
    NODE, all_secrets, audited, edit, entry, full, on, outcome, public, put, writer,
};
use crate::watched::Watched as _;

fn sealed_box(disk: &OnDisk) -> NonosResult<NodeStorage> {
    NodeStorage::open(StorageConfig {
        encryption_mode: EncryptionMode::SealedBox,
        ..disk.config.clone()
    })
}

#[test]
fn without_keys_a_secret_is_stored_plainly_and_the_audit_log_says_so() -> TestResult {
    in_both_modes(|storage, case| {
        storage.keep_secret("wallet", b"plain as day")?;
        assert_eq!(
            storage.load_secret("wallet")?.as_deref(),
            Some(&b"plain as day"[..])
        );
        let expected = [entry("store", "wallet (plaintext)")];
        assert_eq!(audited(storage, 1)?, expected, "{case}");
        let status = storage.secrets_status()?;
        assert_eq!(
            (status.mode, status.access, status.active),
            (EncryptionMode::None, None, None)
        );
        assert_eq!(
            (
                status.counts.plaintext,
                status.counts.sealed,
                status.counter
            ),
            (1, 0, 0)
        );
        assert!(!status.purge_needed && !status.is_rekeying, "{status:?}");
        assert!(storage.delete_secret("wallet")?);
        assert!(!storage.delete_secret("wallet")?);
        // What was not there is not audited.
        assert_eq!(audited(storage, 1)?, [entry("delete", "wallet")], "{case}");
        Ok(())
    })
}

#[test]
fn keys_seal_what_was_plain_with_the_nodes_key_and_everything_after() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for number in 0..130 {
        storage.keep_secret(
            &format!("s{number:03}"),
            format!("value {number}").as_bytes(),
        )?;
    }
    storage.keep_identity(&NODE, b"the key of the node")?;
    let before = all_secrets(&storage)?;
    let status = storage.set_encryption_keys(full(1))?;
    assert_eq!(
        (status.access, status.active),
        (Some(Access::Full), Some(full(1).key_id()))
    );
    assert_eq!((status.counts.sealed, status.counts.plaintext), (131, 0));
    assert_eq!(
        (status.counts.anonymous, status.counts.rekey_remaining),
        (0, 0)
    );
    assert!(status.purge_needed && !status.is_rekeying, "{status:?}");
    assert_eq!(all_secrets(&storage)?, before);
    assert_eq!(storage.load_node_id()?, Some(NODE));
    storage.keep_secret("after", b"sealed from the start")?;
    let expected = [
        entry("enrol_finished", "131 records"),
        entry("store", "after"),
    ];
    assert_eq!(audited(&storage, 2)?, expected);
    let enrolled = audited(&storage, 3)?;
    assert_eq!(enrolled[0], entry("enrol", &full(1).key_id().to_string()));

    // Nothing is left that opens without keys, whatever the mode.
    storage.close()?;
    let storage = disk.open()?;
    assert_eq!(outcome(&storage.load_secret("after")), "KeyRequired");
    assert_eq!(outcome(&storage.load_secret("s007")), "KeyRequired");
    assert_eq!(outcome(&storage.load_encrypted_key()), "KeyRequired");
    assert_eq!(outcome(&storage.keep_secret("other", b"x")), "KeyRequired");
    assert_eq!(outcome(&storage.keep_identity(&NODE, b"x")), "KeyRequired");
    assert_eq!(storage.secrets_status()?.counts.sealed, 132);
    storage.set_encryption_keys(full(1))?;
    assert_eq!(
        storage.load_secret("after")?.as_deref(),
        Some(&b"sealed from the start"[..])
    );
    assert_eq!(
        storage.load_encrypted_key()?.as_deref(),
        Some(&b"the key of the node"[..])
    );
    storage.purge()?;
    assert!(!storage.secrets_status()?.purge_needed);
    assert_eq!(audited(&storage, 1)?, [entry("purge", "")]);
    Ok(())
}

#[test]
fn an_empty_store_is_sealed_without_anything_to_purge() -> TestResult {
    in_both_modes(|storage, case| {
        let status = storage.set_encryption_keys(full(1))?;
        assert!(
            !status.purge_needed && !status.is_rekeying,
            "{case}: {status:?}"
        );
        for (name, value) in [
            ("empty", Vec::new()),
            ("one", vec![0]),
            ("largest", vec![7; 64 * 1024]),
        ] {
            storage.keep_secret(name, &value)?;
            assert!(
                storage.load_secret(name)? == Some(value.clone()),
                "{case}: {name}"
            );
            let wiped = storage
                .load_secret_zeroizing(name)?
                .map(|value| value.to_vec());
            assert!(wiped == Some(value), "{case}: {name}");
        }
        assert_eq!(
            outcome(&storage.keep_secret("larger", &vec![7; 64 * 1024 + 1])),
            "INVALID_ARGUMENT"
        );
        assert_eq!(outcome(&storage.keep_secret("", b"x")), "INVALID_ARGUMENT");
        assert_eq!(storage.load_secret("none")?, None);
        assert_eq!(storage.list_secrets()?, ["empty", "largest", "one"]);
        let status = storage.secrets_status()?;
        assert_eq!(
            (status.counts.sealed, status.counter > 0),
            (3, true),
            "{case}: {status:?}"
        );
        Ok(())
    })
}

#[test]
fn sealed_box_without_keys_stores_nothing_and_reads_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("left over", b"plain")?;
    storage.close()?;
    let storage = sealed_box(&disk)?;
    assert_eq!(
        outcome(&storage.keep_secret("name", b"value")),
        "KeyRequired"
    );
    assert_eq!(outcome(&storage.load_secret("left over")), "KeyRequired");
    assert_eq!(outcome(&storage.load_secret("none")), "KeyRequired");
    assert_eq!(outcome(&storage.delete_secret("left over")), "KeyRequired");
    assert_eq!(
        outcome(&storage.keep_identity(&NODE, b"key")),
        "KeyRequired"
    );
    assert_eq!(outcome(&storage.load_encrypted_key()), "KeyRequired");
    assert_eq!(outcome(&storage.adopt_secret("left over")), "KeyRequired");
    assert_eq!(storage.list_secrets()?, ["left over"]);
    // The rest of the database does not care.
    storage.store_config("a", &1)?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(
        storage.load_secret("left over")?.as_deref(),
        Some(&b"plain"[..])
    );
    assert_eq!(storage.secrets_status()?.counts.plaintext, 0);
    Ok(())
}

#[test]
fn where_sealing_is_required_nothing_is_stored_plainly() -> TestResult {
    let disk = OnDisk::new()?;
    disk.open()?.store_secret("left over", b"plain")?;
    let open = || {
        OpenOptions::new(disk.config.clone())
            .require_sealed_secrets(true)
            .open()
    };
    let storage = open()?;
    assert_eq!(
        outcome(&storage.keep_secret("name", b"value")),
        "KeyRequired"
    );
    assert_eq!(
        outcome(&storage.keep_identity(&NODE, b"key")),
        "KeyRequired"
    );
    let updated = storage.update(true, |update| update.store_identity(&NODE, b"key"));
    assert_eq!(outcome(&updated), "KeyRequired");
    assert_eq!(storage.load_secret("name")?, None);
    assert_eq!(storage.load_node_id()?, None);
    assert_eq!(
        storage.load_audit_log(1)?.len(),
        1,
        "what was refused is audited"
    );
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("name", b"value")?;
    assert_eq!(storage.secrets_status()?.counts.sealed, 2);
    Ok(())
}

#[test]
fn wrong_keys_shut_the_handle_until_right_ones_are_set() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    storage.keep_identity(&NODE, b"key")?;
    let before = all_secrets(&storage)?;
    for wrong in [full(2), writer(2), public(2)] {
        let refused = format!("{:?}", storage.set_encryption_keys(wrong));
        let (expected, got) = (full(1).key_id(), full(2).key_id());
        assert!(
            refused.contains(&format!("expected: {expected:?}, got: {got:?}")),
            "{refused}"
        );
        for call in [
            outcome(&storage.keep_secret("a", b"2")),
            outcome(&storage.load_secret("a")),
            outcome(&storage.load_secret_zeroizing("a")),
            outcome(&storage.delete_secret("a")),
            outcome(&storage.keep_identity(&NODE, b"other")),
            outcome(&storage.load_encrypted_key()),
            outcome(&storage.adopt_secret("a")),
            outcome(&storage.rekey(full(3), &mut on)),
            outcome(&storage.resume_rekey(full(1), &mut on)),
            outcome(&storage.set_previous_keys(full(1))),
            outcome(&storage.update(true, |update| update.store_identity(&NODE, b"other"))),
            outcome(&storage.update(false, |update| update.load_encrypted_key())),
        ] {
            assert_eq!(call, "WrongKey");
        }
        let operations = audited(&storage, 1)?;
        assert_eq!(operations, [entry("wrong_key", &got.to_string())]);
        storage.set_encryption_keys(full(1))?;
        assert_eq!(all_secrets(&storage)?, before);
    }
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    // The same keys twice, with less or more access, are the same keys.
    for keys in [full(1), writer(1), full(1), public(1), full(1)] {
        let access = keys.access();
        assert_eq!(storage.set_encryption_keys(keys)?.access, Some(access));
    }
    assert_eq!(all_secrets(&storage)?, before);
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(all_secrets(&storage)?, before);
    Ok(())
}

#[test]
fn a_plain_record_that_was_planted_is_refused_wherever_it_lies() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("known", b"sealed")?;
    storage.keep_identity(&NODE, b"key")?;
    storage.close()?;
    edit(&disk, |_, commit| {
        put(commit, TreeId::Secrets, b"planted", Encoding::Raw, b"plain")
    })?;
    for mode in [EncryptionMode::None, EncryptionMode::SealedBox] {
        let config = StorageConfig {
            encryption_mode: mode,
            ..disk.config.clone()
        };
        let storage = NodeStorage::open(config)?;
        storage.set_encryption_keys(full(1))?;
        assert_eq!(
            outcome(&storage.load_secret("planted")),
            "PlaintextRecord",
            "{mode:?}"
        );
        assert_eq!(
            outcome(&storage.adopt_secret("planted")),
            "PlaintextRecord",
            "{mode:?}"
        );
        assert_eq!(
            outcome(&storage.rekey(full(2), &mut on)),
            "PlaintextRecord",
            "{mode:?}"
        );
        assert_eq!(
            storage.load_secret("known")?.as_deref(),
            Some(&b"sealed"[..]),
            "{mode:?}"
        );
        assert_eq!(storage.secrets_status()?.counts.plaintext, 1, "{mode:?}");
    }
    // It is removed, or replaced, by who has the keys.
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("planted", b"sealed now")?;
    assert_eq!(
        storage.load_secret("planted")?.as_deref(),
        Some(&b"sealed now"[..])
    );
    storage.close()?;
    edit(&disk, |_, commit| {
        put(
            commit,
            TreeId::Identity,
            b"encrypted_key",
            Encoding::Raw,
            b"plain",
        )
    })?;
    let storage = disk.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "ManifestMismatch"
    );
    assert_eq!(outcome(&storage.load_encrypted_key()), "ManifestMismatch");
    Ok(())
}

/// What the first implementation once sealed to itself is opened by its key; anything else stays.
#[test]
fn secrets_of_the_oldest_form_are_opened_by_the_old_key_and_sealed_anew() -> TestResult {
    use crypto_box::SalsaBox;
    use crypto_box::aead::Aead;
    let secret = crypto_box::SecretKey::from_bytes([9; 32]);
    let nonce = [3; 24];
    let sealed = SalsaBox::new(&secret.public_key(), &secret)
        .encrypt(&nonce.into(), b"from long ago".as_slice());
    let old: Vec<u8> = [&nonce[..], &sealed.map_err(|e| e.to_string())?].concat();
    let storage = NodeStorage::in_memory()?;
    storage.keep_secret("old", &old)?;
    storage.keep_secret("plain", b"as it was given")?;
    storage.set_encryption_keys(full(1))?;
    let converted = storage.convert_first_form_secrets(&EncryptionKeys::from_secret(&[9; 32])?)?;
    assert_eq!(
        converted,
        (vec!["old".to_owned()], vec!["plain".to_owned()])
    );
    assert_eq!(
        storage.load_secret("old")?.as_deref(),
        Some(&b"from long ago"[..])
    );
    assert_eq!(
        storage.load_secret("plain")?.as_deref(),
        Some(&b"as it was given"[..])
    );
    Ok(())
}
