//! Restoring: a backup becomes the journal of a new database, and the index is built from it.

use std::cmp::Ordering;
use std::path::Path;

use storage_core::history::{About, JournalError, RealDisk, Record, commit_at};
use storage_core::{CoreError, DbOptions, ErrorCode};
use storage_schema::SchemaError;

use crate::backup::{self, BackupError};
use crate::catalog::{self, CatalogError, Scratch, Wanted};
use crate::origin::Origin;
use crate::target::Target;

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The commit whose state was restored.
    pub commit: u64,
    /// Records restored.
    pub entries: u64,
    /// The backup's length in bytes.
    pub bytes: u64,
    /// The schema of its records.
    pub schema_version: u32,
    /// Whether secrets and the node's identity were left out of the backup.
    pub is_redacted: bool,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is a database, or what is left of one, where the backup should go. It is unchanged.
    #[error("{} exists", path.display())]
    Exists {
        /// What is there.
        path: std::path::PathBuf,
    },
    /// The backup holds records of a newer schema. Nothing was made.
    #[error("Database schema version {found} is newer than supported version {supported}")]
    TooNew {
        /// The schema of its records.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// The backup is not valid. Nothing was made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// No backup at the target can be restored as wanted. Nothing was made.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A backup of the first implementation cannot be read. Nothing was made.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database cannot be made.
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl RestoreError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Exists { .. } => ErrorCode::InvalidArgument,
            Self::TooNew { .. } => ErrorCode::SchemaTooNew,
            Self::Backup(error) => error.code(),
            Self::Catalog(error) => error.code(),
            Self::Schema(error) => error.code(),
            Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Exists { .. } => Some("restore to another path, or move the database away"),
            Self::TooNew { .. } => Some("upgrade this program"),
            Self::Backup(error) => error.remedy(),
            Self::Catalog(error) => error.remedy(),
            Self::Schema(error) => error.remedy(),
            Self::Core(error) => error.remedy(),
        }
    }
}

/// Makes the database at `options.path` of a backup, which is read and verified whole first; of one of the
/// first implementation as well, in its layout, which opening migrates.
///
/// The journal appears in one step, with everything in it; until then there is no database, and from
/// then on any open completes the index. So an interrupted restore is either undone or finished.
///
/// # Errors
///
/// [`RestoreError::Exists`], [`RestoreError::TooNew`], [`RestoreError::Backup`],
/// [`RestoreError::Core`]: no database is there.
pub fn restore_backup(path: &Path, options: &DbOptions) -> Result<Restored, RestoreError> {
    let (checkpoint, info) = match backup::open(path) {
        Err(BackupError::Invalid { .. }) if storage_schema::is_old_backup(path) => {
            vacant(options)?;
            return old(path, options);
        }
        opened => opened?,
    };
    accept(info.schema_version, options)?;
    backup::verify_backup(path)?;
    vacant(options)?;
    let records = checkpoint
        .records()
        .map(|record| record.map_err(CoreError::from));
    begin(checkpoint.about(), records, options)?;
    Ok(Restored {
        commit: info.commit,
        entries: info.entries,
        bytes: info.bytes,
        schema_version: info.schema_version,
        is_redacted: info.is_redacted,
    })
}

fn old(path: &Path, options: &DbOptions) -> Result<Restored, RestoreError> {
    let imported = storage_schema::import(path, options)?;
    let read = std::fs::metadata(path).map_err(|source| CoreError::Io {
        action: "look at",
        path: path.to_owned(),
        source,
    })?;
    Ok(Restored {
        commit: 1,
        entries: imported.entries,
        bytes: read.len(),
        schema_version: 1,
        is_redacted: false,
    })
}

/// Makes the database at `options.path` of the backups at a target, in the state that is wanted; of which
/// database has to be said where there are several. Files are
/// fetched into `scratch` first, and everything is compared with what is noted of it.
///
/// # Errors
///
/// As [`restore_backup`], and [`RestoreError::Catalog`]: no database is there.
pub fn restore_from(
    target: &dyn Target,
    (store_id, wanted): (Option<[u8; 16]>, &Wanted),
    options: &DbOptions,
    scratch: &Path,
) -> Result<Restored, RestoreError> {
    let listing = catalog::list(target)?.of_store(store_id)?;
    let chain = catalog::find(&listing, wanted)?;
    let (Some(full), Some(last)) = (chain.first(), chain.last()) else {
        let sought = "none is whole".to_owned();
        return Err(CatalogError::NoSuch { sought }.into());
    };
    accept(last.schema_version, options)?;
    vacant(options)?;
    let scratch = Scratch::within(scratch)?;
    catalog::fetch(target, &chain, &scratch.path)?;
    let commit = match wanted {
        Wanted::At(time_ms) => {
            // Its own time counts: those of its commits are not in it.
            let at = commit_at(&RealDisk, &scratch.path, *time_ms).map_err(CoreError::from)?;
            at.max(full.commit)
        }
        Wanted::Newest | Wanted::Named(_) => last.commit,
    };
    let state = catalog::state(&scratch.path, last, commit)?;
    let Some(base) = state.base() else {
        return Err(CoreError::Journal(JournalError::Missing {
            directory: scratch.path.clone(),
        })
        .into());
    };
    let mut entries = 0;
    let records = state.records().map(|record| {
        entries += 1;
        record.map_err(CoreError::from)
    });
    // What comes after is newer than all that there was, also where a clock was ahead: it is what is sought next time.
    let latest_ms = listing.backups.iter().map(|b| b.last_at_ms).max();
    let about = About {
        commit,
        schema_version: last.schema_version,
        created_at: latest_ms.map_or(0, |latest| latest.div_euclid(1000) + 1),
        ..base.about().clone()
    };
    begin(&about, records, options)?;
    Ok(Restored {
        commit,
        entries,
        bytes: chain.iter().map(|backup| backup.bytes).sum(),
        schema_version: last.schema_version,
        is_redacted: false,
    })
}

fn accept(found: u32, options: &DbOptions) -> Result<(), RestoreError> {
    let supported = options.schema_version;
    if found > supported {
        return Err(RestoreError::TooNew { found, supported });
    }
    Ok(())
}

fn vacant(options: &DbOptions) -> Result<(), RestoreError> {
    match storage_core::remains(&options.path)? {
        Some(path) => Err(RestoreError::Exists { path }),
        None => Ok(()),
    }
}

/// Begins the database of these records, and of one that says where it comes from. Its commits have later times than
/// what it is made of.
fn begin(
    about: &About,
    records: impl Iterator<Item = Result<Record, CoreError>>,
    options: &DbOptions,
) -> Result<(), CoreError> {
    let now = options.now();
    let origin = Origin::new(storage_core::new_store_id()?, about.commit, now);
    let about = About {
        created_at: now.max(about.created_at),
        ..about.clone()
    };
    storage_core::begin(&about, with(origin.record()?, records), options)
}

/// Records in order, and one more in its place, instead of the one that has it.
pub(crate) fn with(
    more: Record,
    records: impl Iterator<Item = Result<Record, CoreError>>,
) -> impl Iterator<Item = Result<Record, CoreError>> {
    let place = |record: &Record| (record.0, record.1.clone());
    let mut records = records.peekable();
    let mut more = Some(more);
    std::iter::from_fn(move || {
        if let Some(pending) = &more {
            let at = place(pending);
            let next = match records.peek() {
                Some(Ok(next)) => Some(place(next).cmp(&at)),
                Some(Err(_)) => return records.next(),
                None => None,
            };
            match next {
                Some(Ordering::Less) => {}
                Some(Ordering::Equal) => {
                    records.next();
                    return more.take().map(Ok);
                }
                Some(Ordering::Greater) | None => return more.take().map(Ok),
            }
        }
        records.next()
    })
}
