//! The verbs, one file each.

pub(crate) mod init;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod version;
