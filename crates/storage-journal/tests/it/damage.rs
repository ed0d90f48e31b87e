//! Damage of single bits, of stretches, of whole files.

use storage_journal::checkpoint::Checkpoint;
use storage_journal::disk::SimulatedDisk;
use storage_journal::{JournalError, Merged};

use crate::workload::{
    History, Random, TestResult, append, contents, create, directory, scan, with_history,
};

fn flip(disk: &SimulatedDisk, path: &std::path::Path, bit: usize) {
    disk.damage(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
}

/// The disk as it is, independent of the original.
fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.crash(disk.trace_len(), storage_journal::disk::Crash::Kill)
}

#[test]
fn every_flipped_bit_of_a_segment_is_corrected() -> TestResult {
    let (disk, history) = with_history(3)?;
    let (last, state) = history.last();
    for path in disk
        .files()
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
    {
        let len = disk.content(path).unwrap_or_default().len();
        // Between the two headers there are zeros, which nobody reads.
        let padding = 80 * 8..4090 * 8;
        for bit in (0..len * 8).filter(|bit| !padding.contains(bit) || bit % 997 == 0) {
            let damaged = copy(&disk);
            flip(&damaged, path, bit);
            let found = scan(&damaged)?;
            let case = format!("bit {bit} of {}", path.display());
            assert!(found.damage().is_empty(), "{case}: {:?}", found.damage());
            assert_eq!(found.last(), last, "{case}");
            assert_eq!(&contents(&Merged::of(&found))?, state, "{case}");
        }
    }
    Ok(())
}

/// What the last commit is, its frame says, also where a checkpoint has the state.
#[test]
fn a_flipped_bit_below_a_checkpoint_changes_nothing_of_what_is_exported() -> TestResult {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(5));
    let journal = create(&disk)?.with_segment_size(1 << 20);
    for _ in 0..6 {
        append(&journal, &mut history, &mut random)?;
    }
    journal.checkpoint(2, 1_770_000_000, |_| Ok::<_, JournalError>(()))?;
    let last = history.last().0;
    let exported = |disk: &SimulatedDisk| -> Result<_, JournalError> {
        Ok(Merged::open(disk, directory(), last)?.exported(0))
    };
    let sound = exported(&disk)?;
    assert!(sound.content.is_some());
    let is_segment = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "log");
    let files = disk.files();
    let path = files.iter().find(is_segment).ok_or("no segment")?;
    let len = disk.content(path).unwrap_or_default().len();
    for bit in 4148 * 8..len * 8 {
        let damaged = copy(&disk);
        flip(&damaged, path, bit);
        assert_eq!(exported(&damaged)?, sound, "bit {bit}");
    }
    Ok(())
}

#[test]
fn every_flipped_bit_and_truncation_of_a_checkpoint_is_found() -> TestResult {
    let (disk, _) = with_history(3)?;
    let is_checkpoint = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "nonos");
    let files = disk.files();
    let path = files.iter().find(is_checkpoint).ok_or("no checkpoint")?;
    let len = disk.content(path).unwrap_or_default().len();
    Checkpoint::open(&disk, path)?.verify()?;
    let verify = |damaged: &SimulatedDisk| Checkpoint::open(damaged, path)?.verify();
    for bit in 0..len * 8 {
        let damaged = copy(&disk);
        flip(&damaged, path, bit);
        let found = verify(&damaged);
        assert!(
            matches!(found, Err(JournalError::Checkpoint { .. })),
            "bit {bit}: {found:?}"
        );
    }
    for cut in 0..len {
        let damaged = copy(&disk);
        damaged.damage(path, |bytes| bytes.truncate(cut));
        let found = verify(&damaged);
        assert!(
            matches!(found, Err(JournalError::Checkpoint { .. })),
            "cut to {cut}: {found:?}"
        );
    }
    Ok(())
}

/// A stretch that is no single bit: either the state is right, or the damage is named. What is cut
/// without damage was never durable.
#[test]
fn a_zeroed_stretch_or_a_missing_file_is_never_silent() -> TestResult {
    let (disk, history) = with_history(5)?;
    let durable = history.durable_at(disk.trace_len());
    for path in disk.files() {
        let len = disk.content(&path).unwrap_or_default().len();
        for start in (0..len).step_by(16) {
            let damaged = copy(&disk);
            damaged.damage(&path, |bytes| {
                bytes[start..].iter_mut().take(16).for_each(|b| *b = 0);
            });
            let case = format!("{} zeroed at {start}", path.display());
            match scan(&damaged) {
                Err(e) => panic!("{case}: {e}"),
                Ok(found) if found.damage().is_empty() => {
                    let last = found.last();
                    // What no later frame witnesses is indistinguishable from a torn tail; the
                    // index is the second witness there.
                    assert!(
                        last >= durable || last >= found.watermark(),
                        "{case}: {last} of {durable}"
                    );
                    if let Ok(state) = contents(&Merged::of(&found)) {
                        assert_eq!(Some(&state), history.states.get(&last), "{case}");
                    }
                }
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// A reader's limit may lie in any segment, as a writer rolls while it reads.
#[test]
fn the_state_at_any_commit_is_read_whatever_segments_follow() -> TestResult {
    let disk = SimulatedDisk::default();
    let (mut history, mut random) = (History::new(), Random(4));
    let journal = create(&disk)?;
    while disk.files().len() < 8 {
        append(&journal, &mut history, &mut random)?;
    }
    for (limit, state) in &history.states {
        let merged = Merged::open(&disk, directory(), *limit);
        let merged = merged.map_err(|e| format!("at {limit}: {e}"))?;
        assert_eq!(merged.through(), *limit);
        assert_eq!(&contents(&merged)?, state, "at {limit}");
    }
    Ok(())
}
