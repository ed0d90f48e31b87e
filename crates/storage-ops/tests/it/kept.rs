//! Which backups are kept, against a model.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use storage_core::{Db, DbOptions};
use storage_ops::{
    Backup, BackupKind, CatalogError, Create, Directory, Keep, Target, TargetError, create, list,
    newest, note_verified, prune_backups,
};

use storage_testkit::LAYOUT;

use crate::workload::{Failing, Random, TestResult, change};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Of these tests alone: those beside them have theirs.
static NOW_MS: AtomicI64 = AtomicI64::new(1_770_000_000_000);

fn now_ms() -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

/// The names that must be left, by a rule written down another way.
fn expected(backups: &[Backup], keep: Keep) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    let stores: BTreeSet<_> = backups.iter().map(|b| b.store_id).collect();
    for store in stores {
        let mut fulls: Vec<_> = backups
            .iter()
            .filter(|b| b.store_id == store && b.kind == BackupKind::Full)
            .collect();
        fulls.reverse();
        let mut days = Vec::new();
        let mut verified = 0;
        for (rank, full) in fulls.iter().enumerate() {
            let day = full.last_at_ms / DAY_MS;
            let is_newest_of_day = days.last() != Some(&day);
            if is_newest_of_day {
                days.push(day);
            }
            let is_daily = is_newest_of_day && days.len() <= keep.daily;
            let next = rank.checked_sub(1);
            let next = next.map_or(u64::MAX, |newer| fulls[newer].commit);
            let goes_on = |b: &&Backup| {
                let is_between = b.after.commit >= full.commit && b.after.commit < next;
                b.store_id == store && is_between && b.kind == BackupKind::Increment
            };
            let chain: Vec<_> = backups.iter().filter(goes_on).chain([*full]).collect();
            let is_verified = chain.iter().any(|b| b.verified_at.is_some());
            verified += usize::from(is_verified);
            let is_newest_verified = is_verified && verified == 1;
            if rank < keep.last.max(1) || is_daily || is_newest_verified {
                kept.extend(chain.iter().map(|b| b.name()));
            }
        }
    }
    kept
}

fn database(root: &Path, name: &str) -> TestResult<Db> {
    let options = DbOptions::new(root.join(name), 2, now_ms);
    Ok(Db::open(&options, &|_| Ok(LAYOUT))?)
}

/// A database with a full backup and increments, of which the notes of some are then damaged.
struct Damaged {
    root: tempfile::TempDir,
    target: Directory,
    db: Db,
}

impl Damaged {
    fn new(increments: usize) -> TestResult<Self> {
        let root = tempfile::tempdir()?;
        let target = Directory::new(&root.path().join("backups"))?;
        let db = database(root.path(), "a.sled")?;
        let damaged = Self { root, target, db };
        for number in 0..=increments {
            damaged.back_up(number > 0)?;
        }
        Ok(damaged)
    }

    fn back_up(&self, is_incremental: bool) -> TestResult {
        NOW_MS.fetch_add(1000, Ordering::Relaxed);
        change(&self.db, &mut Random(7))?;
        let mut how = Create::new(self.root.path().to_owned(), now_ms() / 1000);
        how.is_incremental = is_incremental;
        assert_eq!(create(&self.db, &self.target, &how)?.len(), 1);
        Ok(())
    }

    fn damage(&self, backup: &Backup) -> TestResult {
        let name = format!("{}.json", backup.name());
        Ok(self.target.write(&name, b"not a note")?)
    }
}

/// Its file is whole, and so are those that go on from it.
#[test]
fn pruning_keeps_what_may_go_on_from_a_backup_whose_note_cannot_be_read() -> TestResult {
    let keep = Keep { last: 9, daily: 0 };
    for which in 0..5 {
        let node = Damaged::new(4)?;
        let backups = list(&node.target)?.backups;
        node.damage(&backups[which])?;
        let removed = prune_backups(&node.target, Some(node.db.store_id()), keep, false)?;
        assert_eq!(removed, [], "of {which}");
        assert_eq!(node.target.list("")?.len(), 10, "of {which}");
        node.db.shutdown()?;
    }
    Ok(())
}

/// Nothing newer can hang on it then, and nobody can read it.
#[test]
fn a_note_that_cannot_be_read_goes_once_two_full_backups_are_newer() -> TestResult {
    let node = Damaged::new(2)?;
    let backups = list(&node.target)?.backups;
    node.damage(&backups[1])?;
    for _ in 0..2 {
        let refused = newest(&list(&node.target)?);
        assert!(
            matches!(refused, Err(CatalogError::Invalid { .. })),
            "{refused:?}"
        );
        node.back_up(false)?;
    }
    let last = newest(&list(&node.target)?)?;
    assert_eq!(last.kind, BackupKind::Full);
    let keep = Keep { last: 1, daily: 0 };
    let removed = prune_backups(&node.target, Some(node.db.store_id()), keep, false)?;
    assert_eq!(removed.len(), 3, "{removed:?}");
    let mut left = node.target.list("")?;
    left.sort();
    assert_eq!(left, [last.name(), format!("{}.json", last.name())]);
    node.db.shutdown()?;
    Ok(())
}

#[test]
fn an_older_state_is_not_given_where_the_newest_lacks_something() -> TestResult {
    let node = Damaged::new(0)?;
    let other = database(node.root.path(), "b.sled")?;
    // The full backup below the newest increment is gone.
    node.back_up(true)?;
    node.back_up(false)?;
    node.back_up(true)?;
    let backups = list(&node.target)?.backups;
    let full = backups.iter().rfind(|b| b.kind == BackupKind::Full);
    let full = full.ok_or("two are full")?;
    node.target.remove(&format!("{}.json", full.name()))?;
    let found = newest(&list(&node.target)?);
    assert!(
        matches!(found, Err(CatalogError::Invalid { .. })),
        "{found:?}"
    );
    other.shutdown()?;
    node.db.shutdown()?;
    Ok(())
}

/// The notes are those of a history that has no other backup that can be read.
#[test]
fn a_note_of_another_history_that_cannot_be_read_is_told_as_well() -> TestResult {
    let node = Damaged::new(0)?;
    let backup = list(&node.target)?.backups.pop().ok_or("one")?;
    let later = Backup {
        history: [9; 16],
        ..backup
    };
    node.target.write(&later.name(), b"a file")?;
    node.damage(&later)?;
    let found = newest(&list(&node.target)?);
    assert!(
        matches!(found, Err(CatalogError::Invalid { .. })),
        "{found:?}"
    );
    node.db.shutdown()?;
    Ok(())
}

#[test]
fn files_that_are_no_backups_stay_beside_them() -> TestResult {
    let node = Damaged::new(0)?;
    node.back_up(false)?;
    node.back_up(false)?;
    let backup = list(&node.target)?.backups.pop().ok_or("three")?;
    let name = backup.name();
    let (directory, _) = name.rsplit_once('/').ok_or("a directory")?;
    let (store, _) = name.split_once('/').ok_or("a directory")?;
    let theirs = [
        format!("{directory}/manual.nonos"),
        format!("{directory}/0-1.log"),
        format!("{store}/restore.log"),
    ];
    for name in &theirs {
        node.target.write(name, b"somebody's")?;
    }
    let left = format!("{directory}/{:020}-{:020}-half.log", 0, 0);
    node.target.write(&left, b"interrupted")?;
    let keep = Keep { last: 9, daily: 0 };
    prune_backups(&node.target, Some(node.db.store_id()), keep, false)?;
    let names = node.target.list("")?;
    assert!(theirs.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(!names.contains(&left));
    node.db.shutdown()?;
    Ok(())
}

/// A target with more to say of its readers than a note may hold.
#[derive(Debug)]
struct Crowded<'t>(&'t Directory);

impl Target for Crowded<'_> {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        self.0.list(prefix)
    }

    fn upload(&self, name: &str, file: &Path, hash: &[u8; 32]) -> Result<(), TargetError> {
        self.0.upload(name, file, hash)
    }

    fn download(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        self.0.download(name, file)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.0.write(name, bytes)
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        self.0.read(name, max)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.0.remove(name)
    }

    fn readers(&self) -> Option<String> {
        Some("age1".repeat(1100))
    }
}

#[test]
fn a_backup_whose_note_would_be_too_long_is_refused_before_it_is_sent() -> TestResult {
    let node = Damaged::new(0)?;
    let before = node.target.list("")?;
    let how = Create::new(node.root.path().to_owned(), now_ms() / 1000);
    let refused = create(&node.db, &Crowded(&node.target), &how);
    let is_told = matches!(refused, Err(CatalogError::TooManyReaders { .. }));
    assert!(is_told, "{refused:?}");
    assert_eq!(node.target.list("")?, before);
    node.db.shutdown()?;
    Ok(())
}

#[test]
fn what_is_kept_is_what_the_rule_says_and_a_dry_run_tells_it() -> TestResult {
    let (mut removed, mut trials) = (0, 0);
    for seed in 0..30 {
        let mut random = Random(seed);
        let root = tempfile::tempdir()?;
        let target = Directory::new(&root.path().join("backups"))?;
        let databases = [
            database(root.path(), "a.sled")?,
            database(root.path(), "b.sled")?,
        ];
        for _ in 0..18 {
            let passed = i64::try_from(random.below(40 * 60 * 60 * 1000))?;
            NOW_MS.fetch_add(passed, Ordering::Relaxed);
            let db = &databases[usize::from(random.below(3) == 0)];
            change(db, &mut random)?;
            let mut how = Create::new(root.path().to_owned(), now_ms() / 1000);
            how.is_incremental = random.below(2) == 0;
            for backup in create(db, &target, &how)? {
                if random.below(5) == 0 {
                    note_verified(&target, &backup, now_ms() / 1000)?;
                }
            }
        }
        let keep = Keep {
            last: usize::try_from(random.below(4))?,
            daily: usize::try_from(random.below(5))?,
        };
        let before = list(&target)?.backups;
        let mut must_stay = expected(&before, keep);
        assert!(
            prune_backups(&target, None, keep, false).is_err(),
            "of which of the two"
        );
        let mut told = Vec::new();
        for db in &databases {
            told.extend(prune_backups(&target, Some(db.store_id()), keep, true)?);
        }
        assert_eq!(list(&target)?.backups, before, "seed {seed}: a dry run");
        let (first, second) = (databases[0].store_id(), databases[1].store_id());
        let of = |backups: &[Backup], store| backups.iter().filter(|b| b.store_id == store).count();
        let interrupted = Failing::new(&target, random.below(12), random.below(2) == 0);
        let _failed = prune_backups(&interrupted, Some(first), keep, false);
        prune_backups(&target, Some(first), keep, false)?;
        let after = list(&target)?.backups;
        assert_eq!(
            of(&after, second),
            of(&before, second),
            "seed {seed}: the other's"
        );
        prune_backups(&target, Some(second), keep, false)?;
        let left: BTreeSet<_> = list(&target)?.backups.iter().map(Backup::name).collect();
        let gone: BTreeSet<_> = told.iter().map(Backup::name).collect();
        let all: BTreeSet<_> = before.iter().map(Backup::name).collect();
        assert_eq!(
            left,
            &all - &gone,
            "seed {seed}: the dry run told another thing"
        );
        must_stay.retain(|name| !left.contains(name));
        assert!(
            must_stay.is_empty(),
            "seed {seed}, {keep:?}: {must_stay:?} is gone"
        );
        let model = expected(&before, keep);
        assert_eq!(left, model, "seed {seed}, {keep:?}");
        let files = target.list("")?.len();
        assert_eq!(files, left.len() * 2, "seed {seed}: a file and a note each");
        removed += gone.len();
        trials += 1;
        for db in databases {
            db.shutdown()?;
        }
    }
    assert!(removed > 100 && trials == 30, "{removed} removed");
    Ok(())
}
