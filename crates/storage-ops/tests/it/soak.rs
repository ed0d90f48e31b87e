//! A node's year, compressed: samples every minute, peers that come and go, pruning every week, a
//! checkpoint a day, compaction where it pays. `cargo xtask soak` runs more of it.

use std::sync::atomic::{AtomicI64, Ordering};

use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::trees::{metrics, peers};
use storage_core::{CoreError, Db, DbOptions, Durability, Order, Read, TreeId};
use storage_ops::{Retention, prune, retention_cutoff};
use storage_testkit::LAYOUT;

use crate::workload::{Random, TestResult};

/// Days, where `NONOS_SOAK_DAYS` does not say how many.
const DAYS: i64 = 42;
const DAY: i64 = 24 * 60 * 60;
const KEPT_DAYS: i64 = 30;
const MIB: u64 = 1024 * 1024;

/// Unix seconds.
static NOW: AtomicI64 = AtomicI64::new(1_770_000_000);

fn now() -> i64 {
    NOW.load(Ordering::Relaxed)
}

fn live(db: &Db) -> Result<u64, CoreError> {
    let mut bytes = 0;
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for tree in TreeId::ALL {
        db.view()
            .scan(tree, &everything, Order::Ascending, &mut |key, value| {
                bytes += u64::try_from(key.len() + value.len()).unwrap_or(0);
                Ok(true)
            })?;
    }
    Ok(bytes)
}

fn a_day(db: &Db, random: &mut Random) -> TestResult {
    for minute in 0..24 * 60 {
        NOW.fetch_add(60, Ordering::Relaxed);
        let sample = StoredMetrics {
            total_requests: random.below(1 << 40),
            successful_requests: random.below(1 << 40),
            peer_count: usize::try_from(random.below(500))?,
            quality_score: 0.5,
            uptime_secs: random.below(1 << 30),
            cpu_usage: Some(12.5),
            network_bytes_sent: Some(random.below(1 << 50)),
            network_bytes_received: Some(random.below(1 << 50)),
            ..StoredMetrics::default()
        };
        db.update(Durability::Buffered, |_, commit| {
            metrics::store(commit, now(), &sample)
        })?;
        if minute % 5 == 0 {
            let peer_id = format!("peer-{:05}", random.below(2000));
            let peer = StoredPeerInfo {
                peer_id: peer_id.clone(),
                addresses: vec![format!("/ip4/10.0.0.{}/tcp/9000", random.below(255))],
                last_seen: now(),
                ..StoredPeerInfo::default()
            };
            db.update(Durability::Buffered, |_, commit| {
                peers::store(commit, &peer_id, &peer)
            })?;
        }
    }
    Ok(())
}

#[test]
fn the_disk_stays_within_three_times_what_lives() -> TestResult {
    let days = std::env::var("NONOS_SOAK_DAYS").ok();
    let days = days.map_or(Ok(DAYS), |days| days.parse())?;
    let root = tempfile::tempdir()?;
    let path = root.path().join("data.sled");
    let options = DbOptions::new(path, 2, || now() * 1000);
    let mut db = Db::open(&options, &|_| Ok(LAYOUT))?;
    let mut random = Random(1);
    let (mut most, mut most_share, mut compactions, mut pruned) = (0, 0, 0, 0);
    for day in 1..=days {
        a_day(&db, &mut random)?;
        db.checkpoint()?;
        let space = db.space()?;
        if space.reclaimable_bytes > space.index_bytes / 2 && space.reclaimable_bytes > 16 * MIB {
            db.compact()?;
            compactions += 1;
        }
        if day % 7 == 0 {
            let cutoff = retention_cutoff(&db, TreeId::Metrics, now(), KEPT_DAYS * DAY)?;
            let kept = Retention::default().older_than(cutoff.ok_or("nothing to prune")?);
            pruned += prune(&db, TreeId::Metrics, &kept, now() * 1000, false)?.records;
            // As a daemon that is restarted for an upgrade.
            db.shutdown()?;
            db = Db::open(&options, &|_| Ok(LAYOUT))?;
        }
        let (disk, live) = (db.size_on_disk()?, live(&db)?);
        let allowed = live * 3 + 64 * MIB;
        most = most.max(disk);
        most_share = most_share.max(disk * 100 / allowed);
        assert!(
            disk <= allowed,
            "day {day}: {disk} bytes on disk, {live} live, {:?}",
            db.space()?
        );
    }
    let kept = db.len(TreeId::Metrics)?;
    let (live, disk) = (live(&db)?, db.size_on_disk()?);
    let report = storage_ops::verify(&db, &storage_ops::VerifyOptions::default())?;
    assert_eq!(report.findings, []);
    println!(
        "{days} days: {disk} bytes on disk at the end and {most} at most, {most_share} % of what is \
         allowed; {live} live, {kept} samples; {pruned} pruned, {compactions} compactions"
    );
    assert!(pruned > 0 && kept <= usize::try_from((KEPT_DAYS + 8) * 24 * 60)?);
    db.shutdown()?;
    Ok(())
}
