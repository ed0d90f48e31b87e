//! A backup says the same to a reader that shares no line with the one here: the program in Python
//! that follows `docs/FORMAT.md`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use data_encoding::HEXLOWER;
use nonos_storage::{EpochNumber, NodeId, NodeStorage, StorageConfig};
use nonos_storage::{StoredClaim, StoredEpochSummary, StoredMetrics, StoredPeerInfo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Value, json};
use storage_core::TreeId;
use storage_core::history::{Checkpoint, RealDisk};
use storage_testkit::strategy::{claim_of, epoch, epoch_summary_of, metrics, name, peer, time};

use crate::TestResult;
use crate::contents::{claim, noise, peer as some_peer, populate, sample, summary};
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

const READER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reader/nonos_backup.py"
);
const FLIPS: usize = 100;
const CUTS: usize = 40;

/// What the reader makes of a file. `-I` and `-S` keep it from all but Python itself.
fn run(file: &Path) -> Result<Output, Box<dyn Error>> {
    let output = Command::new("python3")
        .args(["-I", "-S", "-B", READER])
        .arg(file)
        .output();
    output.map_err(|error| {
        format!("python3 is needed (Debian: apt-get install python3): {error}").into()
    })
}

/// Exports a backup and expects of it the same header, records and values from both readers.
fn agrees(storage: &NodeStorage, directory: &Path) -> TestResult {
    let file = directory.join("backup.nonos");
    storage.export_backup(&file)?;
    let output = run(&file)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), stderr.as_ref()),
        (Some(0), ""),
        "whole file"
    );
    let lines = String::from_utf8(output.stdout)?;
    let mut lines = lines.lines().map(serde_json::from_str::<Value>);

    let checkpoint = Checkpoint::open(&RealDisk, &file)?;
    let mut counts = BTreeMap::from(TreeId::ALL.map(|tree| (tree.name(), 0_u64)));
    let mut records = Vec::new();
    for record in checkpoint.records() {
        let (tree, key, stored) = record?;
        let tree = TreeId::from_number(tree).ok_or("no such tree")?.name();
        *counts.entry(tree).or_default() += 1;
        records.push((tree, HEXLOWER.encode(&key), HEXLOWER.encode(&stored)));
    }
    let about = checkpoint.about();
    let header = json!({
        "store_id": storage.store_id().to_string(),
        "term": about.term,
        "schema": about.schema_version,
        "commit": about.commit,
        "created_at": about.created_at,
        "program": about.program,
        "records": counts,
    });
    assert_eq!(lines.next().transpose()?, Some(header));

    let mut expected = values(storage)?;
    let mut newest_hash = None;
    for (tree, key, stored) in &records {
        let mut line = lines.next().transpose()?.ok_or("records are missing")?;
        if *tree == "audit_log" {
            let value = line.get_mut("value").and_then(Value::as_object_mut);
            newest_hash = value.and_then(|value| value.remove("hash"));
        }
        let mut same = json!({ "tree": tree, "key": key, "stored": stored });
        let value = expected.remove(&(*tree, key.clone()));
        if let Some((value, same)) = value.zip(same.as_object_mut()) {
            same.insert("value".to_owned(), value);
        }
        assert_eq!(line, same);
    }
    assert!(lines.next().is_none(), "there are more than all records");
    assert!(expected.is_empty(), "not in the backup: {expected:?}");
    let head = ("schema", HEXLOWER.encode(b"__audit_head__"));
    let head = records
        .iter()
        .find(|(tree, key, _)| *tree == head.0 && *key == head.1);
    // In the head, the hash is behind the frame's 6 bytes, the flags and the count.
    let stated = head.and_then(|(_, _, stored)| stored.get(2 * 15..2 * 47));
    assert_eq!(newest_hash.as_ref().and_then(Value::as_str), stated);
    Ok(())
}

/// What the reader must make of each record that it decodes, by tree and key; without the hashes of
/// the audit log, which no public method says.
fn values(storage: &NodeStorage) -> TestResult<BTreeMap<(&'static str, String), Value>> {
    let mut values = BTreeMap::new();
    let version = serde_json::to_value(storage.schema_info()?)?;
    values.insert(("schema", HEXLOWER.encode(b"__schema_version__")), version);
    for (id, info) in storage.list_peers()? {
        values.insert(
            ("peers", HEXLOWER.encode(id.as_bytes())),
            serde_json::to_value(info)?,
        );
    }
    for (time, sample) in storage.load_metrics_range(0, i64::MAX)? {
        values.insert(
            ("metrics", HEXLOWER.encode(&time.to_be_bytes())),
            serde_json::to_value(sample)?,
        );
    }
    for epoch in storage.load_epoch_range(EpochNumber(0), EpochNumber(u64::MAX))? {
        let key = HEXLOWER.encode(&epoch.epoch.to_be_bytes());
        let value = json!({
            "epoch": epoch.epoch,
            "start_time": epoch.start_time,
            "end_time": epoch.end_time,
            "total_emission": epoch.total_emission.to_string(),
            "our_reward": epoch.our_reward.to_string(),
            "quality_score": epoch.quality_score,
            "participated": epoch.participated,
            "streak": epoch.streak,
        });
        values.insert(("epochs", key), value);
    }
    for (epoch, claim) in storage.load_claims()? {
        let value = json!({
            "epoch": claim.epoch,
            "amount": claim.amount.to_string(),
            "claimed_at": claim.claimed_at,
            "tx_hash": claim.tx_hash,
            "claimant": claim.claimant,
        });
        values.insert(("claims", HEXLOWER.encode(&epoch.0.to_be_bytes())), value);
    }
    for key in storage.list_config_keys()? {
        let value: Option<Value> = storage.load_config(&key)?;
        values.insert(
            ("config", HEXLOWER.encode(key.as_bytes())),
            value.unwrap_or(Value::Null),
        );
    }
    let mut entries = storage.load_audit_log(usize::MAX)?;
    entries.sort_by_key(|entry| entry.timestamp);
    for (number, entry) in entries.into_iter().enumerate() {
        let value = json!({
            "timestamp": entry.timestamp,
            "tree": entry.tree,
            "operation": entry.operation,
            "details": entry.details,
            "number": number,
        });
        values.insert(
            ("audit_log", HEXLOWER.encode(&entry.timestamp.to_be_bytes())),
            value,
        );
    }
    Ok(values)
}

/// Puts into each tree what is at the edges of what it takes.
fn store_edges(storage: &NodeStorage) -> TestResult {
    populate(storage)?;
    storage.keep_identity(&NodeId([255; 32]), &noise(5000))?;
    let full = StoredPeerInfo {
        addresses: vec!["/ip4/192.0.2.1/tcp/9000".repeat(3000), String::new()],
        last_seen: i64::MIN,
        avg_latency_ms: Some(u32::MAX),
        connection_count: u32::MAX,
        is_bootstrap: true,
        reputation: 100,
        protocol_version: None,
        capabilities: Some(vec!["größe".to_owned(), "\u{10ffff}\0\n\"".to_owned()]),
        first_seen: Some(i64::MAX),
        last_failure: Some(-1),
        failure_count: 128,
        ..some_peer("ß\u{1f980}")
    };
    storage.store_peer("ß\u{1f980}", &full)?;
    let bare = StoredPeerInfo {
        addresses: Vec::new(),
        protocol_version: None,
        capabilities: None,
        ..some_peer("bare")
    };
    storage.store_peer("bare", &bare)?;
    let largest = StoredMetrics {
        peer_count: usize::MAX,
        quality_score: -f64::MIN_POSITIVE / 3.0,
        cpu_usage: Some(0.1),
        memory_usage: Some(f32::MIN),
        network_bytes_sent: Some(u64::MAX),
        network_bytes_received: Some(0),
        ..sample(u64::MAX)
    };
    storage.store_metrics(i64::MAX, &largest)?;
    let smallest = StoredMetrics {
        quality_score: -0.0,
        cpu_usage: None,
        ..sample(0)
    };
    storage.store_metrics(0, &smallest)?;
    for number in [0, u64::MAX] {
        let rewarded = StoredEpochSummary {
            start_time: -1,
            end_time: i64::MAX,
            our_reward: u128::from(u64::MAX) + 1,
            quality_score: f64::MAX,
            streak: u32::MAX,
            ..summary(number)
        };
        storage.store_epoch(EpochNumber(number), &rewarded)?;
        let paid = StoredClaim {
            amount: u128::MAX,
            tx_hash: Some("0xabc".repeat(100)),
            claimant: String::new(),
            ..claim(number)
        };
        storage.store_claim(EpochNumber(number), &paid)?;
    }
    let deep = (0..40).fold(json!(1.5), |value, _| json!([value]));
    let kinds = json!({
        "none": null, "flags": [true, false], "ganz": ["ä", "", "\u{1f980}"],
        "numbers": [0, 23, 24, 255, 256, 65_535, 65_536, u32::MAX, u64::MAX, -1, -25, i64::MIN],
        "fractions": [0.1, -0.0, 1e300, 5e-324, 65504.0], "deep": deep, "empty": [{}, []],
    });
    storage.store_config("kinds", &kinds)?;
    storage.store_config("nothing", &Value::Null)?;
    storage.store_config("noise", noise(100_000).as_slice())?;
    storage.store_config("repeated", &"one and the same ".repeat(20_000))?;
    storage.store_config(&"ü".repeat(512), "")?;
    storage.keep_secret("empty", b"")?;
    storage.keep_secret("largest", &noise(64 * 1024))?;
    Ok(())
}

#[test]
fn another_program_reads_every_record_of_a_backup() -> TestResult {
    for compression_enabled in [true, false] {
        let disk = OnDisk::new()?;
        let storage = NodeStorage::open(StorageConfig {
            compression_enabled,
            ..disk.config.clone()
        })?;
        agrees(&storage, disk.directory.root())?;
        store_edges(&storage)?;
        agrees(&storage, disk.directory.root())?;
        storage.close()?;
    }
    Ok(())
}

#[test]
fn another_program_reads_what_random_records_are_in_a_backup() -> TestResult {
    let epochs =
        epoch().prop_flat_map(|epoch| (Just(epoch), epoch_summary_of(epoch), claim_of(epoch)));
    let values = (
        vec(peer(), 0..60),
        vec((time(), metrics()), 0..120),
        vec(epochs, 0..60),
        vec((name(), any::<Vec<f64>>()), 0..20),
    );
    let config = ProptestConfig {
        cases: 4,
        max_shrink_iters: 50,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&values, |(peers, samples, epochs, settings)| {
        let stored = || -> TestResult {
            let disk = OnDisk::new()?;
            let storage = NodeStorage::in_memory()?;
            for info in &peers {
                storage.store_peer(&info.peer_id, info)?;
            }
            storage.store_metrics_batch(&samples)?;
            for (epoch, summary, claim) in &epochs {
                storage.store_epoch(*epoch, summary)?;
                storage.store_claim(*epoch, claim)?;
            }
            for (name, numbers) in &settings {
                storage.store_config(name, numbers)?;
            }
            agrees(&storage, disk.directory.root())
        };
        stored().map_err(|error| TestCaseError::fail(error.to_string()))
    });
    result.map_err(|failed| failed.to_string().into())
}

/// Expects the reader to refuse a file: code 1, where and why on stderr, and nothing else.
fn is_refused(file: &Path, bytes: &[u8], what: &str) -> Result<(), String> {
    fs::write(file, bytes).map_err(|error| error.to_string())?;
    let output = run(file).map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.contains("offset ") && !stderr.contains("Traceback");
    if output.status.code() == Some(1) && said && output.stdout.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: {}: {stderr}", output.status))
}

#[test]
fn another_program_refuses_a_damaged_backup_and_says_where() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = NodeStorage::in_memory()?;
    populate(&storage)?;
    storage.store_config("repeated", &"one and the same ".repeat(500))?;
    storage.store_config("noise", noise(1000).as_slice())?;
    let file = disk.directory.root().join("backup.nonos");
    storage.export_backup(&file)?;
    let whole = fs::read(&file)?;
    assert_eq!(run(&file)?.status.code(), Some(0), "the whole file");
    let flips = (0..FLIPS).map(|number| {
        let at = number * whole.len() / FLIPS;
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (number % 8);
        (flipped, format!("bit {} of byte {at}", number % 8))
    });
    let cuts = (0..CUTS).map(|number| {
        let len = number * whole.len() / CUTS;
        (whole[..len].to_vec(), format!("cut to {len}"))
    });
    let longer = [whole.as_slice(), &[0]].concat();
    let damaged: Vec<(Vec<u8>, String)> = flips
        .chain(cuts)
        .chain([(longer, "a byte more".to_owned())])
        .collect();
    thread::scope(|scope| {
        let parts = damaged.chunks(damaged.len().div_ceil(2)).enumerate();
        let running: Vec<_> = parts
            .map(|(number, part)| {
                let file = disk.directory.root().join(format!("damaged-{number}"));
                scope.spawn(move || {
                    part.iter()
                        .try_for_each(|(bytes, what)| is_refused(&file, bytes, what))
                })
            })
            .collect();
        running.into_iter().try_for_each(|part| -> TestResult {
            let refused = part.join().map_err(|_panic| "a thread panicked")?;
            refused.map_err(Into::into)
        })
    })
}
