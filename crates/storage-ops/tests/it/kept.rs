//! Which backups are kept, against a model.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use storage_core::{Db, DbOptions};
use storage_ops::{
    Backup, BackupKind, Create, Directory, Keep, Target, create, list, note_verified, prune_backups,
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

fn database(root: &std::path::Path, name: &str) -> TestResult<Db> {
    let options = DbOptions::new(root.join(name), 2, now_ms);
    Ok(Db::open(&options, &|_| Ok(LAYOUT))?)
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
