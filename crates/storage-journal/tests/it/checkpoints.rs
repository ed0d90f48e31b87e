//! Checkpoints at the edge of what they may hold.

use std::ops::Bound;

use storage_journal::Merged;
use storage_journal::disk::SimulatedDisk;

use crate::frames::{checkpoint, create};
use crate::workload::{TestResult, scan};

#[test]
fn a_range_of_an_empty_checkpoint_is_empty() -> TestResult {
    let disk = SimulatedDisk::default();
    checkpoint(&create(&disk)?)?;
    let merged = Merged::of(&scan(&disk)?);
    assert!(merged.base().is_some(), "there is no checkpoint");
    let range = (Bound::Included(&b"a"[..]), Bound::Included(&b"b"[..]));
    for backwards in [false, true] {
        let entries = merged.entries(1, range, backwards);
        let found = entries.collect::<Result<Vec<_>, _>>()?;
        assert!(found.is_empty(), "backwards {backwards}: {found:?}");
    }
    Ok(())
}
