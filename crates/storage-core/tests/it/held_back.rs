//! What is held back from the index: crashes and failures with several sizes of it, and the thread that writes it.

use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use storage_core::{CoreError, Db, Durability, Observer, Order, Read, TreeId};

use crate::crash::crash_everywhere;
use crate::index_failure::fail_everywhere;
use crate::workload::{LAYOUT, TestResult, options};

/// Nothing, less than a commit, some commits.
const SIZES: [u64; 3] = [0, 400, 3000];

#[test]
fn a_crash_at_any_point_loses_nothing_whatever_is_held_back() -> TestResult {
    for size in SIZES {
        let reopenings = crash_everywhere(10..12, Some(size))?;
        assert!(reopenings >= 5000, "{reopenings} reopenings");
    }
    Ok(())
}

#[test]
fn an_index_that_fails_anywhere_is_answered_for_whatever_is_held_back() -> TestResult {
    SIZES
        .into_iter()
        .try_for_each(|size| fail_everywhere(Some(size)))
}

/// Each commit gives all keys the same value, so that a scan that mixes two commits, or misses a key on its way from
/// memory to the index, is seen.
#[test]
fn scans_beside_the_thread_that_settles_see_whole_commits() -> TestResult {
    const KEYS: u8 = 60;
    let directory = tempfile::tempdir()?;
    let mut options = options();
    options.path = directory.path().join("data.sled");
    options.held_back_bytes = Some(20_000);
    let db = Db::open(&options, &|_| Ok(LAYOUT))?;
    let commit = |number: u32| {
        db.update(Durability::Buffered, |_, commit| {
            for key in 0..KEYS {
                commit.put(TreeId::Peers, vec![key], number.to_be_bytes().to_vec());
            }
            Ok::<_, CoreError>(())
        })
    };
    let read = |order| {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut found = Vec::new();
        let scanned = db
            .view()
            .scan(TreeId::Peers, &everything, order, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(true)
            });
        scanned.map(|()| found)
    };
    commit(0)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| -> TestResult {
        let readers = [Order::Ascending, Order::Descending].map(|order| {
            let is_over = &is_over;
            scope.spawn(move || -> Result<usize, CoreError> {
                let mut scans = 0;
                while !is_over.load(Ordering::Acquire) {
                    let found = read(order)?;
                    let (_, value) = &found[0];
                    assert_eq!(found.len(), usize::from(KEYS), "{order:?}");
                    assert!(found.iter().all(|(_, other)| other == value), "{order:?}");
                    scans += 1;
                }
                Ok(scans)
            })
        });
        let written = (1..2000).try_for_each(|number| commit(number).map(drop));
        is_over.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("a reader ends")? > 0);
        }
        Ok(written?)
    })?;
    db.shutdown()?;
    drop(db);
    let again = Db::open(&options, &|_| Ok(LAYOUT))?;
    assert!(again.opening_report().clean, "{:?}", again.opening_report());
    for key in 0..KEYS {
        let value = again.view().get(TreeId::Peers, &[key])?;
        assert_eq!(value, Some(1999_u32.to_be_bytes().to_vec()));
    }
    Ok(())
}

/// Commits that came while the new index was written are caught up with: what they replaced counts no more.
#[test]
fn a_compaction_counts_out_what_commits_beside_it_replaced() -> TestResult {
    let directory = tempfile::tempdir()?;
    let held: Arc<OnceLock<Db>> = Arc::default();
    let commit = |db: &Db, number: u8| {
        db.update(Durability::Buffered, |_, commit| {
            for key in 0..60 {
                commit.put(TreeId::Peers, vec![key], vec![number; 10]);
                commit.put(TreeId::Metrics, vec![key], vec![number; 10]);
            }
            Ok::<_, CoreError>(())
        })
    };
    let mut options = options();
    options.path = directory.path().join("data.sled");
    let (beside, was_beside) = (Arc::clone(&held), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&was_beside);
    options.observer = Observer::new(move |progress| {
        let is_first = progress.operation == "compact" && !told.swap(true, Ordering::SeqCst);
        if let Some(db) = beside.get().filter(|_| is_first) {
            commit(db, 2).expect("a commit beside the compaction");
        }
        ControlFlow::Continue(())
    });
    let db = held.get_or_init(|| Db::open(&options, &|_| Ok(LAYOUT)).expect("it opens"));
    commit(db, 1)?;
    db.compact()?;
    assert!(was_beside.load(Ordering::SeqCst));
    assert_eq!((db.len(TreeId::Peers)?, db.len(TreeId::Metrics)?), (60, 60));
    // Refused where the index is not what was reckoned.
    db.checkpoint_index()?;
    db.shutdown()?;
    Ok(())
}
