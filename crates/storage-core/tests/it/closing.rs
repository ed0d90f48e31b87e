//! Closing beside reads that are under way.

use std::thread;

use storage_core::history::SimulatedDisk;
use storage_core::{Durability, Read, SimulatedHome, TreeId};

use crate::peers::{id, store};
use crate::staged_disk::StagedDisk;
use crate::workload::{TestResult, options};

/// The index fails under the read, which looks into the journal for what answers in its place; when it
/// is found, the handle is closed.
#[test]
fn a_read_that_falls_back_while_the_handle_closes_does_not_open_it_again() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let staged = StagedDisk::new(&disk);
    let db = staged.open(&home, &options())?;
    store(&db, 1, Durability::Durable)?;
    // What is held back is read without the index.
    db.flush()?;
    home.break_after(0);
    let key = id(1);
    let read = || db.view().get(TreeId::Peers, key.as_bytes());
    staged.listing.arm();
    thread::scope(|scope| {
        let reading = scope.spawn(read);
        staged.listing.wait_until_reached();
        let closing = scope.spawn(|| db.shutdown());
        while db.len(TreeId::Peers).is_ok() {
            thread::yield_now();
        }
        staged.listing.let_go();
        // Either may fail: the index did.
        let _read = reading.join().expect("the reader ends");
        let _closed = closing.join().expect("closing ends");
    });
    let after = read();
    assert!(after.is_err(), "read {after:?} of {:?}", db.health());
    Ok(())
}
