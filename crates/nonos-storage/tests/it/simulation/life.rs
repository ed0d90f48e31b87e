//! One life: generations of opening, work and a crash.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use nonos_storage::{
    NodeStorage, NonosError, OpenOptions, StorageConfig, StoredPeerInfo, Wanted, set_clock,
};
use storage_core::SimulatedHome;
use storage_core::history::{Disk, SimulatedDisk};
use storage_journal::disk::{Crash, Fault, Space};
use storage_testkit::{Directory, Random, first_home};

use super::BEGINNING;
use super::disk::{Files, MemoryTarget, SplitDisk};
use super::operation::{End, Operation, sealed_to, set_again, unlock};
use super::state::{History, Open, State, audited, differences, is_between, read};
use crate::sealed_disk::{Fallible, full};

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

/// What was done to the files while nobody had them open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Damage {
    Nothing,
    Index(String),
    Journal(String),
}

/// Says what happens, for whoever looks at one seed.
fn tell(what: impl FnOnce() -> String) {
    if std::env::var_os("NONOS_SIMULATION_TOLD").is_some() {
        writeln!(io::stderr(), "{}", what()).ok();
    }
}

/// What was known when the trace of the disk had this length.
struct Known {
    at: usize,
    durable: u64,
    marked: u64,
    files: Files,
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

    fn harm(&mut self, random: &mut Random) -> Damage {
        match random.below(4) {
            0 => {
                self.counts.one("damage to the index");
                let tree = random.one_of(TREES);
                let kind = random.below(4);
                self.home.damage(tree, |entries| match kind {
                    0 => entries.clear(),
                    1 => entries
                        .values_mut()
                        .for_each(|value| value.iter_mut().take(1).for_each(|byte| *byte ^= 1)),
                    2 => drop(entries.pop_first()),
                    _ => drop(entries.insert(b"never".to_vec(), b"stored".to_vec())),
                });
                Damage::Index(format!("{tree:?}, kind {kind}"))
            }
            1 => {
                let files = self.disk.files();
                let Some(path) = files.get(random.index(files.len())) else {
                    return Damage::Nothing;
                };
                self.counts.one("damage to the journal");
                let len = self.disk.content(path).unwrap_or_default().len();
                let (start, stretch) = (random.index(len), random.one_of([1, 20, 200]));
                let is_cut = random.one_in(5);
                self.disk.damage(path, |bytes| {
                    if is_cut {
                        bytes.truncate(start);
                    }
                    for byte in bytes.iter_mut().skip(start).take(stretch) {
                        *byte ^= 0x5a;
                    }
                });
                let name = path.file_name().unwrap_or_default().display();
                Damage::Journal(format!(
                    "{name}: {stretch} bytes at {start} of {len}, cut {is_cut}"
                ))
            }
            _ => Damage::Nothing,
        }
    }

    /// Lets one of the next calls of the disk fail.
    fn fail_at(&self, random: &mut Random, calls: u64) {
        self.disk.fail(Some(Fault {
            at_call: self.disk.calls() + random.below(calls),
            kind: random.one_of([io::ErrorKind::Other, io::ErrorKind::StorageFull]),
        }));
    }

    /// What was opened is what must be found; from then on, that is what everything goes on from.
    fn compare(&mut self, storage: &NodeStorage) -> Fallible<()> {
        let report = storage.opening_report();
        let number = storage.last_commit();
        let entries = storage.load_audit_log(usize::MAX)?.len();
        let is_damaged = matches!(self.damage, Damage::Journal(_));
        match unlock(storage) {
            // The records of the keys are not those of the secrets any more: that is what this is for.
            Err(NonosError::Encryption(_)) if is_damaged && !report.damage.is_empty() => {
                storage.repair_keyring(full(sealed_to(storage)?))?;
            }
            unlocked => unlocked?,
        }
        let now = read(storage)?;
        let mut found = now.clone();
        // Setting keys may go on with sealing, which is audited.
        found.retain(|(tree, place), _| *tree != "audit_log" || *place < format!("{entries:06}"));
        if is_damaged {
            self.history.explains(&found, !report.damage.is_empty())?;
            self.has_lost |= !report.damage.is_empty();
        } else {
            self.history.allows(number, &found)?;
            let new = report.damage.iter().find(|line| !self.told.contains(line));
            if let (Some(line), Damage::Nothing) = (new, &self.damage) {
                return Err(format!("a false alarm: {line}").into());
            }
            let integrity = storage.verify_integrity()?;
            let chain = storage.verify_audit_log(None)?;
            if integrity.corrupted_entries > 0 || !(self.has_lost || chain.findings.is_empty()) {
                return Err(format!("{:?}, {integrity:?}", chain.findings).into());
            }
        }
        self.told.extend(report.damage.iter().cloned());
        let is_new = self.history.is_new();
        self.history = History::from(storage.last_commit(), now);
        // Opening made both copies whole; setting keys may have committed since.
        self.history.note(number, &found);
        self.history.marked = number;
        if is_new {
            // Its schema is in a commit that no mark tells of.
            self.history.note(0, &State::new());
            self.history.marked = 0;
        }
        self.counts.one("openings");
        Ok(())
    }

    fn known(&self) -> Known {
        Known {
            at: self.disk.trace_len(),
            durable: self.history.durable,
            marked: self.history.marked,
            files: self.target.files().clone(),
        }
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

    fn mark(&mut self, storage: &NodeStorage, state: &State) {
        let number = storage.last_commit();
        self.history.note(number, state);
        (self.history.durable, self.history.marked) = (number, number);
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

    /// Whether an operation may have failed so, and left this; whether the handle goes on.
    fn judge(
        &mut self,
        error: NonosError,
        operation: &Operation,
        (is_failing, is_full): (bool, bool),
        storage: &NodeStorage,
        (state, after, found): (&mut State, State, State),
    ) -> Fallible<bool> {
        let code = match &error {
            NonosError::Storage(error) => error.code().name(),
            _ => "",
        };
        let is_expected = match (operation, code) {
            (Operation::Update(_, _, true), "INVALID_ARGUMENT") => true,
            (Operation::Seal(_), "CANCELLED") => {
                self.counts.one("cancelled");
                true
            }
            (_, "DISK_FULL") if is_full => {
                self.counts.one("full disks");
                true
            }
            _ if is_failing => {
                self.counts.one("injected errors");
                true
            }
            _ => false,
        };
        if !is_expected {
            return Err(error.into());
        }
        let is_one = found == *state || found == after;
        let is_atomic = operation.is_atomic();
        if !(is_one || !is_atomic && is_between(&found, state, &after)) {
            let (one, other) = (differences(state, &found), differences(&after, &found));
            return Err(format!("half done: {one}, or {other} ({error})").into());
        }
        if operation.end() == End::Refused && found != *state {
            return Err("refused, and done".into());
        }
        if storage.accepts_writes() {
            *state = found;
            self.history.note(storage.last_commit(), state);
            return Ok(true);
        }
        let peer = StoredPeerInfo {
            peer_id: "peer-000".to_owned(),
            ..Default::default()
        };
        if storage.store_peer("peer-000", &peer).is_ok() {
            return Err("a write behind an error".into());
        }
        self.counts.one("writes that no longer were taken");
        self.history.open = Some(Open { after, is_atomic });
        Ok(false)
    }

    fn count(&mut self, operation: &Operation) {
        self.counts.one(match operation {
            Operation::Checkpoint => "checkpoints",
            Operation::Compact => "compactions",
            Operation::Purge => "purges",
            Operation::Seal(_) => "keys sealed to",
            Operation::Update(..) => "updates",
            Operation::Write(_) => "writes",
            Operation::Prune(_) | Operation::Wipe(_) => "removals",
            Operation::Flush => "flushes",
            Operation::Verify => "verifications",
        });
    }

    fn back_up(&mut self, storage: &NodeStorage, is_full: bool) -> Fallible<()> {
        let made = storage.back_up(&self.target, !is_full)?;
        tell(|| format!("backed up, full {is_full}: {} files", made.len()));
        self.history.durable = storage.last_commit();
        for backup in made {
            self.counts.one(match backup.kind {
                nonos_storage::BackupKind::Full => "backups",
                _ => "increments",
            });
            if let Some(state) = self.history.state(backup.commit) {
                self.backups.insert(backup.name(), state.clone());
            }
        }
        Ok(())
    }

    /// Makes a database of some backup on the real disk, and compares.
    fn restore(&mut self, storage: &NodeStorage, random: &mut Random) -> Fallible<()> {
        let listing = NodeStorage::list_backups(&self.target)?;
        let backups: Vec<_> = listing
            .backups
            .iter()
            .map(nonos_storage::Backup::name)
            .collect();
        let known: Vec<_> = backups
            .iter()
            .filter(|name| self.backups.contains_key(*name))
            .collect();
        let Some(name) = known.get(random.index(known.len())) else {
            return Ok(());
        };
        let elsewhere = Directory::new()?;
        let config = StorageConfig {
            path: elsewhere.database(),
            ..self.config()
        };
        let store = Some(storage.store_id().0);
        let wanted = Wanted::Named((*name).clone());
        let how = OpenOptions::new(config.clone());
        NodeStorage::restore_from(&self.target, store, &wanted, how)?;
        let restored = NodeStorage::open(config)?;
        let entries = restored.load_audit_log(usize::MAX)?.len();
        unlock(&restored)?;
        let mut found = read(&restored)?;
        found.retain(|(tree, place), _| *tree != "audit_log" || *place < format!("{entries:06}"));
        let expected = self.backups.get(*name).cloned().unwrap_or_default();
        if found != expected {
            return Err(format!("restored {name}: {}", differences(&expected, &found)).into());
        }
        self.counts.one("restores");
        Ok(())
    }
}
