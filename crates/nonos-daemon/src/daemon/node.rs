//! What the parts of the daemon know of each other: how far it is, and what was done last.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nonos_daemon::settings::Settings;
use nonos_storage::{Backup, Health, HistoryId, NodeStorage, NonosResult, Progress, TreeId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::output::Finding;

/// The daemon, as its parts share it.
#[derive(Debug)]
pub(crate) struct Node {
    phase: Mutex<Phase>,
    done: Mutex<Done>,
    /// Held while a backup is made: what began before the settings changed ends first.
    pub(crate) shipping: Mutex<()>,
    /// Held while every record is read.
    pub(crate) scrubbing: Mutex<()>,
    pub(crate) started: Instant,
    /// Milliseconds until a buffered write survives a power cut.
    pub(crate) flush_every_ms: Option<u64>,
}

/// No clock that is right says an earlier time, in Unix seconds: 2026-01-01.
pub(crate) const EARLIEST: i64 = 1_767_225_600;

/// How far the daemon is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The database is being opened: recovered, or migrated.
    Opening(Option<Progress>),
    /// The database is open.
    Open(Arc<NodeStorage>),
    /// The database is being closed.
    Closing,
}

/// What was done since the daemon started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// What the settings ask for.
    pub(crate) periods: Periods,
    /// What opening found damaged, until every record was read since.
    pub(crate) damage: Vec<String>,
    /// The newest backup that is known.
    pub(crate) backup: Option<LastBackup>,
    /// Why the last backup failed, if it did.
    pub(crate) backup_failed: Option<String>,
    /// Why the last drill failed, if it did.
    pub(crate) drill_failed: Option<String>,
    /// What the last scrub found.
    pub(crate) findings: Vec<Finding>,
    /// The bytes of each tree, as they were counted last.
    pub(crate) tree_bytes: Option<[u64; 9]>,
}

impl Done {
    /// The bytes of keys and stored values of a tree.
    pub(crate) fn bytes_of(&self, tree: TreeId) -> Option<u64> {
        let bytes = self.tree_bytes.as_ref()?;
        bytes.get(usize::from(tree.number())).copied()
    }
}

/// Seconds between two turns of what keeps the database safe; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Periods {
    pub(crate) backup: u64,
    pub(crate) drill: u64,
    pub(crate) scrub: u64,
}

impl Periods {
    pub(crate) fn of(settings: &Settings) -> Self {
        let (backup, upkeep) = (&settings.backup, &settings.maintenance);
        // What is sealed to others is drilled where they are.
        let is_readable =
            backup.recipients.is_empty() || !backup.identity_file.as_os_str().is_empty();
        let drills = backup.every_secs > 0 && is_readable;
        let or_never = |is_done: bool, seconds| if is_done { seconds } else { 0 };
        Self {
            backup: backup.every_secs,
            drill: or_never(drills, backup.drill_every_secs),
            scrub: or_never(upkeep.scrub_bytes_per_sec > 0, upkeep.scrub_every_secs),
        }
    }
}

/// A backup that was made, or found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LastBackup {
    /// When it was made, in Unix seconds.
    pub(crate) at: i64,
    /// Its last commit, and of which of the database's histories.
    pub(crate) commit: u64,
    pub(crate) history: HistoryId,
    /// When it was read whole, in Unix seconds.
    pub(crate) verified_at: Option<i64>,
}

impl LastBackup {
    pub(crate) fn of(backup: &Backup) -> Self {
        Self {
            at: backup.created_at,
            commit: backup.commit,
            history: backup.history,
            verified_at: backup.verified_at,
        }
    }
}

impl Node {
    pub(crate) fn new(flush_every_ms: Option<u64>) -> Self {
        Self {
            phase: Mutex::new(Phase::Opening(None)),
            done: Mutex::default(),
            shipping: Mutex::default(),
            scrubbing: Mutex::default(),
            started: Instant::now(),
            flush_every_ms,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        let phase = self.phase.lock();
        phase.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Notes how far opening is. Later work of the database tells its progress as well: that is none of it.
    pub(crate) fn opening(&self, progress: &Progress) -> bool {
        let phase = self.phase.lock();
        let mut phase = phase.unwrap_or_else(PoisonError::into_inner);
        let is_opening = matches!(*phase, Phase::Opening(_));
        if is_opening {
            *phase = Phase::Opening(Some(*progress));
        }
        is_opening
    }

    pub(crate) fn done(&self) -> Done {
        let done = self.done.lock();
        done.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes the newest backup at the place of the configuration.
    pub(crate) fn backed_up(&self, backup: LastBackup) {
        self.note(|done| done.backup = Some(backup));
    }

    /// Notes a backup that a verb made or read there: of one history the one of the later commit, as a clock can be
    /// wrong; of another, the one that was made later.
    pub(crate) fn told_of(&self, backup: LastBackup) {
        self.note(|done| {
            let known = done.backup;
            let newer = known.map_or(Ordering::Greater, |known| {
                if known.history == backup.history {
                    backup.commit.cmp(&known.commit)
                } else {
                    backup.at.cmp(&known.at)
                }
            });
            if newer.is_gt() {
                done.backup_failed = None;
            }
            if newer.is_ge() {
                done.backup = Some(backup);
            }
        });
    }

    /// Notes that the newest backup was restored and verified.
    pub(crate) fn drilled(&self, storage: &NodeStorage) -> NonosResult<()> {
        self.note(|done| done.drill_failed = None);
        storage.note_upkeep(|upkeep| upkeep.drilled_at = Some(now()))
    }

    /// Notes that every record was read, and what was found.
    pub(crate) fn verified(
        &self,
        storage: &NodeStorage,
        errors: u64,
        findings: Vec<Finding>,
    ) -> NonosResult<()> {
        self.note(|done| {
            done.findings = findings;
            if errors == 0 {
                done.damage.clear();
            }
        });
        storage.note_upkeep(|upkeep| {
            upkeep.scrubbed_at = Some(now());
            upkeep.scrub_errors = errors;
        })
    }

    /// Whether it answers and takes writes; if not, why.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        match self.phase() {
            Phase::Opening(Some(progress)) => Err(format!(
                "{}: {} of {}",
                progress.operation, progress.done, progress.total
            )),
            Phase::Opening(None) => Err("the database is being opened".to_owned()),
            Phase::Closing => Err("the database is being closed".to_owned()),
            Phase::Open(storage) => match storage.health() {
                Health::Poisoned { reason } | Health::Degraded { reason }
                    if !storage.accepts_writes() =>
                {
                    Err(format!("the database takes no writes: {reason}"))
                }
                _ => Ok(()),
            },
        }
    }
}

pub(crate) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that was put back to an earlier state goes on in another history, whose commits are fewer.
    #[test]
    fn a_later_backup_is_one_of_a_later_commit_of_its_history() {
        let of = |at, commit, history| LastBackup {
            at,
            commit,
            history: [history; 16],
            verified_at: None,
        };
        let node = Node::new(None);
        let known = || node.done().backup.map(|known| (known.at, known.commit));
        node.told_of(of(100, 12, 1));
        node.told_of(of(200, 6, 1));
        assert_eq!(known(), Some((100, 12)), "by a clock that was wrong");
        node.told_of(of(150, 10, 2));
        assert_eq!(known(), Some((150, 10)), "after a restore");
        node.told_of(of(160, 12, 1));
        assert_eq!(known(), Some((160, 12)), "a verification of an older one");
        node.told_of(of(120, 13, 2));
        assert_eq!(known(), Some((160, 12)));
    }
}
