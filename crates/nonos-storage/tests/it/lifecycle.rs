//! Opening, closing, settings that change in between, health and counters.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nonos_storage::{EpochNumber, ErrorCode, Health, NodeId, NodeStorage, StorageConfig};
use storage_core::{CoreError, Durability, TreeId};
use storage_testkit::dump;

use crate::TestResult;
use crate::contents::{Contents, claim, code, peer, populate, sample, summary};
use crate::on_disk::{OnDisk, in_both_modes};
use crate::watched::Watched as _;

mod counters;
mod shutdown;

use counters::counters;

#[test]
fn dropping_without_closing_keeps_everything() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let before = Contents::of(&storage)?;
    drop(storage);
    let storage = disk.open()?;
    assert_eq!(Contents::of(&storage)?, before);
    Ok(())
}

#[test]
fn opening_and_closing_changes_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let before = Contents::of(&storage)?;
    storage.close()?;
    let entries = dump(&disk.directory.open_core()?)?;
    for round in 0..3 {
        let storage = disk.open()?;
        assert_eq!(Contents::of(&storage)?, before, "round {round}");
        storage.close()?;
        let found = dump(&disk.directory.open_core()?)?;
        assert!(found == entries, "round {round}");
    }
    Ok(())
}

#[test]
fn counts_are_right_after_every_kind_of_change_and_reopening() -> TestResult {
    let disk = OnDisk::new()?;
    let mut storage = disk.open()?;
    let expect = |storage: &NodeStorage, peers, metrics, config, audit_log| -> TestResult {
        let sizes = storage.tree_sizes()?;
        let found = (sizes.peers, sizes.metrics, sizes.config, sizes.audit_log);
        assert_eq!(found, (peers, metrics, config, audit_log));
        assert_eq!(storage.count_peers()?, peers);
        Ok(())
    };
    for _ in 0..2 {
        populate(&storage)?;
    }
    expect(&storage, 2, 3, 2, 8)?;
    storage = disk.reopen(storage)?;
    expect(&storage, 2, 3, 2, 8)?;
    storage.remove_peer("alpha")?;
    storage.remove_peer("nobody")?;
    storage.prune_metrics(20)?;
    storage.delete_config("nothing")?;
    storage.delete_secret("nothing")?;
    storage.update(false, |update| {
        update.store_peer("alpha", &peer("alpha"))?;
        update.remove_peer("alpha")?;
        update.store_config("name", &1)?;
        update.store_config("new", &1)?;
        update.delete_config("limits").map(drop)
    })?;
    expect(&storage, 1, 2, 2, 8)?;
    storage = disk.reopen(storage)?;
    expect(&storage, 1, 2, 2, 8)
}

#[test]
fn settings_that_change_between_openings_keep_all_content() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    storage.store_config("long", &"compresses well ".repeat(1000))?;
    storage.close()?;
    for round in 0..8 {
        let config = StorageConfig {
            compression_enabled: round % 2 == 0,
            cache_capacity_bytes: [1 << 20, 256 << 20, 3_000_000][round % 3],
            flush_every_ms: [None, Some(1), Some(60_000), Some(u64::MAX)][round % 4],
            ..disk.config.clone()
        };
        let before = Contents::of(&disk.open()?)?;
        let storage = NodeStorage::open(config)?;
        assert_eq!(Contents::of(&storage)?, before, "round {round}");
        let id = format!("peer-{round}");
        let mut info = peer(&id);
        info.addresses = vec!["203.0.113.1:9000".to_owned(); 50];
        storage.store_peer(&id, &info)?;
        storage.store_config("long", &format!("{round} ").repeat(5000))?;
        storage.store_claim(EpochNumber(7), &claim(7))?;
        let after = Contents::of(&storage)?;
        assert_eq!(after.sizes.peers, before.sizes.peers + 1, "round {round}");
        storage.close()?;
        assert_eq!(Contents::of(&disk.open()?)?, after, "round {round}");
    }
    Ok(())
}

#[test]
fn compression_saves_space_where_it_is_enabled() -> TestResult {
    let stored = |compression_enabled| -> Result<u64, Box<dyn std::error::Error>> {
        let disk = OnDisk::new()?;
        let storage = NodeStorage::open(StorageConfig {
            compression_enabled,
            ..disk.config.clone()
        })?;
        storage.store_config("text", &"repeats, ".repeat(10_000))?;
        Ok(counters(&storage).write_bytes)
    };
    assert!(stored(true)? * 10 < stored(false)?);
    Ok(())
}

#[test]
fn without_a_flush_timer_only_flushes_and_durable_commits_sync() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::open(StorageConfig {
        flush_every_ms: None,
        ..disk.config.clone()
    })?;
    let flushes = || counters(&storage).flushes;
    let start = flushes();
    storage.store_peer("a", &peer("a"))?;
    storage.store_metrics(1, &sample(1))?;
    storage.store_epoch(EpochNumber(1), &summary(1))?;
    storage.update(false, |update| update.store_config("a", &1))?;
    assert_eq!(flushes(), start, "buffered writes");
    for (number, durable) in (1..).zip([
        storage.store_claim(EpochNumber(1), &claim(1)),
        storage.keep_identity(&NodeId([1; 32]), b"key"),
        storage.store_config("b", &1),
        storage.delete_config("b").map(drop),
        storage.keep_secret("s", b"s"),
        storage.delete_secret("s").map(drop),
        storage
            .update(true, |u| u.store_peer("b", &peer("b")))
            .map(drop),
        storage.flush(),
    ]) {
        durable.map_err(|e| format!("{number}: {e}"))?;
    }
    assert_eq!(flushes(), start + 8, "each durable call");
    storage.update(true, |_| Ok(()))?;
    storage.delete_config("nothing")?;
    assert_eq!(flushes(), start + 8, "nothing to make durable");
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.count_peers()?, 2);
    assert_eq!(storage.load_metrics_range(0, 9)?, [(1, sample(1))]);
    Ok(())
}

#[test]
fn the_flush_timer_makes_buffered_writes_durable() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::open(StorageConfig {
        flush_every_ms: Some(1),
        ..disk.config.clone()
    })?;
    for number in 0..3 {
        let start = counters(&storage).flushes;
        storage.store_metrics(number, &sample(1))?;
        while counters(&storage).flushes == start {
            std::thread::yield_now();
        }
    }
    assert_eq!(storage.health(), Health::Ok);
    Ok(())
}

#[test]
fn health_is_ok_while_nothing_failed() -> TestResult {
    in_both_modes(|storage, mode| {
        assert_eq!(storage.health(), Health::Ok, "{mode}");
        populate(storage)?;
        assert!(storage.store_peer("", &peer("")).is_err(), "{mode}");
        assert_eq!(storage.health(), Health::Ok, "bad input, {mode}");
        storage.flush()?;
        assert_eq!(storage.health(), Health::Ok, "{mode}");
        Ok(())
    })
}

#[test]
fn files_are_for_their_owner_alone() -> TestResult {
    let disk = OnDisk::new()?;
    let config = disk.config_at(disk.directory.root().join("node/data.sled"));
    let storage = NodeStorage::open(config.clone())?;
    populate(&storage)?;
    for (path, expected) in [
        ("node", 0o700),
        ("node/data.sled", 0o700),
        ("node/data.sled.lock", 0o600),
    ] {
        let metadata = fs::metadata(disk.directory.root().join(path))?;
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{path}: {mode:o}");
    }
    Ok(())
}

#[test]
fn a_path_with_a_slash_at_its_end_is_the_same_database() -> TestResult {
    let disk = OnDisk::new()?;
    let mut path = disk.config.path.clone().into_os_string();
    path.push("/");
    let with_slash = disk.config_at(path);
    let storage = NodeStorage::open(with_slash.clone())?;
    populate(&storage)?;
    let before = Contents::of(&storage)?;
    let text = disk.open().map_err(|e| e.to_string()).err();
    let text = text.unwrap_or_default();
    assert!(
        text.contains(&format!("pid {}", std::process::id())),
        "{text}"
    );
    storage.close()?;
    assert_eq!(Contents::of(&disk.open()?)?, before);
    assert_eq!(Contents::of(&NodeStorage::open(with_slash)?)?, before);
    Ok(())
}

#[test]
fn a_database_behind_a_link_is_the_same_database() -> TestResult {
    let disk = OnDisk::new()?;
    let link = disk.directory.root().join("link.sled");
    let storage = disk.open()?;
    populate(&storage)?;
    symlink(&disk.config.path, &link)?;
    let through_link = NodeStorage::open(disk.config_at(&link));
    assert_eq!(code(through_link), Ok(ErrorCode::Locked));
    storage.close()?;
    let storage = NodeStorage::open(disk.config_at(&link))?;
    assert_eq!(storage.count_peers()?, 2);
    Ok(())
}

#[test]
fn a_database_behind_a_link_has_the_same_size() -> TestResult {
    let disk = OnDisk::new()?;
    let link = disk.directory.root().join("link.sled");
    symlink(&disk.config.path, &link)?;
    disk.open()?.close()?;
    let storage = NodeStorage::open(disk.config_at(&link))?;
    let log = fs::metadata(disk.config.path.join("db"))?.len();
    let bytes = storage.size_on_disk()?;
    assert!(
        bytes >= log,
        "{bytes} bytes, of which the log alone has {log}"
    );
    Ok(())
}

#[test]
fn records_without_a_schema_version_are_refused_and_unchanged() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    storage.close()?;
    let core = disk.directory.open_core()?;
    core.update(Durability::Durable, |_, commit| {
        commit.delete(TreeId::Schema, b"__schema_version__".to_vec());
        Ok::<_, CoreError>(())
    })?;
    let before = dump(&core)?;
    drop(core);
    assert_eq!(code(disk.open()), Ok(ErrorCode::SchemaMismatch));
    assert!(dump(&disk.directory.open_core()?)? == before);
    Ok(())
}

/// Peers `a`, `b` and `c`, of which `b` is damaged.
fn with_a_damaged_peer() -> Result<(OnDisk, NodeStorage), Box<dyn std::error::Error>> {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for id in ["a", "b", "c"] {
        storage.store_peer(id, &peer(id))?;
    }
    storage.close()?;
    let core = disk.directory.open_core()?;
    core.update(Durability::Durable, |_, commit| {
        commit.put(TreeId::Peers, b"b".to_vec(), b"not a frame".to_vec());
        Ok::<_, CoreError>(())
    })?;
    drop(core);
    let storage = disk.open()?;
    Ok((disk, storage))
}

#[test]
fn a_damaged_record_is_corrupt_and_the_others_are_not() -> TestResult {
    let (disk, storage) = with_a_damaged_peer()?;
    assert_eq!(code(storage.load_peer("b")), Ok(ErrorCode::Corrupt));
    assert_eq!(code(storage.list_peers()), Ok(ErrorCode::Corrupt));
    assert_eq!(storage.load_peer("a")?, Some(peer("a")));
    assert_eq!(storage.load_peer("c")?, Some(peer("c")));
    assert_eq!(storage.count_peers()?, 3);
    storage.store_peer("b", &peer("b"))?;
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.list_peers()?.len(), 3, "storing again mends it");
    Ok(())
}

#[test]
fn iterating_ends_at_a_damaged_record() -> TestResult {
    let (_disk, storage) = with_a_damaged_peer()?;
    let mut iterator = storage.iter_peers();
    let first = iterator.next().transpose()?;
    assert_eq!(first, Some(("a".to_owned(), peer("a"))));
    let second = iterator.next().ok_or("ended before the damage")?;
    assert_eq!(code(second), Ok(ErrorCode::Corrupt));
    let third = iterator.next().map(|entry| entry.map(|(id, _)| id));
    assert!(third.is_none(), "after an error it ends: {third:?}");
    Ok(())
}
