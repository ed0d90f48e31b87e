//! Sectors of the journal that cannot be read, or that hold something else.

use storage_core::history::SimulatedDisk;
use storage_core::{CoreError, Db, Durability, SimulatedHome};

use crate::frames::{checkpoints, kill, segments};
use crate::peers::{store, store_all};
use crate::staged_disk::StagedDisk;
use crate::workload::{TestResult, dump, open, options};

/// Bytes in the first sector of a file, in the second header of a segment, in its first frames.
const BAD_OFFSETS: [u64; 5] = [60, 4110, 4160, 5000, 8200];

/// Thirty peers, with a checkpoint after every tenth.
fn with_checkpoints(disk: &SimulatedDisk, home: &SimulatedHome) -> Result<Db, CoreError> {
    let db = open(disk, home)?;
    for first in [1, 11, 21] {
        store_all(&db, first..first + 10, Durability::Durable)?;
        db.checkpoint()?;
    }
    Ok(db)
}

#[test]
fn a_sector_that_cannot_be_read_is_healed_from_the_other_copy() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = with_checkpoints(&disk, &home)?;
    db.flush()?;
    let state = dump(&db)?;
    db.shutdown()?;
    for path in disk.files() {
        for (clean, offset) in [true, false]
            .into_iter()
            .flat_map(|clean| BAD_OFFSETS.map(|offset| (clean, offset)))
        {
            let (disk, home) = (kill(&disk), home.fork());
            if !clean {
                let segments = segments(&disk);
                let last = segments.last().ok_or("no segment")?;
                // The clean mark is the last frame.
                disk.damage(last, |bytes| bytes.truncate(bytes.len() - 1));
            }
            let case = format!("byte {offset} of {}, clean {clean}", path.display());
            let staged = StagedDisk::new(&disk).with_bad_byte(&path, offset);
            let opened = staged.open(&home, &options());
            let again = opened.map_err(|e| format!("{case}: {e}"))?;
            assert_eq!(dump(&again)?, state, "{case}");
        }
    }
    Ok(())
}

/// The index serves, so nobody reads the block before the next checkpoint is made from it.
#[test]
fn a_damaged_block_of_the_checkpoint_does_not_keep_the_next_from_being_written() -> TestResult {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    with_checkpoints(&disk, &home)?.shutdown()?;
    let checkpoints = checkpoints(&disk);
    let newest = checkpoints.last().ok_or("no checkpoint")?;
    disk.damage(newest, |bytes| {
        let third = bytes.len() / 3;
        bytes[third] ^= 1;
    });
    for opening in 0..3 {
        let db = open(&disk, &home)?;
        store(&db, 31, Durability::Durable)?;
        let case = format!("opening {opening}: {:?}", db.opening_report());
        db.checkpoint().map_err(|e| format!("{case}: {e}"))?;
        db.compact().map_err(|e| format!("{case}: {e}"))?;
        db.shutdown()?;
    }
    Ok(())
}
