//! Damaged stretches between frames that are whole: what lies in them is named, and nothing else goes.

use storage_journal::digest::Digests;
use storage_journal::disk::SimulatedDisk;
use storage_journal::{JournalError, Mark};

use crate::frames::{checkpoint, create, destroy, put, put_all};
use crate::workload::{TestResult, scan};

#[test]
fn two_damaged_stretches_are_both_named() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put_all(&journal, 1..=3)?;
    journal.sync_through(3)?;
    put_all(&journal, 4..=8)?;
    journal.sync_through(8)?;
    for number in 9..=10 {
        put_all(&journal, number..=number)?;
        journal.sync_through(number)?;
    }
    destroy(&disk, 5);
    destroy(&disk, 8);
    let found = scan(&disk)?;
    for lost in [5, 8] {
        let line = format!("commit {lost} cannot be read");
        let damage = found.damage();
        assert!(damage.contains(&line), "commit {lost}: {damage:?}");
    }
    assert_eq!(found.last(), 10, "durable commits behind the damage");
    Ok(())
}

/// The turn of the mark at 10 was over when 11 was appended, so its frame lies behind that of 11.
#[test]
fn a_mark_of_an_earlier_commit_does_not_hide_the_one_that_is_lost_before_it() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put_all(&journal, 1..=11)?;
    journal.sync_through(11)?;
    let mark = Mark {
        digests: Digests::empty(9),
        clean: None,
    };
    journal.mark(10, 1, &mark)?;
    put(&journal, "k12", b"v12")?;
    journal.sync_through(12)?;
    put(&journal, "k13", b"v13")?;
    destroy(&disk, 11);
    let found = scan(&disk)?;
    let mut seen = Vec::new();
    let lost = found.replay(&disk, 10, |number, _| {
        seen.push(number);
        Ok::<_, JournalError>(())
    })?;
    let is_named = lost.iter().any(|range| range.contains(&11));
    assert!(is_named, "lost {lost:?}, seen {seen:?}");
    Ok(())
}

#[test]
fn damage_below_the_checkpoint_costs_nothing() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put_all(&journal, 1..=10)?;
    checkpoint(&journal)?;
    put_all(&journal, 11..=20)?;
    journal.sync_through(20)?;
    put_all(&journal, 21..=21)?;
    destroy(&disk, 5);
    let found = scan(&disk)?;
    assert!(found.damage().is_empty(), "{:?}", found.damage());
    assert_eq!(found.last(), 21);
    Ok(())
}

/// They are with the operating system: that no sync followed makes the damage no torn tail.
#[test]
fn damage_below_the_checkpoint_cuts_no_commit_after_it() -> TestResult {
    let disk = SimulatedDisk::default();
    let journal = create(&disk)?;
    put_all(&journal, 1..=10)?;
    checkpoint(&journal)?;
    put_all(&journal, 11..=20)?;
    destroy(&disk, 5);
    let found = scan(&disk)?;
    assert_eq!(found.last(), 20, "{:?}", found.damage());
    Ok(())
}
