//! Extracts: a checkpoint and the extracts behind it are a journal of the same commits.

use std::path::Path;
use std::sync::Arc;

use storage_journal::checkpoint;
use storage_journal::disk::{Crash, Disk, SimulatedDisk};
use storage_journal::extract::{self, After, Extract};
use storage_journal::{Journal, JournalError, Merged};

use crate::workload::{
    History, Random, State, TestResult, append, contents, create, directory, run, scan,
};

fn backup() -> &'static Path {
    Path::new("backup")
}

fn export(journal: &Journal, disk: &SimulatedDisk) -> Result<After, JournalError> {
    disk.create_directory(backup()).ok();
    let to = Path::new("exported");
    let never = |_| Ok::<_, JournalError>(());
    let exported = journal.export(to, 2, 0, never)?;
    let name = backup().join(checkpoint::name(exported.commit));
    disk.rename(to, &name).map_err(|source| JournalError::Io {
        action: "rename",
        path: name,
        source,
    })?;
    let content = exported.content.unwrap_or(0);
    Ok(After {
        commit: exported.commit,
        checksum: content,
        content,
    })
}

/// Takes extracts of at most so many bytes until there is nothing more.
fn extract_all(
    journal: &Journal,
    after: &mut After,
    most: u64,
) -> Result<Vec<Extract>, JournalError> {
    let mut taken = Vec::new();
    loop {
        let to = backup().join(extract::name(after.commit + 1));
        let Some(extract) = journal.extract(*after, &to, most)? else {
            return Ok(taken);
        };
        *after = extract.last;
        taken.push(extract);
    }
}

/// Extracts over several opens, crashes between them and checkpoints that remove segments; and every
/// commit since the checkpoint is restored of them.
#[test]
fn every_commit_since_the_checkpoint_can_be_gone_back_to() -> TestResult {
    let mut states = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut disk = SimulatedDisk::default();
        let mut history = History::new();
        let mut journal = create(&disk)?;
        for _ in 0..random.below(20) {
            append(&journal, &mut history, &mut random)?;
        }
        let mut after = export(&journal, &disk)?;
        let base = after.commit;
        let mut extracts = 0;
        for term in 2..12 {
            for _ in 0..random.below(12) {
                append(&journal, &mut history, &mut random)?;
            }
            let most = random.below(600);
            extracts += extract_all(&journal, &mut after, most)?.len();
            assert_eq!(after.commit, history.last().0, "seed {seed}");
            if random.below(3) == 0 {
                journal.checkpoint(2, 0, |_| Ok::<_, JournalError>(()))?;
            }
            if random.below(2) == 0 {
                // What was not extracted may be lost; no number is given twice.
                for _ in 0..random.below(3) {
                    append(&journal, &mut history, &mut random)?;
                }
                disk = disk.crash(disk.trace_len(), Crash::Torn(seed));
                let found = scan(&disk)?;
                assert!(found.last() >= after.commit, "seed {seed}");
                history.states.retain(|number, _| *number <= found.last());
                let shared: Arc<dyn Disk> = Arc::new(disk.clone());
                journal = Journal::open(shared, &found, term, 2)?.with_segment_size(600);
            }
        }
        extract_all(&journal, &mut after, u64::MAX)?;
        assert!(extracts > 0, "seed {seed}");
        for (number, state) in history.states.range(base..) {
            let restored = Merged::open(&disk, backup(), *number)?;
            assert_eq!(restored.through(), *number, "seed {seed}");
            assert_eq!(&contents(&restored)?, state, "seed {seed}, commit {number}");
            let time_ms = i64::try_from(*number * 2000)?;
            for (at, expected) in [(time_ms, *number), (time_ms + 1999, *number)] {
                let found = extract::commit_at(&disk, backup(), at)?;
                assert_eq!(found, expected.max(base), "seed {seed}, at {at}");
            }
            states += 1;
        }
    }
    assert!(states > 1500, "{states} states");
    Ok(())
}

#[test]
fn a_missing_or_damaged_extract_is_noticed() -> TestResult {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(3));
    let journal = create(&disk)?;
    run(&journal, &disk, &mut history, &mut random, 5)?;
    let mut after = export(&journal, &disk)?;
    let base = after.commit;
    let mut names = Vec::new();
    for _ in 0..6 {
        append(&journal, &mut history, &mut random)?;
        append(&journal, &mut history, &mut random)?;
        names.push(backup().join(extract::name(after.commit + 1)));
        extract_all(&journal, &mut after, u64::MAX)?;
    }
    let last = history.last().0;
    assert_eq!(Merged::open(&disk, backup(), last)?.through(), last);
    for (at, name) in names.iter().enumerate() {
        let whole = disk.content(name).ok_or("no file")?;
        let less = disk.crash(disk.trace_len(), Crash::Kill);
        less.remove(name)?;
        let found = Merged::open(&less, backup(), last);
        let reached = found.map(|merged| merged.through());
        match reached {
            // Without the last one it ends before: whoever asks for more must look how far it goes.
            Ok(through) => assert!(at == names.len() - 1 && through < last),
            Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "{error}"),
        }
        for cut in [0, whole.len() / 2, whole.len() - 1] {
            let cut_off = disk.crash(disk.trace_len(), Crash::Kill);
            cut_off.damage(name, |bytes| bytes.truncate(cut));
            let found = Merged::open(&cut_off, backup(), last);
            assert!(
                found.map_or(true, |merged| merged.through() < last),
                "{at} cut to {cut}"
            );
        }
    }
    assert!(base < last);
    Ok(())
}

/// An error of the disk at any call leaves no file under the name, and a later call succeeds.
#[test]
fn an_extract_appears_whole_or_not_at_all() -> TestResult {
    use storage_journal::disk::Fault;
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(9));
    let journal = create(&disk)?;
    let after = export(&journal, &disk)?;
    run(&journal, &disk, &mut history, &mut random, 12)?;
    journal.sync_through(history.last().0)?;
    let to = backup().join(extract::name(after.commit + 1));
    let mut failed = 0;
    for more in 0..60 {
        let fault = Fault {
            at_call: disk.calls() + more,
            kind: std::io::ErrorKind::Other,
        };
        disk.fail(Some(fault));
        let taken = journal.extract(after, &to, u64::MAX);
        disk.fail(None);
        match taken {
            Err(_) => {
                failed += 1;
                // The last call is the directory's sync: the file is there, and not known to be durable.
                if let Some(found) = disk.content(&to) {
                    let hash = extract::hash_of(&disk, &to)?;
                    let again = journal.extract(after, &to, u64::MAX)?.ok_or("nothing")?;
                    assert_eq!(hash, again.hash);
                    assert_eq!(u64::try_from(found.len())?, again.bytes);
                    disk.remove(&to)?;
                }
            }
            Ok(_) => break,
        }
    }
    assert!(failed > 5, "{failed}");
    let taken = journal.extract(after, &to, u64::MAX)?.ok_or("nothing")?;
    for prefix in 0..disk.trace_len() {
        for crash in [Crash::Kill, Crash::Drop, Crash::Torn(1)] {
            let left = disk.crash(prefix, crash);
            if let Ok(hash) = extract::hash_of(&left, &to) {
                assert_eq!(hash, taken.hash, "{crash:?} after {prefix}");
            }
        }
    }
    Ok(())
}

#[test]
fn commits_that_the_journal_removed_are_told() -> TestResult {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(4));
    let journal = create(&disk)?;
    for _ in 0..3 {
        for _ in 0..30 {
            append(&journal, &mut history, &mut random)?;
        }
        journal.checkpoint(2, 0, |_| Ok::<_, JournalError>(()))?;
    }
    assert!(scan(&disk)?.last() == history.last().0);
    let after = After::default();
    let taken = journal.extract(after, &directory().join("x"), u64::MAX);
    assert!(matches!(taken, Err(JournalError::Removed { after: 0 })));
    Ok(())
}

/// A journal that was put back, and went on to the same number another way, is not gone on from.
#[test]
fn what_is_of_another_past_is_not_taken() -> TestResult {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(6));
    let journal = create(&disk)?;
    for _ in 0..5 {
        append(&journal, &mut history, &mut random)?;
    }
    journal.sync()?;
    let put_back = disk.crash(disk.trace_len(), Crash::Kill);
    let at = export(&journal, &disk)?;
    for _ in 0..5 {
        append(&journal, &mut history, &mut random)?;
    }
    let mut after = at;
    extract_all(&journal, &mut after, u64::MAX)?;
    assert_eq!(after.commit, 10);

    let shared: Arc<dyn Disk> = Arc::new(put_back.clone());
    let other = Journal::open(shared, &scan(&put_back)?, 9, 2)?;
    let mut history = History::new();
    history.states.insert(5, State::new());
    let mut random = Random(7);
    for _ in 0..8 {
        append(&other, &mut history, &mut random)?;
    }
    let to = directory().join("extract");
    let refused = other.extract(after, &to, u64::MAX);
    assert!(
        matches!(refused, Err(JournalError::Another { after: 10 })),
        "{refused:?}"
    );
    assert!(put_back.content(&to).is_none());
    // From where the two are still one it is.
    let taken = other.extract(at, &to, u64::MAX)?.ok_or("nothing")?;
    assert_eq!(taken.last.commit, 13);
    Ok(())
}
