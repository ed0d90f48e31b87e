//! Samples that are kept decoded: histories against a map, and readers beside a writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::{CoreError, Db, Durability, SimulatedHome, TreeId};

use crate::workload::{LAYOUT, Random, TestResult, options};

type Samples = Vec<(i64, StoredMetrics)>;

/// Room for some twenty samples.
const SMALL: u64 = 8 * 1024;

fn open(disk: &SimulatedDisk, home: &SimulatedHome, cache: u64) -> Result<Db, CoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut options = options();
    options.cache_capacity_bytes = cache;
    Db::open_simulated(disk, home, &options, &|_| Ok(LAYOUT))
}

fn sample(number: u64) -> StoredMetrics {
    StoredMetrics {
        total_requests: number,
        ..StoredMetrics::default()
    }
}

/// One commit that puts these times, and removes those.
fn commit(db: &Db, number: u64, put: &[i64], removed: &[i64]) -> Result<(), CoreError> {
    let made = db.update(Durability::Buffered, |_, commit| {
        for time in removed {
            commit.delete(TreeId::Metrics, time.to_be_bytes().to_vec());
        }
        for time in put {
            metrics::store(commit, *time, &sample(number))?;
        }
        Ok::<_, CoreError>(())
    });
    made.map(drop)
}

#[test]
fn ranges_and_the_newest_are_what_was_committed_whatever_is_kept_decoded() -> TestResult {
    const TIMES: u64 = 60;
    for seed in 0..600 {
        let mut random = Random(seed);
        let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
        let cache = [1024, SMALL, 1 << 20][usize::try_from(random.below(3))?];
        let mut db = open(&disk, &home, cache)?;
        let mut model = BTreeMap::new();
        for step in 0..50 {
            let time =
                |random: &mut Random| i64::try_from(random.below(TIMES)).expect("a small number");
            let newest = model.last_key_value().map_or(0, |(time, _)| *time);
            let (mut put, mut removed) = (Vec::new(), Vec::new());
            match random.below(22) {
                0..8 => put.extend((1..=3).map(|more| newest + more)),
                8..11 => put.push(time(&mut random)),
                11 => removed.push(time(&mut random)),
                // As pruning does.
                12 => removed.extend(model.keys().take(5)),
                13 => {
                    let batch: Samples =
                        (0..30).map(|_| (time(&mut random), sample(step))).collect();
                    metrics::store_batch(&db, &batch)?;
                    model.extend(batch);
                }
                14 => {
                    db.shutdown()?;
                    db = open(&disk, &home, cache)?;
                }
                15 => drop(db.compact()?),
                16 => {
                    home.break_after(random.below(8));
                    // It fails under a read or a flush, if it does; a new one is made.
                    metrics::load_range(&db, 0, i64::MAX)?;
                    db.flush()?;
                    db.compact()?;
                }
                // In one commit, in no order, some of them twice; and one removed, put again, or both.
                17..20 => {
                    let batch: Samples = (0..8)
                        .map(|number| (time(&mut random), sample(step * 100 + number)))
                        .collect();
                    let (first, kind) = (time(&mut random), random.below(4));
                    let again = sample(step * 100 + 50);
                    db.update(Durability::Buffered, |_, commit| {
                        metrics::store_all(commit, &batch)?;
                        if kind > 0 {
                            commit.delete(TreeId::Metrics, first.to_be_bytes().to_vec());
                        }
                        if kind > 1 {
                            metrics::store(commit, first, &again)?;
                        }
                        Ok::<_, CoreError>(())
                    })?;
                    model.extend(batch);
                    if kind > 0 {
                        model.remove(&first);
                    }
                    if kind > 1 {
                        model.insert(first, again);
                    }
                }
                _ => {}
            }
            commit(&db, step, &put, &removed)?;
            for time in removed {
                model.remove(&time);
            }
            model.extend(put.into_iter().map(|time| (time, sample(step))));

            let case = format!("seed {seed}, step {step}, cache {cache}");
            let (start, end) = (time(&mut random) - 1, time(&mut random));
            let end = if random.below(3) == 0 { i64::MAX } else { end };
            let inside = model
                .iter()
                .filter(|(time, _)| (start..=end).contains(time));
            let expected: Samples = inside
                .map(|(time, sample)| (*time, sample.clone()))
                .collect();
            let found = metrics::load_range(&db, start, end)?;
            assert_eq!(found, expected, "{case}: from {start} to {end}");
            let count = usize::try_from(random.below(30))?;
            let skipped = model.len().saturating_sub(count);
            let expected: Samples = model.clone().into_iter().skip(skipped).collect();
            assert_eq!(
                metrics::load_latest(&db, count)?,
                expected,
                "{case}: {count}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_asked_for_after_an_opening_is_kept_decoded() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let all: Samples = (0..3000).map(|time| (time, sample(1))).collect();
    let db = open(&disk, &home, 4 << 20)?;
    metrics::store_batch(&db, &all)?;
    db.shutdown()?;
    let db = open(&disk, &home, 4 << 20)?;
    let read = |start, end| -> Result<u64, CoreError> {
        let before = db.counters().snapshot().read_bytes;
        let found = metrics::load_range(&db, start, end)?;
        assert!(
            found.iter().map(|(time, _)| *time).eq(start..=end),
            "{start} to {end}"
        );
        Ok(db.counters().snapshot().read_bytes - before)
    };
    // Each of these is read, and the window comes nearer by as much as is read, or 256 at least.
    let mut reads = 0;
    while read(1500, 1599)? > 0 {
        reads += 1;
        assert!(reads < 8, "read again and again");
    }
    assert!(reads > 1, "nothing was read");
    assert_eq!(read(1600, 2999)?, 0);
    assert_eq!(metrics::load_latest(&db, 1000)?.len(), 1000);
    // Half of it is known, the other half is read once.
    assert!(read(1000, 1999)? > 0);
    assert_eq!(read(1000, 1999)?, 0);
    Ok(())
}

/// Every commit puts all times, so a range of two commits is seen; fewer are kept decoded than there are.
#[test]
fn a_range_beside_a_writer_is_of_one_commit() -> TestResult {
    let times: Vec<i64> = (0..60).collect();
    beside_a_writer(
        |db, number| commit(db, number, &times, &[]),
        |db| {
            let found = metrics::load_range(db, 0, 100)?;
            let (_, first) = &found[0];
            assert_eq!(found.len(), times.len());
            assert!(found.iter().all(|(_, other)| other == first));
            assert_eq!(metrics::load_latest(db, 40)?.len(), 40);
            Ok(first.total_requests)
        },
    )
}

/// Every commit puts three times and removes the oldest three.
#[test]
fn the_newest_beside_a_writer_that_prunes_are_whole_commits() -> TestResult {
    let made = |number: u64| {
        let first = 3 * i64::try_from(number).expect("a small number");
        [first, first + 1, first + 2]
    };
    beside_a_writer(
        |db, number| {
            let removed = number.checked_sub(16).map(made);
            let removed = removed.as_ref().map_or(&[][..], |removed| removed);
            commit(db, number, &made(number), removed)
        },
        |db| {
            let found = metrics::load_latest(db, usize::MAX)?;
            let expected = found[0].0..=found[found.len() - 1].0;
            assert!(
                found.iter().map(|(time, _)| *time).eq(expected),
                "{found:?}"
            );
            assert_eq!(found.len() % 3, 0, "{found:?}");
            let (newest, _) = found[found.len() - 1];
            let again = metrics::load_range(db, newest - 20, i64::MAX)?;
            assert!(again.len() >= 21.min(found.len()) - 3, "{again:?}");
            Ok(newest.unsigned_abs())
        },
    )
}

/// What a reader notes never goes back.
fn beside_a_writer(
    write: impl Fn(&Db, u64) -> Result<(), CoreError>,
    read: impl Fn(&Db) -> Result<u64, CoreError> + Sync,
) -> TestResult {
    let db = open(&SimulatedDisk::default(), &SimulatedHome::default(), SMALL)?;
    write(&db, 0)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| -> TestResult {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| -> Result<u64, CoreError> {
                let (mut last, mut reads) = (0, 0);
                while !is_over.load(Ordering::Acquire) {
                    let seen = read(&db)?;
                    assert!(seen >= last, "{seen} after {last}");
                    (last, reads) = (seen, reads + 1);
                }
                Ok(reads)
            })
        });
        let written = (1..1500).try_for_each(|number| write(&db, number));
        is_over.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("a reader ends")? > 0);
        }
        Ok(written?)
    })
}
