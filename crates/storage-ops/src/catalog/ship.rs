//! A backup made and shipped: a full one, or increments.

use std::path::{Path, PathBuf};

use storage_core::history::{
    After, Checkpoint, JournalError, RealDisk, extract_name, hash_of, visit_puts,
};
use storage_core::{CoreError, Db, TreeId};

use super::{Backup, CatalogError, Head, Kind, MAX_NOTE_LEN, Scratch, head};
use crate::origin::{HistoryId, origin};
use crate::redact::is_plain;
use crate::target::{Target, TargetError};

/// An increment ends behind so many bytes, and the next one begins: each is read whole into memory.
const INCREMENT_SIZE: u64 = 16 * 1024 * 1024;

/// Increments that follow a full backup before there is another one.
pub(super) const MAX_INCREMENTS: usize = 500;

/// A full backup is also due once its increments are as long as it is, and longer than this, in bytes.
pub(super) const MIN_INCREMENTS_SIZE: u64 = 8 * 1024 * 1024;

/// What to back up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Create {
    /// Where files are made before they are uploaded, if the target has no better place.
    pub scratch: PathBuf,
    /// Only what came since the last backup, if that can be; otherwise everything.
    pub is_incremental: bool,
    /// Now, in Unix seconds.
    pub now: i64,
}

impl Create {
    /// A full backup, made in this directory.
    pub fn new(scratch: PathBuf, now: i64) -> Self {
        Self {
            scratch,
            is_incremental: false,
            now,
        }
    }
}

/// Where the backups of a database end, as who backs it up often knows without listing them.
#[derive(Clone, Debug, Default)]
pub struct Shipped(Option<(HistoryId, Head)>);

/// Backs a database up, beside its writers, and returns what was made: a full backup, or increments, or
/// nothing if there is nothing new. Each was read back before it counts.
///
/// # Errors
///
/// [`CatalogError::Core`], [`CatalogError::Target`]: what is returned by [`list`](super::list) is whole.
pub fn create(db: &Db, target: &dyn Target, how: &Create) -> Result<Vec<Backup>, CatalogError> {
    ship(db, target, how, &mut Shipped::default())
}

/// [`create`], with what is known of the backups before; what is known afterwards is noted. Whoever else
/// backs the same database up to the same place makes backups of its own.
///
/// # Errors
///
/// As there; what is known is forgotten then.
pub fn ship(
    db: &Db,
    target: &dyn Target,
    how: &Create,
    shipped: &mut Shipped,
) -> Result<Vec<Backup>, CatalogError> {
    let known = std::mem::take(shipped);
    let history = origin(&db.view())?.map_or([0; 16], |origin| origin.history);
    let scratch = Scratch::new(target, &how.scratch)?;
    let mut head = None;
    if how.is_incremental {
        head = match known.0 {
            // It may have been pruned by somebody else: what would go on from it would be lost.
            Some((of, head))
                if of == history
                    && is_there(target, &head.end)?
                    && is_there(target, &head.full)? =>
            {
                Some(head)
            }
            _ => self::head(target, db.store_id(), history)?,
        };
        // Of which past a backup is without a journal cannot be told; and who reads the increments has to read what
        // they go on from.
        let readers = target.readers();
        head = head.filter(|head| {
            head.end.content.is_some()
                && head.end.commit <= db.last_commit()
                && head.full.readers == readers
        });
    }
    if let Some(head) = head.take_if(|head| !head.is_full_due()) {
        match increments(db, target, &scratch, &head.end, how.now) {
            Err(error) if is_removed(&error) => {
                let (after, reason) = (head.end.commit, error.to_string());
                tracing::warn!(
                    after,
                    reason,
                    "nothing goes on from the last backup: commits between it and this one cannot be gone \
                     back to"
                );
            }
            // What is gone, or sealed since, is not in a full one.
            Err(CatalogError::Plain { .. }) => {}
            made => {
                let made = made?;
                shipped.0 = Some((history, made.iter().fold(head, Head::with)));
                return Ok(made);
            }
        }
    }
    let file = scratch.path.join("full.nonos");
    let exported = db.export(&file)?;
    let about = Checkpoint::open(&RealDisk, &file).map_err(CoreError::from)?;
    if !target.takes_plain_secrets() {
        refuse_plain(&about)?;
    }
    let backup = Backup {
        kind: Kind::Full,
        store_id: db.store_id(),
        history,
        commit: exported.commit,
        after: After::default(),
        checksum: exported.content.unwrap_or(0),
        content: exported.content.or((exported.commit == 0).then_some(0)),
        // Before its first commit there was no database.
        last_at_ms: match exported.last_at {
            0 => how.now.saturating_mul(1000),
            last_at => last_at,
        },
        created_at: how.now,
        bytes: exported.bytes,
        entries: about.digests().total(),
        schema_version: about.about().schema_version,
        hash: hash_of(&RealDisk, &file).map_err(CoreError::from)?,
        program: about.about().program.clone(),
        readers: target.readers(),
        verified_at: None,
    };
    publish(target, &backup, &file)?;
    shipped.0 = Some((history, Head::of(&backup)));
    let mut made = vec![backup];
    if let Some(head) = head {
        // What came between the last increment and this can be gone back to as well.
        match increments(db, target, &scratch, &head.end, how.now) {
            Err(error) if is_removed(&error) => {}
            Err(CatalogError::Plain { .. }) => {}
            more => made.extend(more?),
        }
    }
    Ok(made)
}

fn is_there(target: &dyn Target, backup: &Backup) -> Result<bool, CatalogError> {
    match target.read(&backup.note_name(), MAX_NOTE_LEN) {
        Err(TargetError::Missing { .. }) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(true),
    }
}

fn is_removed(error: &CatalogError) -> bool {
    let CatalogError::Core(CoreError::Journal(error)) = error else {
        return false;
    };
    // What cannot be read on from the last backup may be in a checkpoint.
    matches!(
        error,
        JournalError::Removed { .. } | JournalError::Another { .. } | JournalError::Damaged { .. }
    )
}

pub(super) fn increments(
    db: &Db,
    target: &dyn Target,
    scratch: &Scratch,
    head: &Backup,
    now: i64,
) -> Result<Vec<Backup>, CatalogError> {
    let mut made: Vec<Backup> = Vec::new();
    let mut after = head.end();
    // What is committed while this is shipped is for the next time: writers would have it go on for ever.
    let through = db.last_commit();
    while after.commit < through {
        let first = after.commit + 1;
        let file = scratch.path.join(extract_name(first));
        let Some(extract) = db.extract(after, &file, INCREMENT_SIZE)? else {
            return Ok(made);
        };
        if !target.takes_plain_secrets() {
            let mut count = 0;
            let visit = |tree, key: &[u8], frame: &[u8]| {
                let tree = TreeId::from_number(tree);
                count += u64::from(tree.is_some_and(|tree| is_plain(tree, key, frame)));
            };
            visit_puts(&RealDisk, &scratch.path, first, visit).map_err(CoreError::from)?;
            if count > 0 {
                return Err(CatalogError::Plain { count });
            }
        }
        let backup = Backup {
            kind: Kind::Increment,
            commit: extract.last.commit,
            after,
            checksum: extract.last.checksum,
            content: Some(extract.last.content),
            last_at_ms: extract.time_ms,
            created_at: now,
            bytes: extract.bytes,
            entries: 0,
            schema_version: db.schema_version(),
            hash: extract.hash,
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
            verified_at: None,
            ..head.clone()
        };
        publish(target, &backup, &file)?;
        after = backup.end();
        made.push(backup);
    }
    Ok(made)
}

/// Whoever reads the file reads the secrets in it that are not sealed.
fn refuse_plain(full: &Checkpoint) -> Result<(), CatalogError> {
    let mut count = 0;
    for tree in [TreeId::Identity, TreeId::Secrets] {
        for record in full.records_of(tree.number()) {
            let (key, frame) = record.map_err(CoreError::from)?;
            count += u64::from(is_plain(tree, &key, &frame));
        }
    }
    match count {
        0 => Ok(()),
        count => Err(CatalogError::Plain { count }),
    }
}

/// Bytes that a note may grow by, or be longer for an increment.
const NOTE_MARGIN: usize = 256;

/// The file first: without its note it is no backup.
fn publish(target: &dyn Target, backup: &Backup, file: &Path) -> Result<(), CatalogError> {
    let note = backup.encode();
    // What is noted later, and increments have more to say.
    if note.len() > MAX_NOTE_LEN - NOTE_MARGIN {
        return Err(CatalogError::TooManyReaders { len: note.len() });
    }
    target.upload(&backup.name(), file, &backup.hash)?;
    target.write(&backup.note_name(), note.as_bytes())?;
    let (name, bytes) = (backup.name(), backup.bytes);
    tracing::info!(name, bytes, "made a backup");
    Ok(())
}
