//! Changing keys: the same secrets after it, wherever it is stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use nonos_storage::{CryptoError, NodeStorage, NonosError, StoreId, TreeId};
use storage_crypto::{Kind, SecretContext, parse_header, unseal};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::contents::noise;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{
    Fallible, NODE, Secrets, all_secrets, audited, body, cancel_after, entry, full, on, outcome,
    public, record_of, writer,
};
use crate::watched::Watched as _;

/// Of more than three commits, one of which only holds the node's key.
pub(crate) const SECRETS: usize = 200;
const COMMITS: usize = 5;

/// A store that is sealed to keys 1, closed.
pub(crate) fn sealed_to_1() -> Fallible<OnDisk> {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for number in 0..SECRETS {
        storage.keep_secret(&format!("s{number:03}"), &noise(number))?;
    }
    storage.keep_identity(&NODE, b"the key of the node")?;
    storage.set_encryption_keys(full(1))?;
    storage.close()?;
    Ok(disk)
}

#[test]
fn changing_keys_changes_no_secret_and_keeps_each_records_version() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let names: Vec<String> = ["a", "ä", "with a space", &"long".repeat(200)]
        .map(str::to_owned)
        .into();
    for (len, name) in [0, 1, 63, 64 * 1024].into_iter().zip(&names) {
        storage.keep_secret(name, &noise(len))?;
    }
    storage.keep_identity(&NODE, b"the key of the node")?;
    storage.set_encryption_keys(public(1))?;
    storage.keep_secret("anonymous", b"by somebody")?;
    storage.set_encryption_keys(full(1))?;
    let secrets = |storage: &NodeStorage| -> Fallible<Vec<Option<Vec<u8>>>> {
        let found = names.iter().map(|name| storage.load_secret(name));
        Ok(found.collect::<Result<_, _>>()?)
    };
    let before = secrets(&storage)?;
    let storage = disk.reopen(storage)?;
    let headers = |disk: &OnDisk| -> Fallible<Vec<_>> {
        let names = names.iter().map(String::as_str).chain(["anonymous"]);
        names
            .map(|name| Ok(parse_header(&record_of(disk, name)?)?))
            .collect()
    };
    storage.close()?;
    let headers_before = headers(&disk)?;

    let storage = disk.open()?;
    let counter = storage.set_encryption_keys(full(1))?.counter;
    assert_eq!(outcome(&storage.rekey(full(1), &mut on)), "SameKey");
    assert_eq!(
        outcome(&storage.rekey(writer(2), &mut on)),
        "SecretKeyRequired"
    );
    assert_eq!(outcome(&storage.resume_rekey(full(2), &mut on)), "WrongKey");
    assert_eq!(
        storage.secrets_status()?.counter,
        counter,
        "what was refused wrote nothing"
    );
    let mut told = Vec::new();
    let report = storage.rekey(full(2), &mut |progress| {
        told.push((progress.done, progress.total));
        ControlFlow::Continue(())
    })?;
    assert_eq!(
        (report.records, report.from, report.to),
        (6, Some(full(1).key_id()), full(2).key_id())
    );
    assert_eq!(told.last(), Some(&(6, 6)));
    assert_eq!(secrets(&storage)?, before);
    assert_eq!(
        storage.load_encrypted_key()?.as_deref(),
        Some(&b"the key of the node"[..])
    );
    assert_eq!(
        outcome(&storage.load_secret("anonymous")),
        "Unauthenticated"
    );
    storage.adopt_secret("anonymous")?;
    assert_eq!(
        storage.load_secret("anonymous")?.as_deref(),
        Some(&b"by somebody"[..])
    );
    let status = storage.secrets_status()?;
    assert!(
        status.purge_needed && !status.is_rekeying && status.counter > counter,
        "{status:?}"
    );
    let keys = format!("{} to {}", full(1).key_id(), full(2).key_id());
    let log = audited(&storage, 3)?;
    assert_eq!(
        log[..2],
        [entry("rekey", &keys), entry("rekey_finished", "6 records")]
    );
    storage.close()?;
    let headers_after = headers(&disk)?;
    for (before, after) in headers_before.iter().zip(&headers_after).take(4) {
        assert_eq!((before.kind, after.kind), (Kind::Tagged, Kind::Tagged));
        assert_eq!(before.version, after.version);
        assert_eq!(
            (before.key_id, after.key_id),
            (full(1).key_id(), full(2).key_id())
        );
    }
    let storage = disk.open()?;
    assert_eq!(outcome(&storage.set_encryption_keys(full(1))), "WrongKey");
    storage.set_encryption_keys(full(2))?;
    assert_eq!(secrets(&storage)?, before);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

#[test]
fn the_keys_before_open_no_record_that_is_sealed_anew() -> TestResult {
    let disk = sealed_to_1()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.rekey(full(2), &mut on)?;
    let names = storage.list_secrets()?;
    storage.close()?;
    let db = disk.directory.open_core()?;
    for name in &names {
        let context = SecretContext {
            store: StoreId(db.store_id()),
            tree: "secrets",
            key: name.as_bytes(),
        };
        let mut record = body(&db.view(), TreeId::Secrets, name.as_bytes())?;
        assert!(unseal(&full(2), &context, &record).is_ok(), "{name}");
        assert!(unseal(&full(1), &context, &record).is_err(), "{name}");
        // Not even with a header that says so.
        record[8..16].copy_from_slice(&full(1).key_id().0);
        let opened = unseal(&full(1), &context, &record);
        assert_eq!(opened.err(), Some(CryptoError::Unopenable), "{name}");
    }
    Ok(())
}

/// A change from keys 1 to keys 2 that was stopped: neither the old keys nor others are taken.
fn assert_shut_to_other_keys(storage: &NodeStorage, case: &str) -> TestResult {
    match storage.set_encryption_keys(full(1)) {
        Err(NonosError::Encryption(error)) => {
            let (from, to) = (Some(full(1).key_id()), full(2).key_id());
            assert_eq!(error, CryptoError::RekeyInProgress { from, to }, "{case}");
        }
        other => return Err(format!("{case}: {other:?}").into()),
    }
    assert_eq!(
        outcome(&storage.keep_secret("x", b"x")),
        "RekeyInProgress",
        "{case}"
    );
    assert_eq!(
        outcome(&storage.set_encryption_keys(full(3))),
        "WrongKey",
        "{case}"
    );
    storage.set_encryption_keys(full(2))?;
    assert_eq!(
        outcome(&storage.resume_rekey(full(3), &mut on)),
        "WrongKey",
        "{case}"
    );
    assert_eq!(
        outcome(&storage.resume_rekey(writer(1), &mut on)),
        "SecretKeyRequired",
        "{case}"
    );
    assert_eq!(
        outcome(&storage.set_previous_keys(full(2))),
        "WrongKey",
        "{case}"
    );
    Ok(())
}

/// How many are not read by the new keys alone; the others are as before.
fn unread_without_old_keys(storage: &NodeStorage, before: &Secrets) -> Fallible<u64> {
    let mut unread = 0;
    for (name, value) in before {
        let loaded = match name.as_str() {
            "(identity)" => storage.load_encrypted_key(),
            "s198" | "s199" => continue,
            name => storage.load_secret(name),
        };
        match loaded {
            Ok(found) => assert_eq!(found.as_ref(), Some(value), "{name}"),
            Err(NonosError::Encryption(CryptoError::KeyRequired { key_id })) => {
                assert_eq!(key_id, Some(full(1).key_id()), "{name}");
                unread += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(unread)
}

#[test]
fn a_change_of_keys_that_was_stopped_after_any_commit_goes_on_after_reopening() -> TestResult {
    let made = sealed_to_1()?;
    let storage = made.open()?;
    storage.set_encryption_keys(full(1))?;
    let before = all_secrets(&storage)?;
    storage.close()?;
    for stopped in 0..COMMITS {
        let disk = OnDisk::new()?;
        copy(made.directory.root(), disk.directory.root())?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        assert_eq!(
            outcome(&storage.rekey(full(2), &mut cancel_after(stopped))),
            "CANCELLED"
        );
        let remaining = storage.secrets_status()?.counts.rekey_remaining;
        let done = (64 * (stopped + 1)).min(SECRETS) + usize::from(stopped + 1 == COMMITS);
        assert_eq!(usize::try_from(remaining)?, SECRETS + 1 - done, "{stopped}");
        // Both are in hand: everything is read, and what is stored is under the new ones.
        assert_eq!(all_secrets(&storage)?, before, "{stopped}");
        storage.keep_secret("s199", b"stored meanwhile")?;
        storage.keep_secret("meanwhile", b"new")?;
        assert!(storage.delete_secret("s198")?);
        assert_eq!(outcome(&storage.rekey(full(3), &mut on)), "RekeyInProgress");

        let storage = disk.reopen(storage)?;
        assert_shut_to_other_keys(&storage, &format!("{stopped}"))?;
        let status = storage.set_encryption_keys(full(2))?;
        let remaining = status.counts.rekey_remaining;
        assert!(status.is_rekeying, "{stopped}");
        assert_eq!(
            unread_without_old_keys(&storage, &before)?,
            remaining,
            "{stopped}"
        );
        storage.set_previous_keys(full(1))?;
        storage.set_previous_keys(full(1))?;
        assert_eq!(
            storage.load_encrypted_key()?.as_deref(),
            Some(&b"the key of the node"[..])
        );
        // Stopped once more, where there is something to stop, then finished by another handle.
        let again = outcome(&storage.resume_rekey(full(1), &mut cancel_after(0)));
        assert_eq!(
            again,
            if remaining > 0 { "CANCELLED" } else { "ok" },
            "{stopped}"
        );
        let storage = disk.reopen(storage)?;
        storage.set_encryption_keys(full(2))?;
        if storage.secrets_status()?.is_rekeying {
            storage.resume_rekey(full(1), &mut on)?;
        }
        let mut expected: BTreeMap<_, _> = before.iter().cloned().collect();
        expected.remove("s198");
        expected.insert("s199".to_owned(), b"stored meanwhile".to_vec());
        expected.insert("meanwhile".to_owned(), b"new".to_vec());
        let storage = disk.reopen(storage)?;
        let status = storage.set_encryption_keys(full(2))?;
        assert!(
            !status.is_rekeying && status.counts.rekey_remaining == 0,
            "{stopped}: {status:?}"
        );
        let found: BTreeMap<_, _> = all_secrets(&storage)?.into_iter().collect();
        assert_eq!(found, expected, "{stopped}");
        assert_eq!(storage.verify_audit_log(None)?.faults, 0, "{stopped}");
        assert_eq!(
            outcome(&storage.set_encryption_keys(full(1))),
            "WrongKey",
            "{stopped}"
        );
    }
    Ok(())
}
