//! Reads every record of every tree and says what is not as it was written. Changes nothing.
//!
//! The trees, and the index against the journal, are looked at by as many threads as there are
//! processors, beside readers and writers.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use storage_core::trees::{audit_log, identity};
use storage_core::{CoreError, Db, Difference, KeyRange, Meter, Observer, Order, Read, TreeId};

mod invariants;
mod report;

pub use report::{Code, Finding, Integrity, Severity, TreeIntegrity};

use report::Collected;

const EVERYTHING: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
/// Records between two looks at the clock.
const TELL_EVERY: u64 = 1000;
/// Findings that are listed at most, by default; all are counted.
const MAX_LISTED: usize = 1000;

/// What is wrong with a sealed record, told by who knows the keys: shown a tree, a key and a framed value.
pub type Envelope<'a> = &'a (dyn Fn(TreeId, &[u8], &[u8]) -> Option<(Code, String)> + Sync);

/// What to look at.
#[derive(Clone)]
#[non_exhaustive]
pub struct VerifyOptions<'a> {
    /// Only this tree; all by default.
    pub tree: Option<TreeId>,
    /// Findings that are listed at most; all are counted.
    pub max_listed: usize,
    /// Whether the chain of the audit log is followed, and the index compared with the journal.
    pub is_deep: bool,
    /// Looks at sealed records; nobody by default.
    pub envelope: Option<Envelope<'a>>,
    /// Told how far it is.
    pub observer: Observer,
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("tree", &self.tree)
            .field("is_deep", &self.is_deep)
            .finish_non_exhaustive()
    }
}

impl Default for VerifyOptions<'_> {
    fn default() -> Self {
        Self {
            tree: None,
            max_listed: MAX_LISTED,
            is_deep: true,
            envelope: None,
            observer: Observer::default(),
        }
    }
}

/// One piece of work.
#[derive(Clone, Copy, Debug)]
enum Job {
    Tree(TreeId),
    Copies,
    Chain,
}

/// Reads every record and reports what is wrong.
///
/// # Errors
///
/// [`CoreError::Cancelled`], [`CoreError::Closed`], and errors of the file system that say nothing about
/// the records. What is damaged is in the report.
pub fn verify(db: &Db, options: &VerifyOptions<'_>) -> Result<Integrity, CoreError> {
    let trees: Vec<TreeId> = match options.tree {
        Some(tree) => vec![tree],
        None => TreeId::ALL.to_vec(),
    };
    let mut jobs = Vec::new();
    let mut total = 0;
    for &tree in &trees {
        let len = db.len(tree)?;
        total += u64::try_from(len).unwrap_or(u64::MAX);
        jobs.push((len, Job::Tree(tree)));
    }
    if options.is_deep {
        let audited = db.len(TreeId::AuditLog)?;
        if trees.contains(&TreeId::AuditLog) {
            total += u64::try_from(audited).unwrap_or(u64::MAX);
            jobs.push((audited, Job::Chain));
        }
        if options.tree.is_none() {
            total *= 2;
            jobs.push((usize::MAX, Job::Copies));
        }
    }
    // The longest first, so that no thread is left with it alone.
    jobs.sort_by_key(|(len, _)| std::cmp::Reverse(*len));
    let work = Work {
        db,
        options,
        next: AtomicUsize::new(0),
        collected: Mutex::new(Collected::new(&trees, options.max_listed)),
        meter: Mutex::new(Meter::start("verify", total, &options.observer)),
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 1..threads.min(jobs.len()) {
            let verifying = std::thread::Builder::new().name("nonos-verify".into());
            let thread = verifying.spawn_scoped(scope, || work.run(&jobs));
            running.push(thread.map_err(|source| CoreError::Thread { source })?);
        }
        let mut done = work.run(&jobs);
        for thread in running {
            let theirs = thread.join().unwrap_or(Err(CoreError::EnginePanic));
            done = done.and(theirs);
        }
        done
    })?;
    let collected = work.collected.into_inner();
    Ok(collected
        .unwrap_or_else(PoisonError::into_inner)
        .into_report())
}

struct Work<'a> {
    db: &'a Db,
    options: &'a VerifyOptions<'a>,
    next: AtomicUsize,
    collected: Mutex<Collected>,
    meter: Mutex<Meter<'a>>,
}

impl Work<'_> {
    fn run(&self, jobs: &[(usize, Job)]) -> Result<(), CoreError> {
        while let Some((_, job)) = jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let done = match job {
                Job::Tree(tree) => self.tree(*tree),
                Job::Copies => self.copies(),
                Job::Chain => self.chain(),
            };
            match done {
                // Damage of a whole file is a finding, as that of a record is.
                Err(CoreError::Journal(error)) => {
                    self.add(Finding::of_all(Code::Journal, error.to_string()));
                }
                Err(error @ CoreError::IndexDamaged { .. }) => {
                    self.add(Finding::of_all(Code::Index, error.to_string()));
                }
                done => done?,
            }
        }
        Ok(())
    }

    fn add(&self, finding: Finding) {
        let collected = self.collected.lock();
        collected
            .unwrap_or_else(PoisonError::into_inner)
            .add(finding);
    }

    fn tell(&self, records: u64, bytes: u64) -> Result<(), CoreError> {
        let meter = self.meter.lock();
        meter
            .unwrap_or_else(PoisonError::into_inner)
            .add(records, bytes)
    }

    fn tree(&self, tree: TreeId) -> Result<(), CoreError> {
        let (mut entries, mut corrupted, mut bytes) = (0, 0, 0);
        let mut untold = 0;
        let (mut has_id, mut has_key) = (false, false);
        self.db
            .view()
            .scan(tree, &EVERYTHING, Order::Ascending, &mut |key, frame| {
                entries += 1;
                untold += 1;
                bytes += u64::try_from(key.len() + frame.len()).unwrap_or(0);
                has_id |= tree == TreeId::Identity && key == identity::NODE_ID;
                has_key |= tree == TreeId::Identity && key == identity::ENCRYPTED_KEY;
                let mut is_corrupted = false;
                let mut found = invariants::check(tree, key, frame);
                if let Some(envelope) = self.options.envelope {
                    found.extend(envelope(tree, key, frame));
                }
                for (code, detail) in found {
                    is_corrupted |= code.severity() == Severity::Error;
                    self.add(Finding::of_record(tree, key, code, detail));
                }
                corrupted += usize::from(is_corrupted);
                if untold == TELL_EVERY {
                    self.tell(untold, bytes)?;
                    (untold, bytes) = (0, 0);
                }
                Ok(true)
            })?;
        if has_id != has_key {
            let detail = "the id and the key of the node are stored together".to_owned();
            let key = if has_id {
                identity::ENCRYPTED_KEY
            } else {
                identity::NODE_ID
            };
            self.add(Finding::of_record(tree, key, Code::IdentityPair, detail));
        }
        self.tell(untold, bytes)?;
        let collected = self.collected.lock();
        let mut collected = collected.unwrap_or_else(PoisonError::into_inner);
        collected.count(tree, entries, corrupted);
        Ok(())
    }

    fn copies(&self) -> Result<(), CoreError> {
        let mut untold = 0;
        let differences = self.db.differences(&mut || {
            untold += 1;
            if untold == TELL_EVERY {
                untold = 0;
                return self.tell(TELL_EVERY, 0);
            }
            Ok(())
        })?;
        for (tree, key, difference) in differences {
            let (code, detail) = match difference {
                Difference::Missing => (Code::IndexMissing, "the index lacks it"),
                Difference::Extra => (Code::IndexExtra, "the journal does not have it"),
                _ => (
                    Code::IndexChanged,
                    "index and journal have different values",
                ),
            };
            self.add(Finding::of_record(tree, &key, code, detail.to_owned()));
        }
        Ok(())
    }

    fn chain(&self) -> Result<(), CoreError> {
        let store_id = self.db.store_id();
        let chain = audit_log::verify(&self.db.view(), &store_id, None)?;
        for found in chain.findings {
            self.add(Finding::of_chain(&found));
        }
        self.tell(chain.entries, 0)
    }
}
