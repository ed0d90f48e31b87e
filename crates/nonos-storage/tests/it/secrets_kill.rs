//! Killed while sealing, changing keys and purging: everything opens again with the right keys, and the
//! work goes on where it was.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use nonos_storage::{NodeStorage, SecretsStatus, StorageConfig};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::canaries::{Canaries, Hunt};
use crate::child::{Running, say};
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, all_secrets, full, on};
use crate::watched::Watched as _;

/// Begins the part; then the seed of the secrets, and the next round.
pub(crate) const PART: &str = "secrets-killed-";

const SECRETS: u64 = 100;
const KILLS_SEALING: u64 = 15;
const KILLS: u64 = 40;
/// Of a round: what it stores before it changes the keys.
const STORED: u64 = 4;

fn name(number: u64) -> String {
    format!("s{number:03}")
}

/// What round `round` stores under the name of this number; round 0 is what is there at first.
fn value(canaries: Canaries, number: u64, round: u64) -> Vec<u8> {
    canaries.get(round * 1000 + number)
}

/// Which keys the store is sealed to, as a number; `None` if it is not.
fn active(status: &SecretsStatus) -> Fallible<Option<u8>> {
    let Some(active) = status.active else {
        return Ok(None);
    };
    let number = (1..=u8::MAX).find(|number| full(*number).key_id() == active);
    Ok(Some(number.ok_or("keys that nobody has")?))
}

/// Sets the right keys; returns their number, and whether they are being changed to.
fn unlock(storage: &NodeStorage) -> Fallible<Option<(u8, bool)>> {
    let status = storage.secrets_status()?;
    let Some(keys) = active(&status)? else {
        return Ok(None);
    };
    storage.set_encryption_keys(full(keys))?;
    if status.is_rekeying && keys > 1 {
        storage.set_previous_keys(full(keys - 1))?;
    }
    Ok(Some((keys, storage.secrets_status()?.is_rekeying)))
}

/// Seals, goes on with what was begun, and then for ever: stores, changes keys, purges.
pub(crate) fn play(part: &str, config: StorageConfig) -> TestResult {
    let numbers = part
        .strip_prefix(PART)
        .and_then(|numbers| numbers.split_once('-'));
    let (seed, round) = numbers.ok_or("no numbers")?;
    let canaries = Canaries::of(seed.parse()?);
    let storage = NodeStorage::open(config)?;
    let tell = &mut |progress: nonos_storage::RekeyProgress| match say(&format!(
        "sealed {} of {}",
        progress.done, progress.total
    )) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_gone) => ControlFlow::Break(()),
    };
    say("open")?;
    let mut keys = match unlock(&storage)? {
        None => {
            storage.set_encryption_keys(full(1))?;
            say("sealed")?;
            1
        }
        Some((keys, is_changing)) => {
            if is_changing {
                storage.resume_rekey(full(keys - 1), tell)?;
                say("resumed")?;
            }
            keys
        }
    };
    for round in round.parse::<u64>()?.. {
        for number in 0..STORED {
            let number = (round * STORED + number) % SECRETS;
            say(&format!("store {number} {round}"))?;
            storage.keep_secret(&name(number), &value(canaries, number, round))?;
            say(&format!("stored {number} {round}"))?;
        }
        keys += 1;
        storage.rekey(full(keys), tell)?;
        say("changed")?;
        storage.purge()?;
        say("purged")?;
    }
    Ok(())
}

/// What the store may hold: by number, the round whose value is there, and one that may be.
#[derive(Debug, Default)]
struct Model {
    durable: BTreeMap<u64, u64>,
    begun: BTreeMap<u64, u64>,
    next_round: u64,
}

impl Model {
    fn hear(&mut self, said: &str) -> Fallible<()> {
        let words: Vec<&str> = said.split(' ').collect();
        if let [what @ ("store" | "stored"), number, round] = words.as_slice() {
            let (number, round): (u64, u64) = (number.parse()?, round.parse()?);
            self.next_round = round + 1;
            if *what == "store" {
                self.begun.insert(number, round);
            } else {
                self.durable.insert(number, round);
                self.begun.remove(&number);
            }
        }
        Ok(())
    }

    /// Compares every secret; what may be there is settled by what is.
    fn compare(&mut self, storage: &NodeStorage, canaries: Canaries, case: &str) -> TestResult {
        let found: BTreeMap<_, _> = all_secrets(storage)?.into_iter().collect();
        assert_eq!(found.len(), usize::try_from(SECRETS)? + 1, "{case}");
        for number in 0..SECRETS {
            let of_round = |round| value(canaries, number, round);
            let found = found.get(&name(number)).ok_or("a secret is missing")?;
            let durable = self.durable.get(&number).copied().unwrap_or(0);
            match self.begun.remove(&number) {
                Some(begun) if *found == of_round(begun) => {
                    self.durable.insert(number, begun);
                }
                _ => assert_eq!(*found, of_round(durable), "{case}: secret {number}"),
            }
        }
        let key = found.get("(identity)").ok_or("no key")?;
        assert_eq!(*key, value(canaries, SECRETS, 0), "{case}");
        Ok(())
    }
}

/// Plain secrets, which anybody finds in the files.
fn plain_store(canaries: Canaries) -> Fallible<OnDisk> {
    let mut disk = OnDisk::new()?;
    disk.config.flush_every_ms = None;
    let storage = disk.open()?;
    for number in 0..SECRETS {
        storage.keep_secret(&name(number), &value(canaries, number, 0))?;
    }
    storage.keep_identity(&NODE, &value(canaries, SECRETS, 0))?;
    storage.close()?;
    Ok(disk)
}

/// Runs a child, and kills it after it said so much and a moment more.
fn run_and_kill(
    disk: &OnDisk,
    canaries: Canaries,
    model: &mut Model,
    kill: u64,
    lines: u64,
) -> TestResult {
    let part = format!("{PART}{}-{}", canaries.seed(), model.next_round.max(1));
    let mut child = Running::start(&part, &disk.config.path)?;
    for _ in 0..=lines {
        model.hear(&child.hear()?)?;
    }
    // Nothing is waited for: it is the moment of the kill that is chosen.
    std::thread::sleep(Duration::from_micros(kill * 7919 % 9000));
    for said in child.kill()? {
        model.hear(&said)?;
    }
    Ok(())
}

fn plain_values(canaries: Canaries, rounds: u64) -> Hunt {
    let mut hunt = Hunt::default();
    for round in 0..rounds {
        for number in 0..=SECRETS {
            hunt.add(
                format!("secret {number} of round {round}"),
                &value(canaries, number, round),
            );
        }
    }
    hunt
}

#[test]
fn sealing_that_is_killed_is_finished_by_the_same_keys() -> TestResult {
    let canaries = Canaries::new();
    let made = plain_store(canaries)?;
    let mut under_way = 0;
    for kill in 0..KILLS_SEALING {
        let disk = OnDisk::new()?;
        copy(made.directory.root(), disk.directory.root())?;
        let mut model = Model::default();
        run_and_kill(&disk, canaries, &mut model, kill, 0)?;
        let storage = disk.open()?;
        assert!(
            storage.opening_report().damage.is_empty(),
            "{kill}: {:?}",
            storage.opening_report()
        );
        let status = storage.secrets_status()?;
        under_way += u32::from(status.is_rekeying);
        let begun = active(&status)?;
        match begun {
            None => {
                model.compare(&storage, canaries, &format!("{kill}, not begun"))?;
                storage.set_encryption_keys(full(1))?;
            }
            Some(_) => {
                // The child may have come as far as changing the keys.
                if let Some((keys, true)) = unlock(&storage)? {
                    storage.resume_rekey(full(keys - 1), &mut on)?;
                }
            }
        }
        model.compare(&storage, canaries, &format!("{kill}, {status:?}"))?;
        let status = storage.secrets_status()?;
        assert!(
            !status.is_rekeying && status.counts.plaintext == 0,
            "{kill}: {status:?}"
        );
        assert_eq!(storage.verify_audit_log(None)?.faults, 0, "{kill}");
        if kill % 5 == 0 {
            let plain = plain_values(canaries, 1);
            assert_ne!(plain.found(made.directory.root())?, Vec::<String>::new());
            storage.purge()?;
            assert_eq!(
                plain.found(disk.directory.root())?,
                Vec::<String>::new(),
                "{kill}"
            );
        }
    }
    assert!(under_way > 0, "no kill came while it was sealing");
    Ok(())
}

#[test]
fn changing_keys_and_purging_killed_at_any_moment_lose_no_secret() -> TestResult {
    let canaries = Canaries::new();
    let disk = plain_store(canaries)?;
    disk.open()?.set_encryption_keys(full(1))?;
    let mut model = Model::default();
    let mut under_way = 0;
    for kill in 0..KILLS {
        run_and_kill(&disk, canaries, &mut model, kill, kill * 37 % 17)?;
        let storage = disk.open()?;
        let report = storage.opening_report();
        assert!(report.damage.is_empty(), "kill {kill}: {report:?}");
        let Some((keys, is_changing)) = unlock(&storage)? else {
            return Err(format!("kill {kill}: no keyring").into());
        };
        model.compare(&storage, canaries, &format!("kill {kill}, before going on"))?;
        if is_changing {
            under_way += 1;
            // Sometimes the next child goes on.
            if kill % 3 == 0 {
                continue;
            }
            storage.resume_rekey(full(keys - 1), &mut on)?;
            model.compare(&storage, canaries, &format!("kill {kill}, resumed"))?;
        }
        let status = storage.secrets_status()?;
        assert_eq!(status.counts.rekey_remaining, 0, "kill {kill}: {status:?}");
        let audited = storage.verify_audit_log(None)?;
        assert_eq!(audited.faults, 0, "kill {kill}: {audited:?}");
        // Every fourth time it is closed, so that clean and unclean openings alternate.
        if kill % 4 == 0 {
            storage.close()?;
        }
    }
    assert!(under_way > 0, "no kill came while keys were changed");
    let storage = disk.open()?;
    if let Some((keys, true)) = unlock(&storage)? {
        storage.resume_rekey(full(keys - 1), &mut on)?;
    }
    model.compare(&storage, canaries, "at the end")?;
    storage.purge()?;
    let plain = plain_values(canaries, model.next_round + 1);
    assert_eq!(plain.found(disk.directory.root())?, Vec::<String>::new());
    Ok(())
}
