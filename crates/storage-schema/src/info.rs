//! What the `schema` tree says: one record, under `__schema_version__`.

use serde::{Deserialize, Serialize};
use storage_core::{Commit, CoreError, Encoding, Order, Read, TextKey, Tree, TreeId};
use storage_core::{bincode, open_frame};

use crate::error::SchemaError;
use crate::shapes::v1::{MigrationRecordV1, SchemaInfoV1};

const SCHEMA: Tree<TextKey, SchemaInfo> = Tree::new(TreeId::Schema);
pub(crate) const VERSION_KEY: &str = "__schema_version__";
/// Entries that a history has at most.
const MAX_HISTORY: usize = 100;

/// The schema of a database and how it came to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaInfo {
    /// The current version.
    pub version: u32,
    /// When the database was created, in Unix seconds.
    pub created_at: i64,
    /// When it was last migrated, in Unix seconds.
    pub last_migration: Option<i64>,
    /// The migrations, oldest first, 100 at most: before that the oldest are taken together.
    pub migrations_applied: Vec<MigrationRecord>,
}

/// One attempt to bring a database to a newer schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// The version before.
    pub from_version: u32,
    /// The version after.
    pub to_version: u32,
    /// When it ended, in Unix seconds.
    pub applied_at: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether it completed.
    pub success: bool,
}

/// What a database says about its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// No tree holds anything.
    Empty,
    /// There are records, but no version.
    Unversioned,
    /// A version in this program's own form.
    Version(u32),
    /// A version as the first implementation wrote it. Whatever it says up to the current one, the
    /// layout is that of version 1.
    FirstImplementation(u32),
}

/// Reads what a database says about its schema.
///
/// # Errors
///
/// [`SchemaError::Unreadable`] for a schema record that neither implementation wrote, and
/// [`SchemaError::Core`] for errors of the index.
pub fn recorded(view: &dyn Read) -> Result<Recorded, SchemaError> {
    let key = VERSION_KEY.as_bytes();
    let Some(stored) = view.get(TreeId::Schema, key)? else {
        return Ok(if holds_anything(view)? {
            Recorded::Unversioned
        } else {
            Recorded::Empty
        });
    };
    match open_frame(TreeId::Schema, key, &stored) {
        // A newer shape may end in fields unknown here, but begins with its version.
        Ok(frame) if frame.encoding == Encoding::Postcard => {
            match postcard::take_from_bytes(&frame.body) {
                Ok((version, _)) => Ok(Recorded::Version(version)),
                Err(source) => Err(SchemaError::Unreadable {
                    source: Box::new(source),
                }),
            }
        }
        Ok(frame) => Err(SchemaError::UnknownEncoding {
            found: frame.encoding,
        }),
        Err(source) => match first_implementation(&stored) {
            Some(version) => Ok(Recorded::FirstImplementation(version)),
            None => Err(SchemaError::Unreadable {
                source: Box::new(source),
            }),
        },
    }
}

fn holds_anything(view: &dyn Read) -> Result<bool, CoreError> {
    let mut found = false;
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for tree in TreeId::ALL {
        view.scan(tree, &everything, Order::Ascending, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
    }
    Ok(found)
}

/// The version in a schema record of the first implementation, read to its last byte, so that a
/// damaged record is not taken for one.
fn first_implementation(stored: &[u8]) -> Option<u32> {
    let info: SchemaInfoV1 = bincode::decode(stored).ok()?;
    Some(info.version)
}

/// The schema record of a database at the current version.
///
/// # Errors
///
/// [`SchemaError::Core`] if it is missing or does not decode.
pub(crate) fn load(view: &dyn Read) -> Result<SchemaInfo, SchemaError> {
    SCHEMA.get(view, VERSION_KEY)?.ok_or(SchemaError::Missing)
}

/// The schema record of a database at any version, also one of the first implementation.
///
/// # Errors
///
/// [`SchemaError::Missing`], [`SchemaError::Unreadable`], [`SchemaError::Core`].
pub fn load_any(view: &dyn Read) -> Result<SchemaInfo, SchemaError> {
    let stored = view.get(TreeId::Schema, VERSION_KEY.as_bytes())?;
    let stored = stored.ok_or(SchemaError::Missing)?;
    match bincode::decode::<SchemaInfoV1>(&stored) {
        Ok(old) => Ok(old.into()),
        Err(_framed) => load(view),
    }
}

/// The newest entries of a history, which grows without a bound otherwise: the oldest are taken
/// together.
pub(crate) fn capped(mut history: Vec<MigrationRecord>) -> Vec<MigrationRecord> {
    while history.len() > MAX_HISTORY {
        let oldest = history.remove(0);
        if let Some(next) = history.first_mut() {
            next.from_version = oldest.from_version;
            next.duration_ms = next.duration_ms.saturating_add(oldest.duration_ms);
            next.success |= oldest.success;
        }
    }
    history
}

impl From<SchemaInfoV1> for SchemaInfo {
    fn from(old: SchemaInfoV1) -> Self {
        let record = |old: MigrationRecordV1| MigrationRecord {
            from_version: old.from_version,
            to_version: old.to_version,
            applied_at: old.applied_at,
            duration_ms: old.duration_ms,
            success: old.success,
        };
        Self {
            version: old.version,
            created_at: old.created_at,
            last_migration: old.last_migration,
            migrations_applied: old.migrations_applied.into_iter().map(record).collect(),
        }
    }
}

pub(crate) fn store(commit: &mut Commit, info: &SchemaInfo) -> Result<(), CoreError> {
    SCHEMA.insert(commit, VERSION_KEY, info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn the_first_implementations_records_are_recognised() {
        let fresh = bytes("02000000800e806900000000000000000000000000");
        let migrated = bytes(
            "02000000800e80690000000001810e80690000000001000000000000000100000002000000810e806900000000030000000000000001",
        );
        for record in [fresh, migrated] {
            assert_eq!(first_implementation(&record), Some(2));
            for len in 0..record.len() {
                assert_eq!(first_implementation(&record[..len]), None, "cut to {len}");
            }
        }
    }
}
