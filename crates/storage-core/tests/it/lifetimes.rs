//! Whole lives of a database: it works, crashes, is damaged, opens, and goes on, again and again.
//!
//! A single crash of a healthy database cannot express what one crash leaves for the next: numbers
//! that were seen and do not count, marks that were not synced, segments that end torn.

use std::collections::{BTreeMap, BTreeSet};

use storage_core::history::SimulatedDisk;
use storage_core::{CoreError, Db, Durability, SimulatedHome, TreeId};
use storage_journal::disk::{Crash, Disk};

use crate::workload::{Random, State, TestResult, dump, open, step};

/// What may be found, and what must be.
#[derive(Clone)]
struct Model {
    /// The state after each commit.
    states: BTreeMap<u64, State>,
    /// The last commit that is durable.
    durable: u64,
    /// The last commit through which index and journal both were durable.
    marked: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            states: BTreeMap::from([(0, State::new())]),
            durable: 0,
            marked: 0,
        }
    }

    /// What was found is what goes on from here.
    fn go_on_from(&mut self, db: &Db, found: State) {
        let last = db.last_commit();
        self.states = BTreeMap::from([(last, found)]);
        (self.durable, self.marked) = (last, last);
    }

    /// Without damage to the journal: the state of the last commit, exactly.
    fn expect_exact(&self, db: &Db, case: &str) -> Result<State, CoreError> {
        let (found, last) = (dump(db)?, db.last_commit());
        assert!(last >= self.durable, "{case}: {last} of {}", self.durable);
        assert_eq!(
            Some(&found),
            self.states.get(&last),
            "{case}: state of {last}"
        );
        Ok(found)
    }

    /// After damage to the journal alone: nothing that was marked is lost, nothing is wrong, and what
    /// is lost of later commits is named, where anything can tell that it was there.
    fn expect_named(&self, db: &Db, case: &str) -> Result<State, CoreError> {
        let (found, report) = (dump(db)?, db.opening_report());
        if report.damage.is_empty() {
            let known = self
                .states
                .range(self.marked..)
                .any(|(_, state)| *state == found);
            let (marked, last) = (self.marked, db.last_commit());
            assert!(
                known,
                "{case}: silent, commit {last}, no state from {marked} on: {report:?}"
            );
        }
        let later: Vec<&State> = self
            .states
            .range(self.marked..)
            .map(|(_, state)| state)
            .collect();
        let keys: BTreeSet<_> = later.iter().flat_map(|state| state.keys()).collect();
        for key in keys.into_iter().chain(found.keys()) {
            let value = found.get(key);
            let was = later.iter().any(|state| state.get(key) == value);
            assert!(was, "{case}: {key:?} is {value:?}: {report:?}");
        }
        Ok(found)
    }
}

/// Works for a while; notes at which lengths of the trace what was durable.
fn work(
    mut db: Db,
    disk: &SimulatedDisk,
    home: &SimulatedHome,
    model: &mut Model,
    random: &mut Random,
) -> Result<Vec<(usize, u64, u64)>, CoreError> {
    let mut known = vec![(disk.trace_len(), model.durable, model.marked)];
    for _ in 0..random.below(12) {
        match random.below(14) {
            0 | 1 => {
                db.flush()?;
                model.marked = db.last_commit();
            }
            2 => db.checkpoint()?,
            3 => {
                let (before, state) = (db.last_commit(), dump(&db)?);
                db.compact()?;
                model.marked = db.last_commit();
                // Commits that change nothing.
                let numbers = before..=model.marked;
                model
                    .states
                    .extend(numbers.map(|number| (number, state.clone())));
            }
            4 => {
                db.shutdown()?;
                drop(db);
                db = open(disk, home)?;
                model.marked = db.last_commit();
            }
            _ => {
                let (durability, number) = step(&db, random)?;
                model.states.insert(number, dump(&db)?);
                if durability == Durability::Durable {
                    model.durable = number;
                }
            }
        }
        model.durable = model.durable.max(model.marked);
        known.push((disk.trace_len(), model.durable, model.marked));
    }
    // The handle is gone as in a crash, not closed: what closing it does is behind the crash.
    drop(db);
    Ok(known)
}

fn any_crash(random: &mut Random) -> Crash {
    match random.below(4) {
        0 => Crash::Kill,
        1 => Crash::Drop,
        2 => Crash::Torn(random.below(1000)),
        _ => Crash::Reordered(random.below(1000)),
    }
}

/// Some stretch of some file of the journal, or the file.
fn damage_journal(disk: &SimulatedDisk, random: &mut Random) -> String {
    let files = disk.files();
    let at = |end: usize, random: &mut Random| {
        let end = u64::try_from(end).expect("a small number").max(1);
        usize::try_from(random.below(end)).expect("a small number")
    };
    let path = &files[at(files.len(), random)];
    let len = disk.content(path).unwrap_or_default().len();
    let (start, kind) = (at(len, random), random.below(8));
    let stretch = [1, 20, 200][at(3, random)];
    match kind {
        0 => disk.remove(path).expect("the file is there"),
        1 => disk.damage(path, |bytes| bytes.truncate(start)),
        _ => disk.damage(path, |bytes| {
            for byte in bytes.iter_mut().skip(start).take(stretch) {
                *byte ^= 0x5a;
            }
        }),
    }
    format!(
        "{}, kind {kind}, {stretch} bytes at {start} of {len}",
        path.display()
    )
}

fn damage_index(home: &SimulatedHome, random: &mut Random) -> String {
    let tree = [
        TreeId::Peers,
        TreeId::Metrics,
        TreeId::Claims,
        TreeId::AuditLog,
    ];
    let tree = tree[usize::try_from(random.below(4)).expect("a small number")];
    let kind = random.below(4);
    home.damage(tree, |entries| match kind {
        0 => entries.clear(),
        1 => entries.values_mut().for_each(|value| value[0] ^= 1),
        2 => drop(entries.pop_first()),
        _ => drop(entries.insert(b"never".to_vec(), b"stored".to_vec())),
    });
    format!("{tree:?}, kind {kind}")
}

/// Lives of several crashes each; returns how often a database was opened after one.
fn live(with_damage: bool) -> Result<u64, Box<dyn std::error::Error>> {
    let mut openings = 0;
    for seed in 0..lives()? {
        let mut random = Random(seed);
        let (mut disk, mut home) = (SimulatedDisk::default(), SimulatedHome::default());
        let mut model = Model::new();
        let (mut damaged, mut told) = (None, Vec::new());
        for generation in 0..6 {
            home = home.watching(&disk);
            let case = format!("seed {seed}, generation {generation}, damage {damaged:?}");
            let db = open(&disk, &home).map_err(|e| format!("{case}: {e}"))?;
            openings += 1;
            let report = db.opening_report();
            let found = match &damaged {
                Some((true, _)) => model.expect_named(&db, &case)?,
                Some((false, _)) => model.expect_exact(&db, &case)?,
                None => {
                    // What was told is told again until a clean close.
                    let is_new = |line: &String| !told.contains(line);
                    assert!(!report.damage.iter().any(is_new), "{case}: {report:?}");
                    model.expect_exact(&db, &case)?
                }
            };
            told.extend(report.damage.iter().cloned());
            model.go_on_from(&db, found);
            let known = work(db, &disk, &home, &mut model, &mut random)
                .map_err(|e| format!("{case}: {e}"))?;
            let (first, last) = (known[0].0, known[known.len() - 1].0);
            let some = random.below(u64::try_from(last - first + 1)?);
            let prefix = first + usize::try_from(some)?;
            let before = known.iter().rev().find(|(at, _, _)| *at <= prefix);
            (_, model.durable, model.marked) = *before.ok_or("nothing is known")?;
            let crash = any_crash(&mut random);
            let mut keep = Random(random.below(1000));
            home = home.at(prefix).crash(|_| keep.below(2) == 0);
            disk = disk.crash(prefix, crash);
            damaged = match random.below(3) {
                0 if with_damage => Some((true, damage_journal(&disk, &mut random))),
                1 if with_damage => Some((false, damage_index(&home, &mut random))),
                _ => None,
            };
        }
    }
    Ok(openings)
}

/// How many: as `cargo xtask lifetimes` says, or enough for the normal run.
fn lives() -> Result<u64, Box<dyn std::error::Error>> {
    Ok(std::env::var("NONOS_LIFETIMES").map_or(Ok(2000), |lives| lives.parse())?)
}

#[test]
fn crash_after_crash_leaves_every_durable_commit_and_no_false_alarm() -> TestResult {
    let openings = live(false)?;
    assert!(openings >= 10_000, "{openings} openings");
    Ok(())
}

#[test]
fn damage_to_one_copy_after_crashes_loses_nothing_marked_and_nothing_silently() -> TestResult {
    let openings = live(true)?;
    assert!(openings >= 10_000, "{openings} openings");
    Ok(())
}
