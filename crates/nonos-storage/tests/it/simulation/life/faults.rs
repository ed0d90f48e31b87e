//! What goes wrong: damage, failing calls, backups put back.

use std::io;

use nonos_storage::{NodeStorage, OpenOptions, StorageConfig, Wanted};
use storage_journal::disk::Fault;
use storage_testkit::{Directory, Random};

use super::super::operation::unlock;
use super::super::state::{differences, read};
use super::judged::tell;
use super::{Life, TREES};
use crate::sealed_disk::Fallible;

impl Life {
    pub(super) fn harm(&mut self, random: &mut Random) -> Damage {
        match random.below(4) {
            0 => {
                self.counts.one("damage to the index");
                let tree = random.one_of(TREES);
                let kind = random.below(4);
                self.home.damage(tree, |entries| match kind {
                    0 => entries.clear(),
                    1 => entries
                        .values_mut()
                        .for_each(|value| value.iter_mut().take(1).for_each(|byte| *byte ^= 1)),
                    2 => drop(entries.pop_first()),
                    _ => drop(entries.insert(b"never".to_vec(), b"stored".to_vec())),
                });
                Damage::Index(format!("{tree:?}, kind {kind}"))
            }
            1 => {
                let files = self.disk.files();
                let Some(path) = files.get(random.index(files.len())) else {
                    return Damage::Nothing;
                };
                self.counts.one("damage to the journal");
                let len = self.disk.content(path).unwrap_or_default().len();
                let (start, stretch) = (random.index(len), random.one_of([1, 20, 200]));
                let is_cut = random.one_in(5);
                self.disk.damage(path, |bytes| {
                    if is_cut {
                        bytes.truncate(start);
                    }
                    for byte in bytes.iter_mut().skip(start).take(stretch) {
                        *byte ^= 0x5a;
                    }
                });
                let name = path.file_name().unwrap_or_default().display();
                Damage::Journal(format!(
                    "{name}: {stretch} bytes at {start} of {len}, cut {is_cut}"
                ))
            }
            _ => Damage::Nothing,
        }
    }

    /// Lets one of the next calls of the disk fail.
    pub(super) fn fail_at(&self, random: &mut Random, calls: u64) {
        self.disk.fail(Some(Fault {
            at_call: self.disk.calls() + random.below(calls),
            kind: random.one_of([io::ErrorKind::Other, io::ErrorKind::StorageFull]),
        }));
    }

    pub(super) fn back_up(&mut self, storage: &NodeStorage, is_full: bool) -> Fallible<()> {
        let made = storage.back_up(&self.target, !is_full)?;
        tell(|| format!("backed up, full {is_full}: {} files", made.len()));
        self.history.durable = storage.last_commit();
        for backup in made {
            self.counts.one(match backup.kind {
                nonos_storage::BackupKind::Full => "backups",
                _ => "increments",
            });
            if let Some(state) = self.history.state(backup.commit) {
                self.backups.insert(backup.name(), state.clone());
            }
        }
        Ok(())
    }

    /// Makes a database of some backup on the real disk, and compares.
    pub(super) fn restore(&mut self, storage: &NodeStorage, random: &mut Random) -> Fallible<()> {
        let listing = NodeStorage::list_backups(&self.target)?;
        let backups: Vec<_> = listing
            .backups
            .iter()
            .map(nonos_storage::Backup::name)
            .collect();
        let known: Vec<_> = backups
            .iter()
            .filter(|name| self.backups.contains_key(*name))
            .collect();
        let Some(name) = known.get(random.index(known.len())) else {
            return Ok(());
        };
        let elsewhere = Directory::new()?;
        let config = StorageConfig {
            path: elsewhere.database(),
            ..self.config()
        };
        let store = Some(storage.store_id().0);
        let wanted = Wanted::Named((*name).clone());
        let how = OpenOptions::new(config.clone());
        NodeStorage::restore_from(&self.target, store, &wanted, how)?;
        let restored = NodeStorage::open(config)?;
        let entries = restored.load_audit_log(usize::MAX)?.len();
        unlock(&restored)?;
        let mut found = read(&restored)?;
        found.retain(|(tree, place), _| *tree != "audit_log" || *place < format!("{entries:06}"));
        let expected = self.backups.get(*name).cloned().unwrap_or_default();
        if found != expected {
            return Err(format!("restored {name}: {}", differences(&expected, &found)).into());
        }
        self.counts.one("restores");
        Ok(())
    }
}

/// What was done to the files while nobody had them open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Nothing,
    Index(String),
    Journal(String),
}
