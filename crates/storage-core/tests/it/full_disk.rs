//! A disk that fills up under an open database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{Db, Durability, ErrorCode, Health, SimulatedHome};
use storage_journal::disk::Space;

use crate::peers::store;
use crate::staged_disk::StagedDisk;
use crate::workload::{LAYOUT, TestResult, options};

static NOW_MS: AtomicI64 = AtomicI64::new(1_770_000_000_000);

/// A backup, say, beside the database: it is seen before the journal meets the end of the disk.
#[test]
fn what_others_write_is_seen_within_a_second() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let total = 1 << 40;
    disk.set_space(Some(Space { free: total, total }));
    let mut options = options();
    options.clock = || NOW_MS.load(Ordering::Relaxed);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let db = Db::open_simulated(shared, &home, &options, &|_| Ok(LAYOUT))?;
    store(&db, 1, Durability::Buffered)?;
    disk.set_space(Some(Space { free: 0, total }));
    NOW_MS.fetch_add(1000, Ordering::Relaxed);
    let refused = store(&db, 2, Durability::Buffered).expect_err("no room");
    assert_eq!(refused.code(), ErrorCode::DiskFull);
    disk.set_space(Some(Space { free: total, total }));
    NOW_MS.fetch_add(1000, Ordering::Relaxed);
    store(&db, 3, Durability::Buffered)?;
    Ok(())
}

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
