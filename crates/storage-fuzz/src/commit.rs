//! The body of a commit, and a journal with it.

use std::path::Path;
use std::sync::Arc;

use storage_core::history::SimulatedDisk;
use storage_journal::commit::{Change, decode, encode};
use storage_journal::digest::MAX_TREES;
use storage_journal::{Journal, JournalError, Merged, Scan};

use crate::disk::{JOURNAL, NOW_MS};

pub(crate) fn run(data: &[u8]) {
    let changes: Vec<_> = decode(data).collect();
    let (whole, malformed): (Vec<_>, Vec<_>) = changes.iter().partition(|c| c.is_some());
    assert!(malformed.len() <= 1, "it ends with what is malformed");
    let whole: Vec<Change<'_>> = whole.into_iter().copied().flatten().collect();
    let encoded = encode(whole.iter().copied());
    assert!(data.starts_with(&encoded), "encoded as it was");
    assert_eq!(encoded.len() == data.len(), malformed.is_empty());
    let fits = |change: &Change<'_>| usize::from(change.tree) < MAX_TREES;
    if malformed.is_empty() && !whole.is_empty() && whole.iter().all(fits) {
        journal(&encoded, &whole).expect("a disk without faults");
    }
}

/// What was appended is replayed, and merged.
fn journal(body: &[u8], changes: &[Change<'_>]) -> Result<(), JournalError> {
    let disk = Arc::new(SimulatedDisk::default());
    let directory = Path::new(JOURNAL);
    let journal = Journal::create(disk.clone(), directory, [7; 16], 1, 2)?;
    let number = journal.append(NOW_MS, body)?;
    journal.sync_through(number)?;
    let scan = Scan::read(&*disk, directory, u64::MAX)?;
    assert_eq!(scan.damage(), [""; 0]);
    let mut visited = 0;
    let lost = scan.replay(&*disk, 0, |_, replayed| {
        let replayed: Vec<_> = replayed.collect();
        assert_eq!(replayed, changes);
        visited += 1;
        Ok::<_, JournalError>(())
    })?;
    assert_eq!((visited, lost.len()), (1, 0));
    let merged = Merged::of(&scan);
    for (at, change) in changes.iter().enumerate() {
        let is_same = |later: &Change<'_>| (later.tree, later.key) == (change.tree, change.key);
        if !changes.iter().skip(at + 1).any(is_same) {
            let found = merged.get(change.tree, change.key)?;
            assert_eq!(found.as_deref(), change.value);
        }
    }
    Ok(())
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let change = |tree, key: &'static [u8], value| Change { tree, key, value };
    let put = change(2, b"peer-1", Some(&b"a value"[..]));
    let other = change(8, b"\0\0\0\0\0\0\0\x07", Some(b"another"));
    let deletion = change(6, b"key", None);
    let lists = [
        vec![],
        vec![put],
        vec![deletion],
        vec![put, other, deletion],
        vec![put, change(2, b"peer-1", None)],
    ];
    lists.map(|list| encode(list.into_iter())).into()
}
