//! What runs beside a change of keys, and what a change leaves.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nonos_storage::{ErrorCode, NonosError, OpenOptions, Retention, TreeId};
use storage_core::Durability;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{all_secrets, full, on, outcome, put_sealed, secret_record};
use crate::secrets_rekey::sealed_to_1;
use crate::watched::Watched as _;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Both wait for nobody: neither an export that opens secrets, nor a change of keys.
#[test]
fn exports_and_changes_of_keys_do_not_wait_for_each_other_for_ever() -> TestResult {
    let disk = sealed_to_1()?;
    let storage = Arc::new(disk.open()?);
    storage.set_encryption_keys(full(1))?;
    let done = Arc::new(AtomicBool::new(false));
    let (ended, end) = mpsc::channel();
    let file = disk.directory.root().join("old.backup");
    let exports = {
        let (storage, done, ended) = (Arc::clone(&storage), Arc::clone(&done), ended.clone());
        thread::spawn(move || {
            let mut exported = Ok(());
            while exported.is_ok() && !done.load(Ordering::Relaxed) {
                exported = storage.export_first_implementation(&file).map(drop);
            }
            ended.send(()).ok();
            exported
        })
    };
    let changes = thread::spawn(move || {
        let changed = (2..10).try_for_each(|keys| storage.rekey(full(keys), &mut on).map(drop));
        done.store(true, Ordering::Relaxed);
        ended.send(()).ok();
        changed
    });
    for _ in 0..2 {
        end.recv_timeout(LONG)
            .map_err(|_timeout| "they wait for each other")?;
    }
    for thread in [exports, changes] {
        thread.join().map_err(|_panic| "a thread panicked")??;
    }
    Ok(())
}

/// A key that is refused while the log is being pruned: nobody vouches for its new beginning, and the right
/// key would be locked out.
#[test]
fn pruning_beside_a_refused_key_changes_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    for number in 0..5 {
        storage.keep_secret(&format!("s{number}"), b"x")?;
    }
    let before = all_secrets(&storage)?;
    // After the facade looked whether somebody vouches for the log.
    assert_eq!(outcome(&storage.set_encryption_keys(full(2))), "WrongKey");
    let keep = Retention::default().keep_last(1);
    let entries = storage.load_audit_log(usize::MAX)?.len();
    let pruned = storage_ops::prune(storage.core(), TreeId::AuditLog, &keep, 0, false);
    let code = pruned.map_err(|error| error.code());
    assert_eq!(code, Err(ErrorCode::KeyRequired));
    assert_eq!(storage.load_audit_log(usize::MAX)?.len(), entries);
    storage.set_encryption_keys(full(1))?;
    assert_eq!(all_secrets(&storage)?, before);
    assert!(storage.prune(TreeId::AuditLog, &keep, false)?.records > 0);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}

/// A purge that began before the last record was sealed anew did not reach all of it.
#[test]
fn a_purge_beside_a_change_of_keys_does_not_say_that_none_is_needed() -> TestResult {
    let disk = sealed_to_1()?;
    let (is_purging, is_changed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let opening = OpenOptions::new(disk.config.clone()).on_progress({
        let (is_purging, is_changed) = (Arc::clone(&is_purging), Arc::clone(&is_changed));
        move |progress| {
            if progress.operation == "purge" {
                is_purging.store(true, Ordering::Relaxed);
                let began = Instant::now();
                while !is_changed.load(Ordering::Relaxed) && began.elapsed() < LONG {
                    thread::yield_now();
                }
            }
            ControlFlow::Continue(())
        }
    });
    let storage = opening.open()?;
    storage.set_encryption_keys(full(1))?;
    thread::scope(|scope| -> TestResult {
        let mut purging = None;
        let changed = storage.rekey(full(2), &mut |_| {
            if purging.is_none() {
                purging = Some(scope.spawn(|| storage.purge()));
                let began = Instant::now();
                while !is_purging.load(Ordering::Relaxed) && began.elapsed() < LONG {
                    thread::yield_now();
                }
            }
            ControlFlow::Continue(())
        });
        is_changed.store(true, Ordering::Relaxed);
        let purged = purging.map(thread::ScopedJoinHandle::join);
        purged
            .ok_or("it told no progress")?
            .map_err(|_panic| "the purge panicked")??;
        changed?;
        Ok(())
    })?;
    assert!(storage.secrets_status()?.purge_needed);
    storage.purge()?;
    assert!(!storage.secrets_status()?.purge_needed);
    Ok(())
}

/// After the change they open nothing any more, as after opening the database again.
#[test]
fn the_keys_before_are_not_accepted_after_the_change() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    storage.keep_secret("a", b"1")?;
    let old = secret_record(storage.core(), "a")?;
    storage.rekey(full(2), &mut on)?;
    storage.core().update(Durability::Durable, |_, commit| {
        put_sealed(commit, "a", &old)
    })?;
    assert_eq!(outcome(&storage.load_secret("a")), "WrongKey");
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(2)).err();
    assert_ne!(outcome(&storage.load_secret("a")), "ok");
    Ok(())
}

/// Records are sealed anew while they are read.
#[test]
fn verifying_beside_changes_of_keys_finds_nothing() -> TestResult {
    let disk = sealed_to_1()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let (done, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let slowly = NonZero::new(2_000_000).ok_or("no rate")?;
    thread::scope(|scope| -> TestResult {
        let verifying = scope.spawn(|| {
            let mut all = Vec::new();
            while !done.load(Ordering::Relaxed) {
                all.extend(storage.scrub(slowly)?.findings);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, NonosError>(all)
        });
        let changed = (2..12).try_for_each(|keys| {
            storage.rekey(full(keys), &mut |_| {
                thread::sleep(Duration::from_millis(2));
                ControlFlow::Continue(())
            })?;
            Ok::<_, NonosError>(())
        });
        done.store(true, Ordering::Relaxed);
        let found = verifying.join().map_err(|_panic| "it panicked")??;
        changed?;
        let codes: Vec<_> = found
            .iter()
            .map(|found| (found.code, &found.detail))
            .collect();
        assert!(codes.is_empty(), "{}: {:?}", codes.len(), codes.first());
        Ok(())
    })?;
    assert!(rounds.load(Ordering::Relaxed) > 0);
    Ok(())
}
