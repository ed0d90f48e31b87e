//! Repairs that are cancelled or killed.

use std::fs;
use std::ops::ControlFlow;
use std::time::Instant;

use nonos_storage::{ErrorCode, NodeStorage, OpenOptions, RepairOptions};
use storage_testkit::{Directory, Random};

use super::history::{Ended, History};
use super::{REPAIRS, config_of, damage, files, repair, repaired_state};
use crate::TestResult;
use crate::child::Running;
use crate::contents::code;

#[test]
fn a_cancelled_repair_leaves_nothing() -> TestResult {
    let original = Directory::new()?;
    let _history = History::make(original.root(), Ended::Flushed)?;
    let before = files(original.root())?;
    let fresh = Directory::new()?;
    let mut how = RepairOptions::default();
    how.into = Some(fresh.root().join("repaired"));
    for operation in [
        "salvage the journal",
        "salvage the index",
        "begin the journal",
        "verify",
    ] {
        let opening = OpenOptions::new(config_of(&original.database())).on_progress(move |told| {
            if told.operation == operation {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let cancelled = NodeStorage::repair(&opening, &how);
        assert_eq!(code(cancelled), Ok(ErrorCode::Cancelled), "{operation}");
        assert!(fs::read_dir(fresh.root())?.next().is_none(), "{operation}");
        assert!(files(original.root())? == before, "{operation}");
    }
    Ok(())
}

/// How many repairs are killed.
const KILLS: u32 = 60;

#[test]
fn a_killed_repair_leaves_the_original_as_it_is_and_can_be_run_again() -> TestResult {
    let original = Directory::new()?;
    let _history = History::make(original.root(), Ended::Ahead)?;
    let mut random = Random(11);
    let journal = original.root().join("data.sled.journal");
    let mut names: Vec<_> = files(&journal)?.into_keys().collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "log"));
    names.sort();
    let newest = names.last().ok_or("no segment")?;
    damage(&journal.join(newest), 2, &mut random)?;
    damage(&original.database().join("db"), 1, &mut random)?;
    let fresh = Directory::new()?;
    let begun = Instant::now();
    let whole = repair(original.root(), &fresh.root().join("whole"), false)?;
    let takes = begun.elapsed();
    let expected = repaired_state(&fresh.root().join("whole"))?;
    let before = files(original.root())?;
    let (mut unfinished, mut finished) = (0, 0);
    for kill in 0..KILLS {
        let into = fresh.root().join(format!("killed-{kill}"));
        let mut child = Running::start(
            &format!("{REPAIRS}{}", into.display()),
            &original.database(),
        )?;
        child.hear()?;
        // From the first moment until it is done, however fast this machine is.
        std::thread::sleep(takes * kill / KILLS);
        child.kill()?;
        assert!(files(original.root())? == before, "kill {kill}");
        let mut how = RepairOptions::default();
        how.into = Some(into.clone());
        let opening = OpenOptions::new(config_of(&original.database()));
        match NodeStorage::repair(&opening, &how) {
            Ok(mut report) => {
                // They name where it works.
                for note in &mut report.salvaged.notes {
                    *note = note.replace(&format!("killed-{kill}."), "whole.");
                }
                assert_eq!(report.salvaged, whole.salvaged, "kill {kill}");
                unfinished += 1;
            }
            refused => {
                assert_eq!(code(refused), Ok(ErrorCode::InvalidArgument), "kill {kill}");
                finished += 1;
            }
        }
        assert!(repaired_state(&into)? == expected, "kill {kill}");
        assert!(files(original.root())? == before, "kill {kill}");
    }
    assert!(
        unfinished > KILLS / 4,
        "{unfinished} before it was done, {finished} after"
    );
    Ok(())
}
