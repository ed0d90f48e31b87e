//! Backups at a target, and restoring from them: each method is one delegation.

use std::path::{Path, PathBuf};
use std::time::Instant;

use storage_core::TreeId;
use storage_core::trees::audit_log;
use storage_core::trees::identity::NodeId;
use storage_ops::{Backup, CatalogError, Create, Keep, Listing, Origin, Shipped, Target, Wanted};

use super::NodeStorage;
use crate::clock;
use crate::config::StorageConfig;
use crate::error::{NonosError, NonosResult, StorageError};
use crate::open_options::OpenOptions;
use crate::report::{DrillReport, RestoreReport};

/// Findings that a drill lists.
const MAX_FINDINGS: usize = 100;

/// # Backups
impl NodeStorage {
    /// Backs this database up to a target, beside its writers, and returns what was made: a full backup,
    /// or, where that is asked for and can be, increments with what came since the last one; nothing if
    /// there is nothing new. Each is exact at one commit, and was read back before it counts.
    ///
    /// Secrets are in it as they lie in the database: sealed, where keys are set. The file is made in a directory
    /// beside the database first, or at the target if that is a directory: there has to be room for it.
    ///
    /// ```
    /// # use nonos_storage::{BackupDirectory, NodeStorage, NonosResult, OpenOptions, StorageConfig, Wanted};
    /// # fn main() -> NonosResult<()> {
    /// # let directory = std::env::temp_dir().join(format!("nonos-back-up-{}", std::process::id()));
    /// # let config = |name: &str| StorageConfig { path: directory.join(name), ..Default::default() };
    /// let storage = NodeStorage::open(config("data.sled"))?;
    /// let target = BackupDirectory::new(&directory.join("backups"))?;
    /// storage.back_up(&target, false)?;
    /// storage.store_config("name", &"node-1")?;
    /// storage.back_up(&target, true)?;
    ///
    /// let how = OpenOptions::new(config("restored.sled"));
    /// NodeStorage::restore_from(&target, None, &Wanted::Newest, how)?;
    /// let restored = NodeStorage::open(config("restored.sled"))?;
    /// assert_eq!(restored.load_config("name")?, Some("node-1".to_owned()));
    /// # std::fs::remove_dir_all(directory).ok();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `IO`, `DISK_FULL`, `CORRUPT` if the journal is damaged, `POISONED`, `BACKUP_INVALID` if what arrived is not
    /// what was sent, `INVALID_ARGUMENT` if secrets that nobody sealed would be in it and the target takes none,
    /// `CANCELLED` by who watches the progress: whatever [`list_backups`](Self::list_backups) shows is whole.
    pub fn back_up(&self, target: &dyn Target, is_incremental: bool) -> NonosResult<Vec<Backup>> {
        let mut how = Create::new(scratch_of(&self.data_path), clock::now());
        how.is_incremental = is_incremental;
        let made = storage_ops::create(&self.db, target, &how);
        self.done(made.map_err(StorageError::from))
    }

    /// The backups at a target, oldest first, of every database that has some there.
    ///
    /// # Errors
    ///
    /// `IO`.
    pub fn list_backups(target: &dyn Target) -> NonosResult<Listing> {
        done(storage_ops::list(target))
    }

    /// The newest backup that can be restored; of which database has to be said where there are several.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`, `INVALID_ARGUMENT` if there are several databases, `BACKUP_INVALID` where the note of one that
    /// may be newer cannot be read, `IO`.
    pub fn newest_backup(target: &dyn Target, store_id: Option<[u8; 16]>) -> NonosResult<Backup> {
        let listing = done(storage_ops::list(target).and_then(|found| found.of_store(store_id)))?;
        done(storage_ops::newest(&listing))
    }

    /// Reads the backup of this name whole, with those that it goes on from, and notes that at the target.
    /// Files are fetched into a directory in `scratch`, which is removed.
    ///
    /// # Errors
    ///
    /// `BACKUP_INVALID` names what is wrong, `KEY_REQUIRED` if it is encrypted and the target has no key that opens
    /// it, `NOT_FOUND`, `IO`, `DISK_FULL`.
    pub fn verify_backup_at(
        target: &dyn Target,
        name: &str,
        scratch: &Path,
    ) -> NonosResult<Backup> {
        let now = clock::now();
        done(storage_ops::verify_in_catalog(target, name, scratch, now))
    }

    /// Removes the backups of a database that are not kept, and returns them; with `dry_run` says only what that
    /// would be. Of each of its histories the newest stays, and so does the newest that was verified. Where the
    /// target has backups of several databases, `store_id` says of which.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if there are several: nothing was removed. `IO`: some of them may be removed; calling
    /// again goes on.
    pub fn prune_backups(
        target: &dyn Target,
        store_id: Option<[u8; 16]>,
        keep: Keep,
        dry_run: bool,
    ) -> NonosResult<Vec<Backup>> {
        done(storage_ops::prune_backups(target, store_id, keep, dry_run))
    }

    /// Makes the database that `how` opens of the backups at a target, in the state that is wanted, and opens
    /// it once to build its index. Where the target has backups of several databases, `store_id` says of
    /// which. Files are fetched into a directory beside the database, which is removed.
    ///
    /// The database notes where it comes from: see [`origin`](Self::origin).
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if a database is there: it is unchanged. `NOT_FOUND`, `BACKUP_INVALID`, `KEY_REQUIRED`,
    /// `SCHEMA_TOO_NEW`, `IO`, `DISK_FULL`, `CANCELLED`: there is no database, or one that the next open completes.
    pub fn restore_from(
        target: &dyn Target,
        store_id: Option<[u8; 16]>,
        wanted: &Wanted,
        how: OpenOptions,
    ) -> NonosResult<RestoreReport> {
        let started = Instant::now();
        let path = how.config.check()?;
        let scratch = scratch_of(&path);
        let mut options = super::options(&how.config, path);
        options.observer = how.observer.clone();
        let restored = storage_ops::restore_from(target, (store_id, wanted), &options, &scratch);
        let restored = restored.map_err(StorageError::from)?;
        how.open()?.close()?;
        Ok(RestoreReport::of(restored, started.elapsed()))
    }

    /// Puts the closed database at `staged` in the place of the one at `config.path`, which is closed as well and
    /// is kept at `kept`; all three are beside each other. There may be none at `config.path`. Interrupted, the
    /// next opening finishes.
    ///
    /// # Errors
    ///
    /// `LOCKED`, `INVALID_ARGUMENT` if something is at `kept` or one of the three is elsewhere, `NOT_FOUND` if no
    /// database is at `staged`, `INCOMPLETE_SWAP` if an earlier exchange cannot be read: nothing changed. `IO`: the
    /// next opening finishes.
    pub fn exchange(config: &StorageConfig, staged: &Path, kept: &Path) -> NonosResult<()> {
        let options = super::options(config, config.check()?);
        Ok(storage_core::exchange(&options, staged, kept)?)
    }

    /// Finishes an exchange that was interrupted, if there is one; opening does so as well.
    ///
    /// # Errors
    ///
    /// `LOCKED`, `IO`, `INCOMPLETE_SWAP` if what was under way cannot be read.
    pub fn finish_exchange(config: &StorageConfig) -> NonosResult<()> {
        let options = super::options(config, config.check()?);
        Ok(storage_core::finish_exchange(&options)?)
    }

    /// Restores the newest backup into a directory in `scratch`, which is removed, and verifies every record
    /// of it; notes at the target that it was, if there was no finding.
    ///
    /// # Errors
    ///
    /// As [`restore_from`](Self::restore_from). Damaged records are in the report.
    pub fn drill(
        target: &dyn Target,
        store_id: Option<[u8; 16]>,
        scratch: &Path,
        how: &OpenOptions,
    ) -> NonosResult<DrillReport> {
        let started = Instant::now();
        let backup = Self::newest_backup(target, store_id)?;
        let drilled = storage_ops::in_scratch(scratch, |directory| {
            let mut how = how.clone();
            how.config.path = directory.join("drill.sled");
            let wanted = Wanted::Named(backup.name());
            let store_id = Some(backup.store_id);
            let restored = Self::restore_from(target, store_id, &wanted, how.clone())?;
            let storage = how.open()?;
            let integrity = storage.verify_integrity_with(None, MAX_FINDINGS, true)?;
            storage.close()?;
            Ok::<_, NonosError>((restored, integrity))
        });
        let (restored, integrity) = drilled.map_err(StorageError::from)??;
        let is_sound = integrity.errors == 0;
        let backup = if is_sound {
            done(storage_ops::note_verified(target, &backup, clock::now()))?
        } else {
            backup
        };
        Ok(DrillReport {
            backup,
            entries: restored.entries,
            is_sound,
            integrity,
            duration_ms: crate::report::milliseconds(started.elapsed()),
        })
    }

    /// Where this database comes from, if it was restored; its `is_settled` tells whether it was said that
    /// it is the node that it was, or another one. Before that, two nodes may have the same identity.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED`, `IO`.
    pub fn origin(&self) -> NonosResult<Option<Origin>> {
        self.done(storage_ops::origin(&self.db.view()))
    }

    /// Says which node this restored database is: the one that it was, which runs nowhere else, or, with
    /// `other`, a new one of this id and private key. Durable, audited; nothing if it was said before.
    ///
    /// # Errors
    ///
    /// [`NonosError::Encryption`] if the key cannot be sealed; `POISONED`, `READ_ONLY`, `IO`: nothing is said.
    pub fn settle_origin(&self, other: Option<(&NodeId, &[u8])>) -> NonosResult<()> {
        let ((), _) = self.update(true, |update| {
            let Some(origin) = storage_ops::settle(update.view, update.commit)? else {
                return Ok(());
            };
            if let Some((id, key)) = other {
                update.store_identity(id, key)?;
            }
            let node = if other.is_some() {
                "another"
            } else {
                "the same"
            };
            let details = format!("to commit {}, {node} node", origin.commit);
            let (view, now_ms, tree) = (update.view, update.now_ms, TreeId::Schema);
            Ok(audit_log::append(
                view,
                update.commit,
                now_ms,
                tree,
                "restore",
                Some(details),
            )?)
        })?;
        Ok(())
    }

    /// [`back_up`](Self::back_up) of increments by who does it often: what is `shipped` is known, so the target
    /// is not asked for it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ship(&self, target: &dyn Target, shipped: &mut Shipped) -> NonosResult<Vec<Backup>> {
        let mut how = Create::new(scratch_of(&self.data_path), clock::now());
        how.is_incremental = true;
        let made = storage_ops::ship(&self.db, target, &how, shipped);
        self.done(made.map_err(StorageError::from))
    }
}

fn done<T>(result: Result<T, CatalogError>) -> NonosResult<T> {
    Ok(result.map_err(StorageError::from)?)
}

/// Where files on their way from this database or to it lie: on its disk.
pub(super) fn scratch_of(data_path: &Path) -> PathBuf {
    let parent = data_path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}
