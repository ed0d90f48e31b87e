//! A backup of the first implementation: imported whole, or not at all.

use std::path::Path;

use storage_core::DbOptions;
use storage_core::history::{Checkpoint, RealDisk};
use storage_schema::{import, is_old_backup};

use crate::disk::NOW_MS;

pub(crate) fn run(data: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("backup.nonos");
    std::fs::write(&path, data).expect("a file");
    let database = directory.path().join("data.sled");
    let options = DbOptions::new(database, 2, || NOW_MS);
    let imported = import(&path, &options);
    let journal = directory.path().join("data.sled.journal");
    let begun = Checkpoint::open(
        &RealDisk,
        &journal.join(storage_journal::checkpoint::name(1)),
    );
    let Ok(imported) = imported else {
        assert!(begun.is_err(), "refused, and begun all the same");
        return;
    };
    assert!(is_old_backup(&path));
    let begun = begun.expect("what was imported is there");
    begun.verify().expect("it was read back");
    assert_eq!(
        begun.digests().total(),
        imported.entries,
        "the count that was told"
    );
    assert_eq!(occurrences(data), imported.entries, "what the file holds");
    std::fs::remove_dir_all(&journal).expect("its files");
    assert_is_whole(&path, data, &options);
}

/// Records in a file that was taken, counted by another reader.
fn occurrences(data: &[u8]) -> u64 {
    let mut records = 0;
    let mut rest = Reader(data);
    for _ in 0..rest.number() {
        let mut tree = Reader(rest.bytes());
        assert_eq!(tree.bytes(), b"tree");
        tree.bytes();
        for _ in 0..tree.number() {
            assert_eq!(tree.number(), 2);
            tree.bytes();
            tree.bytes();
            records += 1;
        }
        assert!(tree.0.is_empty(), "bytes of a tree that were not read");
    }
    assert!(rest.0.is_empty(), "bytes that were not read");
    records
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> u64 {
        let (number, rest) = self.0.split_first_chunk().expect("a number");
        self.0 = rest;
        u64::from_le_bytes(*number)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.number()).expect("a length");
        let (bytes, rest) = self.0.split_at_checked(len).expect("so many bytes");
        self.0 = rest;
        bytes
    }
}

/// Of a file that is cut off anywhere nothing is imported.
fn assert_is_whole(path: &Path, data: &[u8], options: &DbOptions) {
    let cut = data.len().checked_sub(1).and_then(|len| data.get(..len));
    std::fs::write(path, cut.expect("a file that was taken")).expect("a file");
    assert!(
        import(path, options).is_err(),
        "a file without its last byte"
    );
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let part = |bytes: &[u8]| [&len(bytes), bytes].concat();
    let record =
        |key: &[u8], value: &[u8]| [&2_u64.to_le_bytes()[..], &part(key), &part(value)].concat();
    let tree = |name: &str, records: &[Vec<u8>]| {
        let count = u64::try_from(records.len()).unwrap_or(0).to_le_bytes();
        let blob = [
            &part(b"tree"),
            &part(name.as_bytes()),
            &count[..],
            &records.concat(),
        ];
        part(&blob.concat())
    };
    let file = |trees: &[Vec<u8>]| {
        let count = u64::try_from(trees.len()).unwrap_or(0).to_le_bytes();
        [&count[..], &trees.concat()].concat()
    };
    let schema = tree("schema", &[record(b"__schema_version__", &[2, 0, 0, 0])]);
    let config = tree("config", &[record(b"a", b"1"), record(b"b", b"22")]);
    let default = tree("__sled__default", &[]);
    vec![
        file(&[]),
        file(std::slice::from_ref(&schema)),
        file(&[default.clone(), schema.clone(), config.clone()]),
        file(&[
            config,
            tree("secrets", &[record(b"", b"")]),
            default,
            schema,
        ]),
    ]
}

fn len(bytes: &[u8]) -> [u8; 8] {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes()
}
