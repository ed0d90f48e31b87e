//! A disk that fills up under an open database.

use std::thread;

use storage_core::history::SimulatedDisk;
use storage_core::{Durability, Health, SimulatedHome};

use crate::peers::store;
use crate::staged_disk::StagedDisk;
use crate::workload::{TestResult, options};

/// The commit is durable, so the timer has only the mark to write, which can wait.
#[test]
fn a_full_disk_fails_no_database_that_nobody_writes_to() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let staged = StagedDisk::new(&disk);
    let mut options = options();
    options.flush_every_ms = Some(1);
    let db = staged.open(&home, &options)?;
    // Whoever makes the commit durable, the mark of it comes after.
    staged.filling.fill_at_next_sync();
    store(&db, 1, Durability::Durable)?;
    // When the timer asks for the second time, it is through with the first.
    while staged.filling.asked() < 2 && db.health() == Health::Ok {
        thread::yield_now();
    }
    staged.filling.make_room();
    assert_eq!(db.health(), Health::Ok);
    store(&db, 2, Durability::Durable)?;
    Ok(())
}
