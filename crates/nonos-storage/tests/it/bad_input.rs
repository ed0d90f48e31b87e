//! Bad input: a clear typed error, and nothing is written.

use std::fmt::Debug;
use std::fs;

use nonos_storage::{
    EpochNumber, ErrorCode, NodeId, NodeStorage, NonosError, NonosResult, StorageConfig,
    StoredPeerInfo, Update,
};

use crate::TestResult;
use crate::contents::{Contents, chain, claim, code, peer, populate, sample, summary};
use crate::on_disk::{OnDisk, in_both_modes};
use crate::watched::Watched as _;

mod updates;
mod values;

use updates::{Nested, Panicking, Writing};

/// A method with its arguments.
type Call = fn(&NodeStorage) -> NonosResult<()>;

/// Calls `bad` and expects an error of this code, one more counted error, and the contents as they
/// were.
fn refused<T: Debug>(
    storage: &NodeStorage,
    case: &str,
    expected: ErrorCode,
    bad: impl FnOnce(&NodeStorage) -> NonosResult<T>,
) -> TestResult {
    let before = Contents::of(storage)?;
    let errors = storage.storage_metrics().snapshot().errors;
    let result = bad(storage);
    let text = match &result {
        Err(e) => chain(e),
        Ok(_) => String::new(),
    };
    assert_eq!(code(result), Ok(expected), "{case}");
    assert!(text.len() > 10, "{case} is explained: {text:?}");
    let counted = storage.storage_metrics().snapshot().errors - errors;
    assert_eq!(counted, 1, "{case}: errors counted");
    assert_eq!(Contents::of(storage)?, before, "{case}: something changed");
    Ok(())
}

/// The same through `NodeStorage` and through `update`, beside a good record that must not stay.
fn refused_both_ways<T: Debug>(
    storage: &NodeStorage,
    case: &str,
    direct: impl FnOnce(&NodeStorage) -> NonosResult<T>,
    within: impl FnOnce(&mut Update<'_>) -> NonosResult<T>,
) -> TestResult {
    refused(storage, case, ErrorCode::InvalidArgument, direct)?;
    let case = format!("{case}, in an update");
    refused(storage, &case, ErrorCode::InvalidArgument, |storage| {
        storage.update(false, |update| {
            update.store_peer("good", &peer("good"))?;
            update.store_claim(EpochNumber(50), &claim(50))?;
            within(update)
        })
    })
}

fn bad_names() -> [(&'static str, String); 4] {
    [
        ("empty", String::new()),
        ("1025 bytes", "n".repeat(1025)),
        ("1025 bytes in 513 letters", "é".repeat(512) + "n"),
        ("1 MiB", "n".repeat(1 << 20)),
    ]
}

#[test]
fn bad_names_are_refused_everywhere() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for (kind, name) in bad_names() {
            let case = |method: &str| format!("{method}, {kind}, {mode}");
            refused_both_ways(
                storage,
                &case("peer"),
                |storage| storage.store_peer(&name, &peer(&name)),
                |update| update.store_peer(&name, &peer(&name)),
            )?;
            refused_both_ways(
                storage,
                &case("load peer"),
                |storage| storage.load_peer(&name),
                |update| update.load_peer(&name),
            )?;
            refused_both_ways(
                storage,
                &case("remove peer"),
                |storage| storage.remove_peer(&name),
                |update| update.remove_peer(&name),
            )?;
            let batch = [("x".to_owned(), peer("x")), (name.clone(), peer(&name))];
            refused_both_ways(
                storage,
                &case("peers"),
                |storage| storage.store_peers_batch(&batch),
                |update| update.store_peers_batch(&batch),
            )?;
            refused_both_ways(
                storage,
                &case("config"),
                |storage| storage.store_config(&name, &1),
                |update| update.store_config(&name, &1),
            )?;
            refused_both_ways(
                storage,
                &case("load config"),
                |storage| storage.load_config::<i64>(&name),
                |update| update.load_config::<i64>(&name),
            )?;
            refused_both_ways(
                storage,
                &case("delete config"),
                |storage| storage.delete_config(&name),
                |update| update.delete_config(&name),
            )?;
            let bad = ErrorCode::InvalidArgument;
            refused(storage, &case("secret"), bad, |storage| {
                storage.keep_secret(&name, b"value")
            })?;
            refused(storage, &case("load secret"), bad, |storage| {
                storage.load_secret(&name)
            })?;
            refused(storage, &case("delete secret"), bad, |storage| {
                storage.delete_secret(&name)
            })?;
        }
        Ok(())
    })
}

#[test]
fn the_longest_name_is_accepted_everywhere() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for name in ["n".repeat(1024), "é".repeat(512), "\0".to_owned()] {
        storage.store_peer(&name, &peer(&name))?;
        storage.store_config(&name, &1)?;
        storage.keep_secret(&name, b"value")?;
    }
    let storage = disk.reopen(storage)?;
    for name in ["n".repeat(1024), "é".repeat(512), "\0".to_owned()] {
        assert_eq!(storage.load_peer(&name)?, Some(peer(&name)));
        assert_eq!(storage.load_config(&name)?, Some(1));
        assert_eq!(storage.load_secret(&name)?, Some(b"value".to_vec()));
    }
    Ok(())
}

#[test]
fn a_peer_that_breaks_a_rule_is_refused() -> TestResult {
    let reputed = |reputation| StoredPeerInfo {
        reputation,
        ..peer("alpha")
    };
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for (case, info) in [
            ("another id", peer("beta")),
            ("an empty id in the record", peer("")),
            ("an id in another case", peer("Alpha")),
            ("reputation 101", reputed(101)),
            ("reputation 255", reputed(255)),
        ] {
            refused_both_ways(
                storage,
                &format!("{case}, {mode}"),
                |storage| storage.store_peer("alpha", &info),
                |update| update.store_peer("alpha", &info),
            )?;
        }
        storage.store_peer("alpha", &reputed(100))?;
        storage.store_peer("alpha", &reputed(0))?;
        Ok(())
    })
}

#[test]
fn an_epoch_under_another_key_is_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for (key, epoch) in [(1, 2), (1, 0), (0, u64::MAX), (256, 1)] {
            let key = EpochNumber(key);
            refused_both_ways(
                storage,
                &format!("summary of {epoch} as {key}, {mode}"),
                |storage| storage.store_epoch(key, &summary(epoch)),
                |update| update.store_epoch(key, &summary(epoch)),
            )?;
            refused_both_ways(
                storage,
                &format!("claim of {epoch} as {key}, {mode}"),
                |storage| storage.store_claim(key, &claim(epoch)),
                |update| update.store_claim(key, &claim(epoch)),
            )?;
        }
        Ok(())
    })
}

#[test]
fn one_bad_record_anywhere_in_a_batch_writes_nothing() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for at in [0, 999, 1000, 1001, 2499] {
            let mut peers = Vec::new();
            let mut samples = Vec::new();
            for number in 0..2500 {
                let id = format!("peer-{number}");
                let mut record = peer(&id);
                let mut time = number;
                if number == at {
                    record.reputation = 101;
                    time = -1;
                }
                peers.push((id, record));
                samples.push((time, sample(1)));
            }
            let bad = ErrorCode::InvalidArgument;
            let case = format!("record {at}, {mode}");
            refused(storage, &case, bad, |s| s.store_peers_batch(&peers))?;
            refused(storage, &case, bad, |s| s.store_metrics_batch(&samples))?;
        }
        Ok(())
    })
}

/// Writes to every tree that an update reaches.
fn write_everything(update: &mut Update<'_>) -> NonosResult<()> {
    update.store_identity(&NodeId([8; 32]), b"other")?;
    update.store_peer("gamma", &peer("gamma"))?;
    update.remove_peer("alpha")?;
    update.store_peers_batch(&[("delta".to_owned(), peer("delta"))])?;
    update.store_metrics(40, &sample(40))?;
    update.store_metrics_batch(&[(50, sample(50)), (10, sample(0))])?;
    update.store_epoch(EpochNumber(3), &summary(3))?;
    update.store_claim(EpochNumber(3), &claim(3))?;
    update.store_config("name", "another node")?;
    update.delete_config("limits")?;
    Ok(())
}

#[test]
fn a_config_that_is_not_allowed_opens_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let good = disk.config.clone();
    for (case, config) in [
        (
            "cache 0",
            StorageConfig {
                cache_capacity_bytes: 0,
                ..good.clone()
            },
        ),
        (
            "cache below 1 MiB",
            StorageConfig {
                cache_capacity_bytes: 1024 * 1024 - 1,
                ..good.clone()
            },
        ),
        (
            "flush every 0",
            StorageConfig {
                flush_every_ms: Some(0),
                ..good.clone()
            },
        ),
        ("no path", disk.config_at("")),
    ] {
        match NodeStorage::open(config) {
            Err(NonosError::Config(_)) => {}
            other => panic!("{case}: {other:?}"),
        }
        assert!(disk.directory.files()?.is_empty(), "{case}");
    }
    let least = StorageConfig {
        cache_capacity_bytes: 1024 * 1024,
        flush_every_ms: Some(u64::MAX),
        ..good
    };
    let storage = NodeStorage::open(least)?;
    populate(&storage)?;
    Ok(())
}

#[test]
fn a_path_that_is_a_file_or_below_one_is_refused_and_the_file_stays() -> TestResult {
    let disk = OnDisk::new()?;
    let file = disk.config.path.clone();
    fs::write(&file, "not a database")?;
    let files = disk.directory.files()?;
    for (case, path, expected) in [
        ("a file", file.clone(), ErrorCode::InvalidArgument),
        ("below a file", file.join("data.sled"), ErrorCode::Io),
        (
            "far below a file",
            file.join("a/b/data.sled"),
            ErrorCode::Io,
        ),
    ] {
        let opened = NodeStorage::open(disk.config_at(&path));
        let text = opened.as_ref().map_err(|e| chain(e)).err();
        let text = text.unwrap_or_default();
        assert!(text.contains(&*file.to_string_lossy()), "{case}: {text}");
        assert_eq!(code(opened), Ok(expected), "{case}");
        assert_eq!(fs::read(&file)?, b"not a database", "{case}");
        assert_eq!(disk.directory.files()?, files, "{case}");
    }
    Ok(())
}

#[test]
fn counts_up_to_the_maximum_allocate_only_what_is_there() -> TestResult {
    in_both_modes(|storage, mode| {
        assert_eq!(storage.load_latest_metrics(usize::MAX)?, [], "{mode}");
        assert_eq!(storage.load_audit_log(usize::MAX)?, [], "{mode}");
        populate(storage)?;
        for (count, expected) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (usize::MAX, 3)] {
            let times: Vec<i64> = storage
                .load_latest_metrics(count)?
                .into_iter()
                .map(|(time, _)| time)
                .collect();
            let newest = [10, 20, 30].into_iter().skip(3 - expected);
            assert_eq!(times, Vec::from_iter(newest), "{count}, {mode}");
        }
        for (count, expected) in [(0, 0), (1, 1), (4, 4), (5, 4), (usize::MAX, 4)] {
            let entries = storage.load_audit_log(count)?;
            assert_eq!(entries.len(), expected, "{count}, {mode}");
        }
        storage.update(false, |update| {
            assert_eq!(update.load_latest_metrics(usize::MAX)?.len(), 3, "{mode}");
            assert_eq!(update.load_audit_log(usize::MAX)?.len(), 4, "{mode}");
            Ok(())
        })?;
        Ok(())
    })
}
