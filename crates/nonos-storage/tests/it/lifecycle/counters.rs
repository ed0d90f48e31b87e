//! What the process counts, and the cache that it tells of.

use nonos_storage::{
    EpochNumber, NodeStorage, StorageConfig, StorageMetricsSnapshot, StoredPeerInfo,
};

use crate::TestResult;
use crate::contents::{claim, peer, sample, summary};
use crate::on_disk::{OnDisk, in_both_modes};

pub(super) fn counters(storage: &NodeStorage) -> StorageMetricsSnapshot {
    storage.storage_metrics().snapshot()
}

#[test]
fn counters_count_what_happened_and_nothing_else() -> TestResult {
    in_both_modes(|storage, mode| {
        let start = counters(storage);
        storage.store_peer("a", &peer("a"))?;
        storage.store_peer("a", &peer("a"))?;
        storage.remove_peer("a")?;
        storage.remove_peer("a")?;
        let after = counters(storage);
        assert_eq!(after.writes - start.writes, 2, "{mode}");
        assert_eq!(after.deletes - start.deletes, 1, "{mode}");
        assert_eq!(after.errors, start.errors, "{mode}");
        assert_eq!(after.reads, start.reads, "{mode}");
        assert!(after.write_bytes > start.write_bytes, "{mode}");

        storage.store_claim(EpochNumber(1), &claim(1))?;
        let claimed = counters(storage);
        assert_eq!(claimed.writes - after.writes, 2, "claim and entry, {mode}");

        let failed = storage.update(false, |update| {
            update.store_peer("b", &peer("b"))?;
            update.store_peer("", &peer(""))
        });
        assert!(failed.is_err(), "{mode}");
        let failed = counters(storage);
        assert_eq!(failed.writes, claimed.writes, "not applied, {mode}");
        assert_eq!(failed.write_bytes, claimed.write_bytes, "{mode}");
        assert_eq!(failed.errors - claimed.errors, 1, "{mode}");

        for time in 0..10 {
            storage.store_metrics(time, &sample(1))?;
        }
        let before = counters(storage);
        storage.load_metrics_range(2, 6)?;
        let after = counters(storage);
        assert_eq!(after.reads - before.reads, 5, "{mode}");
        assert_eq!(after.read_bytes, before.read_bytes, "kept decoded, {mode}");
        assert_eq!(storage.iter_metrics(2, 6).count(), 5, "{mode}");
        let after = counters(storage);
        assert_eq!(after.reads - before.reads, 10, "{mode}");
        assert!(after.read_bytes > before.read_bytes, "{mode}");
        storage.count_peers()?;
        storage.tree_sizes()?;
        assert_eq!(counters(storage).reads, after.reads, "counts, {mode}");
        Ok(())
    })
}

#[test]
fn cache_hits_are_repeated_loads_and_see_the_newest_record() -> TestResult {
    in_both_modes(|storage, mode| {
        let cache = || {
            let counters = counters(storage);
            (counters.cache_hits, counters.cache_misses)
        };
        storage.store_peer("a", &peer("a"))?;
        assert_eq!(storage.load_peer("a")?, Some(peer("a")), "{mode}");
        assert_eq!(cache(), (0, 1), "the first load misses, {mode}");
        let bytes = counters(storage).read_bytes;
        assert_eq!(storage.load_peer("a")?, Some(peer("a")), "{mode}");
        assert_eq!(storage.load_peer("a")?, Some(peer("a")), "{mode}");
        assert_eq!(cache(), (2, 1), "the next ones hit, {mode}");
        assert_eq!(
            counters(storage).read_bytes,
            bytes,
            "hits read none, {mode}"
        );

        let changed = StoredPeerInfo {
            reputation: 99,
            ..peer("a")
        };
        storage.store_peer("a", &changed)?;
        assert_eq!(storage.load_peer("a")?.as_ref(), Some(&changed), "{mode}");
        assert_eq!(cache(), (3, 1), "it is kept as it is now, {mode}");
        let long = StoredPeerInfo {
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned(); 20],
            ..peer("a")
        };
        storage.store_peer("a", &long)?;
        assert_eq!(storage.load_peer("a")?.as_ref(), Some(&long), "{mode}");
        assert_eq!(cache(), (3, 2), "what is stored compressed is not, {mode}");
        storage.store_peer("a", &changed)?;
        assert_eq!(storage.load_peer("a")?.as_ref(), Some(&changed), "{mode}");
        assert_eq!(cache(), (4, 2), "{mode}");

        storage.store_peers_batch(&[("a".to_owned(), peer("a"))])?;
        assert_eq!(storage.load_peer("a")?, Some(peer("a")), "batch, {mode}");
        storage.update(false, |update| update.store_peer("a", &changed))?;
        assert_eq!(storage.load_peer("a")?.as_ref(), Some(&changed), "{mode}");
        let refused = storage.update(false, |update| {
            update.store_peer("a", &peer("a"))?;
            update.store_peer("", &peer(""))
        });
        assert!(refused.is_err(), "{mode}");
        assert_eq!(storage.load_peer("a")?.as_ref(), Some(&changed), "{mode}");

        let before = cache();
        storage.list_peers()?;
        storage.count_peers()?;
        storage.iter_peers().try_for_each(|peer| peer.map(drop))?;
        storage.load_config::<u8>("a")?;
        assert_eq!(cache(), before, "lists and config use no cache, {mode}");

        storage.remove_peer("a")?;
        assert_eq!(storage.load_peer("a")?, None, "removed, {mode}");
        let (hits, _) = cache();
        assert_eq!(storage.load_peer("a")?, None, "{mode}");
        assert_eq!(cache().0, hits, "what is not there never hits, {mode}");
        Ok(())
    })
}

#[test]
fn the_cache_tells_trees_with_equal_keys_apart() -> TestResult {
    in_both_modes(|storage, mode| {
        let epoch = EpochNumber(u64::from_be_bytes(*b"same_key"));
        storage.store_peer("same_key", &peer("same_key"))?;
        storage.store_epoch(epoch, &summary(epoch.0))?;
        storage.store_claim(epoch, &claim(epoch.0))?;
        for round in 0..2 {
            let case = format!("round {round}, {mode}");
            assert_eq!(
                storage.load_peer("same_key")?,
                Some(peer("same_key")),
                "{case}"
            );
            assert_eq!(storage.load_epoch(epoch)?, Some(summary(epoch.0)), "{case}");
            assert_eq!(storage.load_claim(epoch)?, Some(claim(epoch.0)), "{case}");
        }
        Ok(())
    })
}

#[test]
fn a_small_cache_is_a_slower_database_and_not_another_one() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::open(StorageConfig {
        cache_capacity_bytes: 1024 * 1024,
        ..disk.config.clone()
    })?;
    let of = |number: usize| {
        let mut info = peer(&format!("peer-{number}"));
        info.addresses = vec![format!("address {number}").repeat(40); 4];
        info
    };
    for number in 0..1000 {
        let info = of(number);
        storage.store_peer(&info.peer_id, &info)?;
    }
    for number in (0..1000).chain((0..1000).rev()) {
        let info = of(number);
        assert_eq!(storage.load_peer(&info.peer_id)?, Some(info));
    }
    Ok(())
}
