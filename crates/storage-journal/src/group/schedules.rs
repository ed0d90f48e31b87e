//! Group commit under many schedules.

use std::convert::Infallible;
use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread;

use super::Group;
use crate::schedules::check;

const THREADS: u64 = 3;
const ROUNDS: u64 = 2;

/// What was written, and what of it a sync made durable.
#[derive(Default)]
struct File {
    written: AtomicU64,
    durable: AtomicU64,
    is_syncing: AtomicBool,
}

impl File {
    fn sync(&self) -> Result<u64, Infallible> {
        let beside = self.is_syncing.swap(true, Ordering::SeqCst);
        assert!(!beside, "two syncs at a time");
        let through = self.written.load(Ordering::SeqCst);
        // What is written from here on is not part of it.
        thread::yield_now();
        self.durable.store(through, Ordering::SeqCst);
        self.is_syncing.store(false, Ordering::SeqCst);
        Ok(through)
    }
}

#[test]
fn what_was_waited_for_is_synced_when_waiting_ends() {
    check(|| {
        let (group, file) = (Arc::new(Group::new(0)), Arc::new(File::default()));
        let write = |_| {
            let (group, file) = (Arc::clone(&group), Arc::clone(&file));
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let number = file.written.fetch_add(1, Ordering::SeqCst) + 1;
                    let Ok(()) = group.wait_for(number, || file.sync());
                    assert!(file.durable.load(Ordering::SeqCst) >= number, "not synced");
                    assert!(group.synced() >= number, "not known to be synced");
                }
            })
        };
        let writers: Vec<_> = (0..THREADS).map(write).collect();
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        assert_eq!(group.synced(), THREADS * ROUNDS);
    });
}
