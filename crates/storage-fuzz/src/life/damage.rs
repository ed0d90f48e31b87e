//! Damage to one of the two copies.

use storage_core::history::{Disk as _, SimulatedDisk};
use storage_core::{SimulatedHome, TreeId};

use super::Choices;

/// To which copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Journal,
    Index,
}

/// Some stretch of some file of the journal, or the file.
pub(super) fn damage_journal(disk: &SimulatedDisk, choices: &mut Choices<'_>) {
    let files = disk.files();
    let Some(path) = files.get(choices.below(files.len())) else {
        return;
    };
    let len = disk.content(path).unwrap_or_default().len();
    let start = choices.up_to(len);
    match choices.below(8) {
        0 => disk.remove(path).expect("the file is there"),
        1 => disk.damage(path, |bytes| bytes.truncate(start)),
        _ => {
            let (stretch, change) = (choices.below(256) + 1, choices.below(255) + 1);
            let change = u8::try_from(change).unwrap_or(1);
            disk.damage(path, |bytes| {
                let damaged = bytes.iter_mut().skip(start).take(stretch);
                damaged.for_each(|byte| *byte ^= change);
            });
        }
    }
}

/// Entries of a tree that are gone, changed, or were never stored.
pub(super) fn damage_index(home: &SimulatedHome, choices: &mut Choices<'_>) {
    let tree = TreeId::ALL.get(choices.below(TreeId::ALL.len()));
    let kind = choices.below(4);
    home.damage(*tree.unwrap_or(&TreeId::Peers), |entries| match kind {
        0 => entries.clear(),
        1 => entries.values_mut().for_each(|value| {
            if let Some(byte) = value.first_mut() {
                *byte ^= 1;
            }
        }),
        2 => drop(entries.pop_first()),
        _ => drop(entries.insert(b"never".to_vec(), b"stored".to_vec())),
    });
}
