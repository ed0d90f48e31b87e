//! The notes of backups at a target: listed, chosen from, pruned.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use storage_core::{CoreError, Db, DbOptions};
use storage_ops::{
    Backup, Create, Keep, Target, TargetError, create, list, newest, note_verified, prune_backups,
    verify_in_catalog,
};

use crate::disk::{LAYOUT, NOW_MS};
use crate::input::{Input, MENDED, output};
use crate::record::fill;

/// A target in memory that has notes, and says that it has their files.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target for Memory {
    fn list(&self, prefix: &str) -> Result<Vec<String>, TargetError> {
        let files = self.files();
        let names = files.keys().filter(|name| name.starts_with(prefix));
        Ok(names.cloned().collect())
    }

    fn upload(&self, name: &str, _file: &Path, _hash: &[u8; 32]) -> Result<(), TargetError> {
        self.write(name, b"")
    }

    fn download(&self, name: &str, _file: &Path) -> Result<(), TargetError> {
        let name = name.to_owned();
        Err(TargetError::Missing { name })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        self.files().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn read(&self, name: &str, max: usize) -> Result<Vec<u8>, TargetError> {
        let files = self.files();
        let missing = || TargetError::Missing {
            name: name.to_owned(),
        };
        let bytes = files.get(name).ok_or_else(missing)?;
        Ok(bytes.get(..max).unwrap_or(bytes).to_vec())
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        self.files().remove(name);
        Ok(())
    }
}

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let target = Memory::default();
    // A line for each, as they are written.
    for text in input.bytes.split_inclusive(|byte| *byte == b'\n').take(16) {
        let text = if input.is(MENDED) {
            mended(text)
        } else {
            text.to_vec()
        };
        let name = name_of(&text).unwrap_or_else(|| "store/history/backup.nonos".to_owned());
        target.files().insert(format!("{name}.json"), text);
        target.files().insert(name, Vec::new());
    }
    let notes = target.files().len() / 2;
    catalog(&target, notes).expect("a target without faults");
}

fn catalog(target: &Memory, notes: usize) -> Result<(), storage_ops::CatalogError> {
    let listing = list(target)?;
    let (found, unreadable) = (listing.backups.len(), listing.unreadable.len());
    assert!(found + unreadable <= notes, "more than there are");
    let is_ordered = |a: &Backup, b: &Backup| a.last_at_ms <= b.last_at_ms;
    assert!(listing.backups.is_sorted_by(is_ordered));
    let _any = newest(&listing);
    for backup in &listing.backups {
        let scratch = std::env::temp_dir();
        let verified = verify_in_catalog(target, &backup.name(), &scratch, 1);
        assert!(verified.is_err(), "without its file");
    }
    let keep = Keep { last: 1, daily: 1 };
    if let Ok(removed) = prune_backups(target, None, keep, false) {
        let left = list(target)?.backups;
        assert!(left.len() + removed.len() == found);
        assert!(found == 0 || !left.is_empty() || is_without_full(&removed));
    }
    for backup in &list(target)?.backups {
        let verified = note_verified(target, backup, 7)?;
        assert_eq!(verified.name(), backup.name());
        assert!(
            list(target)?.backups.contains(&verified),
            "a note that is written is read"
        );
    }
    Ok(())
}

fn is_without_full(removed: &[Backup]) -> bool {
    removed
        .iter()
        .all(|backup| backup.kind != storage_ops::BackupKind::Full)
}

/// The text with the sum that it should have.
fn mended(text: &[u8]) -> Vec<u8> {
    const FIELD: &[u8] = b"\"crc32\":\"";
    let mut text = text.to_vec();
    let at = text
        .windows(FIELD.len())
        .rposition(|window| window == FIELD);
    let Some(start) = at.map(|at| at + FIELD.len()) else {
        return text;
    };
    let put = |text: &mut Vec<u8>, digits: &[u8]| {
        if let Some(field) = text.get_mut(start..start + 8) {
            field.copy_from_slice(digits);
        }
    };
    put(&mut text, b"00000000");
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let sum = format!("{:08x}", crc32fast::hash(line));
    put(&mut text, sum.as_bytes());
    text
}

/// Where a note that says this lies.
fn name_of(text: &[u8]) -> Option<String> {
    let note: Value = serde_json::from_slice(text).ok()?;
    let field = |name: &str| note.get(name).and_then(Value::as_str);
    let number = |name: &str| note.get(name).and_then(Value::as_u64);
    let (store, history) = (field("store_id")?, field("history")?);
    let hash = field("blake2b_256")?.get(..16)?;
    let commit = number("commit")?;
    Some(if field("kind")? == "full" {
        format!("{store}/{history}/{commit:020}-{hash}.nonos")
    } else {
        let first = number("after_commit")?.wrapping_add(1);
        format!("{store}/{history}/{first:020}-{commit:020}-{hash}.log")
    })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let target = Memory::default();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    backups(&target, scratch.path()).expect("a disk without faults");
    let mut notes: Vec<Vec<u8>> = Vec::new();
    for bytes in target.files().values() {
        if name_of(bytes).is_some() {
            notes.push(bytes.clone());
        }
    }
    notes.push(notes.concat());
    let with_mode = |note: &Vec<u8>| [0, MENDED].map(|mode| output(mode, &[], note));
    notes.iter().flat_map(with_mode).collect()
}

/// A full backup, and what goes on from it.
fn backups(target: &Memory, scratch: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let options = DbOptions::new(scratch.join("data.sled"), 2, || NOW_MS);
    let db = Db::open(&options, &|_| Ok(LAYOUT))?;
    for is_incremental in [false, true, true] {
        fill(&db).map_err(|error: CoreError| error.to_string())?;
        let mut how = Create::new(scratch.to_owned(), 1_770_000_000);
        how.is_incremental = is_incremental;
        create(&db, target, &how)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_note_is_behind_a_right_sum() {
        let note = seeds().swap_remove(0).split_off(1);
        let text = String::from_utf8(note).expect("text");
        let changed = text.replace("\"entries\":", "\"entries\":9");
        assert_ne!(changed, text);
        for (text, found) in [
            (changed.clone().into_bytes(), 0),
            (mended(changed.as_bytes()), 1),
        ] {
            let target = Memory::default();
            let name = name_of(&text).expect("a note");
            target.files().insert(format!("{name}.json"), text);
            target.files().insert(name, Vec::new());
            assert_eq!(list(&target).expect("no faults").backups.len(), found);
        }
    }
}
