//! Repairing: everything that is intact anywhere, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nonos_storage::{
    ErrorCode, NodeStorage, OpenOptions, RepairOptions, RepairReport, StorageConfig,
};
use storage_core::{Db, DbOptions};
use storage_testkit::damage::copy;
use storage_testkit::{Directory, Random, dump};

use crate::TestResult;
use crate::contents::{Contents, code, populate};
use crate::on_disk::OnDisk;

mod history;
mod intact;
mod interrupted;

use history::{Ended, History, State};
use intact::Intact;

/// What a place holds, by the path of each file from there. The lock is one of them.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, io::Error> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            if path.is_dir() {
                found.insert(name, Vec::new());
                directories.push(path);
            } else {
                let bytes = fs::read(&path)?;
                found.insert(name, bytes);
            }
        }
    }
    Ok(found)
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Result<Vec<String>, io::Error> {
    let entries = fs::read_dir(directory)?;
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names = entries
        .map(|entry| entry.map(name))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}

fn repaired_state(path: &Path) -> TestResult<State> {
    let mut options = DbOptions::new(path.to_owned(), 2, || 0);
    options.flush_every_ms = None;
    let db = Db::open_readonly(&options)?;
    let entries = dump(&db)?;
    Ok(entries
        .into_iter()
        .map(|(tree, key, value)| ((tree, key), value))
        .collect())
}

fn config_of(path: &Path) -> StorageConfig {
    StorageConfig {
        path: path.to_owned(),
        ..Default::default()
    }
}

/// Repairs the database in `original`, into a directory of its own; `original` does not change.
fn repair(original: &Path, into: &Path, dry_run: bool) -> TestResult<RepairReport> {
    let before = files(original)?;
    let mut how = RepairOptions::default();
    how.into = Some(into.to_owned());
    how.dry_run = dry_run;
    let opening = OpenOptions::new(config_of(&original.join("data.sled")));
    let report = NodeStorage::repair(&opening, &how);
    assert!(files(original)? == before, "the original was changed");
    Ok(report?)
}

/// The ways in which a file is damaged.
const KINDS: usize = 6;

fn damage(path: &Path, kind: usize, random: &mut Random) -> TestResult<intact::Damage> {
    let mut bytes = fs::read(path)?;
    let at = random.index(bytes.len());
    let len = match kind {
        0 | 1 => 1,
        2 => 4096,
        3 => random.index(20_000) + 1,
        _ => bytes.len() - at,
    };
    // A page is what a disk loses.
    let at = if kind == 2 { at / 4096 * 4096 } else { at };
    let to = (at + len).min(bytes.len());
    let mut changed = Vec::new();
    match kind {
        5 => {
            fs::remove_file(path)?;
            changed.push(0..bytes.len());
        }
        4 => {
            changed.push(at..bytes.len());
            bytes.truncate(at);
            fs::write(path, bytes)?;
        }
        _ => {
            for (byte, place) in bytes.iter_mut().zip(0..).skip(at).take(to - at) {
                let new = match kind {
                    0 => *byte ^ 1 << (place % 8),
                    1 => *byte ^ 0x5a,
                    2 => 0,
                    _ => random.below(u64::MAX).to_le_bytes()[0],
                };
                if new != *byte {
                    changed.push(place..place + 1);
                }
                *byte = new;
            }
            fs::write(path, bytes)?;
        }
    }
    Ok(intact::Damage { changed })
}

/// What the trials of a test are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Sound,
    Damaged,
    Gone,
}

fn trials(count: u64, index: Index) -> TestResult {
    let mut originals = Vec::new();
    for ended in Ended::ALL {
        let original = Directory::new()?;
        let history = History::make(original.root(), ended)?;
        let sound = Intact::of(&original.database())?;
        originals.push((ended, original, history, sound));
    }
    let mut random = Random(match index {
        Index::Sound => 1,
        Index::Damaged => 2,
        Index::Gone => 3,
    });
    let (mut damaged, mut recovered, mut lost) = (0, 0, 0);
    for trial in 0..count {
        let number = usize::try_from(trial)? % originals.len();
        let (ended, original, history, sound) = originals.get(number).ok_or("no original")?;
        let place = Directory::new()?;
        copy(original.root(), place.root())?;
        let journal = place.root().join("data.sled.journal");
        let mut sound = sound.clone();
        let mut what = Vec::new();
        for _ in 0..=random.index(4) {
            let names = names(&journal)?;
            // A journal without a file is none: then there is nothing to damage.
            let Some(name) = names.get(random.index(names.len())) else {
                break;
            };
            let kind = random.index(KINDS);
            let done = damage(&journal.join(name), kind, &mut random)?;
            what.push(format!("{name}: {kind} at {:?}", done.changed.first()));
            sound.take_out(name, &done);
        }
        match index {
            Index::Sound => {}
            Index::Gone => fs::remove_dir_all(place.database())?,
            Index::Damaged => {
                let mut names: Vec<_> = files(&place.database())?.into_keys().collect();
                names.retain(|name| place.database().join(name).is_file());
                let name = names.get(random.index(names.len())).ok_or("no file")?;
                let kind = random.index(KINDS);
                let _done = damage(&place.database().join(name), kind, &mut random)?;
                what.push(format!("index {}: {kind}", name.display()));
            }
        }
        if index == Index::Gone && sound.is_empty() {
            continue;
        }
        // An index that was moved aside once knows old versions, and records that were deleted since.
        if index != Index::Gone && trial % 2 == 0 {
            let aside = place.root().join("data.sled.damaged-1769999999");
            copy(history.old_index.root(), &aside)?;
        }
        let told = format!("trial {trial}, {ended:?}, {what:?}");
        let fresh = Directory::new()?;
        let into = fresh.root().join("repaired");
        let report = repair(place.root(), &into, false).map_err(|e| format!("{told}: {e:?}"))?;
        let state = repaired_state(&into).map_err(|e| format!("{told}: {e:?}"))?;
        // The engine had not written everything yet.
        let is_behind = *ended == Ended::Ahead && index == Index::Sound;
        let index = if is_behind { Index::Damaged } else { index };
        history
            .judge(&sound, &state, &report, index)
            .map_err(|e| format!("{told}: {e}\n{:?}", report.salvaged))?;
        let left = names(fresh.root())?;
        let expected = [
            "repaired",
            "repaired.journal",
            "repaired.lock",
            "repaired.quarantine.ndjson",
        ];
        assert!(
            left.iter().all(|name| expected.contains(&name.as_str())),
            "{told}: {left:?}"
        );
        let listed = fs::exists(fresh.root().join("repaired.quarantine.ndjson"))?;
        assert_eq!(listed, report.quarantine.is_some(), "{told}");
        damaged += u64::from(!report.salvaged.is_whole());
        recovered += report.salvaged.records();
        lost += u64::from(!report.salvaged.lost.is_empty());
    }
    // Otherwise nothing was tried.
    let told = format!("{damaged} with damage, {lost} with lost commits, {recovered} records");
    assert!(damaged > count / 2 && lost > count / 3, "{told}");
    Ok(())
}

#[test]
fn what_is_intact_in_a_damaged_journal_is_kept_without_an_index() -> TestResult {
    trials(100, Index::Gone)
}

#[test]
fn a_sound_index_fills_what_the_journal_lost() -> TestResult {
    trials(100, Index::Sound)
}

#[test]
fn what_is_intact_in_either_damaged_copy_is_kept() -> TestResult {
    trials(100, Index::Damaged)
}

#[test]
fn a_sound_database_repaired_is_itself() -> TestResult {
    for ended in Ended::ALL {
        let original = Directory::new()?;
        let history = History::make(original.root(), ended)?;
        let fresh = Directory::new()?;
        let into = fresh.root().join("repaired");
        let dry = repair(original.root(), &into, true)?;
        assert!(fs::read_dir(fresh.root())?.next().is_none(), "{ended:?}");
        let report = repair(original.root(), &into, false)?;
        assert_eq!(dry.salvaged, report.salvaged, "{ended:?}");
        assert!(report.salvaged.is_whole(), "{ended:?}: {report:?}");
        assert!(report.quarantine.is_none() && !report.schema_record_made);
        let integrity = report.integrity.as_ref().ok_or("not verified")?;
        assert_eq!(integrity.errors, 0, "{ended:?}: {integrity:?}");
        assert!(repaired_state(&into)? == history.last(), "{ended:?}");
        // It opens as any other, and takes what is stored.
        let storage = NodeStorage::open(config_of(&into))?;
        storage.store_config("after", "repair")?;
        storage.close()?;
        let storage = NodeStorage::open(config_of(&into))?;
        assert_eq!(storage.load_config("after")?, Some("repair".to_owned()));
    }
    Ok(())
}

#[test]
fn a_dry_run_says_what_repairing_gives() -> TestResult {
    let original = Directory::new()?;
    let _history = History::make(original.root(), Ended::Ahead)?;
    let mut random = Random(7);
    for trial in 0..20 {
        let place = Directory::new()?;
        copy(original.root(), place.root())?;
        let journal = place.root().join("data.sled.journal");
        let names = names(&journal)?;
        let name = names.get(random.index(names.len())).ok_or("no file")?;
        damage(&journal.join(name), trial % KINDS, &mut random)?;
        damage(
            &place.database().join("db"),
            trial % (KINDS - 1),
            &mut random,
        )?;
        let fresh = Directory::new()?;
        let into = fresh.root().join("repaired");
        let dry = repair(place.root(), &into, true)?;
        assert!(
            fs::read_dir(fresh.root())?.next().is_none(),
            "trial {trial}"
        );
        let report = repair(place.root(), &into, false)?;
        assert_eq!(dry.salvaged, report.salvaged, "trial {trial}");
        assert_eq!(dry.quarantine, report.quarantine, "trial {trial}");
        assert_eq!(
            dry.schema_record_made, report.schema_record_made,
            "trial {trial}"
        );
    }
    Ok(())
}

#[test]
fn repairing_is_refused_where_it_would_do_harm() -> TestResult {
    let disk = OnDisk::new()?;
    let opening = || OpenOptions::new(disk.config.clone());
    let nothing = NodeStorage::repair(&opening(), &RepairOptions::default());
    assert_eq!(code(nothing), Ok(ErrorCode::NotFound));
    assert!(fs::read_dir(disk.directory.root())?.next().is_none());
    let storage = disk.open()?;
    populate(&storage)?;
    let held = NodeStorage::repair(&opening(), &RepairOptions::default());
    assert_eq!(code(held), Ok(ErrorCode::Locked));
    let contents = Contents::of(&storage)?;
    storage.close()?;
    for into in ["data.sled", "data.sled/inside", "data.sled.journal/inside"] {
        let mut how = RepairOptions::default();
        how.into = Some(disk.directory.root().join(into));
        let refused = NodeStorage::repair(&opening(), &how);
        assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "{into}");
    }

    let report = NodeStorage::repair(&opening(), &RepairOptions::default())?;
    assert_eq!(
        report.into,
        fs::canonicalize(disk.directory.root())?.join("data.sled.repaired")
    );
    let again = NodeStorage::repair(&opening(), &RepairOptions::default());
    assert_eq!(code(again), Ok(ErrorCode::InvalidArgument));
    assert_eq!(Contents::of(&disk.open()?)?, contents);
    let repaired = NodeStorage::open(config_of(&report.into))?;
    assert_eq!(Contents::of(&repaired)?, contents);
    Ok(())
}

#[test]
fn indexes_that_were_moved_aside_are_read_as_well() -> TestResult {
    let original = Directory::new()?;
    let history = History::make(original.root(), Ended::Cleanly)?;
    // All there is, is an index that once was moved aside.
    let aside = original.root().join("data.sled.damaged-1770000000");
    fs::rename(original.database(), &aside)?;
    fs::remove_dir_all(original.root().join("data.sled.journal"))?;
    let fresh = Directory::new()?;
    let into = fresh.root().join("repaired");
    let report = repair(original.root(), &into, false)?;
    assert!(repaired_state(&into)? == history.last());
    let kept: u64 = report
        .salvaged
        .trees
        .iter()
        .map(|tree| tree.sources.moved_aside.kept)
        .sum();
    assert_eq!(kept, report.salvaged.records());
    Ok(())
}

/// Begins the part that repairs; the rest is where to.
pub(crate) const REPAIRS: &str = "repairs-into-";

/// Says that it begins, repairs, and says that it is done.
pub(crate) fn play(into: &str, path: &Path) -> TestResult {
    crate::child::say("begins")?;
    let mut how = RepairOptions::default();
    how.into = Some(PathBuf::from(into));
    NodeStorage::repair(&OpenOptions::new(config_of(path)), &how)?;
    crate::child::say("done")?;
    Ok(())
}
