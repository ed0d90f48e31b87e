//! A keyring that is missing, made anew from the records.

use nonos_storage::{EncryptionKeys, NodeStorage, TreeId};
use storage_core::{Commit, CoreError, Encoding, Read, View};
use storage_crypto::keyring::Keyring;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{
    Fallible, KEYRING, all_secrets, body, edit, full, outcome, public, put, put_sealed, record_of,
    writer,
};
use crate::secrets_tamper::{Tampered, sealed};
use crate::watched::Watched as _;

/// Repairs a copy with this changed; returns the handle and what repairing said.
fn repaired(
    tampered: &Tampered,
    keys: EncryptionKeys,
    change: impl Fn(&View<'_>, &mut Commit) -> Result<(), CoreError>,
) -> Fallible<(OnDisk, NodeStorage, String)> {
    let trial = tampered.copied()?;
    edit(&trial, |view, commit| {
        commit.delete(TreeId::Schema, KEYRING.to_vec());
        change(view, commit)
    })?;
    let storage = trial.open()?;
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "KeyringMissing"
    );
    let said = outcome(&storage.repair_keyring(keys));
    Ok((trial, storage, said))
}

#[test]
fn a_missing_keyring_is_made_anew_if_every_record_is_vouched_for() -> TestResult {
    let tampered = Tampered::new()?;
    let storage = tampered.disk.open()?;
    let counter = storage.set_encryption_keys(full(1))?.counter;
    let before = all_secrets(&storage)?;
    storage.close()?;
    for keys in [full(1), writer(1)] {
        let (trial, storage, said) = repaired(&tampered, keys, |_, _| Ok(()))?;
        assert_eq!(said, "ok");
        let newest = storage.load_audit_log(1)?.pop().ok_or("no entry")?;
        assert_eq!(newest.operation, "repair_keyring");
        storage.keep_secret("after", b"x")?;
        let storage = trial.reopen(storage)?;
        let status = storage.set_encryption_keys(full(1))?;
        assert!(status.counter > counter, "{status:?}");
        assert!(storage.delete_secret("after")?);
        assert_eq!(all_secrets(&storage)?, before);
        assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    }
    Ok(())
}

#[test]
fn a_keyring_is_not_made_anew_over_a_record_that_is_not_vouched_for() -> TestResult {
    let tampered = Tampered::new()?;
    let plain: &dyn Fn(&View<'_>, &mut Commit) -> Result<(), CoreError> =
        &|_, commit| put(commit, TreeId::Secrets, b"d", Encoding::Raw, b"plain");
    let moved: &dyn Fn(&View<'_>, &mut Commit) -> Result<(), CoreError> =
        &|view, commit| put_sealed(commit, "a", &sealed(view, "b")?);
    let nothing: &dyn Fn(&View<'_>, &mut Commit) -> Result<(), CoreError> = &|_, _| Ok(());
    for (case, keys, change, expected) in [
        ("plain", full(1), plain, "PlaintextRecord"),
        ("moved", full(1), moved, "Unopenable"),
        ("other keys", full(2), nothing, "WrongKey"),
        ("public keys", public(1), nothing, "SecretKeyRequired"),
    ] {
        let (trial, storage, said) = repaired(&tampered, keys, change)?;
        assert_eq!(said, expected, "{case}");
        assert_eq!(
            outcome(&storage.load_secret("a")),
            "KeyringMissing",
            "{case}"
        );
        storage.close()?;
        let db = trial.directory.open_core()?;
        assert_eq!(
            db.view().get(TreeId::Schema, KEYRING)?,
            None,
            "{case}: something was written"
        );
    }
    Ok(())
}

/// The keyring of the moment when plain secrets were being sealed has a right tag for ever: put back, it
/// would have a planted secret sealed.
#[test]
fn an_older_keyring_put_back_does_not_have_a_planted_secret_sealed() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"value a")?;
    let store_id = storage.store_id();
    storage.close()?;
    let ring = Keyring::first(store_id, &full(1), 1_700_000_000).encode(&full(1))?;
    edit(&disk, |_, commit| {
        put(commit, TreeId::Schema, KEYRING, Encoding::Raw, &ring)?;
        put(commit, TreeId::Secrets, b"planted", Encoding::Raw, b"mine")
    })?;
    let storage = disk.open()?;
    let set = storage.set_encryption_keys(full(1));
    assert_eq!(outcome(&set), "ManifestMismatch");
    assert_eq!(outcome(&storage.load_secret("planted")), "ManifestMismatch");
    storage.close()?;
    let planted = disk.directory.open_core()?;
    let secret = body(&planted.view(), TreeId::Secrets, b"planted")?;
    assert_eq!(secret, b"mine");
    Ok(())
}

/// Nobody vouched for it before, and nobody does after: it is no reason to leave the others behind.
#[test]
fn a_secret_stored_with_the_public_key_stays_as_it_is() -> TestResult {
    let tampered = Tampered::new()?;
    let donor = tampered.copied()?;
    let storage = donor.open()?;
    storage.set_encryption_keys(public(1))?;
    storage.keep_secret("new", b"forged")?;
    storage.close()?;
    let forged = record_of(&donor, "new")?;
    let (_trial, storage, said) = repaired(&tampered, full(1), |_, commit| {
        put_sealed(commit, "new", &forged)
    })?;
    assert_eq!(said, "ok");
    assert_eq!(outcome(&storage.load_secret("new")), "Unauthenticated");
    storage.adopt_secret("new")?;
    assert_eq!(storage.load_secret("new")?.as_deref(), Some(&b"forged"[..]));
    Ok(())
}

/// Nothing is sealed any more, but something was: whoever took the keyring away gets nothing plainly.
#[test]
fn a_store_that_was_sealed_once_takes_nothing_plainly_without_its_keyring() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"value a")?;
    storage.close()?;
    edit(&disk, |_, commit| {
        commit.delete(TreeId::Schema, KEYRING.to_vec());
        commit.delete(TreeId::Secrets, b"a".to_vec());
        Ok(())
    })?;
    let storage = disk.open()?;
    assert_eq!(outcome(&storage.keep_secret("b", b"x")), "KeyringMissing");
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(1))),
        "KeyringMissing"
    );
    Ok(())
}
