//! Threads that sleep until there is something to do for them.

use std::sync::{Arc, OnceLock};

use crate::error::CoreError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, JoinHandle, Thread};

/// Wakes a thread, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Wake(OnceLock<Thread>);

impl Wake {
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// A thread that works whenever it is woken, until dropped.
#[derive(Debug)]
pub(crate) struct Woken {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Woken {
    /// `work` is given what says that it is to end.
    pub(crate) fn start<T: Send + Sync + 'static>(
        name: &'static str,
        shared: Arc<T>,
        wake: impl Fn(&T) -> &Wake + Send + 'static,
        work: impl Fn(&T, &AtomicBool) + Send + 'static,
    ) -> Result<Self, CoreError> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let run = move || {
            // A thread is woken only once it is known.
            let _known = wake(&shared).0.set(thread::current());
            while !over.load(Ordering::Acquire) {
                thread::park();
                work(&shared, &over);
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        Ok(Self {
            is_over,
            thread: Some(thread.map_err(|source| CoreError::Thread { source })?),
        })
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!(name, "a thread panicked");
            }
        }
    }
}
