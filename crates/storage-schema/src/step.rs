//! What one step of the chain is: one version to the next, as a pure conversion of each record.

use std::fmt;

use storage_core::TreeId;

/// A record as stored.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Stored<'a> {
    /// Its tree.
    pub tree: TreeId,
    /// Its key.
    pub key: &'a [u8],
    /// Its bytes.
    pub value: &'a [u8],
}

impl<'a> Stored<'a> {
    /// The record under `key` of `tree`.
    pub const fn new(tree: TreeId, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { tree, key, value }
    }
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a step can do nothing else")]
pub enum Conversion {
    /// It stays as it is.
    Keep,
    /// It gets this value.
    Put(Vec<u8>),
    /// It goes, as nothing needs it any more.
    Delete,
    /// It does not convert, for this reason. The migration is refused, or the record is set aside.
    Quarantine(String),
}

/// One version to the next. A step is one file with the frozen shapes that it reads; once released
/// it is never edited.
pub trait Step: fmt::Debug + Send + Sync {
    /// The version that it starts from.
    fn starts_at(&self) -> u32;

    /// The version that it ends at, which is the next one.
    fn ends_at(&self) -> u32;

    /// The trees whose records it converts, in the order in which it does.
    fn trees(&self) -> &[TreeId];

    /// What becomes of a record. Depends on nothing but its arguments, so that it can be asked before
    /// anything is written, and again after a crash. `compress`: whether values are compressed where
    /// that pays.
    fn convert(&self, record: Stored<'_>, compress: bool) -> Conversion;

    /// Whether a record is one of the version that the step ends at; otherwise says why not.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&self, record: Stored<'_>) -> Result<(), String>;
}
