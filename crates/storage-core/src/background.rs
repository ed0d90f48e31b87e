//! What runs beside the callers: the timer, checkpoints, what is read ahead of them, and `flush_async`.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ahead;
use crate::db::Inner;
use crate::db::settle;
use crate::error::CoreError;
use crate::options::DbOptions;
use crate::woken::Woken;

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after an opening, or between two pieces while commits are made, the window of samples is let alone.
const WARM_AFTER: Duration = Duration::from_millis(100);
/// The longest pause after work that failed.
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// What makes buffered commits durable every so often, marks, also when nothing happens, writes checkpoints when they
/// are due, and rebuilds an index that failed, until dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
    _woken: Vec<Woken>,
}

type Stop = (Mutex<bool>, Condvar);

impl Background {
    pub(crate) fn start(inner: Arc<Inner>, options: &DbOptions) -> Result<Self, CoreError> {
        let mut woken = vec![ahead::start(Arc::clone(&inner))?];
        if inner.settles_beside {
            woken.push(settle::start(Arc::clone(&inner))?);
        }
        let mut background = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            _woken: woken,
        };
        let flush_every = options.flush_every_ms.map(Duration::from_millis);
        let idle_after = options.mark_when_idle_ms.map(Duration::from_millis);
        if let Some(every) = flush_every {
            let inner = Arc::clone(&inner);
            // It waits for nothing but the disk: neither for the index nor for a checkpoint.
            background.spawn("nonos-timer", move |stop| {
                while !wait(stop, every) {
                    // An error is latched; the next write reports it.
                    let _latched = inner.sync_through(inner.last_commit());
                }
            })?;
        }
        if inner.settles_beside {
            let inner = Arc::clone(&inner);
            if let Err(error) = background.spawn("nonos-warm", move |stop| warm(&inner, stop)) {
                tracing::warn!(%error, "samples come to memory only as they are asked for");
            }
        }
        background.spawn("nonos-background", move |stop| {
            let mut next_flush = flush_every.map(|every| Instant::now() + every);
            let mut last_commit = (inner.last_commit(), Instant::now());
            let (mut checkpoint, mut rebuild) = (Backoff::new(), Backoff::new());
            loop {
                let now = Instant::now();
                let to_flush = next_flush.map(|at| at.saturating_duration_since(now));
                if wait(
                    stop,
                    to_flush.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY)),
                ) {
                    return;
                }
                let now = Instant::now();
                if inner.last_commit() != last_commit.0 {
                    last_commit = (inner.last_commit(), now);
                }
                let is_idle = idle_after.is_some_and(|after| now - last_commit.1 >= after);
                if is_idle || next_flush.is_some_and(|at| now >= at) {
                    // An error is latched and logged where it happens; the next write reports it.
                    let _latched = inner.mark();
                    next_flush = flush_every.map(|every| now + every);
                }
                rebuild.attempt(|| inner.rebuild_if_needed());
                checkpoint.attempt(|| inner.checkpoint_if_needed());
            }
        })?;
        Ok(background)
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce(&Stop) + Send + 'static,
    ) -> Result<(), CoreError> {
        let stop = Arc::clone(&self.stop);
        let thread = thread::Builder::new().name(name.into());
        let thread = thread.spawn(move || run(&stop));
        let thread = thread.map_err(|source| CoreError::Thread { source })?;
        self.threads.push(thread);
        Ok(())
    }
}

/// Fills the window of samples: a piece after the other where no commit comes, else one after each pause.
fn warm(inner: &Inner, stop: &Stop) {
    let mut seen = None;
    loop {
        let last = Some(inner.last_commit());
        let is_quiet = mem::replace(&mut seen, last) == last;
        let pause = if is_quiet { Duration::ZERO } else { WARM_AFTER };
        if wait(stop, pause) || !inner.warm_window() {
            return;
        }
    }
}

/// Pauses that double while work fails.
struct Backoff {
    next: Instant,
    pause: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self {
            next: Instant::now(),
            pause: LOOK_EVERY,
        }
    }

    /// Does the work if its pause is over; it returns whether it succeeded.
    fn attempt(&mut self, work: impl FnOnce() -> bool) {
        if Instant::now() < self.next {
            return;
        }
        if work() {
            self.pause = LOOK_EVERY;
        } else {
            self.pause = (self.pause * 2).min(MAX_BACKOFF);
            self.next = Instant::now() + self.pause;
        }
    }
}

/// Waits for the end or the pause, whichever is first; returns whether it was the end.
fn wait((flag, wake): &Stop, pause: Duration) -> bool {
    let stop = flag.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = wake.wait_timeout_while(stop, pause, |stop| !*stop);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

impl Drop for Background {
    fn drop(&mut self) {
        let (flag, wake) = &*self.stop;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread panicked");
            }
        }
    }
}

/// Runs `work` on a thread of its own; the future is ready when it is done.
pub(crate) async fn on_own_thread(
    work: impl FnOnce() -> Result<(), CoreError> + Send + 'static,
) -> Result<(), CoreError> {
    let done = Done(Arc::default());
    let report = Done(Arc::clone(&done.0));
    thread::Builder::new()
        .name("nonos-flush-once".into())
        .spawn(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            report.finish(result.unwrap_or_else(|_| Err(CoreError::EnginePanic)));
        })
        .map_err(|source| CoreError::Thread { source })?;
    done.await
}

#[derive(Default)]
struct State {
    result: Option<Result<(), CoreError>>,
    waker: Option<Waker>,
}

/// The result of the work, once it is there.
struct Done(Arc<Mutex<State>>);

impl Done {
    fn finish(&self, result: Result<(), CoreError>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.result = Some(result);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Future for Done {
    type Output = Result<(), CoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
