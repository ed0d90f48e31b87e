//! Backups beside writers that never stop: records that belong together agree in each of them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use storage_core::trees::config;
use storage_core::trees::epochs::{self, StoredEpochSummary};
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::{CoreError, Db, Durability, EpochNumber};
use storage_ops::{
    BackupKind, Create, Directory, Shipped, Target, TargetError, Wanted, create, restore_from, ship,
};

use crate::workload::{TestResult, now, open, options};

/// How many backups.
const BACKUPS: usize = 200;
const EPOCHS: u64 = 40;
/// Of each of two writers.
const COMMITS_A_BACKUP: u64 = 50;

/// One commit over three trees, with the same number in each.
fn write(db: &Db, numbers: &AtomicU64) -> Result<(), CoreError> {
    db.update(Durability::Buffered, |_, commit| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let epoch = EpochNumber(number % EPOCHS);
        let peer_id = format!("peer-{epoch}");
        let peer = StoredPeerInfo {
            peer_id: peer_id.clone(),
            last_seen: i64::try_from(number).unwrap_or(i64::MAX),
            ..StoredPeerInfo::default()
        };
        peers::store(commit, &peer_id, &peer)?;
        let summary = StoredEpochSummary {
            epoch: epoch.0,
            our_reward: number.into(),
            ..StoredEpochSummary::default()
        };
        epochs::store(commit, epoch, &summary)?;
        config::store(commit, "number", &number)
    })
    .map(drop)
}

/// The highest number, if every pair agrees.
fn agreed(db: &Db) -> TestResult<u64> {
    let view = db.view();
    let mut highest = None;
    for number in 0..EPOCHS {
        let epoch = EpochNumber(number);
        let peer = peers::get(&view, &format!("peer-{epoch}"))?;
        let seen = peer
            .map(|peer| u128::try_from(peer.last_seen))
            .transpose()?;
        let summary = epochs::get(&view, epoch)?.map(|summary| summary.our_reward);
        assert_eq!(seen, summary, "epoch {number}");
        highest = highest.max(seen);
    }
    let counter: Option<u64> = config::get(&view, "number")?;
    assert_eq!(highest, counter.map(u128::from));
    Ok(counter.unwrap_or_default())
}

#[test]
fn linked_records_agree_in_every_backup_made_under_load() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(&root.path().join("backups"))?;
    let db = open(&root.path().join("data.sled"))?;
    let numbers = AtomicU64::new(1);
    let mut made = Vec::new();
    let longest = std::thread::scope(|scope| -> TestResult<_> {
        let mut turns = Vec::new();
        let mut writers = Vec::new();
        for _ in 0..2 {
            // The journal is not to grow for ever while a slow machine backs up.
            let (turn, commits) = mpsc::channel();
            turns.push(turn);
            writers.push(scope.spawn(|| {
                let mut longest = Duration::ZERO;
                for _ in commits.into_iter().flat_map(|count| 0..count) {
                    let started = Instant::now();
                    write(&db, &numbers)?;
                    longest = longest.max(started.elapsed());
                }
                Ok::<_, CoreError>(longest)
            }));
        }
        let mut shipped = Shipped::default();
        let mut how = Create::new(root.path().to_owned(), now());
        for turn in 0..BACKUPS {
            for writer in &turns {
                writer.send(COMMITS_A_BACKUP)?;
            }
            // So that there is something new, whoever runs first.
            write(&db, &numbers)?;
            how.is_incremental = turn % 8 > 0;
            let more = if how.is_incremental {
                ship(&db, &target, &how, &mut shipped)?
            } else {
                create(&db, &target, &how)?
            };
            // Of several increments the last one holds what came before as well.
            made.extend(more.into_iter().last());
        }
        drop(turns);
        let mut longest = Duration::ZERO;
        for writer in writers {
            let ended = writer.join().map_err(|panicked| format!("{panicked:?}"))?;
            longest = longest.max(ended?);
        }
        Ok(longest)
    })?;
    let last = agreed(&db)?;
    let fulls = made.iter().filter(|b| b.kind == BackupKind::Full).count();
    let mut before = 0;
    for (number, backup) in made.iter().enumerate() {
        let path = root.path().join(format!("restored-{number}.sled"));
        let wanted = Wanted::Named(backup.name());
        restore_from(&target, (None, &wanted), &options(&path), root.path())?;
        // From the journal alone: no index is built.
        let restored = Db::open_readonly(&options(&path))?;
        assert_eq!(restored.last_commit(), backup.commit);
        let found = agreed(&restored)?;
        assert!((before..=last).contains(&found), "{found} after {before}");
        before = found;
    }
    println!(
        "{} backups, {fulls} of them full, beside {last} commits, the longest of which took {longest:?}",
        made.len()
    );
    assert!(made.len() == BACKUPS && fulls >= 20 && last > 1000);
    db.shutdown()?;
    Ok(())
}

/// A place that is so slow that a writer commits at each call.
#[derive(Debug)]
struct Slow<'a> {
    directory: &'a Directory,
    db: &'a Db,
    numbers: &'a AtomicU64,
    calls: AtomicU64,
}

impl Slow<'_> {
    fn call<R>(
        &self,
        f: impl FnOnce(&Directory) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < 1000, "it does not end");
        write(self.db, self.numbers).expect("a writer that nobody hinders");
        f(self.directory)
    }
}

impl Target for Slow<'_> {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        self.call(|directory| directory.list(prefix))
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        self.call(|directory| directory.upload(name, file, hash))
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        self.call(|directory| directory.download(name, file))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.call(|directory| directory.write(name, bytes))
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        self.call(|directory| directory.read(name, max))
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.call(|directory| directory.remove(name))
    }
}

/// What is committed while it ships is for the next time: it would never end.
#[test]
fn shipping_to_a_slow_place_beside_a_writer_ends() -> TestResult {
    let root = tempfile::tempdir()?;
    let directory = Directory::new(&root.path().join("backups"))?;
    let db = open(&root.path().join("data.sled"))?;
    let numbers = AtomicU64::new(1);
    let slow = Slow {
        directory: &directory,
        db: &db,
        numbers: &numbers,
        calls: AtomicU64::new(0),
    };
    let mut how = Create::new(root.path().to_owned(), now());
    how.is_incremental = true;
    let mut shipped = Shipped::default();
    for turn in 0..5 {
        write(&db, &numbers)?;
        let through = db.last_commit();
        let made = ship(&db, &slow, &how, &mut shipped)?;
        assert_eq!(made.len(), 1, "turn {turn}: {made:?}");
        assert!(
            made.iter().all(|backup| backup.commit >= through),
            "turn {turn}"
        );
    }
    db.shutdown()?;
    Ok(())
}

/// A program that does not know the schema makes nothing of it.
#[test]
fn a_backup_of_a_newer_schema_is_refused() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(&root.path().join("backups"))?;
    let db = open(&root.path().join("data.sled"))?;
    create(&db, &target, &Create::new(root.path().to_owned(), now()))?;
    db.shutdown()?;
    let mut older = options(&root.path().join("restored.sled"));
    older.schema_version = 1;
    let refused = restore_from(&target, (None, &Wanted::Newest), &older, root.path());
    let refused = refused.expect_err("it knows schema 1 only");
    assert_eq!(
        refused.to_string(),
        "Database schema version 2 is newer than supported version 1"
    );
    assert!(!root.path().join("restored.sled.journal").exists());
    Ok(())
}
