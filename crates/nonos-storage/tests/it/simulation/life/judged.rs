//! Reopened: what is there compared with what was promised.

use std::io::{self, Write as _};

use nonos_storage::{Finding, FindingCode, NodeStorage, NonosError, StoredPeerInfo, TreeId};

use super::super::disk::Files;
use super::super::operation::{End, Operation, sealed_to, unlock};
use super::super::state::{History, Open, State, differences, is_between, read};
use super::{Damage, Life};
use crate::sealed_disk::{Fallible, full};

impl Life {
    /// What was opened is what must be found; from then on, that is what everything goes on from.
    pub(super) fn compare(&mut self, storage: &NodeStorage) -> Fallible<()> {
        let report = storage.opening_report();
        let number = storage.last_commit();
        let entries = storage.load_audit_log(usize::MAX)?.len();
        let is_damaged = matches!(self.damage, Damage::Journal(_));
        tell(|| format!("told: {:?}", report.damage));
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
            let integrity = storage.verify_integrity_with(None, 100, true)?;
            let chain = storage.verify_audit_log(None)?;
            // Commits that were lost, as was told, are missing in the log; of the node's id and key one may be.
            let may_lack = |finding: &Finding| {
                let is_lack = finding.tree == Some(TreeId::AuditLog)
                    || finding.code == FindingCode::IdentityPair;
                self.has_lost && is_lack
            };
            let is_damaged = !integrity.findings.iter().all(may_lack);
            if is_damaged || !(self.has_lost || chain.findings.is_empty()) {
                return Err(format!("{:?}, {:?}", chain.findings, integrity.findings).into());
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

    pub(super) fn known(&self) -> Known {
        Known {
            at: self.disk.trace_len(),
            durable: self.history.durable,
            marked: self.history.marked,
            files: self.target.files().clone(),
        }
    }

    pub(super) fn mark(&mut self, storage: &NodeStorage, state: &State) {
        let number = storage.last_commit();
        self.history.note(number, state);
        (self.history.durable, self.history.marked) = (number, number);
    }

    /// Whether an operation may have failed so, and left this; whether the handle goes on.
    pub(super) fn judge(
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

    pub(super) fn count(&mut self, operation: &Operation) {
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
}

/// What was known when the trace of the disk had this length.
pub(super) struct Known {
    pub(super) at: usize,
    pub(super) durable: u64,
    pub(super) marked: u64,
    pub(super) files: Files,
}

/// Says what happens, for whoever looks at one seed.
pub(super) fn tell(what: impl FnOnce() -> String) {
    if std::env::var_os("NONOS_SIMULATION_TOLD").is_some() {
        writeln!(io::stderr(), "{}", what()).ok();
    }
}
