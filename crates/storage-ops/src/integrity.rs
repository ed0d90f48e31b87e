//! Reads every record of every tree and says what is not as it was written. Changes nothing.
//!
//! The trees, and the index against the journal, are looked at by as many threads as there are
//! processors, eight at most, beside readers and writers.

use std::cmp::Reverse;
use std::num::NonZero;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storage_core::trees::{audit_log, identity};
use storage_core::{CoreError, Db, Difference, KeyRange, Meter, Order, Read, TreeId};

mod invariants;
mod report;

pub use report::{Code, Finding, Integrity, Severity, TreeIntegrity};

use report::Collected;

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);
/// Records that are looked at between two commits, and two looks at the clock.
const PAGE: u32 = 512;
/// Threads at once, at most: each has pages of the index in memory, beside readers and writers.
const MOST_THREADS: usize = 8;
/// Between two looks at whether it is cancelled.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
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
    /// How much is read in a second at most; as fast as it goes by default. A limit also keeps it to one
    /// thread.
    pub bytes_per_second: Option<NonZero<u64>>,
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
            bytes_per_second: None,
        }
    }
}

impl VerifyOptions<'_> {
    fn threads(&self) -> NonZero<usize> {
        match self.bytes_per_second {
            Some(_) => NonZero::<usize>::MIN,
            None => processors(),
        }
    }
}

fn processors() -> NonZero<usize> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    NonZero::new(processors.min(MOST_THREADS)).unwrap_or(NonZero::<usize>::MIN)
}

fn of_usize(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// One piece of work.
#[derive(Debug)]
enum Job {
    Piece(TreeId, KeyRange),
    Chain,
}

/// Compares the index with the journal, and nothing else: what differs, 10,000 at most. A database that is open for
/// reading only, or in memory, has nothing to compare.
///
/// # Errors
///
/// Errors of the index and the journal.
pub fn compare_index(db: &Db) -> Result<Vec<Finding>, CoreError> {
    let meter = Mutex::new(db.meter("compare", 0));
    let differences = db.differences(processors(), &|records, bytes| {
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.add(of_usize(records), of_usize(bytes))
    })?;
    Ok(differences.iter().map(of_copies).collect())
}

fn of_copies((tree, key, difference): &(TreeId, Vec<u8>, Difference)) -> Finding {
    let (code, detail) = match difference {
        Difference::Missing => (Code::IndexMissing, "the index lacks it"),
        Difference::Extra => (Code::IndexExtra, "the journal does not have it"),
        _ => (
            Code::IndexChanged,
            "index and journal have different values",
        ),
    };
    Finding::of_record(*tree, key, code, detail.to_owned())
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
    let mut by_len = Vec::new();
    for &tree in &trees {
        let len = db.len(tree)?;
        total += of_usize(len);
        by_len.push((len, tree));
    }
    // A view has one copy.
    let compares = options.is_deep && options.tree.is_none() && !db.is_read_only();
    if compares {
        total *= 2;
    }
    // The longest first, so that no thread is left with it alone.
    by_len.sort_by_key(|(len, _)| Reverse(*len));
    if options.is_deep && trees.contains(&TreeId::AuditLog) {
        total += of_usize(db.len(TreeId::AuditLog)?);
        jobs.push(Job::Chain);
    }
    // What is told of the identity is told of all of it.
    let by_len = by_len.into_iter().map(|(_, tree)| tree);
    let (whole, cut): (Vec<_>, Vec<_>) = by_len.partition(|tree| *tree == TreeId::Identity);
    jobs.extend(whole.into_iter().map(|tree| Job::Piece(tree, EVERYTHING)));
    let pieces = db.pieces(&cut).into_iter();
    jobs.extend(pieces.map(|(tree, range)| Job::Piece(tree, range)));
    let work = Work {
        db,
        options,
        next: AtomicUsize::new(0),
        collected: Mutex::new(Collected::new(&trees, options.max_listed)),
        meter: Mutex::new(db.meter("verify", total)),
        read: AtomicU64::new(0),
        started: Instant::now(),
    };
    let threads = options.threads().get();
    if compares {
        // It has threads of its own.
        work.tell_damage(work.copies())?;
    }
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
    /// Bytes that were read.
    read: AtomicU64,
    started: Instant,
}

/// What was read of a piece of a tree.
#[derive(Default)]
struct PieceRead {
    entries: usize,
    corrupted: usize,
    untold: u64,
    bytes: u64,
    has_id: bool,
    has_key: bool,
}

impl Work<'_> {
    fn run(&self, jobs: &[Job]) -> Result<(), CoreError> {
        while let Some(job) = jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.tell_damage(match job {
                Job::Piece(tree, range) => self.piece(*tree, range.clone()),
                Job::Chain => self.chain(),
            })?;
        }
        Ok(())
    }

    /// Damage of a whole file is a finding, as that of a record is.
    fn tell_damage(&self, done: Result<(), CoreError>) -> Result<(), CoreError> {
        let (code, error) = match done {
            Err(error @ CoreError::Journal(_)) => (Code::Journal, error),
            Err(error @ CoreError::IndexDamaged { .. }) => (Code::Index, error),
            done => return done,
        };
        let detail = match error {
            CoreError::Journal(error) => error.to_string(),
            error => error.to_string(),
        };
        self.collected().add_of_all(Finding::of_all(code, detail));
        Ok(())
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        let collected = self.collected.lock();
        collected.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how far it is, and waits where it is ahead of its rate.
    fn tell(&self, records: u64, bytes: u64) -> Result<(), CoreError> {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let add = |records, bytes| {
            let meter = self.meter.lock();
            let mut meter = meter.unwrap_or_else(PoisonError::into_inner);
            meter.add(records, bytes)
        };
        loop {
            let ahead = self.ahead(read);
            if ahead.is_zero() {
                return add(records, bytes);
            }
            add(0, 0)?;
            // Not long, so that cancelling ends it soon.
            std::thread::sleep(ahead.min(LONGEST_WAIT));
        }
    }

    /// How long until so many bytes may have been read.
    fn ahead(&self, read: u64) -> Duration {
        let Some(rate) = self.options.bytes_per_second else {
            return Duration::ZERO;
        };
        let millis = read
            .saturating_mul(1000)
            .checked_div(rate.get())
            .unwrap_or(0);
        Duration::from_millis(millis).saturating_sub(self.started.elapsed())
    }

    fn piece(&self, tree: TreeId, mut range: KeyRange) -> Result<(), CoreError> {
        let mut read = PieceRead::default();
        while let Some(last) = self.page(tree, &range, &mut read)? {
            range.0 = Bound::Excluded(last);
            // Nobody waits between two pages.
            self.tell(
                std::mem::take(&mut read.untold),
                std::mem::take(&mut read.bytes),
            )?;
        }
        if read.has_id != read.has_key {
            let detail = "the id and the key of the node are stored together".to_owned();
            let key = if read.has_id {
                identity::ENCRYPTED_KEY
            } else {
                identity::NODE_ID
            };
            let finding = Finding::of_record(tree, key, Code::IdentityPair, detail);
            self.collected().add_lack(finding);
        }
        self.tell(read.untold, read.bytes)?;
        let mut collected = self.collected();
        collected.count(tree, read.entries, read.corrupted);
        Ok(())
    }

    /// Looks at the next records, between two commits; returns the key of the last one if there may be more.
    fn page(
        &self,
        tree: TreeId,
        range: &KeyRange,
        read: &mut PieceRead,
    ) -> Result<Option<Vec<u8>>, CoreError> {
        let mut last = None;
        let mut left = PAGE;
        let view = self.db.view();
        view.scan(tree, range, Order::Ascending, &mut |key, frame| {
            read.entries += 1;
            read.untold += 1;
            read.bytes += u64::try_from(key.len() + frame.len()).unwrap_or(0);
            read.has_id |= tree == TreeId::Identity && key == identity::NODE_ID;
            read.has_key |= tree == TreeId::Identity && key == identity::ENCRYPTED_KEY;
            let mut is_corrupted = false;
            for (code, detail) in self.faults(tree, key, frame) {
                is_corrupted |= code.severity() == Severity::Error;
                let finding = Finding::of_record(tree, key, code, detail);
                self.collected().add(finding);
            }
            read.corrupted += usize::from(is_corrupted);
            left -= 1;
            if left == 0 {
                last = Some(key.to_vec());
            }
            Ok(left > 0)
        })?;
        Ok(last)
    }

    /// What is wrong with a record by itself.
    fn faults(&self, tree: TreeId, key: &[u8], frame: &[u8]) -> Vec<(Code, String)> {
        let mut found = invariants::check(tree, key, frame);
        if let Some(envelope) = self.options.envelope {
            found.extend(envelope(tree, key, frame));
        }
        found
    }

    fn is_sound(&self, tree: TreeId, key: &[u8], frame: &[u8]) -> bool {
        let faults = self.faults(tree, key, frame);
        let is_error = |(code, _): &(Code, String)| code.severity() == Severity::Error;
        !faults.iter().any(is_error)
    }

    fn copies(&self) -> Result<(), CoreError> {
        let tell = |records, bytes| self.tell(of_usize(records), of_usize(bytes));
        let differences = self.db.differences(self.options.threads(), &tell)?;
        for differing @ (tree, key, _) in &differences {
            let finding = of_copies(differing);
            match self.db.view().get(*tree, key)? {
                None => self.collected().add_lack(finding),
                Some(frame) if self.is_sound(*tree, key, &frame) => {
                    self.collected().add_of_sound(finding);
                }
                Some(_) => self.collected().add(finding),
            }
        }
        Ok(())
    }

    fn chain(&self) -> Result<(), CoreError> {
        let store_id = self.db.store_id();
        // One state: the head and the entries are two reads.
        let chain = match self.db.journal_view() {
            Ok(state) => audit_log::verify(&state, &store_id, None)?,
            Err(CoreError::ReadOnly) => audit_log::verify(&self.db.view(), &store_id, None)?,
            Err(error) => return Err(error),
        };
        let mut is_unreadable = false;
        for found in chain.findings {
            let finding = Finding::of_chain(&found);
            let is_behind = std::mem::replace(&mut is_unreadable, finding.code == Code::Decode);
            match finding.code {
                // What is missing may be the one before, which is there.
                Code::AuditGap if is_behind => self.collected().add(finding),
                // Looked at by itself it is wrong as well.
                Code::Decode | Code::AuditTime => self.collected().add(finding),
                Code::AuditGap | Code::AuditTruncated => self.collected().add_lack(finding),
                _ => self.collected().add_of_sound(finding),
            }
        }
        self.tell(chain.entries, 0)
    }
}
