//! What runs beside the callers: the timer, checkpoints, and `flush_async`.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::db::Inner;
use crate::error::CoreError;

/// How often it is looked whether a checkpoint is due.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// A thread that makes buffered commits durable every so often, and writes checkpoints when they
/// are due, until dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(inner: Arc<Inner>, flush_every_ms: Option<u64>) -> Result<Self, CoreError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let flush_every = flush_every_ms.map(Duration::from_millis);
            let mut next_flush = flush_every.map(|every| Instant::now() + every);
            loop {
                let now = Instant::now();
                let to_flush = next_flush.map(|at| at.saturating_duration_since(now));
                let pause = to_flush.map_or(CHECKPOINT_EVERY, |left| left.min(CHECKPOINT_EVERY));
                if wait(&stopped, pause) {
                    return;
                }
                if next_flush.is_some_and(|at| Instant::now() >= at) {
                    // An error is latched and logged where it happens; the next write reports it.
                    let _latched = inner.flush_if_needed();
                    next_flush = flush_every.map(|every| Instant::now() + every);
                }
                inner.checkpoint_if_needed();
            }
        };
        let thread = thread::Builder::new()
            .name("nonos-background".into())
            .spawn(run);
        Ok(Self {
            stop,
            thread: Some(thread.map_err(|source| CoreError::Thread { source })?),
        })
    }
}

/// Waits for the end or the pause, whichever is first; returns whether it was the end.
fn wait((flag, wake): &(Mutex<bool>, Condvar), pause: Duration) -> bool {
    let stop = flag.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = wake.wait_timeout_while(stop, pause, |stop| !*stop);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

impl Drop for Background {
    fn drop(&mut self) {
        let (flag, wake) = &*self.stop;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the background thread panicked");
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
