//! Many records at once: batches, ranges, pruning, iterating.

use nonos_storage::{
    EpochNumber, ErrorCode, NodeStorage, NonosResult, StoredMetrics, StoredPeerInfo,
};

use crate::TestResult;
use crate::contents::{code, peer, sample, summary};
use crate::on_disk::{OnDisk, in_both_modes};

const SIZES: [usize; 9] = [0, 1, 999, 1000, 1001, 1999, 2000, 2001, 2500];

fn peers(count: usize) -> Vec<(String, StoredPeerInfo)> {
    let ids = (0..count).map(|number| format!("peer-{number:05}"));
    ids.map(|id| (id.clone(), peer(&id))).collect()
}

fn samples(count: usize) -> Vec<(i64, StoredMetrics)> {
    let numbers = (0..).zip(0..).take(count);
    numbers
        .map(|(time, requests)| (time, sample(requests)))
        .collect()
}

/// The number of the last commit: an update that changes nothing makes none.
fn last_commit(storage: &NodeStorage) -> NonosResult<u64> {
    storage.update(false, |_| Ok(())).map(|((), number)| number)
}

fn times(samples: &[(i64, StoredMetrics)]) -> Vec<i64> {
    samples.iter().map(|(time, _)| *time).collect()
}

#[test]
fn a_batch_of_any_size_is_stored_in_commits_of_a_thousand() -> TestResult {
    for size in SIZES {
        let storage = NodeStorage::in_memory()?;
        let chunks = u64::try_from(size.div_ceil(1000))?;
        let before = last_commit(&storage)?;
        assert_eq!(storage.store_peers_batch(&peers(size))?, size);
        assert_eq!(last_commit(&storage)? - before, chunks, "{size} peers");
        assert_eq!(storage.list_peers()?, peers(size), "{size} peers");

        let before = last_commit(&storage)?;
        assert_eq!(storage.store_metrics_batch(&samples(size))?, size);
        assert_eq!(last_commit(&storage)? - before, chunks, "{size} samples");
        let found = storage.load_metrics_range(0, i64::MAX)?;
        assert_eq!(found, samples(size), "{size} samples");
    }
    Ok(())
}

#[test]
fn batches_are_there_after_reopening() -> TestResult {
    let disk = OnDisk::new()?;
    let mut storage = disk.open()?;
    for size in [1000, 1001, 2500] {
        assert_eq!(storage.store_peers_batch(&peers(size))?, size);
        assert_eq!(storage.store_metrics_batch(&samples(size))?, size);
        storage = disk.reopen(storage)?;
        assert_eq!(storage.count_peers()?, size);
        assert_eq!(storage.list_peers()?, peers(size), "{size}");
        let iterated: NonosResult<Vec<_>> = storage.iter_peers().collect();
        assert_eq!(iterated?, peers(size), "{size}, iterated");
        let found = storage.load_metrics_range(0, i64::MAX)?;
        assert_eq!(found, samples(size), "{size}");
        let iterated: NonosResult<Vec<_>> = storage.iter_metrics(0, i64::MAX).collect();
        assert_eq!(iterated?, samples(size), "{size}, iterated");
    }
    Ok(())
}

#[test]
fn of_duplicates_in_a_batch_the_last_counts() -> TestResult {
    in_both_modes(|storage, mode| {
        // The same ids in every chunk, and twice beside each other.
        let mut batch = Vec::new();
        for round in 0..2500 {
            let id = format!("peer-{}", round / 2 % 3);
            let mut info = peer(&id);
            info.connection_count = round;
            batch.push((id, info));
        }
        assert_eq!(storage.store_peers_batch(&batch)?, 2500, "as given, {mode}");
        assert_eq!(storage.count_peers()?, 3, "{mode}");
        for number in 0..3 {
            let id = format!("peer-{number}");
            let last = batch.iter().rev().find(|(other, _)| *other == id);
            let expected = last.map(|(_, info)| info.clone());
            assert_eq!(storage.load_peer(&id)?, expected, "{id}, {mode}");
        }
        let batch: Vec<_> = (0..2500).map(|n| (7, sample(n))).collect();
        assert_eq!(storage.store_metrics_batch(&batch)?, 2500, "{mode}");
        let found = storage.load_latest_metrics(10)?;
        assert_eq!(found, [(7, sample(2499))], "{mode}");
        Ok(())
    })
}

#[test]
fn a_batch_in_an_update_is_one_commit_of_any_size() -> TestResult {
    in_both_modes(|storage, mode| {
        let before = last_commit(storage)?;
        let (stored, number) = storage.update(false, |update| {
            update.store_metrics_batch(&samples(1500))?;
            update.store_peers_batch(&peers(2500))
        })?;
        assert_eq!(stored, 2500, "{mode}");
        assert_eq!(number, before + 1, "{mode}");
        assert_eq!(storage.count_peers()?, 2500, "{mode}");
        assert_eq!(storage.tree_sizes()?.metrics, 1500, "{mode}");
        Ok(())
    })
}

#[test]
fn ranges_include_both_ends_and_reversed_ones_are_empty() -> TestResult {
    in_both_modes(|storage, mode| {
        let stored = [0, 1, 5, 255, 256, i64::MAX - 1, i64::MAX];
        for time in stored {
            storage.store_metrics(time, &sample(time.unsigned_abs()))?;
            let epoch = time.unsigned_abs();
            storage.store_epoch(EpochNumber(epoch), &summary(epoch))?;
        }
        let ends = [
            i64::MIN,
            -1,
            0,
            1,
            2,
            5,
            255,
            256,
            300,
            i64::MAX - 1,
            i64::MAX,
        ];
        for start in ends {
            for end in ends {
                let case = format!("{start}..={end}, {mode}");
                let within = |time: &i64| start <= *time && *time <= end;
                let expected: Vec<i64> = stored.into_iter().filter(within).collect();
                let found = storage.load_metrics_range(start, end)?;
                assert_eq!(times(&found), expected, "{case}");
                let found: NonosResult<Vec<_>> = storage.iter_metrics(start, end).collect();
                assert_eq!(times(&found?), expected, "{case}, iterated");
                let (found, _) =
                    storage.update(false, |update| update.load_metrics_range(start, end))?;
                assert_eq!(times(&found), expected, "{case}, in an update");
                let (Ok(start), Ok(end)) = (u64::try_from(start), u64::try_from(end)) else {
                    continue;
                };
                let (start, end) = (EpochNumber(start), EpochNumber(end));
                let found = storage.load_epoch_range(start, end)?;
                let epochs: Vec<u64> = found.iter().map(|summary| summary.epoch).collect();
                let expected: Vec<u64> = expected.iter().map(|time| time.unsigned_abs()).collect();
                assert_eq!(epochs, expected, "epochs {case}");
            }
        }
        Ok(())
    })
}

#[test]
fn pruning_is_strict_and_counts() -> TestResult {
    in_both_modes(|storage, mode| {
        assert_eq!(storage.prune_metrics(i64::MAX)?, 0, "{mode}");
        storage.store_metrics_batch(&samples(2501))?;
        storage.store_metrics(i64::MAX, &sample(0))?;
        for (cutoff, removed) in [(0, 0), (1, 1), (1, 0), (1001, 1000), (1002, 1)] {
            assert_eq!(storage.prune_metrics(cutoff)?, removed, "{cutoff}, {mode}");
            let oldest = storage.load_metrics_range(0, i64::MAX)?;
            let oldest = oldest.first().map(|(time, _)| *time);
            assert_eq!(oldest, Some(cutoff), "{mode}");
        }
        assert_eq!(storage.prune_metrics(i64::MAX)?, 1499, "{mode}");
        let left = times(&storage.load_latest_metrics(usize::MAX)?);
        assert_eq!(left, [i64::MAX], "{mode}");
        assert_eq!(storage.tree_sizes()?.metrics, 1, "{mode}");
        Ok(())
    })
}

#[test]
fn pruning_many_removes_them_all_in_chunks() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_metrics_batch(&samples(2500))?;
    let before = last_commit(&storage)?;
    assert_eq!(storage.prune_metrics(2499)?, 2499);
    assert_eq!(last_commit(&storage)? - before, 3);
    let storage = disk.reopen(storage)?;
    assert_eq!(times(&storage.load_latest_metrics(9)?), [2499]);
    assert_eq!(storage.tree_sizes()?.metrics, 1);
    Ok(())
}

#[test]
fn writing_inside_a_loop_over_peers_is_fine() -> TestResult {
    in_both_modes(|storage, mode| {
        storage.store_peers_batch(&peers(1300))?;
        let mut seen = Vec::new();
        for entry in storage.iter_peers() {
            let (id, info) = entry?;
            assert_eq!(info.peer_id, id, "{mode}");
            if let Some(number) = id.strip_prefix("peer-") {
                let moved = format!("zz-{number}");
                storage.store_peer(&moved, &peer(&moved))?;
                assert!(storage.remove_peer(&id)?, "{mode}");
                storage.store_config("last", &id)?;
                seen.push(id);
            }
        }
        let expected: Vec<String> = peers(1300).into_iter().map(|(id, _)| id).collect();
        assert_eq!(seen, expected, "each one once, {mode}");
        assert_eq!(storage.count_peers()?, 1300, "{mode}");
        let left = storage.list_peers()?;
        assert!(left.iter().all(|(id, _)| id.starts_with("zz-")), "{mode}");
        Ok(())
    })
}

#[test]
fn pruning_inside_a_loop_over_metrics_is_fine() -> TestResult {
    in_both_modes(|storage, mode| {
        storage.store_metrics_batch(&samples(1300))?;
        let mut seen = Vec::new();
        for entry in storage.iter_metrics(0, i64::MAX) {
            let (time, _) = entry?;
            storage.prune_metrics(time + 1)?;
            seen.push(time);
        }
        assert_eq!(seen, Vec::from_iter(0..1300), "{mode}");
        assert_eq!(storage.tree_sizes()?.metrics, 0, "{mode}");
        Ok(())
    })
}

#[test]
fn an_iterator_over_a_closed_database_ends_with_an_error() -> TestResult {
    in_both_modes(|storage, mode| {
        storage.store_peers_batch(&peers(1300))?;
        let mut iterator = storage.iter_peers();
        let first = iterator.next().ok_or("no first")??;
        assert_eq!(first.0, "peer-00000", "{mode}");
        storage.shutdown()?;
        let rest: Vec<_> = iterator.collect();
        let (last, read) = rest.split_last().ok_or("no error")?;
        assert!(last.is_err(), "{mode}: the last is the error");
        assert!(read.iter().all(Result::is_ok), "{mode}: one error");
        assert!(read.len() < 1299, "{mode}: not everything was read before");
        let last = rest.into_iter().next_back().ok_or("no error")?;
        assert_eq!(code(last), Ok(ErrorCode::Poisoned), "{mode}");
        Ok(())
    })
}
