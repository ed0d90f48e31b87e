//! The intent of an exchange of databases, which the next opening finishes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use storage_core::{CoreError, DbOptions, finish_exchange};

use crate::disk::NOW_MS;
use crate::input::{Input, MENDED, mend_last_line, output};

const INTENT: &str = "data.sled.intent";
/// Everything of the database, of the one to be put in its place, and of somebody else.
const DIRECTORIES: [&str; 6] = [
    "data.sled",
    "data.sled.journal",
    "new.sled",
    "new.sled.journal",
    "other",
    "other.journal",
];

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let mut text = input.bytes.to_vec();
    if input.is(MENDED) {
        mend_last_line(&mut text);
    }
    let around = tempfile::tempdir().expect("a temporary directory");
    finishes(around.path(), &text).expect("a file system without faults");
}

/// Nothing outside of the directory is touched; nothing in it is lost; finished once, it is finished.
fn finishes(around: &Path, text: &[u8]) -> io::Result<()> {
    let inside = around.join("node");
    for directory in DIRECTORIES {
        fs::create_dir_all(inside.join(directory))?;
        fs::write(inside.join(directory).join("of"), directory)?;
    }
    fs::write(inside.join(INTENT), text)?;
    let options = DbOptions::new(inside.join("data.sled"), 2, || NOW_MS);
    let finished = finish_exchange(&options);
    assert_eq!(
        names(around)?,
        BTreeSet::from(["node".to_owned()]),
        "outside of it"
    );
    let mut contents = BTreeSet::new();
    for name in names(&inside)? {
        if let Ok(content) = fs::read_to_string(inside.join(name).join("of")) {
            contents.insert(content);
        }
    }
    assert_eq!(
        contents.len(),
        DIRECTORIES.len(),
        "what was there is kept: {contents:?}"
    );
    match finished {
        Ok(()) => assert!(
            !inside.join(INTENT).exists(),
            "finished, and to be finished"
        ),
        Err(CoreError::Sibling { .. } | CoreError::Io { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
    Ok(())
}

fn names(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = fs::read_dir(directory)?;
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
    entries.map(name).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let names = [
        ("new.sled", "old.sled"),
        ("missing", "old.sled"),
        ("new.sled", "other"),
        ("..", "."),
    ];
    let text = |(staged, kept)| format!("nonos-exchange 1\nstaged = {staged}\nkept = {kept}\n");
    names
        .map(|both| output(MENDED, &[], text(both).as_bytes()))
        .into()
}
