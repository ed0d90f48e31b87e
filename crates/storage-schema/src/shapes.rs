//! The shapes that records had, frozen: each is named by the version that introduced it and never
//! edited. A test compares the files with their hashes.

pub(crate) mod v1;
pub(crate) mod v2;
