//! Changing keys beside threads that read and write, and beside another change of keys.

use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use nonos_storage::NonosError;
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::contents::noise;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{all_secrets, full, on, outcome};
use crate::secrets_rekey::{SECRETS, sealed_to_1};
use crate::watched::Watched as _;

/// Threads that load, store and delete while the keys are changed three times.
#[test]
fn readers_and_writers_go_on_while_keys_are_changed() -> TestResult {
    let disk = sealed_to_1()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let done = AtomicBool::new(false);
    let loads = AtomicU32::new(0);
    thread::scope(|scope| -> TestResult {
        let mut threads = Vec::new();
        for reader in 0..2 {
            let (storage, done, loads) = (&storage, &done, &loads);
            threads.push(scope.spawn(move || -> Result<(), String> {
                let mut number = reader * 31;
                while !done.load(Ordering::Relaxed) {
                    // The last ten are the writers'.
                    number = (number + 17) % (SECRETS - 10);
                    let found = storage.load_secret(&format!("s{number:03}"));
                    let found = found.map_err(|error| format!("s{number:03}: {error:?}"))?;
                    if found != Some(noise(number)) {
                        return Err(format!("s{number:03}: {found:?}"));
                    }
                    let key = storage
                        .load_encrypted_key()
                        .map_err(|error| format!("{error:?}"))?;
                    if key.as_deref() != Some(b"the key of the node") {
                        return Err(format!("the node's key: {key:?}"));
                    }
                    loads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        for writer in 0..2 {
            let (storage, done) = (&storage, &done);
            threads.push(scope.spawn(move || -> Result<(), String> {
                let told = |error| format!("writer {writer}: {error:?}");
                for round in 0_u32.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!(
                        "s{:03}",
                        SECRETS - 10 + writer * 5 + usize::try_from(round % 5).unwrap_or(0)
                    );
                    let value = round.to_be_bytes();
                    storage.keep_secret(&name, &value).map_err(told)?;
                    let found = storage.load_secret(&name).map_err(told)?;
                    if found.as_deref() != Some(&value[..]) {
                        return Err(format!("{name} in round {round}: {found:?}"));
                    }
                    if round % 3 == 0 && !storage.delete_secret(&name).map_err(told)? {
                        return Err(format!("{name} in round {round} was not there"));
                    }
                }
                Ok(())
            }));
        }
        let changed = [2, 3, 4].into_iter().try_for_each(|keys| {
            let seen = loads.load(Ordering::Relaxed);
            storage.rekey(full(keys), &mut |_| {
                // Each commit waits for a load in between.
                while loads.load(Ordering::Relaxed) == seen {
                    thread::yield_now();
                }
                ControlFlow::Continue(())
            })?;
            Ok::<_, NonosError>(())
        });
        done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_panic| "a thread panicked")??;
        }
        Ok(changed?)
    })?;
    assert!(loads.load(Ordering::Relaxed) > 10);
    let found = all_secrets(&storage)?;
    let status = storage.secrets_status()?;
    assert_eq!(
        (status.counts.rekey_remaining, status.is_rekeying),
        (0, false)
    );
    assert_eq!(status.active, Some(full(4).key_id()));
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(4))?;
    assert_eq!(all_secrets(&storage)?, found);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

/// Two at once: one of them is refused, or comes after the other; no record is left behind.
#[test]
fn two_changes_of_keys_at_once_are_one_after_the_other_or_one_alone() -> TestResult {
    let made = sealed_to_1()?;
    for round in 0..6 {
        let disk = OnDisk::new()?;
        copy(made.directory.root(), disk.directory.root())?;
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        let before = all_secrets(&storage)?;
        let start = Barrier::new(2);
        let change = |keys| {
            start.wait();
            outcome(&storage.rekey(full(keys), &mut on))
        };
        let said: Vec<String> = thread::scope(|scope| {
            let other = scope.spawn(|| change(3));
            [Ok(change(2)), other.join()]
                .into_iter()
                .flatten()
                .collect()
        });
        let known = said
            .iter()
            .all(|said| ["ok", "RekeyInProgress"].contains(&said.as_str()));
        assert!(
            known && said.iter().any(|said| said == "ok"),
            "{round}: {said:?}"
        );
        assert_eq!(all_secrets(&storage)?, before, "{round}: {said:?}");
        let status = storage.secrets_status()?;
        assert!(
            !status.is_rekeying && status.counts.rekey_remaining == 0,
            "{round}: {status:?}"
        );
    }
    Ok(())
}
