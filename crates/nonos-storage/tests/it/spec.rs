//! The examples of the storage document, in its order, on a database on disk that is closed and
//! opened again between writing and reading.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use nonos_storage::{
    AuditLogEntry, CURRENT_SCHEMA_VERSION, EncryptionMode, EpochNumber, ErrorCode, MAX_BATCH_SIZE,
    NodeId, NodeStorage, NonosError, NonosResult, SchemaInfo, StorageConfig, StoredEpochSummary,
    StoredMetrics, StoredPeerInfo, TreeSizes,
};
use serde::Deserialize;
use storage_testkit::dump;
use time::OffsetDateTime;

use crate::TestResult;
use crate::contents::{claim, code, peer, sample, summary};
use crate::on_disk::OnDisk;

/// `config.toml`, as far as storage reads it.
#[derive(Deserialize)]
struct ConfigFile {
    storage: StorageConfig,
}

fn parse(text: &str) -> Result<StorageConfig, toml::de::Error> {
    toml::from_str(text).map(|file: ConfigFile| file.storage)
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

// Storage Configuration

#[test]
fn the_documented_storage_table_is_the_default_config() -> TestResult {
    let config = parse(
        r#"
[storage]
# Database path (relative to data_dir or absolute)
db_path = "data.sled"

# Memory cache size in bytes (default: 64MB)
# Increase for better read performance on systems with available RAM
cache_capacity_bytes = 67108864

# Flush interval in milliseconds (default: 30000 = 30 seconds)
# Lower values = more durable, higher values = better throughput
flush_every_ms = 30000

# Enable compression (default: true)
# Reduces disk usage at slight CPU cost
compression_enabled = true
"#,
    )?;
    assert_eq!(config, StorageConfig::default());
    assert_eq!(parse("[storage]")?, StorageConfig::default());
    Ok(())
}

#[test]
fn a_storage_config_has_the_documented_fields() -> TestResult {
    let StorageConfig {
        path,
        cache_capacity_bytes,
        flush_every_ms,
        encryption_mode,
        compression_enabled,
    } = parse(
        "[storage]\npath = '/srv/node/data.sled'\ncache_capacity_bytes = 1048576\n\
         flush_every_ms = 'never'\nencryption_mode = 'sealed_box'\ncompression_enabled = false",
    )?;
    assert_eq!(path, PathBuf::from("/srv/node/data.sled"));
    assert_eq!(cache_capacity_bytes, 1_048_576);
    assert_eq!(flush_every_ms, None);
    assert_eq!(encryption_mode, EncryptionMode::SealedBox);
    assert!(!compression_enabled);
    assert_eq!(
        parse("[storage]\nencryption_mode = 'none'")?.encryption_mode,
        EncryptionMode::None
    );
    Ok(())
}

#[test]
fn a_config_written_as_toml_reads_back() -> TestResult {
    for flush_every_ms in [None, Some(1), Some(30_000)] {
        let config = StorageConfig {
            path: PathBuf::from("~/.nonos/data.sled"),
            flush_every_ms,
            encryption_mode: EncryptionMode::SealedBox,
            ..Default::default()
        };
        let text = toml::to_string(&config)?;
        assert_eq!(toml::from_str::<StorageConfig>(&text)?, config, "{text}");
    }
    Ok(())
}

#[test]
fn a_storage_table_with_a_bad_setting_is_refused_by_name() {
    for (text, name) in [
        ("flush_every_ms = 0", "flush_every_ms"),
        ("flush_every_ms = 'sometimes'", "flush_every_ms"),
        ("flush_every_ms = -1", "flush_every_ms"),
        ("cache_capacity_bytes = 'large'", "cache_capacity_bytes"),
        ("encryption_mode = 'rot13'", "rot13"),
        ("chache_capacity_bytes = 1048576", "chache_capacity_bytes"),
        ("db_path = 1", "db_path"),
    ] {
        let refused = parse(&format!("[storage]\n{text}")).map_err(|e| e.to_string());
        assert!(
            refused.as_ref().is_err_and(|e| e.contains(name)),
            "{text}: {refused:?}"
        );
    }
}

// Schema Versioning

#[test]
fn the_current_schema_version_is_2() {
    assert_eq!(CURRENT_SCHEMA_VERSION, 2);
}

#[test]
fn a_new_database_is_initialized_at_the_current_version_and_stays_as_it_is() -> TestResult {
    let disk = OnDisk::new()?;
    let before = now();
    let storage = disk.open()?;
    let SchemaInfo {
        version,
        created_at,
        last_migration,
        migrations_applied,
    } = storage.schema_info()?;
    assert_eq!(version, CURRENT_SCHEMA_VERSION);
    assert!((before..=now()).contains(&created_at), "{created_at}");
    assert_eq!(last_migration, None);
    assert_eq!(migrations_applied, vec![]);
    let info = storage.schema_info()?;
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.schema_info()?, info);
    assert_eq!(storage.schema_version()?, CURRENT_SCHEMA_VERSION);
    Ok(())
}

// Identity Tree

#[test]
fn identity() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    assert_eq!(storage.load_node_id()?, None);
    assert_eq!(storage.load_encrypted_key()?, None);

    let node_id = NodeId::from_bytes([0xa5; 32]);
    let encrypted_private_key = vec![1, 2, 3, 0, 255];
    storage.store_identity(&node_id, &encrypted_private_key)?;

    let storage = disk.reopen(storage)?;
    let loaded: Option<NodeId> = storage.load_node_id()?;
    let key: Option<Vec<u8>> = storage.load_encrypted_key()?;
    assert_eq!(loaded, Some(node_id));
    assert_eq!(key, Some(encrypted_private_key));
    assert_eq!(node_id.to_string(), "nxnd_a5a5a5a5a5a5a5a5");
    assert_eq!(node_id.to_hex(), "a5".repeat(32));
    Ok(())
}

// Peers Tree

#[test]
fn peers() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let peer_info = StoredPeerInfo {
        peer_id: "peer_id".to_owned(),
        addresses: vec![
            "203.0.113.7:9000".to_owned(),
            "[2001:db8::1]:9000".to_owned(),
        ],
        last_seen: 1_700_000_000,
        avg_latency_ms: Some(42),
        connection_count: 3,
        is_bootstrap: true,
        reputation: 100,
        protocol_version: Some("1.0.0".to_owned()),
        capabilities: Some(vec!["relay".to_owned()]),
        first_seen: Some(1_600_000_000),
        last_failure: None,
        failure_count: 0,
    };
    storage.store_peer("peer_id", &peer_info)?;
    let batch = [("b".to_owned(), peer("b")), ("a".to_owned(), peer("a"))];
    assert_eq!(storage.store_peers_batch(&batch)?, 2);

    let storage = disk.reopen(storage)?;
    let loaded: Option<StoredPeerInfo> = storage.load_peer("peer_id")?;
    assert_eq!(loaded.as_ref(), Some(&peer_info));
    let all_peers: Vec<(String, StoredPeerInfo)> = storage.list_peers()?;
    let expected = [("a", peer("a")), ("b", peer("b")), ("peer_id", peer_info)];
    assert_eq!(all_peers, expected.map(|(id, info)| (id.to_owned(), info)));
    let count: usize = storage.count_peers()?;
    assert_eq!(count, 3);
    assert!(storage.remove_peer("peer_id")?);

    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_peer("peer_id")?, None);
    assert!(!storage.remove_peer("peer_id")?);
    assert_eq!(storage.count_peers()?, 2);
    Ok(())
}

// Metrics Tree

#[test]
fn metrics() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let metrics = StoredMetrics {
        total_requests: 1000,
        successful_requests: 990,
        error_count: 10,
        avg_latency_ms: 25,
        peer_count: 12,
        quality_score: 0.99,
        uptime_secs: 3600,
        cpu_usage: Some(12.5),
        memory_usage: Some(40.25),
        network_bytes_sent: Some(u64::MAX),
        network_bytes_received: None,
    };
    let timestamp = now();
    for age in 0..150 {
        storage.store_metrics(timestamp - age, &metrics)?;
    }

    let storage = disk.reopen(storage)?;
    let (start, end) = (timestamp - 10, timestamp - 5);
    let history: Vec<(i64, StoredMetrics)> = storage.load_metrics_range(start, end)?;
    let times: Vec<i64> = history.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, Vec::from_iter(start..=end), "both ends are included");
    assert!(history.iter().all(|(_, loaded)| *loaded == metrics));

    let recent: Vec<(i64, StoredMetrics)> = storage.load_latest_metrics(100)?;
    let times: Vec<i64> = recent.iter().map(|(time, _)| *time).collect();
    assert_eq!(
        times,
        Vec::from_iter(timestamp - 99..=timestamp),
        "oldest first"
    );

    let older_than_timestamp = timestamp - 9;
    let removed: usize = storage.prune_metrics(older_than_timestamp)?;
    assert_eq!(removed, 140);
    let storage = disk.reopen(storage)?;
    let left = storage.load_metrics_range(0, i64::MAX)?;
    let times: Vec<i64> = left.iter().map(|(time, _)| *time).collect();
    assert_eq!(times, Vec::from_iter(older_than_timestamp..=timestamp));
    Ok(())
}

// Epochs Tree

#[test]
fn epochs() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    assert_eq!(storage.latest_epoch()?, None);
    let stored = StoredEpochSummary {
        epoch: 1,
        start_time: 1_700_000_000,
        end_time: 1_700_086_400,
        total_emission: u128::MAX,
        our_reward: 1 << 90,
        quality_score: 0.875,
        participated: true,
        streak: 7,
    };
    storage.store_epoch(EpochNumber(1), &stored)?;
    for epoch in [2, 3, 300] {
        storage.store_epoch(EpochNumber(epoch), &summary(epoch))?;
    }

    let storage = disk.reopen(storage)?;
    let loaded: Option<StoredEpochSummary> = storage.load_epoch(EpochNumber(1))?;
    assert_eq!(loaded.as_ref(), Some(&stored));
    let latest: Option<EpochNumber> = storage.latest_epoch()?;
    assert_eq!(latest, Some(EpochNumber(300)));
    let (start, end) = (EpochNumber(1), EpochNumber(3));
    let range: Vec<StoredEpochSummary> = storage.load_epoch_range(start, end)?;
    assert_eq!(range, [stored, summary(2), summary(3)]);
    Ok(())
}

#[test]
fn epoch_numbers_count_and_print() {
    assert_eq!(EpochNumber(41).next(), EpochNumber(42));
    assert_eq!(EpochNumber(43).prev(), EpochNumber(42));
    assert_eq!(EpochNumber(u64::MAX).next(), EpochNumber(u64::MAX));
    assert_eq!(EpochNumber(0).prev(), EpochNumber(0));
    assert_eq!(EpochNumber(7).to_string(), "Epoch#7");
}

// Config Tree

#[test]
fn config() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let timestamp = now();
    storage.store_config("bootstrap_nodes", &["addr1", "addr2"])?;
    storage.store_config("last_sync", &timestamp)?;
    storage.store_config("old_key", "old value")?;

    let storage = disk.reopen(storage)?;
    let nodes: Option<Vec<String>> = storage.load_config("bootstrap_nodes")?;
    assert_eq!(nodes, Some(vec!["addr1".to_owned(), "addr2".to_owned()]));
    let sync_time: Option<i64> = storage.load_config("last_sync")?;
    assert_eq!(sync_time, Some(timestamp));
    assert!(storage.delete_config("old_key")?);

    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_config::<String>("old_key")?, None);
    assert!(!storage.delete_config("old_key")?);
    assert_eq!(
        storage.list_config_keys()?,
        ["bootstrap_nodes", "last_sync"]
    );
    Ok(())
}

// Secrets Tree

#[test]
fn secrets() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let private_key_bytes = [0x5e; 32];
    storage.store_secret("wallet_key", &private_key_bytes)?;

    let storage = disk.reopen(storage)?;
    let key: Option<Vec<u8>> = storage.load_secret("wallet_key")?;
    assert_eq!(key.as_deref(), Some(private_key_bytes.as_slice()));
    assert_eq!(storage.list_secrets()?, ["wallet_key"]);
    assert!(storage.delete_secret("wallet_key")?);

    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_secret("wallet_key")?, None);
    assert!(!storage.delete_secret("wallet_key")?);
    Ok(())
}

// Audit Log Tree

#[test]
fn the_audit_log_holds_every_sensitive_operation_newest_first() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let before_ms = now() * 1000;
    storage.store_identity(&NodeId([1; 32]), b"key")?;
    storage.store_claim(EpochNumber(4), &claim(4))?;
    storage.store_secret("wallet_key", b"not for the log")?;
    storage.delete_secret("wallet_key")?;
    storage.store_peer("a", &peer("a"))?;
    storage.store_config("a", "not sensitive")?;
    let after_ms = (now() + 1) * 1000;

    let storage = disk.reopen(storage)?;
    let entries: Vec<AuditLogEntry> = storage.load_audit_log(100)?;
    let operations: Vec<_> = entries
        .iter()
        .map(|entry| (entry.tree.as_str(), entry.operation.as_str()))
        .collect();
    let expected = [
        ("secrets", "delete"),
        ("secrets", "store"),
        ("claims", "store"),
        ("identity", "store"),
    ];
    assert_eq!(operations, expected);
    assert!(entries.is_sorted_by(|newer, older| newer.timestamp > older.timestamp));
    for AuditLogEntry {
        timestamp, details, ..
    } in &entries
    {
        assert!((before_ms..after_ms).contains(timestamp), "{timestamp}");
        let told = details.as_deref().unwrap_or_default();
        assert!(!told.contains("not for the log"), "{told}");
    }
    assert_eq!(storage.load_audit_log(2)?, entries.get(..2).unwrap());
    assert_eq!(storage.load_audit_log(0)?, []);
    Ok(())
}

// Storage Modes

#[test]
fn persistent_storage() -> TestResult {
    let disk = OnDisk::new()?;
    let config = StorageConfig {
        path: disk.directory.root().join(".nonos/data.sled"),
        cache_capacity_bytes: 64 * 1024 * 1024,
        flush_every_ms: Some(30000),
        ..Default::default()
    };
    let storage = NodeStorage::open(config.clone())?;
    assert_eq!(storage.config(), &config);
    assert_eq!(storage.data_path(), config.path);
    assert!(!storage.is_in_memory());
    assert!(!storage.is_read_only());
    assert!(config.path.is_dir(), "missing directories are created");
    Ok(())
}

#[test]
fn in_memory_storage_touches_no_file_and_is_gone_at_drop() -> TestResult {
    for open in [NodeStorage::in_memory, NodeStorage::open_memory] {
        let storage = open()?;
        assert!(storage.is_in_memory());
        assert_eq!(storage.count_peers()?, 0, "each one begins empty");
        storage.store_peer("a", &peer("a"))?;
        storage.flush()?;
        assert_eq!(storage.load_peer("a")?, Some(peer("a")));
        assert_eq!(storage.size_on_disk()?, 0);
        assert!(!storage.data_path().exists());
        assert!(!Path::new("data.sled").exists());
        storage.close()?;
    }
    Ok(())
}

// Maintenance Operations: flushing

/// The smallest executor: polls, and parks its thread until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A future that an executor with several threads takes.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

#[test]
fn flush_and_flush_async_make_data_durable() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let flushes = || storage.storage_metrics().flushes.load(Ordering::Relaxed);
    storage.store_peer("a", &peer("a"))?;
    let before = flushes();
    storage.flush()?;
    assert!(flushes() > before, "flush is counted");
    storage.store_peer("b", &peer("b"))?;
    let before = flushes();
    block_on(sendable(async { storage.flush_async().await }))?;
    assert!(flushes() > before, "flush_async is counted");
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.count_peers()?, 2);
    block_on(NodeStorage::in_memory()?.flush_async())?;
    Ok(())
}

// Maintenance Operations: metrics pruning

#[test]
fn pruning_removes_what_is_older_than_seven_days() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let one_week_ago = now() - (7 * 24 * 3600);
    let times = [0, one_week_ago - 1, one_week_ago, one_week_ago + 1];
    for time in times {
        storage.store_metrics(time, &sample(1))?;
    }

    let storage = disk.reopen(storage)?;
    let removed = storage.prune_metrics(one_week_ago)?;
    assert_eq!(
        format!("Removed {removed} old metrics entries"),
        "Removed 2 old metrics entries"
    );
    let storage = disk.reopen(storage)?;
    let left = storage.load_latest_metrics(usize::MAX)?;
    let left: Vec<i64> = left.into_iter().map(|(time, _)| time).collect();
    assert_eq!(left, [one_week_ago, one_week_ago + 1]);
    Ok(())
}

// Storage Metrics

#[test]
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "as the document computes the rate"
)]
fn storage_metrics_count_and_give_the_hit_rate() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    assert_eq!(
        storage.storage_metrics().snapshot().cache_hit_rate(),
        None,
        "before the first read"
    );
    storage.store_peer("a", &peer("a"))?;
    let storage = disk.reopen(storage)?;
    for _ in 0..4 {
        storage.load_peer("a")?;
    }
    storage.remove_peer("a")?;
    storage.flush()?;

    let counters = storage.storage_metrics();
    let metrics = counters.snapshot();
    for (name, counter, snapshot) in [
        ("reads", &counters.reads, metrics.reads),
        ("writes", &counters.writes, metrics.writes),
        ("deletes", &counters.deletes, metrics.deletes),
        ("flushes", &counters.flushes, metrics.flushes),
        ("read_bytes", &counters.read_bytes, metrics.read_bytes),
        ("write_bytes", &counters.write_bytes, metrics.write_bytes),
        ("errors", &counters.errors, metrics.errors),
        ("cache_hits", &counters.cache_hits, metrics.cache_hits),
        ("cache_misses", &counters.cache_misses, metrics.cache_misses),
    ] {
        assert_eq!(counter.load(Ordering::Relaxed), snapshot, "{name}");
    }
    assert_eq!((metrics.cache_hits, metrics.cache_misses), (3, 1));
    let rate =
        metrics.cache_hits as f64 / (metrics.cache_hits + metrics.cache_misses) as f64 * 100.0;
    assert_eq!(
        format!("Cache hit rate: {rate:.2}%"),
        "Cache hit rate: 75.00%"
    );
    assert_eq!(metrics.cache_hit_rate(), Some(0.75));
    Ok(())
}

// Tree Sizes

#[test]
fn tree_sizes() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    assert_eq!(storage.tree_sizes()?, TreeSizes::default());
    storage.store_identity(&NodeId([1; 32]), b"key")?;
    for id in ["a", "b", "c"] {
        storage.store_peer(id, &peer(id))?;
    }
    for time in 1..=4 {
        storage.store_metrics(time, &sample(1))?;
    }
    for epoch in 1..=5 {
        storage.store_epoch(EpochNumber(epoch), &summary(epoch))?;
    }
    for epoch in 1..=6 {
        storage.store_claim(EpochNumber(epoch), &claim(epoch))?;
    }
    for number in 1..=7 {
        storage.store_config(&format!("config {number}"), &number)?;
    }
    storage.store_secret("wallet", b"secret")?;

    let storage = disk.reopen(storage)?;
    let sizes = storage.tree_sizes()?;
    let expected = TreeSizes {
        identity: 2,
        peers: 3,
        metrics: 4,
        epochs: 5,
        config: 7,
        claims: 6,
        secrets: 1,
        audit_log: 8,
    };
    assert_eq!(sizes, expected);
    Ok(())
}

// Disk Usage

#[test]
fn size_on_disk_counts_every_file_of_the_database() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_peer("a", &peer("a"))?;
    storage.flush()?;
    let bytes = storage.size_on_disk()?;
    let mut on_disk = 0;
    for file in disk.directory.files()? {
        let metadata = disk.directory.root().join(file).metadata()?;
        on_disk += if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
    }
    assert_eq!(bytes, on_disk);
    assert!(bytes > 0);
    Ok(())
}

// Uptime

#[test]
fn uptime_runs_from_opening() -> TestResult {
    let disk = OnDisk::new()?;
    let before = Instant::now();
    let storage = disk.open()?;
    let first = storage.uptime();
    let second = storage.uptime();
    assert!(first <= second);
    assert!(second <= before.elapsed(), "{second:?}");
    storage.close()?;
    let before = Instant::now();
    let again = disk.open()?.uptime();
    assert!(again <= before.elapsed(), "{again:?}");
    Ok(())
}

// Batch Operations

#[test]
fn a_batch_of_peers_is_stored_whole() -> TestResult {
    assert_eq!(MAX_BATCH_SIZE, 1000);
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let peers: Vec<(String, StoredPeerInfo)> = (0..1500)
        .map(|number| format!("peer-{number:04}"))
        .map(|id| (id.clone(), peer(&id)))
        .collect();
    let stored = storage.store_peers_batch(&peers)?;
    assert_eq!(stored, peers.len());

    let storage = disk.reopen(storage)?;
    assert_eq!(storage.count_peers()?, peers.len());
    assert_eq!(storage.list_peers()?, peers);
    Ok(())
}

// Error Handling

fn told(result: NonosResult<Option<StoredPeerInfo>>) -> String {
    match result {
        Ok(Some(peer)) => format!("Found: {peer:?}"),
        Ok(None) => "Not found".to_owned(),
        Err(NonosError::Storage(msg)) => format!("Storage error: {msg}"),
        Err(e) => format!("Other error: {e}"),
    }
}

#[test]
fn the_documented_match_tells_what_happened() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_peer("peer_id", &peer("peer_id"))?;
    let storage = disk.reopen(storage)?;
    let found = told(storage.load_peer("peer_id"));
    assert!(found.starts_with("Found: StoredPeerInfo"), "{found}");
    assert_eq!(told(storage.load_peer("nobody")), "Not found");
    let refused = told(storage.load_peer(""));
    assert!(refused.starts_with("Storage error: "), "{refused}");
    assert_ne!(refused, "Storage error: ");
    Ok(())
}

// Performance Tuning

#[test]
fn the_three_tunings_open_one_database_after_the_other() -> TestResult {
    let tunings = [
        (
            "[storage]
cache_capacity_bytes = 134217728  # 128MB
flush_every_ms = 60000            # 1 minute
compression_enabled = false       # Trade space for CPU",
            (134_217_728, 60_000, false),
        ),
        (
            "[storage]
cache_capacity_bytes = 16777216   # 16MB
flush_every_ms = 5000             # 5 seconds
compression_enabled = true        # Save disk space",
            (16_777_216, 5_000, true),
        ),
        (
            "[storage]
cache_capacity_bytes = 67108864   # 64MB
flush_every_ms = 1000             # 1 second",
            (67_108_864, 1_000, true),
        ),
    ];
    let disk = OnDisk::new()?;
    for (number, (text, expected)) in tunings.into_iter().enumerate() {
        let mut config = parse(text)?;
        let (cache_capacity_bytes, flush_every_ms, compression_enabled) = expected;
        assert_eq!(config.cache_capacity_bytes, cache_capacity_bytes);
        assert_eq!(config.flush_every_ms, Some(flush_every_ms));
        assert_eq!(config.compression_enabled, compression_enabled);
        config.path = disk.directory.database();
        let storage = NodeStorage::open(config)?;
        assert_eq!(storage.count_peers()?, number, "{text}");
        let id = format!("peer-{number}");
        storage.store_peer(&id, &peer(&id))?;
        storage.close()?;
    }
    Ok(())
}

// Data Directory Structure

#[test]
fn the_database_is_a_directory_beside_the_config_file() -> TestResult {
    let disk = OnDisk::new()?;
    std::fs::write(disk.directory.root().join("config.toml"), "[storage]")?;
    disk.open()?.close()?;
    let files = disk.directory.files()?;
    for expected in ["config.toml", "data.sled", "data.sled/conf", "data.sled/db"] {
        assert!(files.contains(Path::new(expected)), "{expected}: {files:?}");
    }
    Ok(())
}

// Troubleshooting

#[test]
fn a_database_held_by_another_handle_is_busy() -> TestResult {
    let disk = OnDisk::new()?;
    let _holder = disk.open()?;
    let refused = disk.open();
    let text = refused.as_ref().map_err(ToString::to_string);
    let text = text.err().unwrap_or_default();
    let expected = "Failed to open database: Resource busy";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(code(refused), Ok(ErrorCode::Locked));
    Ok(())
}

#[test]
fn a_database_of_a_newer_release_is_refused_and_unchanged() -> TestResult {
    let disk = OnDisk::new()?;
    disk.open()?.close()?;
    let of_version_3 = |key: &[u8]| {
        use storage_core::{Encoding, TreeId, seal_frame};
        let (tree, body) = (TreeId::Schema, [3, 0, 0, 0]);
        seal_frame(
            tree,
            key,
            Encoding::Postcard,
            tree.record_version(),
            &body,
            false,
        )
    };
    let key = b"__schema_version__";
    let core = disk.directory.open_core()?;
    core.update(storage_core::Durability::Durable, |_, commit| {
        commit.put(
            storage_core::TreeId::Schema,
            key.to_vec(),
            of_version_3(key)?,
        );
        Ok::<_, storage_core::CoreError>(())
    })?;
    let before = dump(&core)?;
    drop(core);

    let refused = disk.open();
    let text = refused.as_ref().map_err(ToString::to_string);
    let text = text.err().unwrap_or_default();
    assert_eq!(
        text.lines().next(),
        Some("Database schema version 3 is newer than supported version 2")
    );
    assert_eq!(code(refused), Ok(ErrorCode::SchemaTooNew));
    assert_eq!(dump(&disk.directory.open_core()?)?, before);
    Ok(())
}
