//! Whole lives of a database: operations over several trees, failing calls, crashes, damage to one copy, and
//! reopenings, as the bytes say, against a model.
//!
//! The model is a database in memory that has the same operations. What is compared is what its records say: the
//! chain of the audit log, which is each store's own, is verified instead.

use std::collections::BTreeSet;

use storage_core::history::SimulatedDisk;
use storage_core::{CoreError, Db, Durability, Health, SimulatedHome, TreeId};
use storage_journal::disk::{Crash, Fault};
use storage_ops::{Finding, Severity, VerifyOptions};

use crate::disk::{State, dump, open, options};

mod damage;
mod operations;

use damage::{Damage, damage_index, damage_journal};
use operations::{apply, contents};

/// Bytes that choose; afterwards always the first of what there is to choose from.
pub(crate) struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(byte).checked_rem(end).unwrap_or(0)
    }

    /// Of a number that a byte does not choose from.
    fn up_to(&mut self, most: usize) -> usize {
        let both = self.below(256) * 256 + self.below(256);
        both % (most + 1)
    }

    fn seed(&mut self) -> u64 {
        u64::try_from(self.up_to(65_535)).unwrap_or(0)
    }
}

/// Operations in a life at most.
const MOST: usize = 48;

/// What is known of the states of a database.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The first of the states that may be found: what was durable.
    durable: usize,
    /// The last state through which index and journal both were durable.
    marked: usize,
}

/// What happened once to a database stays true.
#[derive(Clone, Copy, Default)]
struct Past {
    /// Something was damaged.
    was_damaged: bool,
    /// A commit is named as lost, of which anything may be missing or there: the chain of the audit log says so.
    has_gap: bool,
}

struct Life {
    disk: SimulatedDisk,
    home: SimulatedHome,
    db: Db,
    model: Db,
    /// The number of each commit and what the database holds after it; of one that failed none is known.
    states: Vec<(Option<u64>, State)>,
    now: Known,
    /// What was known when the disk had made so many changes.
    known: Vec<(usize, Known)>,
    past: Past,
}

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices(data);
    let mut life = Life::begin().expect("a disk without faults");
    for _ in 0..MOST {
        if choices.0.is_empty() {
            break;
        }
        life = life
            .step(&mut choices)
            .expect("what fails is undone by opening");
    }
    life.crash(Crash::Drop, None, None, &mut choices)
        .expect("an opening");
}

impl Life {
    fn begin() -> Result<Self, CoreError> {
        let disk = SimulatedDisk::default();
        let home = SimulatedHome::default().watching(&disk);
        let db = open(&disk, &home)?;
        Ok(Self {
            model: Db::in_memory(&options())?,
            states: vec![(Some(0), State::new())],
            now: Known::default(),
            known: vec![(disk.trace_len(), Known::default())],
            past: Past::default(),
            disk,
            home,
            db,
        })
    }

    fn step(mut self, choices: &mut Choices<'_>) -> Result<Self, CoreError> {
        match choices.below(16) {
            0 => {
                self.db.flush()?;
                self.mark();
            }
            1 => self.db.checkpoint()?,
            2 => {
                self.compact()?;
                self.mark();
            }
            3 => return self.close(),
            4 => self.past.verify(&self.db)?,
            5..=7 => {
                let at = self.point(choices);
                return self.crash(any_crash(choices), at, None, choices);
            }
            8 => {
                let at = self.point(choices);
                let (crash, copy) = (any_crash(choices), choices.below(2) == 0);
                let damage = if copy { Damage::Journal } else { Damage::Index };
                return self.crash(crash, at, Some(damage), choices);
            }
            9 => return self.fail(choices),
            _ => self.update(choices)?,
        }
        self.note();
        Ok(self)
    }

    fn update(&mut self, choices: &mut Choices<'_>) -> Result<(), CoreError> {
        let durability = match choices.below(3) {
            0 => Durability::Durable,
            _ => Durability::Buffered,
        };
        let (of_model, of_db) = (choices.0, &mut *choices);
        apply(&self.model, durability, &mut Choices(of_model))?;
        let after = contents(&self.model)?;
        let before = self.db.last_commit();
        let updated = apply(&self.db, durability, of_db);
        self.states.push((updated.as_ref().ok().copied(), after));
        let number = updated?;
        // One that changes nothing is no commit, and makes none durable.
        if durability == Durability::Durable && number > before {
            self.now.durable = self.states.len() - 1;
        }
        let (_, expected) = self.states.last().expect("it was pushed");
        assert_eq!(contents(&self.db)?, *expected, "after an update");
        Ok(())
    }

    /// With the commits that it makes, which change nothing.
    fn compact(&mut self) -> Result<(), CoreError> {
        let before = self.db.last_commit();
        let compacted = self.db.compact();
        let (_, state) = self.states.last().expect("there is one");
        let state = state.clone();
        let numbers = before + 1..=self.db.last_commit();
        self.states
            .extend(numbers.map(|number| (Some(number), state.clone())));
        compacted.map(drop)
    }

    /// Any operation, and a call of the disk in it that fails. What it did is open until the next opening.
    fn fail(mut self, choices: &mut Choices<'_>) -> Result<Self, CoreError> {
        let kinds = [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull];
        let kind = kinds.get(choices.below(2)).copied().unwrap_or(kinds[0]);
        let later = u64::try_from(choices.below(24)).unwrap_or(0);
        let at_call = self.disk.calls() + later;
        self.disk.fail(Some(Fault { at_call, kind }));
        let failed = match choices.below(4) {
            0 => self.db.flush(),
            1 => self.db.checkpoint(),
            2 => {
                let compacted = self.compact();
                // A commit that failed may be there.
                let (_, state) = self.states.last().expect("there is one");
                self.states.push((None, state.clone()));
                compacted
            }
            _ => self.update(choices),
        };
        if matches!(self.db.health(), Health::Poisoned { .. }) {
            let refused = apply(&self.db, Durability::Buffered, &mut Choices(&[]));
            assert!(refused.is_err(), "a write after an error of the journal");
        }
        self.disk.fail(None);
        let at = Some(self.disk.trace_len());
        drop(failed);
        self.crash(Crash::Kill, at, None, choices)
    }

    fn mark(&mut self) {
        let last = self.states.len() - 1;
        (self.now.durable, self.now.marked) = (last, last);
    }

    fn note(&mut self) {
        self.known.push((self.disk.trace_len(), self.now));
    }

    /// A moment since the database was opened.
    fn point(&self, choices: &mut Choices<'_>) -> Option<usize> {
        let (first, _) = *self.known.first()?;
        let last = self.disk.trace_len();
        // As a rule what is newest is of interest.
        match choices.below(2) {
            0 => Some(last - choices.below(24).min(last - first)),
            _ => Some(first + choices.up_to(last - first)),
        }
    }

    fn close(self) -> Result<Self, CoreError> {
        self.db.shutdown()?;
        let last = self.states.len() - 1;
        let (disk, home) = (self.disk, self.home);
        drop(self.db);
        let db = open(&disk, &home)?;
        assert!(
            db.opening_report().clean,
            "after a close: {:?}",
            db.opening_report()
        );
        let expected = self.states.get(last);
        assert_eq!(
            expected.map(|(_, state)| state),
            Some(&contents(&db)?),
            "after a close"
        );
        Self::go_on(disk, home, db, self.past)
    }

    fn crash(
        self,
        crash: Crash,
        at: Option<usize>,
        damage: Option<Damage>,
        choices: &mut Choices<'_>,
    ) -> Result<Self, CoreError> {
        let at = at.unwrap_or_else(|| self.disk.trace_len());
        let before = self.known.iter().rev().find(|(trace, _)| *trace <= at);
        let (_, before) = *before.expect("a moment since it was opened");
        let disk = self.disk.crash(at, crash);
        let kept = choices.below(256);
        let home = self
            .home
            .at(at)
            .crash(|number| kept >> (number % 8) & 1 == 1);
        // The handle is gone as in a crash: what closing it does is behind the crash.
        drop(self.db);
        match damage {
            Some(Damage::Journal) => damage_journal(&disk, choices),
            Some(Damage::Index) => damage_index(&home, choices),
            None => {}
        }
        let home = home.watching(&disk);
        let db = open(&disk, &home)?;
        let found = contents(&db)?;
        let report = db.opening_report();
        let mut past = self.past;
        past.was_damaged |= damage.is_some();
        assert!(
            past.was_damaged || report.damage.is_empty(),
            "a false alarm: {report:?}"
        );
        if damage == Some(Damage::Journal) {
            let later = self.states.get(before.marked..).unwrap_or_default();
            expect_named(later, &found, report.damage.is_empty());
            past.has_gap |= !report.damage.is_empty();
        } else {
            let later = self.states.get(before.durable..).unwrap_or_default();
            let last = db.last_commit();
            let is_it = |(number, state): &(Option<u64>, State)| {
                *state == found && number.is_none_or(|number| number == last)
            };
            assert!(
                later.iter().any(is_it),
                "no state of commit {last}: {report:?}"
            );
        }
        past.verify(&db)?;
        Self::go_on(disk, home, db, past)
    }

    /// What was found is what goes on from here.
    fn go_on(
        disk: SimulatedDisk,
        home: SimulatedHome,
        db: Db,
        past: Past,
    ) -> Result<Self, CoreError> {
        let model = Db::in_memory(&options())?;
        model.update(Durability::Durable, |_, commit| {
            for ((tree, key), value) in dump(&db)? {
                commit.put(tree, key, value);
            }
            Ok::<_, CoreError>(())
        })?;
        Ok(Self {
            states: vec![(Some(db.last_commit()), contents(&db)?)],
            now: Known::default(),
            known: vec![(disk.trace_len(), Known::default())],
            disk,
            home,
            db,
            model,
            past,
        })
    }
}

/// After damage to the journal: nothing that was marked is lost, nothing is wrong, and what is lost of later commits is
/// named, where anything can tell that it was there.
fn expect_named(later: &[(Option<u64>, State)], found: &State, is_silent: bool) {
    let is_known = later.iter().any(|(_, state)| state == found);
    assert!(is_known || !is_silent, "a silent loss");
    let keys: BTreeSet<_> = later.iter().flat_map(|(_, state)| state.keys()).collect();
    for key in keys.into_iter().chain(found.keys()) {
        let value = found.get(key);
        let was = later.iter().any(|(_, state)| state.get(key) == value);
        assert!(was, "{key:?} is {value:?}");
    }
}

impl Past {
    /// Nothing is found, but for what was lost.
    fn verify(self, db: &Db) -> Result<(), CoreError> {
        let report = storage_ops::verify(db, &VerifyOptions::default())?;
        let is_fault = |finding: &&Finding| {
            let is_of_chain = finding.tree == Some(TreeId::AuditLog);
            finding.code.severity() == Severity::Error && !(self.has_gap && is_of_chain)
        };
        let faults = report.findings.iter().filter(is_fault);
        assert_eq!(faults.count(), 0, "{:?}", report.findings);
        Ok(())
    }
}

fn any_crash(choices: &mut Choices<'_>) -> Crash {
    match choices.below(4) {
        0 => Crash::Kill,
        1 => Crash::Drop,
        2 => Crash::Torn(choices.seed()),
        _ => Crash::Reordered(choices.seed()),
    }
}

/// Lives with everything in them.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let update = |n: u8| [12, n % 3, 3, n % 7, n, 1, n, 2, n, 5, n, 6, n % 5];
    let life = |ends: &[&[u8]]| {
        let mut life = Vec::new();
        for (number, end) in (0_u8..).zip(ends) {
            for n in 0..3 {
                life.extend(update(number * 3 + n));
            }
            life.extend(*end);
        }
        life
    };
    vec![
        life(&[&[0], &[1], &[3], &[2], &[4]]),
        life(&[
            &[5, 0, 3, 1, 90],
            &[6, 1, 0, 9, 2, 1, 2, 77],
            &[7, 0, 1, 3, 5, 6],
        ]),
        life(&[
            &[1],
            &[0],
            &[8, 0, 0, 0, 0, 0, 255, 1, 0, 9, 2],
            &[8, 0, 0, 0, 1, 1, 2],
        ]),
        life(&[
            &[9, 0, 3, 3, 0],
            &[9, 1, 8, 0],
            &[9, 0, 12, 1],
            &[9, 1, 5, 2],
        ]),
    ]
}
