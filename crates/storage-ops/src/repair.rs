//! Repair: a new database of everything that is intact anywhere of one that does not open.
//!
//! The new one is made beside, opened once, verified, and only then put at its place, with a file that lists
//! what is damaged. The original is not changed by a single byte.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use storage_core::{
    CoreError, Db, DbOptions, ErrorCode, KeyRange, Layout, Order, Read, Salvage, Salvaged, Staging,
    TreeId,
};
use storage_schema::SchemaError;

use crate::integrity::{self, Integrity, VerifyOptions};

mod quarantine;

use quarantine::Quarantine;

const EVERYTHING: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
/// Endings of the new database, and of the list of what is damaged.
const REPAIRED: &str = ".repaired";
const QUARANTINE: &str = ".quarantine.ndjson";

/// How to repair.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Where the new database will be; by default beside the old one, with `.repaired` at its end.
    pub into: Option<PathBuf>,
    /// Only says what repairing would give. Makes the same beside, and removes it.
    pub dry_run: bool,
}

/// What repairing gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The database that was read.
    pub from: PathBuf,
    /// The new one; of a dry run, where it would be.
    pub into: PathBuf,
    /// Whether there is no new one.
    pub dry_run: bool,
    /// What was found, kept and lost.
    pub salvaged: Salvaged,
    /// The schema of its records.
    pub schema_version: u32,
    /// Whether the record of the schema was lost and is made anew.
    pub schema_record_made: bool,
    /// The list of what is damaged; of a dry run, where it would be. `None` if nothing is.
    pub quarantine: Option<PathBuf>,
    /// What verifying the new database found; not that of a dry run, and not one of an older schema, whose
    /// records are looked at by migrating.
    pub integrity: Option<Integrity>,
}

/// Why a database was not repaired. The original is unchanged, and there is no new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// There is a database, or what is left of one, where the new one should go.
    #[error("{} exists", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The new database would be in a directory of the original.
    #[error("{} is a part of the database", path.display())]
    Inside {
        /// Where it would be.
        path: PathBuf,
    },
    /// There is nothing of a database.
    #[error("there is nothing of a database at {}", path.display())]
    Nothing {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// What can be read does not say what its records are.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The file system, the lock, another store, or the observer.
    #[error(transparent)]
    Core(CoreError),
}

impl From<CoreError> for RepairError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Exists { path } => Self::Exists { path },
            error => Self::Core(error),
        }
    }
}

impl RepairError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Exists { .. } | Self::Inside { .. } => ErrorCode::InvalidArgument,
            Self::Nothing { .. } => ErrorCode::NotFound,
            Self::Schema(error) => error.code(),
            Self::Core(error) => error.code(),
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Exists { .. } => Some("name another directory, or move it away"),
            Self::Inside { .. } => Some("name a directory outside of the database"),
            Self::Nothing { .. } => Some("name the directory of the database, or restore a backup"),
            Self::Schema(error) => error.remedy(),
            Self::Core(error) => error.remedy(),
        }
    }
}

/// Makes a new database of everything that is intact anywhere of the one at `from.path`: in its journal, its
/// index, and what was moved aside of both.
///
/// It appears at its place once it is whole, was opened and verified. Interrupted, the directory
/// `<into>.repairing` is left at most, and repairing again begins anew.
///
/// # Errors
///
/// [`RepairError`]: the original is unchanged, and there is no new database.
pub fn repair(from: &DbOptions, how: &RepairOptions) -> Result<RepairReport, RepairError> {
    let into = match &how.into {
        Some(into) => into.clone(),
        None => with(&from.path, REPAIRED),
    };
    let mut target = from.clone();
    target.path = into;
    if is_inside(&target.path, &from.path) {
        let path = target.path;
        return Err(RepairError::Inside { path });
    }
    // Before a directory is made for the new one.
    if !Salvage::is_possible(from)? {
        let path = from.path.clone();
        return Err(RepairError::Nothing { path });
    }
    let staging = Staging::begin(&target)?;
    let mut quarantine = Quarantine::at(staging.file("quarantine"));
    let is_framed = |records: &dyn Read| {
        let layout = storage_schema::layout(records);
        // A state without the record of the schema tells nothing; nor does one without records.
        layout
            .ok()
            .filter(|_| has_schema(records))
            .map(|l| l.is_framed)
    };
    let mut salvage = Salvage::read(from, &staging, &is_framed, &mut |damaged| {
        quarantine.add(damaged)
    })?;
    let schema_record_made = complete(&mut salvage, from)?;
    let layout = storage_schema::layout(&salvage.view())?;
    let salvaged = salvage.report().clone();
    let quarantine = quarantine.finish()?;
    let listed = with(staging.target(), QUARANTINE);
    let mut report = RepairReport {
        from: from.path.clone(),
        into: staging.target().to_owned(),
        dry_run: how.dry_run,
        salvaged,
        schema_version: layout.schema_version,
        schema_record_made,
        quarantine: quarantine.as_ref().map(|_| listed.clone()),
        integrity: None,
    };
    if how.dry_run {
        return Ok(report);
    }
    target.path = staging.database();
    salvage.begin(&target, layout.schema_version)?;
    report.integrity = check(&target, layout)?;
    drop(salvage);
    let beside = quarantine.map(|made| (made, listed));
    staging.publish(beside.as_slice())?;
    Ok(report)
}

/// Opens the new database, which builds its index, and verifies it.
fn check(target: &DbOptions, layout: Layout) -> Result<Option<Integrity>, RepairError> {
    let refused = RefCell::new(None);
    let accept = |records: &dyn Read| {
        storage_schema::layout(records).map_err(|error| {
            refused.replace(Some(error));
            CoreError::NotAccepted
        })
    };
    let opened = Db::open(target, &accept);
    let db = match (opened, refused.into_inner()) {
        (Err(CoreError::NotAccepted), Some(error)) => return Err(error.into()),
        (opened, _) => opened?,
    };
    let mut integrity = None;
    if layout.schema_version == target.schema_version {
        integrity = Some(integrity::verify(&db, &VerifyOptions::default())?);
    }
    db.shutdown()?;
    Ok(integrity)
}

/// Makes the record of the schema anew, where it was lost, and the journal names this program's schema.
fn complete(salvage: &mut Salvage, from: &DbOptions) -> Result<bool, RepairError> {
    let is_current = salvage.report().schema == from.schema_version;
    if has_schema(&salvage.view()) || salvage.report().records() == 0 || !is_current {
        return Ok(false);
    }
    let sample = Db::in_memory(from)?;
    storage_schema::prepare(&sample, (from.clock)().div_euclid(1000))?;
    let mut records = Vec::new();
    let mut take = |key: &[u8], value: &[u8]| {
        records.push((key.to_vec(), value.to_vec()));
        Ok(true)
    };
    let view = sample.view();
    view.scan(TreeId::Schema, &EVERYTHING, Order::Ascending, &mut take)?;
    for (key, value) in records {
        if salvage.view().get(TreeId::Schema, &key)?.is_none() {
            salvage.add(TreeId::Schema, &key, &value)?;
        }
    }
    Ok(true)
}

/// Whether a state says what its records are.
fn has_schema(records: &dyn Read) -> bool {
    let recorded = storage_schema::recorded(records);
    let says = |recorded| {
        use storage_schema::Recorded;
        !matches!(recorded, Recorded::Empty | Recorded::Unversioned)
    };
    recorded.is_ok_and(says)
}

/// Whether a path is, or lies in, one of the directories of the database at `path`.
fn is_inside(into: &Path, path: &Path) -> bool {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let into = whole(into);
    [whole(path), with(&whole(path), ".journal")]
        .iter()
        .any(|directory| into != *directory && into.starts_with(directory))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
