//! How much is measured: all of it, or a quick look.

use std::time::Duration;

use crate::rows::GROWTH;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) peers: usize,
    pub(crate) metrics: usize,
    /// Buffered updates of one peer.
    pub(crate) updates: usize,
    /// Durable updates of each thread.
    pub(crate) durable: usize,
    /// Point reads, of each kind.
    pub(crate) reads: usize,
    /// Ranges, of each kind; as many times ten the newest 100.
    pub(crate) ranges: usize,
    pub(crate) scans: usize,
    /// How long reads and writes run beside each thing, at least.
    pub(crate) window: Duration,
    /// How many sizes of `GROWTH`.
    pub(crate) sizes: usize,
}

impl Scale {
    pub(crate) fn of(quick: bool) -> Self {
        if quick {
            return Self {
                peers: 10_000,
                metrics: 40_000,
                updates: 10_000,
                durable: 50,
                reads: 40_000,
                ranges: 50,
                scans: 2,
                window: Duration::from_millis(300),
                sizes: 1,
            };
        }
        Self {
            peers: 50_000,
            metrics: 200_000,
            updates: 50_000,
            durable: 300,
            reads: 200_000,
            ranges: 200,
            scans: 5,
            window: Duration::from_secs(2),
            sizes: GROWTH.len(),
        }
    }
}
