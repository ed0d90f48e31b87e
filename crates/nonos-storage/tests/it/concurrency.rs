//! Many threads on one handle.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nonos_storage::{
    EpochNumber, ErrorCode, NodeStorage, NonosResult, StoredClaim, StoredPeerInfo,
};

use crate::TestResult;
use crate::contents::{claim, code, peer, sample};
use crate::on_disk::{OnDisk, in_both_modes};

/// Runs `work` on `count` threads that begin together, and returns what each returned.
fn on_threads<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let together = Barrier::new(usize::try_from(count).unwrap_or(1));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (together, work) = (&together, &work);
                scope.spawn(move || {
                    together.wait();
                    work(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn all_ok(results: Vec<NonosResult<()>>) -> TestResult {
    for result in results {
        result?;
    }
    Ok(())
}

#[test]
fn eight_threads_claim_a_hundred_times_each_and_no_entry_is_lost() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    all_ok(on_threads(8, |thread| {
        for number in 0..100 {
            let epoch = thread * 100 + number;
            storage.store_claim(EpochNumber(epoch), &claim(epoch))?;
        }
        Ok(())
    }))?;
    let check = |storage: &NodeStorage| -> TestResult {
        let sizes = storage.tree_sizes()?;
        assert_eq!((sizes.claims, sizes.audit_log), (800, 800));
        let epochs: Vec<u64> = storage.load_claims()?.iter().map(|(e, _)| e.0).collect();
        assert_eq!(epochs, Vec::from_iter(0..800));
        let entries = storage.load_audit_log(usize::MAX)?;
        assert_eq!(entries.len(), 800);
        assert!(
            entries.is_sorted_by(|newer, older| newer.timestamp > older.timestamp),
            "strictly decreasing, newest first"
        );
        assert!(
            entries
                .iter()
                .all(|e| e.tree == "claims" && e.operation == "store")
        );
        let of: BTreeSet<_> = entries.into_iter().map(|entry| entry.details).collect();
        assert_eq!(of.len(), 800, "one entry for each epoch");
        Ok(())
    };
    check(&storage)?;
    check(&disk.reopen(storage)?)
}

#[test]
fn a_read_of_several_records_sees_whole_commits() -> TestResult {
    in_both_modes(|storage, mode| {
        let group = |round: u32| -> Vec<(String, StoredPeerInfo)> {
            let ids = (0..20).map(|number| format!("peer-{number:02}"));
            let stamped = |id: String| {
                let mut info = peer(&id);
                info.connection_count = round;
                (id, info)
            };
            ids.map(stamped).collect()
        };
        storage.store_peers_batch(&group(0))?;
        let done = AtomicBool::new(false);
        all_ok(on_threads(3, |thread| {
            if thread == 0 {
                let written = (1..200)
                    .try_for_each(|round| storage.store_peers_batch(&group(round)).map(drop));
                done.store(true, Ordering::Release);
                return written;
            }
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let peers: Vec<_> = if thread == 1 {
                    storage.list_peers()?
                } else {
                    storage.iter_peers().collect::<NonosResult<_>>()?
                };
                let rounds: BTreeSet<u32> = peers
                    .iter()
                    .map(|(_, info)| info.connection_count)
                    .collect();
                assert_eq!(peers.len(), 20, "{mode}");
                assert_eq!(rounds.len(), 1, "half a commit, {mode}: {rounds:?}");
                let round = rounds.first().copied().unwrap_or_default();
                assert!(round >= last, "{mode}: {round} after {last}");
                last = round;
            }
            Ok(())
        }))
    })
}

#[test]
fn a_cached_read_never_goes_back_behind_a_write() -> TestResult {
    in_both_modes(|storage, mode| {
        let newest = AtomicU64::new(0);
        let of = |amount: u64| StoredClaim {
            amount: amount.into(),
            ..claim(1)
        };
        storage.update(false, |update| update.store_claim(EpochNumber(1), &of(0)))?;
        let done = AtomicBool::new(false);
        all_ok(on_threads(4, |thread| {
            if thread == 0 {
                let written = (1..2000).try_for_each(|amount| {
                    let epoch = EpochNumber(1);
                    storage.update(false, |update| update.store_claim(epoch, &of(amount)))?;
                    newest.store(amount, Ordering::Release);
                    let found = storage.load_claim(epoch)?;
                    assert_eq!(found, Some(of(amount)), "its own write, {mode}");
                    Ok(())
                });
                done.store(true, Ordering::Release);
                return written;
            }
            while !done.load(Ordering::Acquire) {
                let at_least = newest.load(Ordering::Acquire);
                let found = storage.load_claim(EpochNumber(1))?;
                let found = found.map_or(0, |claim| claim.amount);
                assert!(found >= at_least.into(), "{mode}: {found} after {at_least}");
            }
            Ok(())
        }))?;
        assert_eq!(
            storage.load_claim(EpochNumber(1))?,
            Some(of(1999)),
            "{mode}"
        );
        Ok(())
    })
}

#[test]
fn updates_run_one_at_a_time_and_are_numbered_without_a_gap() -> TestResult {
    in_both_modes(|storage, mode| {
        storage.store_config("counter", &0_u64)?;
        let ((), start) = storage.update(false, |_| Ok(()))?;
        let numbers = on_threads(4, |_| -> NonosResult<Vec<u64>> {
            let mut numbers = Vec::new();
            for _ in 0..100 {
                let ((), number) = storage.update(false, |update| {
                    let counter: u64 = update.load_config("counter")?.unwrap_or_default();
                    update.store_config("counter", &(counter + 1))
                })?;
                numbers.push(number);
            }
            Ok(numbers)
        });
        let mut all = BTreeSet::new();
        for numbers in numbers {
            let numbers = numbers?;
            assert!(numbers.is_sorted_by(|a, b| a < b), "{mode}");
            all.extend(numbers);
        }
        let expected: BTreeSet<u64> = (start + 1..=start + 400).collect();
        assert_eq!(all, expected, "{mode}");
        assert_eq!(storage.load_config("counter")?, Some(400_u64), "{mode}");
        Ok(())
    })
}

#[test]
fn shutting_down_beside_writers_keeps_everything_that_returned_ok() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let written = AtomicU64::new(0);
    let stored = on_threads(4, |thread| -> Result<Vec<u64>, String> {
        if thread == 0 {
            while written.load(Ordering::Acquire) < 100 {
                thread::yield_now();
            }
            let closed = storage.shutdown().map_err(|e| e.to_string());
            return closed.map(|()| Vec::new());
        }
        let mut stored = Vec::new();
        for number in 0.. {
            let epoch = number * 4 + thread;
            let result = match thread {
                1 => storage.store_claim(EpochNumber(epoch), &claim(epoch)),
                2 => storage.store_config(&epoch.to_string(), &epoch),
                _ => storage.store_peer(&epoch.to_string(), &peer(&epoch.to_string())),
            };
            match result {
                Ok(()) => stored.push(epoch),
                refused => {
                    let refused = code(refused);
                    assert_eq!(refused, Ok(ErrorCode::Poisoned), "{epoch}");
                    break;
                }
            }
            written.fetch_add(1, Ordering::Release);
        }
        Ok(stored)
    });
    drop(storage);
    let storage = disk.open()?;
    for (thread, stored) in stored.into_iter().enumerate() {
        for number in stored? {
            let found = match thread {
                1 => storage.load_claim(EpochNumber(number))?.is_some(),
                2 => storage.load_config(&number.to_string())? == Some(number),
                _ => storage.load_peer(&number.to_string())?.is_some(),
            };
            assert!(found, "{number} of thread {thread} returned Ok and is gone");
        }
    }
    let sizes = storage.tree_sizes()?;
    assert_eq!(sizes.claims, sizes.audit_log);
    Ok(())
}

#[test]
fn of_many_opening_at_once_one_gets_the_database() -> TestResult {
    let disk = OnDisk::new()?;
    let opened = on_threads(4, |_| disk.open());
    let mut open = 0;
    for result in &opened {
        match result {
            Ok(_) => open += 1,
            Err(e) => assert!(e.to_string().contains("Resource busy"), "{e}"),
        }
    }
    assert_eq!(open, 1);
    drop(opened);
    disk.open()?.close()?;
    Ok(())
}

#[test]
fn flushing_beside_writers_works() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    all_ok(on_threads(4, |thread| {
        for number in 0..50 {
            let time = i64::try_from(thread * 50 + number).unwrap_or_default();
            storage.store_metrics(time, &sample(number))?;
            if thread < 2 {
                storage.flush()?;
            }
        }
        Ok(())
    }))?;
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.tree_sizes()?.metrics, 200);
    Ok(())
}
