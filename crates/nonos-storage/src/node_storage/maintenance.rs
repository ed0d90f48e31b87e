//! Operations on the whole database: each method is one delegation.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use storage_core::{Activity, CoreError, Space, TreeId};
use storage_ops::{
    DATA_TREES, Finding, Integrity, PruneError, Pruned, Retention, TreeSizes, Upkeep, VerifyOptions,
};

use super::NodeStorage;
use crate::clock;
use crate::error::{NonosResult, StorageError};
use crate::report::{CompactionReport, IntegrityReport};
use crate::secrets::{PURGE_NEEDED, Secrets, schema_value};

/// Findings that [`NodeStorage::verify_integrity`] keeps: it only counts them.
const MAX_FINDINGS: usize = 100;

/// Less than this is not worth making the index anew for, in bytes.
const WORTH_COMPACTING: u64 = 16 * 1024 * 1024;

/// # Maintenance
impl NodeStorage {
    /// Makes everything durable that was stored before the call.
    ///
    /// # Errors
    ///
    /// `READ_ONLY`, `POISONED`, `IO`, `DISK_FULL`; after the latter two the handle takes no more writes.
    pub fn flush(&self) -> NonosResult<()> {
        self.done(self.db.flush())
    }

    /// [`flush`](Self::flush) without blocking the caller's thread, on any executor.
    ///
    /// # Errors
    ///
    /// As `flush`.
    pub async fn flush_async(&self) -> NonosResult<()> {
        self.done(self.db.flush_async().await)
    }

    /// How many records each tree holds. No record is read for it: what is held back from the index is written first,
    /// most of the cache at most, however many there are.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing; `CORRUPT`, `IO` if neither the index nor the journal can be read.
    pub fn tree_sizes(&self) -> NonosResult<TreeSizes> {
        self.done(storage_ops::tree_sizes(&self.db))
    }

    /// The bytes of keys and stored values of each tree, in the order of [`TreeId::ALL`]. Reads every record, beside
    /// writers.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `CORRUPT`, `IO`.
    pub fn tree_bytes(&self) -> NonosResult<[u64; 9]> {
        self.done(storage_ops::tree_bytes(&self.db.view()))
    }

    /// The bytes of every file of the database; 0 in memory.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `IO`.
    pub fn size_on_disk(&self) -> NonosResult<u64> {
        self.done(self.db.size_on_disk())
    }

    /// Makes the index anew, which returns free space to the disk and heals what is damaged in it.
    /// Reads and writes go on but for a moment at the end. Where it was sound, two checkpoints and nothing between them are
    /// what stays of the journal then, if there is room to write them: increments of backups do not go on over that, and the next
    /// backup is a full one.
    ///
    /// # Errors
    ///
    /// `READ_ONLY`, `POISONED`, `CORRUPT` if the journal is damaged, `DISK_FULL`, `IO`, `CANCELLED` by who watches
    /// the progress: everything is as it was. Where the new index was being put in the place of the old one, the
    /// handle is `POISONED` then, and the next open finds everything, as it does after a kill.
    pub fn compact(&self) -> NonosResult<CompactionReport> {
        let started = Instant::now();
        let compacted = self.done(self.db.compact())?;
        Ok(CompactionReport::of(compacted, started.elapsed()))
    }

    /// What the files of the database take, and how much of it [`compact`](Self::compact) would return at least.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `IO`.
    pub fn space(&self) -> NonosResult<Space> {
        self.done(self.db.space())
    }

    /// [`compact`](Self::compact), if so many hundredths of the index, at most 100, would be returned, and 16 MiB at least.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn compact_above(&self, percent: u8) -> NonosResult<Option<CompactionReport>> {
        if !self.is_worth_compacting(percent)? {
            return Ok(None);
        }
        self.compact().map(Some)
    }

    /// Whether [`compact`](Self::compact) returns so many hundredths of the index, and 16 MiB at least.
    ///
    /// # Errors
    ///
    /// As of [`space`](Self::space).
    pub fn is_worth_compacting(&self, percent: u8) -> NonosResult<bool> {
        let space = self.space()?;
        let least = space.index_bytes / 100 * u64::from(percent.min(100));
        Ok(space.reclaimable_bytes >= least.max(WORTH_COMPACTING))
    }

    /// Reads every record, as [`verify_integrity_with`](Self::verify_integrity_with) does deeply, at so many
    /// bytes a second at most: what runs in the background all the time.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn scrub(&self, bytes_per_second: NonZero<u64>) -> NonosResult<Integrity> {
        self.verify(None, MAX_FINDINGS, true, Some(bytes_per_second))
    }

    /// When the database was last looked after, as [`note_upkeep`](Self::note_upkeep) was told.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED`, `IO`.
    pub fn upkeep(&self) -> NonosResult<Upkeep> {
        self.done(storage_ops::upkeep(&self.db.view()))
    }

    /// Notes when something was done. Buffered.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `READ_ONLY`, `POISONED`, `IO`, `DISK_FULL`: it is not noted.
    pub fn note_upkeep(&self, change: impl FnOnce(&mut Upkeep)) -> NonosResult<()> {
        self.update(false, |update| {
            Ok(storage_ops::note_upkeep(
                update.view,
                update.commit,
                change,
            )?)
        })
        .map(drop)
    }

    /// What happens in each tree, and how long writers wait, since this was opened.
    pub fn activity(&self) -> Arc<Activity> {
        self.db.activity()
    }

    /// Commits that a power cut would lose now: those that were buffered since the last sync.
    pub fn unsynced_commits(&self) -> u64 {
        self.db.unsynced_commits()
    }

    /// Bytes that others than root may still write where the database is; `u64::MAX` in memory.
    ///
    /// # Errors
    ///
    /// `IO`.
    pub fn free_bytes(&self) -> NonosResult<u64> {
        self.done(self.db.free_bytes())
    }

    /// The number of the last commit.
    pub fn last_commit(&self) -> u64 {
        self.db.last_commit()
    }

    /// Removes from `metrics`, `epochs`, `peers` or `audit_log` what is not kept, oldest first, in commits of
    /// at most 1000; with `dry_run` says what that would be, which is what it then is. Buffered. Peers that
    /// others join through stay. The chain of the audit log begins later then, which is audited.
    ///
    /// # Errors
    ///
    /// [`NonosError::Encryption`](crate::NonosError::Encryption) for the audit log of a sealed store without
    /// the keys that vouch for its new beginning: nothing was removed, or some of the oldest if they were refused since.
    /// `INVALID_ARGUMENT` for another tree, or a time before 1970: nothing was removed. `CORRUPT`,
    /// `POISONED`, `IO`, `DISK_FULL`: some of the oldest may be gone; calling again finishes.
    pub fn prune(&self, tree: TreeId, retention: &Retention, dry_run: bool) -> NonosResult<Pruned> {
        if tree == TreeId::AuditLog && !dry_run {
            self.done(self.secrets.vouches(&self.db.view()))?;
        }
        let now_ms = clock::now_ms();
        let pruned = storage_ops::prune(&self.db, tree, retention, now_ms, dry_run);
        if let Err(PruneError::Core(CoreError::NotVouchedFor)) = pruned {
            // Keys that were refused since: what is wrong with them says more.
            self.done(self.secrets.vouches(&self.db.view()))?;
        }
        self.done(pruned.map_err(StorageError::from))
    }

    /// The time before which records are older than `age_secs`, which is 0 or more: what [`Retention::older_than`]
    /// takes, in Unix seconds, 1970 at the earliest. The
    /// clock is believed as far as the newest records go, and these once 60 of them agree: a jump that fewer
    /// records have seen removes nothing. Of a tree of fewer than 60 the newest is believed, whatever clock it is of:
    /// what runs unattended leaves such a tree alone. `None` if the tree is empty.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a tree that is kept for ever, `CORRUPT`, `POISONED`, `IO`.
    pub fn retention_cutoff(&self, tree: TreeId, age_secs: i64) -> NonosResult<Option<i64>> {
        let cutoff = storage_ops::retention_cutoff(&self.db, tree, clock::now(), age_secs);
        self.done(cutoff.map_err(StorageError::from))
    }

    /// Removes everything of the trees that are named, and returns how much that was of each: first of `secrets` and
    /// `identity`, which need the keys, then of [`DATA_TREES`]. Audited, durable on return. The bytes stay in the files until [`purge`](Self::purge).
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for another tree, [`NonosError::Encryption`](crate::NonosError::Encryption) without the keys of
    /// sealed records: nothing was removed. `POISONED`, `IO`, `DISK_FULL`, `CANCELLED` by who watches the progress: some
    /// is gone; calling again finishes.
    pub fn wipe(&self, trees: &[TreeId]) -> NonosResult<Vec<(TreeId, u64)>> {
        for tree in [TreeId::Schema, TreeId::AuditLog] {
            if trees.contains(&tree) {
                let refused = storage_ops::PruneError::Kept { tree };
                return Err(StorageError::from(refused).into());
            }
        }
        let now_ms = clock::now_ms();
        let sensitive = [TreeId::Secrets, TreeId::Identity];
        let sensitive: Vec<_> = sensitive
            .into_iter()
            .filter(|of| trees.contains(of))
            .collect();
        let mut removed = self.write_secret(|view, commit| {
            let mut of_tree = |tree| match tree {
                TreeId::Identity => {
                    let is_gone = self.secrets.delete_identity(view, commit, now_ms);
                    is_gone.map(u64::from)
                }
                _ => self.secrets.delete_all(view, commit, now_ms),
            };
            let gone = sensitive.iter().map(|tree| Ok((*tree, of_tree(*tree)?)));
            gone.collect::<NonosResult<Vec<_>>>()
        })?;
        for tree in DATA_TREES.into_iter().filter(|of| trees.contains(of)) {
            let gone = storage_ops::wipe(&self.db, tree, now_ms);
            let gone = self.done(gone.map_err(StorageError::from))?;
            removed.push((tree, gone));
        }
        self.flush()?;
        Ok(removed)
    }

    /// [`compact`](Self::compact), and a fresh checkpoint; every older file of the database is overwritten
    /// once and removed, checkpoints that are kept by name and damaged indexes that were moved aside as
    /// well. What was deleted, replaced or sealed before the call is then in no file below the
    /// database's path. Audited.
    ///
    /// A file system that copies on writing, a snapshot, a backup or a flash device may keep it: only
    /// changing the keys, and destroying the old ones, helps against those. A read-only view that was
    /// reading an older file gets `CORRUPT`, and is refreshed.
    ///
    /// # Errors
    ///
    /// As `compact`; `LOCKED` while a read does not end. The database is whole; calling again finishes.
    pub fn purge(&self) -> NonosResult<CompactionReport> {
        let started = Instant::now();
        let needed = self.done(schema_value(&self.db.view(), PURGE_NEEDED))?;
        let compacted = self.done(self.db.purge())?;
        let purged = Secrets::purged(&self.db, clock::now_ms(), needed.as_deref());
        self.done(purged)?;
        Ok(CompactionReport::of(compacted, started.elapsed()))
    }

    /// Reads every record of every tree, beside readers and writers, and reports what is damaged: frames,
    /// decoding, keys, what is true of each record, the audit log's chain, sealed records, and the index
    /// against the journal. Changes nothing. [`verify_integrity_with`](Self::verify_integrity_with) says
    /// what and where.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `IO`, `CANCELLED`. What is damaged is in the report.
    pub fn verify_integrity(&self) -> NonosResult<IntegrityReport> {
        let checked_at = clock::now();
        let found = self.verify_integrity_with(None, MAX_FINDINGS, true)?;
        Ok(IntegrityReport::of(&found, checked_at))
    }

    /// [`verify_integrity`](Self::verify_integrity) with its findings, of one tree or of all, of which
    /// `max_findings` are listed at most. Without `deep`, each record is looked at by itself only: not the
    /// audit log's chain, the tags of sealed records, and the index against the journal.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn verify_integrity_with(
        &self,
        tree: Option<TreeId>,
        max_findings: usize,
        deep: bool,
    ) -> NonosResult<Integrity> {
        self.verify(tree, max_findings, deep, None)
    }

    /// The part of deep verifying that a read-only view cannot do: the index compared with the journal. What differs,
    /// 10,000 at most.
    ///
    /// # Errors
    ///
    /// `READ_ONLY` for a read-only view, `POISONED` after closing, `IO`, `CANCELLED`.
    pub fn compare_index(&self) -> NonosResult<Vec<Finding>> {
        if self.is_read_only() {
            return Err(CoreError::ReadOnly.into());
        }
        self.done(storage_ops::compare_index(&self.db))
    }

    fn verify(
        &self,
        tree: Option<TreeId>,
        max_findings: usize,
        deep: bool,
        bytes_per_second: Option<NonZero<u64>>,
    ) -> NonosResult<Integrity> {
        let mut options = VerifyOptions::default();
        options.tree = tree;
        options.max_listed = max_findings;
        options.is_deep = deep;
        options.bytes_per_second = bytes_per_second;
        let envelope = self.secrets.envelope(&self.db, deep)?;
        options.envelope = Some(&*envelope);
        self.done(storage_ops::verify(&self.db, &options))
    }
}
