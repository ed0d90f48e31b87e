//! The verbs, one file each.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod migrate;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod version;
