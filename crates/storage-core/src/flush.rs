//! Flushing beside the callers: by the timer, and for `flush_async`.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::db::Inner;
use crate::error::CoreError;

/// Makes buffered commits durable every so often, until dropped.
#[derive(Debug)]
pub(crate) struct Timer {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    pub(crate) fn start(inner: Arc<Inner>, period_ms: u64) -> Result<Self, CoreError> {
        let period = Duration::from_millis(period_ms);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let (flag, wake) = &*stopped;
            let mut stop = flag.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stop {
                let waited = wake.wait_timeout_while(stop, period, |stop| !*stop);
                stop = waited.unwrap_or_else(PoisonError::into_inner).0;
                // An error is latched and logged where it happens; the next write reports it.
                if !*stop && inner.sync_if_needed().is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("nonos-flush".into()).spawn(run);
        Ok(Self {
            stop,
            thread: Some(thread.map_err(|source| CoreError::Thread { source })?),
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let (flag, wake) = &*self.stop;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the flush timer panicked");
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
