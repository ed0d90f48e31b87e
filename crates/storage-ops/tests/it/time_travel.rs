//! Backups and restores against a model: the state after every commit.

use std::fs;
use std::path::Path;

use storage_core::Db;
use storage_ops::{
    Backup, BackupKind, Create, Directory, Target, Wanted, create, list, restore_from,
    verify_in_catalog,
};

use crate::workload::{
    Failing, Random, State, TestResult, change, contents, now, now_ms, open, options, pass,
};

fn back_up(db: &Db, target: &dyn Target, is_incremental: bool) -> TestResult<Vec<Backup>> {
    let mut how = Create::new(std::env::temp_dir(), now());
    how.is_incremental = is_incremental;
    Ok(create(db, target, &how)?)
}

fn restored(target: &dyn Target, wanted: &Wanted) -> TestResult<(u64, State)> {
    let root = tempfile::tempdir()?;
    let path = root.path().join("restored.sled");
    let report = restore_from(target, (None, wanted), &options(&path), root.path())?;
    let db = open(&path)?;
    let state = contents(&db)?;
    db.shutdown()?;
    // Nothing is left but the database.
    let names = fs::read_dir(root.path())?.map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<_> = names.collect::<std::io::Result<_>>()?;
    names.sort();
    assert_eq!(
        names,
        [
            "restored.sled",
            "restored.sled.journal",
            "restored.sled.lock"
        ]
    );
    Ok((report.commit, state))
}

/// Goes back to commits by their time and to backups by their name; returns how many of each.
fn go_back(
    target: &Directory,
    (seed, random): (u64, &mut Random),
    history: &[(i64, State)],
    backups: &[(Backup, State)],
) -> TestResult<(usize, usize)> {
    let root = tempfile::tempdir()?;
    let (mut times, mut named) = (0, 0);
    for (number, (time_ms, _)) in history.iter().enumerate().step_by(3) {
        // Times between two commits belong to the first of them.
        let until = history
            .get(number + 1)
            .map_or(*time_ms + 5000, |next| next.0);
        let at = *time_ms
            + i64::try_from(random.below(1000))?
                .min(until - 1 - time_ms)
                .max(0);
        let (_, expected) = history
            .iter()
            .rfind(|(time, _)| *time <= at)
            .expect("itself");
        let (_, state) = restored(target, &Wanted::At(at))?;
        assert!(state == *expected, "seed {seed}, commit {number} at {at}");
        times += 1;
    }
    for (backup, expected) in backups.iter().step_by(4) {
        let (commit, state) = restored(target, &Wanted::Named(backup.name()))?;
        assert_eq!(commit, backup.commit, "seed {seed}");
        assert!(state == *expected, "seed {seed}, {}", backup.name());
        let verified = verify_in_catalog(target, &backup.name(), root.path(), 7)?;
        assert_eq!(verified.verified_at, Some(7));
        named += 1;
    }
    let (_, newest) = restored(target, &Wanted::Newest)?;
    assert_eq!(
        newest,
        history
            .last()
            .map(|last| last.1.clone())
            .unwrap_or_default()
    );
    Ok((times, named))
}

/// Backups in the midst of commits, checkpoints, reopenings and restores; every commit that there ever was
/// is then gone back to by its time, and every backup by its name.
#[test]
fn the_state_at_any_time_comes_back() -> TestResult {
    let (mut times, mut named, mut increments, mut restores) = (0, 0, 0, 0);
    for seed in 0..5 {
        let mut random = Random(seed);
        let root = tempfile::tempdir()?;
        let directory = root.path().join("backups");
        let target = Directory::new(&directory)?;
        let mut path = root.path().join("data-0.sled");
        let mut db = open(&path)?;
        // Time of each commit, and what was there then; what each backup holds.
        let mut history: Vec<(i64, State)> = Vec::new();
        let mut backups: Vec<(Backup, State)> = Vec::new();
        let mut take = |db: &Db, is_incremental| -> TestResult {
            let made = back_up(db, &target, is_incremental)?;
            increments += made
                .iter()
                .filter(|b| b.kind == BackupKind::Increment)
                .count();
            if let Some(last) = made.last() {
                assert_eq!(last.commit, db.last_commit(), "seed {seed}");
            }
            for backup in made.into_iter().filter(|b| b.commit == db.last_commit()) {
                backups.push((backup, contents(db)?));
            }
            Ok(())
        };
        take(&db, false)?;
        for round in 1..60 {
            pass(1 + random.below(5));
            match random.below(12) {
                0..6 => {
                    change(&db, &mut random)?;
                    history.push((now_ms(), contents(&db)?));
                }
                6..9 => take(&db, true)?,
                9 => {
                    // Checkpoints remove segments: what is not in a backup then is in none.
                    take(&db, true)?;
                    db.checkpoint()?;
                }
                10 => {
                    db.shutdown()?;
                    db = open(&path)?;
                }
                _ if random.below(2) == 0 => {
                    // Goes back to any time, and on from there as another history.
                    take(&db, true)?;
                    db.shutdown()?;
                    let Some(at) = random
                        .below(u64::try_from(history.len())?.max(1))
                        .checked_sub(1)
                    else {
                        db = open(&path)?;
                        continue;
                    };
                    let (time_ms, state) = history[usize::try_from(at)?].clone();
                    path = root.path().join(format!("data-{round}.sled"));
                    let wanted = Wanted::At(time_ms);
                    restore_from(&target, (None, &wanted), &options(&path), root.path())?;
                    db = open(&path)?;
                    assert_eq!(contents(&db)?, state, "seed {seed}, round {round}");
                    // A checkpoint says the second that it was made in.
                    history.push((now_ms() + 999, state));
                    take(&db, true)?;
                    restores += 1;
                }
                _ => {}
            }
        }
        take(&db, true)?;
        db.shutdown()?;
        let gone_back = go_back(&target, (seed, &mut random), &history, &backups)?;
        times += gone_back.0;
        named += gone_back.1;
        // No backup is as old as that.
        assert!(restored(&target, &Wanted::At(0)).is_err());
        // Nothing is left on the way.
        let left = fs::read_dir(&directory)?;
        for entry in left {
            let name = entry?.file_name();
            assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left");
        }
    }
    println!("{times} times, {named} backups, {increments} increments, {restores} restores");
    assert!(times >= 40 && named >= 10 && increments >= 40 && restores >= 3);
    Ok(())
}

/// Whatever call to the target fails, what lists is whole, and the next backup goes on.
#[test]
fn what_lists_is_whole_wherever_a_backup_fails() -> TestResult {
    let mut failed = 0;
    for is_done_first in [false, true] {
        for from in 0..20 {
            let root = tempfile::tempdir()?;
            let target = Directory::new(&root.path().join("backups"))?;
            let db = open(&root.path().join("data.sled"))?;
            let mut random = Random(from);
            change(&db, &mut random)?;
            back_up(&db, &target, true)?;
            change(&db, &mut random)?;
            let failing = Failing::new(&target, from, is_done_first);
            let made = back_up(&db, &failing, true);
            let is_over = made.is_ok() && failing.calls() <= from;
            failed += usize::from(made.is_err());
            for backup in list(&target)?.backups {
                verify_in_catalog(&target, &backup.name(), root.path(), 1)?;
            }
            change(&db, &mut random)?;
            back_up(&db, &target, true)?;
            let expected = contents(&db)?;
            assert_eq!(
                restored(&target, &Wanted::Newest)?.1,
                expected,
                "from call {from}"
            );
            db.shutdown()?;
            if is_over {
                break;
            }
        }
    }
    assert!(failed >= 6, "{failed} failed");
    Ok(())
}

/// A byte that is changed anywhere at the target is found by verifying, or the backup does not list.
#[test]
fn every_changed_byte_is_found() -> TestResult {
    let root = tempfile::tempdir()?;
    let directory = root.path().join("backups");
    let target = Directory::new(&directory)?;
    let db = open(&root.path().join("data.sled"))?;
    let mut random = Random(1);
    change(&db, &mut random)?;
    back_up(&db, &target, true)?;
    change(&db, &mut random)?;
    let last = back_up(&db, &target, true)?.pop().ok_or("nothing new")?;
    db.shutdown()?;
    assert_eq!(last.kind, BackupKind::Increment);
    let mut changed = 0;
    for name in target.list("")? {
        let file = directory.join(&name);
        let whole = fs::read(&file)?;
        // Every byte of notes; of the files every third, with another bit each time.
        let step = if name.contains(".json") { 1 } else { 3 };
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at / step % 8);
            fs::write(&file, &bytes)?;
            let verified = verify_in_catalog(&target, &last.name(), root.path(), 1);
            assert!(verified.is_err(), "{name}, byte {at}");
            changed += 1;
        }
        for len in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&file, &whole[..len])?;
            let verified = verify_in_catalog(&target, &last.name(), root.path(), 1);
            assert!(verified.is_err(), "{name}, cut to {len}");
        }
        fs::remove_file(&file)?;
        let verified = verify_in_catalog(&target, &last.name(), root.path(), 1);
        assert!(verified.is_err(), "{name} is missing");
        fs::write(&file, &whole)?;
    }
    assert!(changed > 2400, "{changed}");
    verify_in_catalog(&target, &last.name(), root.path(), 1)?;
    Ok(())
}

/// What is new costs what is new.
#[test]
fn an_increment_after_a_change_of_a_hundredth_costs_three_hundredths_at_most() -> TestResult {
    use storage_core::{CoreError, Durability, Encoding, TreeId, seal_frame};
    let root = tempfile::tempdir()?;
    let target = Directory::new(&root.path().join("backups"))?;
    let db = open(&root.path().join("data.sled"))?;
    let mut random = Random(5);
    let mut put = |number: u64| -> TestResult {
        db.update(Durability::Buffered, |_, commit| {
            for number in number..number + 100 {
                let key = format!("peer-{number:06}").into_bytes();
                // As a peer is: what differs from others does not shrink.
                let body: Vec<u8> = (0..20)
                    .flat_map(|_| random.below(u64::MAX).to_le_bytes())
                    .collect();
                let frame = seal_frame(TreeId::Peers, &key, Encoding::Raw, 2, &body, true)?;
                commit.put(TreeId::Peers, key, frame);
            }
            Ok::<_, CoreError>(())
        })?;
        Ok(())
    };
    for number in (0..20_000).step_by(100) {
        put(number)?;
    }
    let full: u64 = back_up(&db, &target, true)?.iter().map(|b| b.bytes).sum();
    for number in [300, 9000] {
        put(number)?;
    }
    let made = back_up(&db, &target, true)?;
    let increment: u64 = made.iter().map(|b| b.bytes).sum();
    assert!(made.iter().all(|b| b.kind == BackupKind::Increment));
    assert!(increment * 100 <= full * 3, "{increment} of {full} bytes");
    db.shutdown()?;
    Ok(())
}

/// A file beside the target's own is no backup, and neither is what is not whole.
#[test]
fn what_is_no_backup_does_not_list() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(root.path())?;
    assert!(list(&target)?.backups.is_empty());
    for name in ["notes.txt", "a/b/c.json", "x.nonos.part"] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(path, "{}")?;
    }
    let listing = list(&target)?;
    assert_eq!(listing.backups, []);
    assert_eq!(listing.unreadable, ["a/b/c.json"]);
    Ok(())
}
