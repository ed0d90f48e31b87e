//! The version of this program's layout.

/// The schema version that this program writes.
pub const CURRENT_SCHEMA_VERSION: u32 = 2;
