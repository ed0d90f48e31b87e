//! How far long work is, told while it runs.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::CoreError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tree::TreeId;

/// How often it is told: twice as often as promised, as work has its own pauses.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often it is logged.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// The clock is looked at once in so many records.
const LOOK_EVERY: u64 = 256;

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done, for a person: "migrate", "verify". Not a name to rely on.
    pub operation: &'static str,
    /// The step of a migration: from this version to that.
    pub step: Option<(u32, u32)>,
    /// The tree that is being worked on, where it is one at a time.
    pub tree: Option<&'static str>,
    /// Records that are done.
    pub done: u64,
    /// About how many there are in all; 0 if that is not known.
    pub total: u64,
    /// Bytes of them that are done, where they are counted; otherwise 0.
    pub bytes: u64,
    /// How long it has taken.
    pub elapsed: Duration,
}

impl Progress {
    /// Records a second since the beginning.
    pub fn rate_per_s(&self) -> u64 {
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        self.done.saturating_mul(1000) / millis.max(1)
    }

    /// How long the rest takes at that rate; `None` if that cannot be told.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total.checked_sub(self.done)?;
        let rate = self.rate_per_s();
        (self.total > 0 && rate > 0).then(|| Duration::from_secs(left / rate))
    }
}

/// Somebody who is told how far long work is, at least every 500 ms, and may cancel it by `Break`.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Tell>>);

type Tell = dyn Fn(&Progress) -> ControlFlow<()> + Send + Sync;

impl Observer {
    /// One that calls `tell`.
    pub fn new(tell: impl Fn(&Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

/// Counts what is done, tells it, and ends the work where that is asked for.
#[derive(Debug)]
pub struct Meter<'a> {
    progress: Progress,
    observer: &'a Observer,
    stop: Option<&'a AtomicBool>,
    started: Instant,
    told: Instant,
    logged: Instant,
}

impl<'a> Meter<'a> {
    /// Starts an operation over about `total` records.
    pub fn start(operation: &'static str, total: u64, observer: &'a Observer) -> Self {
        let now = Instant::now();
        Self {
            progress: Progress {
                operation,
                step: None,
                tree: None,
                done: 0,
                total,
                bytes: 0,
                elapsed: Duration::ZERO,
            },
            observer,
            stop: None,
            started: now,
            told: now,
            logged: now,
        }
    }

    /// Says of which step of a migration it is.
    #[must_use]
    pub fn of_step(mut self, from: u32, to: u32) -> Self {
        self.progress.step = Some((from, to));
        self
    }

    /// Says which tree is being worked on from now on.
    pub fn in_tree(&mut self, tree: TreeId) {
        self.progress.tree = Some(tree.name());
    }

    /// Counts what was done before this meter was started.
    pub fn skip(&mut self, records: u64) {
        self.progress.done += records;
    }

    /// Counts records and their bytes, and tells it.
    ///
    /// # Errors
    ///
    /// [`CoreError::Cancelled`].
    pub fn add(&mut self, records: u64, bytes: u64) -> Result<(), CoreError> {
        self.progress.done += records;
        self.progress.bytes += bytes;
        self.log();
        self.tell()
    }

    /// Ends the work as well once `stop` is set, as when the handle is closed.
    pub(crate) fn or_stop(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Counts one record more.
    ///
    /// # Errors
    ///
    /// [`CoreError::Cancelled`], [`CoreError::Closed`].
    pub fn step(&mut self) -> Result<(), CoreError> {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(LOOK_EVERY) || self.progress.done == 1 {
            self.look()
        } else {
            Ok(())
        }
    }

    /// Counts so many records; none is a sign of life.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub(crate) fn steps(&mut self, records: u64) -> Result<(), CoreError> {
        match records {
            0 => self.look(),
            _ => self.step(),
        }
    }

    fn look(&mut self) -> Result<(), CoreError> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Acquire)) {
            return Err(CoreError::Closed);
        }
        let now = Instant::now();
        if self.progress.done > 1 && now - self.told < TELL_EVERY {
            return Ok(());
        }
        self.told = now;
        self.tell()?;
        self.log();
        Ok(())
    }

    fn log(&mut self) {
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let Progress {
                operation,
                done,
                total,
                ..
            } = self.progress;
            let rate_per_s = self.progress.rate_per_s();
            tracing::info!(operation, done, total, rate_per_s, "still at it");
        }
    }

    /// Tells how far it is now.
    ///
    /// # Errors
    ///
    /// [`CoreError::Cancelled`].
    pub fn tell(&mut self) -> Result<(), CoreError> {
        self.progress.elapsed = self.started.elapsed();
        match &self.observer.0 {
            Some(tell) if tell(&self.progress).is_break() => Err(CoreError::Cancelled),
            _ => Ok(()),
        }
    }
}

/// Does work that tells nothing of itself, and meanwhile tells that it goes on.
///
/// # Errors
///
/// Those of the work; [`CoreError::Cancelled`] after it, if that was asked for meanwhile.
pub(crate) fn during<T>(
    operation: &'static str,
    observer: &Observer,
    work: impl FnOnce() -> Result<T, CoreError>,
) -> Result<T, CoreError> {
    if observer.0.is_none() {
        return work();
    }
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let telling = std::thread::Builder::new().name("nonos-progress".into());
        let telling = telling.spawn_scoped(scope, move || {
            let mut meter = Meter::start(operation, 0, observer);
            let mut told = meter.tell();
            while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(TELL_EVERY) {
                told = told.and(meter.tell());
            }
            told
        });
        let telling = telling.map_err(|source| CoreError::Thread { source })?;
        let worked = work();
        drop(done);
        let told = telling.join().unwrap_or(Ok(()));
        worked.and_then(|worked| told.map(|()| worked))
    })
}
