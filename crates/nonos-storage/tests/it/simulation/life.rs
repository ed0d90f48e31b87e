//! One life: generations of opening, work and a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use nonos_storage::{NodeStorage, NonosError, OpenOptions, StorageConfig, set_clock};
use storage_core::SimulatedHome;
use storage_core::history::{Disk, SimulatedDisk};
use storage_journal::disk::{Crash, Space};
use storage_testkit::{Directory, Random, first_home};

use super::BEGINNING;
use super::disk::{MemoryTarget, SplitDisk};
use super::operation::{End, Operation, set_again, unlock};
use super::state::{History, Open, State, audited, differences, read};
use crate::sealed_disk::Fallible;

mod faults;
mod judged;

use faults::Damage;
use judged::{Known, tell};

const TREES: [nonos_storage::TreeId; 4] = [
    nonos_storage::TreeId::Peers,
    nonos_storage::TreeId::Metrics,
    nonos_storage::TreeId::Claims,
    nonos_storage::TreeId::AuditLog,
];

/// How often something happened.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (what, often) in &other.0 {
            *self.0.entry(what).or_default() += often;
        }
    }

    fn one(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Fails where something never happened.
    pub(crate) fn expect_all(&self) -> Fallible<()> {
        const ALL: [&str; 20] = [
            "backups",
            "cancelled",
            "checkpoints",
            "clean closes",
            "clocks put back",
            "compactions",
            "crashes within an opening",
            "damage to the index",
            "damage to the journal",
            "failed openings",
            "full disks",
            "increments",
            "injected errors",
            "keys sealed to",
            "kills",
            "migrations",
            "power cuts",
            "purges",
            "restores",
            "writes that no longer were taken",
        ];
        let missing = ALL.iter().find(|what| !self.0.contains_key(*what));
        missing.map_or(Ok(()), |what| Err(format!("no {what} in {self:?}").into()))
    }
}

pub(crate) struct Life {
    directory: Directory,
    disk: SimulatedDisk,
    home: SimulatedHome,
    now_ms: u64,
    /// How much of what was committed is written to the index later.
    held_back_bytes: Option<u64>,
    history: History,
    damage: Damage,
    told: Vec<String>,
    /// Whether damage to the journal may have taken entries of the audit log: no later opening brings them back.
    has_lost: bool,
    target: MemoryTarget,
    /// What is in each backup, by its name.
    backups: BTreeMap<String, State>,
    pub(crate) counts: Counts,
}

impl Life {
    /// A new database, or one of the first implementation.
    pub(crate) fn begin(random: &mut Random) -> Fallible<Self> {
        set_clock(BEGINNING);
        let mut life = Self {
            directory: Directory::new()?,
            disk: SimulatedDisk::default(),
            home: SimulatedHome::default(),
            now_ms: BEGINNING,
            held_back_bytes: random.one_of([None, Some(0), Some(400), Some(8000)]),
            history: History::anywhere(State::new()),
            damage: Damage::Nothing,
            told: Vec::new(),
            has_lost: false,
            target: MemoryTarget::default(),
            backups: BTreeMap::new(),
            counts: Counts::default(),
        };
        if random.one_in(4) {
            let home = first_home::home(30);
            let twin = SimulatedDisk::default();
            let migrated = life.open_at(&twin, &home.fork())?;
            life.history = History::anywhere(read(&migrated)?);
            life.home = home;
            life.counts.one("migrations");
        }
        Ok(life)
    }

    fn config(&self) -> StorageConfig {
        StorageConfig {
            path: self.directory.database(),
            cache_capacity_bytes: 1 << 20,
            ..Default::default()
        }
    }

    fn open_at(
        &self,
        disk: &SimulatedDisk,
        home: &SimulatedHome,
    ) -> Result<NodeStorage, NonosError> {
        let config = self.config();
        let disk: Arc<dyn Disk> = Arc::new(SplitDisk {
            simulated: disk.clone(),
            journal: config.path.with_extension("sled.journal"),
        });
        OpenOptions::new(config).open_simulated(disk, home, self.held_back_bytes)
    }

    fn open(&self) -> Result<NodeStorage, NonosError> {
        self.open_at(&self.disk, &self.home)
    }

    fn tick(&mut self, random: &mut Random) {
        if random.one_in(20) {
            self.now_ms = self.now_ms.saturating_sub(random.below(40 * 86_400_000));
            self.counts.one("clocks put back");
        } else {
            self.now_ms += random.below(60_000);
        }
        set_clock(self.now_ms);
    }

    /// Opens, compares, works for a while, and crashes; whether life goes on.
    pub(crate) fn generation(&mut self, random: &mut Random) -> Fallible<bool> {
        self.tick(random);
        self.home = self.home.watching(&self.disk);
        let first = self.disk.trace_len();
        let before = (self.history.clone(), self.target.files().clone());
        if random.one_in(4) {
            self.fail_at(random, 60);
            if self.open().is_err() {
                self.counts.one("failed openings");
            }
            self.disk.fail(None);
        }
        let case = format!("{:?}", self.damage);
        tell(|| format!("opening, {case}"));
        let storage = match self.open() {
            // Of a new database no index was whole yet: there is no second copy that could stand in.
            Err(_) if self.history.marked == 0 && matches!(self.damage, Damage::Journal(_)) => {
                self.counts.one("new ones that were refused");
                return Ok(false);
            }
            opened => opened.map_err(|error| format!("{case}, opening: {error}"))?,
        };
        if let Err(error) = self.compare(&storage) {
            let is_told = !storage.opening_report().damage.is_empty();
            let is_refused = matches!(error.downcast_ref(), Some(NonosError::Encryption(_)));
            // Where sealing is lost in part, what is plain may be somebody else's: that is for a backup.
            if is_refused && is_told && matches!(self.damage, Damage::Journal(_)) {
                self.counts.one("secrets that were refused after damage");
                return Ok(false);
            }
            return Err(format!("{case}: {error}").into());
        }
        let opened = self.disk.trace_len();
        let known = self.work(storage, random)?;
        let last = known.last().map_or(opened, |known| known.at);

        let some = random.below(u64::try_from(last - first + 1)?);
        let prefix = first + usize::try_from(some)?;
        let at = known.iter().rev().find(|known| known.at <= prefix);
        if let Some(at) = at {
            (self.history.durable, self.history.marked) = (at.durable, at.marked);
            self.target = MemoryTarget::of(at.files.clone());
            let is_before_the_last = known.iter().rev().nth(1).is_some_and(|of| prefix < of.at);
            if is_before_the_last {
                self.history.open = None;
            }
        } else {
            // What was to be found is to be found still.
            self.counts.one("crashes within an opening");
            self.history = before.0;
            self.target = MemoryTarget::of(before.1);
        }
        let crash = match random.below(4) {
            0 => Crash::Kill,
            1 => Crash::Drop,
            2 => Crash::Torn(random.below(1000)),
            _ => Crash::Reordered(random.below(1000)),
        };
        tell(|| format!("{crash:?} at {prefix} of {first} to {last}, opened at {opened}"));
        self.counts.one(if crash == Crash::Kill {
            "kills"
        } else {
            "power cuts"
        });
        let mut keep = Random(random.below(1000));
        self.home = self.home.at(prefix).crash(|_| keep.below(2) == 0);
        self.disk = self.disk.crash(prefix, crash);
        // Damage that was not healed before the crash is still there.
        if at.is_some() {
            self.damage = self.harm(random);
        }
        Ok(true)
    }

    fn work(&mut self, mut storage: NodeStorage, random: &mut Random) -> Fallible<Vec<Known>> {
        let mut known = vec![self.known()];
        let mut state = read(&storage)?;
        for _ in 0..random.below(16) {
            self.tick(random);
            match random.below(30) {
                0 | 1 => self.back_up(&storage, random.one_in(3))?,
                2 if !self.backups.is_empty() && random.one_in(2) => {
                    self.restore(&storage, random)?;
                }
                3 | 4 => {
                    storage.shutdown()?;
                    drop(storage);
                    storage = self.open()?;
                    unlock(&storage)?;
                    let found = read(&storage)?;
                    if found != state {
                        return Err(format!("closed: {}", differences(&state, &found)).into());
                    }
                    self.mark(&storage, &state);
                    self.counts.one("clean closes");
                }
                _ => {
                    let operation = Operation::any(random);
                    let goes_on = self
                        .carry_out(&operation, &storage, &mut state, random)
                        .map_err(|error| format!("{operation:?}: {error}"))?;
                    if !goes_on {
                        known.push(self.known());
                        break;
                    }
                }
            }
            known.push(self.known());
        }
        // What closing does is behind the crash.
        drop(storage);
        Ok(known)
    }

    /// Carries an operation out, perhaps on a disk that fails or is full; whether the handle goes on.
    fn carry_out(
        &mut self,
        operation: &Operation,
        storage: &NodeStorage,
        state: &mut State,
        random: &mut Random,
    ) -> Fallible<bool> {
        let (is_failing, is_full) = (random.one_in(8), random.one_in(16));
        let foreseen = operation.foreseen(state);
        let fault_at = self.disk.calls();
        if is_failing {
            self.fail_at(random, 12);
        }
        if is_full {
            self.disk.set_space(Some(Space {
                free: 1000,
                total: 1 << 30,
            }));
        }
        let done = operation.carry_out(storage);
        tell(|| {
            let number = storage.last_commit();
            format!("{operation:?}, failing {is_failing}, full {is_full}: {done:?}, {number}")
        });
        let calls = self.disk.calls() - fault_at;
        self.disk.fail(None);
        self.disk.set_space(None);
        let number = storage.last_commit();
        // Keys that could not be set are to be set again.
        if done.is_err() && matches!(operation, Operation::Seal(_)) && set_again(storage).is_err() {
            self.history.open = Some(Open {
                after: state.clone(),
                is_atomic: false,
            });
            return Ok(false);
        }
        let found = read(storage)?;
        let log_grew = audited(state).all(|(key, done)| found.get(key) == Some(done));
        let mut after = foreseen;
        if operation.audits_more() {
            if !log_grew {
                return Err("the log lost entries".into());
            }
            after.extend(audited(&found).map(|(key, done)| (key.clone(), done.clone())));
        }
        match done {
            Ok(()) => {
                if operation.end() == End::Refused {
                    return Err("it was not refused".into());
                }
                if found != after {
                    return Err(differences(&after, &found).into());
                }
                *state = found;
                match operation.end() {
                    // On a full disk there is no room for a mark.
                    End::Marked if !is_full => self.mark(storage, state),
                    End::Marked | End::Durable => {
                        self.history.note(number, state);
                        self.history.durable = number;
                    }
                    _ => self.history.note(number, state),
                }
                self.count(operation);
                // What reads the journal may be who finds out that it cannot be synced.
                Ok(storage.accepts_writes())
            }
            Err(error) => {
                let trouble = (is_failing && calls > 0, is_full);
                self.judge(error, operation, trouble, storage, (state, after, found))
            }
        }
    }
}
