//! What is left of a checkpoint that may be damaged anywhere.

use std::path::Path;

use storage_core::history::{Checkpoint, JournalError, SimulatedDisk};
use storage_journal::salvage::{Damaged, Remains};

use crate::checkpoint;
use crate::disk::{JOURNAL, disk_with};
use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let disk = disk_with(&[(checkpoint::NAME, &checkpoint::file(&input))]);
    let path = Path::new(JOURNAL).join(checkpoint::NAME);
    let whole = Checkpoint::open(&disk, &path).and_then(|whole| {
        whole.verify()?;
        Ok(whole)
    });
    read(&disk, whole.ok().as_ref()).expect("a disk without faults");
}

/// Of a checkpoint that is whole, everything is left.
fn read(disk: &SimulatedDisk, whole: Option<&Checkpoint>) -> Result<(), JournalError> {
    let remains = Remains::find(disk, Path::new(JOURNAL))?;
    let rest = remains.checkpoints.first().expect("there is one");
    let mut found = Vec::new();
    let mut damaged = 0;
    let stretches = rest.records(
        &mut |tree, entries| {
            found.extend(entries.into_iter().map(|(key, value)| (tree, key, value)));
            Ok::<_, JournalError>(())
        },
        &mut |_: Damaged<'_>| {
            damaged += 1;
            Ok(())
        },
    )?;
    // A file of another commit than its name says is a renamed one.
    let Some(whole) = whole.filter(|whole| whole.about().commit == 1) else {
        return Ok(());
    };
    let expected: Result<Vec<_>, _> = whole.records().collect();
    assert_eq!(found, expected?);
    assert_eq!((stretches.len(), damaged), (0, 0), "of a whole one");
    Ok(())
}

/// Those of checkpoints, and each with a piece in its middle that is gone.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = checkpoint::seeds();
    let without_a_byte = |seed: &Vec<u8>| {
        let mut seed = seed.clone();
        seed.remove(seed.len() / 2);
        seed
    };
    let holed: Vec<_> = seeds.iter().map(without_a_byte).collect();
    seeds.extend(holed);
    seeds
}
