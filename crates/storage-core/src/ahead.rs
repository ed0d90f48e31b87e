//! Syncing ahead: so that a writer that fills a segment finds little of it left to be synced.
//!
//! A segment is synced before the next one begins, while its writer waits. At full load that was a pause of 5 to 26 ms,
//! some times a second. A thread of its own syncs once some bytes are written: the writer goes on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use crate::db::Inner;
use crate::error::CoreError;

/// Bytes that are written before they are synced ahead.
const AHEAD: u64 = 1024 * 1024;

/// Who is woken when there is enough to sync.
#[derive(Debug, Default)]
pub(crate) struct Wake(OnceLock<Thread>);

impl Wake {
    /// Called after each commit, with the bytes that are not synced.
    pub(crate) fn look(&self, unsynced: u64) {
        if unsynced >= AHEAD
            && let Some(thread) = self.0.get()
        {
            thread.unpark();
        }
    }
}

/// The thread, until dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    pub(crate) fn start(inner: Arc<Inner>) -> Result<Self, CoreError> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let run = move || {
            // A thread is woken only once it is known.
            let _known = inner.wake.0.set(thread::current());
            while !over.load(Ordering::Acquire) {
                thread::park();
                // What failed is latched, and the next write reports it.
                inner.sync_ahead(AHEAD);
            }
        };
        let thread = thread::Builder::new().name("nonos-sync".into()).spawn(run);
        Ok(Self {
            is_over,
            thread: Some(thread.map_err(|source| CoreError::Thread { source })?),
        })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that syncs panicked");
            }
        }
    }
}
