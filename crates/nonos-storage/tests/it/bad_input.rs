//! Bad input: a clear typed error, and nothing is written.

use std::fmt::Debug;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use nonos_storage::{
    ConfigError, EpochNumber, ErrorCode, NodeId, NodeStorage, NonosError, NonosResult,
    StorageConfig, StoredClaim, StoredEpochSummary, StoredMetrics, StoredPeerInfo, Update,
};
use serde::{Serialize, Serializer};

use crate::TestResult;
use crate::contents::{Contents, chain, claim, code, peer, populate, sample, summary};
use crate::on_disk::{OnDisk, in_both_modes};
use crate::watched::Watched as _;

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
fn times_before_1970_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for time in [-1, i64::MIN] {
            refused_both_ways(
                storage,
                &format!("{time}, {mode}"),
                |storage| storage.store_metrics(time, &sample(1)),
                |update| update.store_metrics(time, &sample(1)),
            )?;
            let batch = [(1, sample(1)), (time, sample(1))];
            refused_both_ways(
                storage,
                &format!("{time} in a batch, {mode}"),
                |storage| storage.store_metrics_batch(&batch),
                |update| update.store_metrics_batch(&batch),
            )?;
            let case = format!("prune {time}, {mode}");
            refused(storage, &case, ErrorCode::InvalidArgument, |storage| {
                storage.prune_metrics(time)
            })?;
        }
        storage.store_metrics(0, &sample(1))?;
        storage.store_metrics(i64::MAX, &sample(1))?;
        Ok(())
    })
}

#[test]
fn numbers_that_are_not_finite_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let quality_score = number;
            let bad = StoredEpochSummary {
                quality_score,
                ..summary(1)
            };
            refused_both_ways(
                storage,
                &format!("{number} in a summary, {mode}"),
                |storage| storage.store_epoch(EpochNumber(1), &bad),
                |update| update.store_epoch(EpochNumber(1), &bad),
            )?;
        }
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (field, bad) in [
                (
                    "quality_score",
                    StoredMetrics {
                        quality_score: number.into(),
                        ..sample(1)
                    },
                ),
                (
                    "cpu_usage",
                    StoredMetrics {
                        cpu_usage: Some(number),
                        ..sample(1)
                    },
                ),
                (
                    "memory_usage",
                    StoredMetrics {
                        memory_usage: Some(number),
                        ..sample(1)
                    },
                ),
            ] {
                refused_both_ways(
                    storage,
                    &format!("{field} {number}, {mode}"),
                    |storage| storage.store_metrics(10, &bad),
                    |update| update.store_metrics(10, &bad),
                )?;
                let batch = [(11, sample(1)), (10, bad)];
                refused_both_ways(
                    storage,
                    &format!("{field} {number} in a batch, {mode}"),
                    |storage| storage.store_metrics_batch(&batch),
                    |update| update.store_metrics_batch(&batch),
                )?;
            }
        }
        Ok(())
    })
}

#[test]
fn values_over_the_maximum_are_refused() -> TestResult {
    const MIB: usize = 1024 * 1024;
    // Repeated, so that compression does not bring them below the maximum.
    let text = "t".repeat(MIB);
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let info = StoredPeerInfo {
            addresses: vec![text.clone()],
            ..peer("alpha")
        };
        refused_both_ways(
            storage,
            &format!("peer, {mode}"),
            |storage| storage.store_peer("alpha", &info),
            |update| update.store_peer("alpha", &info),
        )?;
        let bad = StoredClaim {
            claimant: text.clone(),
            ..claim(1)
        };
        refused_both_ways(
            storage,
            &format!("claim, {mode}"),
            |storage| storage.store_claim(EpochNumber(1), &bad),
            |update| update.store_claim(EpochNumber(1), &bad),
        )?;
        refused_both_ways(
            storage,
            &format!("config, {mode}"),
            |storage| storage.store_config("name", &text),
            |update| update.store_config("name", &text),
        )?;
        let key = vec![0; MIB + 1];
        refused_both_ways(
            storage,
            &format!("identity, {mode}"),
            |storage| storage.keep_identity(&NodeId([9; 32]), &key),
            |update| update.store_identity(&NodeId([9; 32]), &key),
        )?;
        for len in [64 * 1024 + 1, MIB] {
            let case = format!("secret of {len}, {mode}");
            refused(storage, &case, ErrorCode::InvalidArgument, |storage| {
                storage.keep_secret("wallet", &vec![0; len])
            })?;
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

/// A value that serde refuses.
struct Unserializable;

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no form of this can be written"))
    }
}

/// A value whose serialization panics.
struct Panicking;

impl Serialize for Panicking {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic::resume_unwind(Box::new("serialize"))
    }
}

/// A value that writes to the database while it is written.
struct Writing<'a>(&'a NodeStorage);

impl Serialize for Writing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nested = code(self.0.store_peer("nested", &peer("nested")));
        assert_eq!(nested, Ok(ErrorCode::InvalidArgument));
        serializer.serialize_u8(1)
    }
}

/// A sequence in a sequence in a sequence, and so on.
struct Nested(usize);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            depth => serializer.collect_seq([Self(depth - 1)]),
        }
    }
}

#[test]
fn config_values_that_cannot_be_encoded_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let bad = ErrorCode::Serialization;
        refused(storage, &format!("custom, {mode}"), bad, |storage| {
            storage.store_config("name", &Unserializable)
        })?;
        // Could be written, but never read again.
        refused(storage, &format!("nested, {mode}"), bad, |storage| {
            storage.store_config("name", &Nested(1000))
        })?;
        let before = Contents::of(storage)?;
        let stored = catch_unwind(AssertUnwindSafe(|| {
            storage.store_config("name", &Panicking)
        }));
        assert!(stored.is_err(), "the panic is the caller's, {mode}");
        assert_eq!(Contents::of(storage)?, before, "{mode}");
        storage.store_config("writing", &Writing(storage))?;
        assert_eq!(storage.load_config("writing")?, Some(1), "{mode}");
        assert_eq!(storage.load_peer("nested")?, None, "{mode}");
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

/// The error that a closure returns of its own.
fn own_error() -> NonosError {
    NonosError::Config(ConfigError::FlushEveryZero)
}

#[test]
fn an_update_that_fails_or_panics_writes_nothing_and_later_ones_work() -> TestResult {
    let disk = OnDisk::new()?;
    for (mode, storage) in [
        ("memory", NodeStorage::in_memory()?),
        ("disk", disk.open()?),
    ] {
        populate(&storage)?;
        let before = Contents::of(&storage)?;
        for durable in [false, true] {
            let failed = storage.update(durable, |update| {
                write_everything(update)?;
                Err::<(), _>(own_error())
            });
            match failed {
                Err(NonosError::Config(ConfigError::FlushEveryZero)) => {}
                other => panic!("{mode}: {other:?} is not the closure's error"),
            }
            assert_eq!(Contents::of(&storage)?, before, "{mode}: Err");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                storage.update(durable, |update| {
                    write_everything(update)?;
                    panic::resume_unwind(Box::new("in the closure"));
                    #[expect(unreachable_code, reason = "gives the closure its type")]
                    Ok(())
                })
            }));
            let said = panicked
                .err()
                .and_then(|panic| panic.downcast::<&str>().ok());
            assert_eq!(said.as_deref(), Some(&"in the closure"), "{mode}");
            assert_eq!(Contents::of(&storage)?, before, "{mode}: panic");
        }
        let ((), first) = storage.update(true, write_everything)?;
        let ((), second) = storage.update(false, |update| {
            update.store_peer("epsilon", &peer("epsilon"))
        })?;
        assert_eq!(second, first + 1, "{mode}: no number is lost to a failure");
        storage.store_claim(EpochNumber(9), &claim(9))?;
        let after = Contents::of(&storage)?;
        assert_eq!(after.node_id, Some(NodeId([8; 32])), "{mode}");
        let ids: Vec<&str> = after.peers.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["beta", "delta", "epsilon", "gamma"], "{mode}");
        assert_eq!(after.sizes.config, 1, "{mode}");
        if mode == "disk" {
            let storage = disk.reopen(storage)?;
            assert_eq!(Contents::of(&storage)?, after, "after reopening");
        }
    }
    Ok(())
}

#[test]
fn an_error_that_the_closure_handles_leaves_the_rest_of_its_commit() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let audited = storage.tree_sizes()?.audit_log;
        storage.update(true, |update| {
            update.store_config("kept", &1)?;
            let refused = update.store_claim(EpochNumber(3), &claim(4));
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            let refused = update
                .store_peers_batch(&[("x".to_owned(), peer("x")), ("y".to_owned(), peer("z"))]);
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            let refused = update.store_identity(&NodeId([9; 32]), &vec![0; 2 << 20]);
            assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{mode}");
            Ok(())
        })?;
        assert_eq!(storage.load_config("kept")?, Some(1), "{mode}");
        assert_eq!(storage.load_peer("x")?, None, "{mode}");
        assert_eq!(storage.load_node_id()?, Some(NodeId([7; 32])), "{mode}");
        assert_eq!(storage.load_claim(EpochNumber(3))?, None, "{mode}");
        assert_eq!(storage.tree_sizes()?.audit_log, audited, "{mode}");
        Ok(())
    })
}

#[test]
fn a_write_inside_the_closure_of_update_is_refused_and_does_not_hang() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let nested: [(&str, Call); 9] = [
            ("update", |s| s.update(false, |_| Ok(())).map(drop)),
            ("durable update", |s| {
                s.update(true, write_everything).map(drop)
            }),
            ("store_peer", |s| s.store_peer("n", &peer("n"))),
            ("store_peers_batch", |s| {
                let batch = [("n".to_owned(), peer("n"))];
                s.store_peers_batch(&batch).map(drop)
            }),
            ("store_claim", |s| s.store_claim(EpochNumber(5), &claim(5))),
            ("delete_config", |s| s.delete_config("name").map(drop)),
            ("store_secret", |s| s.keep_secret("n", b"n")),
            ("prune_metrics", |s| s.prune_metrics(100).map(drop)),
            ("shutdown", NodeStorage::shutdown),
        ];
        for (method, write) in nested {
            let before = Contents::of(storage)?;
            let ((), _) = storage.update(false, |_| {
                assert_eq!(
                    code(write(storage)),
                    Ok(ErrorCode::InvalidArgument),
                    "{method}, {mode}"
                );
                Ok(())
            })?;
            assert_eq!(Contents::of(storage)?, before, "{method}, {mode}");
            let case = format!("{method} with its error returned, {mode}");
            refused_nested(storage, &case, write)?;
        }
        Ok(())
    })
}

fn refused_nested(storage: &NodeStorage, case: &str, write: Call) -> TestResult {
    let before = Contents::of(storage)?;
    let outer = storage.update(false, |update| {
        update.store_peer("outer", &peer("outer"))?;
        write(storage)
    });
    assert_eq!(code(outer), Ok(ErrorCode::InvalidArgument), "{case}");
    assert_eq!(Contents::of(storage)?, before, "{case}");
    storage.store_peer("alpha", &peer("alpha"))?;
    Ok(())
}

#[test]
fn reading_and_flushing_and_another_database_work_inside_the_closure_of_update() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let other = NodeStorage::in_memory()?;
        storage.update(true, |update| {
            update.store_peer("new", &peer("new"))?;
            assert_eq!(storage.load_peer("new")?, None, "{mode}: not applied yet");
            assert_eq!(update.load_peer("new")?, Some(peer("new")), "{mode}");
            assert_eq!(storage.list_peers()?.len(), 2, "{mode}");
            assert_eq!(storage.count_peers()?, 2, "{mode}");
            storage.flush()?;
            other.update(false, |within| {
                within.store_peer("theirs", &peer("theirs"))?;
                let back = code(storage.store_peer("back", &peer("back")));
                assert_eq!(back, Ok(ErrorCode::InvalidArgument), "{mode}");
                Ok(())
            })?;
            other.store_peer("theirs too", &peer("theirs too"))
        })?;
        assert_eq!(storage.load_peer("new")?, Some(peer("new")), "{mode}");
        assert_eq!(other.count_peers()?, 2, "{mode}");
        Ok(())
    })
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
