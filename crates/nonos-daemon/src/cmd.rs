//! The verbs, one file each.

pub(crate) mod audit;
pub(crate) mod compact;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod migrate;
pub(crate) mod prune;
pub(crate) mod run;
pub(crate) mod schema;
#[cfg(feature = "encrypted-storage")]
pub(crate) mod secrets;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod version;
