//! A backup file: verified, restored, and with its secrets left out.

use std::path::Path;

use storage_core::history::{Checkpoint, RealDisk, SimulatedDisk};
use storage_core::{CoreError, SimulatedHome, TreeId};
use storage_ops::{BackupError, BackupInfo, redact_backup, verify_backup};

use crate::checkpoint;
use crate::disk::{JOURNAL, State, disk_with, dump, open};
use crate::input::{Input, MENDED, SECOND};
use crate::record::fill;

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("backup.nonos");
    let bytes = checkpoint::file(&input);
    std::fs::write(&path, &bytes).expect("a file");
    match verify_backup(&path) {
        Ok(info) => restore(&path, &bytes, &info),
        Err(BackupError::Invalid { .. }) => {}
        Err(error) => assert!(is_in_its_content(&error), "{error:?}"),
    }
}

/// A record in it that is not what its tree holds is an error of that record.
fn is_in_its_content(error: &BackupError) -> bool {
    matches!(error, BackupError::Core(CoreError::Corrupt { .. }))
}

fn restore(path: &Path, bytes: &[u8], info: &BackupInfo) {
    let backup = Checkpoint::open(&RealDisk, path).expect("it was verified");
    let mut expected = State::new();
    for record in backup.records() {
        let (tree, key, value) = record.expect("it was verified");
        // A tree that this program does not know.
        let Some(tree) = TreeId::from_number(tree) else {
            return;
        };
        expected.insert((tree, key), value);
    }
    assert_eq!(u64::try_from(expected.len()), Ok(info.entries));
    assert_eq!(u64::try_from(bytes.len()), Ok(info.bytes));
    if info.schema_version == 2 && info.commit > 0 {
        let name = storage_journal::checkpoint::name(info.commit);
        let disk = disk_with(&[(&name, bytes)]);
        let restored = opened(&disk);
        // An opening mends nothing and leaves nothing out.
        assert_eq!(restored.expect("what was verified opens"), expected);
    }
    without_secrets(path);
}

fn opened(disk: &SimulatedDisk) -> Result<State, CoreError> {
    let db = open(disk, &SimulatedHome::default())?;
    dump(&db)
}

fn without_secrets(path: &Path) {
    let to = path.with_extension("redacted");
    redact_backup(path, &to).expect("what was verified can be copied");
    let info = verify_backup(&to).expect("what was written is read");
    assert!(info.is_redacted);
    let copy = Checkpoint::open(&RealDisk, &to).expect("it was verified");
    for tree in [TreeId::Secrets, TreeId::Identity] {
        assert_eq!(copy.records_of(tree.number()).count(), 0, "{}", tree.name());
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (disk, home) = (SimulatedDisk::default(), SimulatedHome::default());
    let db = open(&disk, &home).expect("a disk without faults");
    fill(&db)
        .and_then(|()| db.checkpoint())
        .expect("a disk without faults");
    let files = disk.files().into_iter();
    let of_database = files
        .filter(|path| path.starts_with(JOURNAL) && path.extension().is_some_and(|e| e == "nonos"))
        .filter_map(|path| disk.content(&path));
    let with_mode = |file: Vec<u8>| {
        [0, MENDED, MENDED | SECOND].map(|mode| [&[mode], file.as_slice()].concat())
    };
    of_database
        .chain(checkpoint::files())
        .flat_map(with_mode)
        .collect()
}
