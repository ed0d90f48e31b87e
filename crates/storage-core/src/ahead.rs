//! Syncing ahead: so that a writer that fills a segment finds little of it left to be synced.
//!
//! A segment is synced before the next one begins, while its writer waits. At full load that was a pause of 5 to 26 ms,
//! some times a second. A thread of its own syncs once some bytes are written: the writer goes on meanwhile.

use std::sync::Arc;

use crate::db::Inner;
use crate::error::CoreError;
use crate::woken::Woken;

/// Bytes that are written before they are synced ahead.
pub(crate) const AHEAD: u64 = 1024 * 1024;

/// The thread, until dropped.
pub(crate) fn start(inner: Arc<Inner>) -> Result<Woken, CoreError> {
    // What failed is latched, and the next write reports it.
    Woken::start(
        "nonos-sync",
        inner,
        |inner| &inner.sync,
        |inner, _| inner.sync_ahead(AHEAD),
    )
}
