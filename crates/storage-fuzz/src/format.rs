//! `FORMAT` and `DAMAGE`: what a journal says of itself, in a database that is otherwise whole.

use std::path::Path;

use storage_core::history::SimulatedDisk;
use storage_core::{CoreError, SimulatedHome};

use crate::disk::{JOURNAL, State, dump, open};
use crate::input::{Input, MENDED, SECOND, mend_last_line, output};
use crate::record::fill;

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let mut bytes = input.bytes.to_vec();
    if input.is(MENDED) {
        mend_last_line(&mut bytes);
    }
    let name = if input.is(SECOND) { "DAMAGE" } else { "FORMAT" };
    opens(name, &bytes).expect("a disk without faults");
}

/// Whatever it says: everything is there, or it is said that something is wrong, or opening refuses.
fn opens(name: &str, bytes: &[u8]) -> Result<(), CoreError> {
    let (disk, expected) = whole()?;
    replace(&disk, name, bytes);
    // Of the index nothing is left, so what the journal does not give is not there.
    let home = SimulatedHome::default();
    let db = match open(&disk, &home) {
        Ok(db) => db,
        Err(_) if name == "FORMAT" => return Ok(()),
        Err(error) => return Err(error),
    };
    let report = db.opening_report().clone();
    let is_whole = dump(&db)? == expected;
    assert!(
        is_whole || !report.damage.is_empty(),
        "a silent loss: {report:?}"
    );
    assert!(
        is_whole || name == "FORMAT",
        "a note of damage is none: {report:?}"
    );
    db.shutdown()?;
    drop(db);
    let again = open(&disk, &home)?;
    assert!(
        again.opening_report().clean,
        "after a close: {:?}",
        again.opening_report()
    );
    assert_eq!(dump(&again)? == expected, is_whole, "another time");
    Ok(())
}

/// A database, as it was closed.
fn whole() -> Result<(SimulatedDisk, State), CoreError> {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home)?;
    fill(&db)?;
    let state = dump(&db)?;
    db.shutdown()?;
    Ok((disk, state))
}

fn replace(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    use storage_core::history::Disk as _;

    let path = Path::new(JOURNAL).join(name);
    if disk.content(&path).is_none() {
        disk.create(&path).expect("a new name");
    }
    disk.damage(&path, |content| *content = bytes.to_vec());
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (disk, _) = whole().expect("a disk without faults");
    let format = disk.content(&Path::new(JOURNAL).join("FORMAT"));
    let format = format.expect("a journal has one");
    vec![
        output(0, &[], &format),
        output(MENDED, &[], &format),
        output(
            SECOND,
            &[],
            b"the segment 00000000000000000001.log is damaged\n",
        ),
        output(SECOND, &[], b""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_schema_is_behind_a_right_checksum() -> Result<(), CoreError> {
        let (disk, _) = whole()?;
        let format = disk.content(&Path::new(JOURNAL).join("FORMAT"));
        let text = String::from_utf8(format.expect("a journal has one")).expect("text");
        let mut changed = text.replace("schema = 2", "schema = 7").into_bytes();
        for expected in [None, Some(7)] {
            replace(&disk, "FORMAT", &changed);
            let schema = storage_journal::schema_of(&disk, Path::new(JOURNAL))?;
            assert_eq!(schema, expected);
            mend_last_line(&mut changed);
        }
        Ok(())
    }
}
