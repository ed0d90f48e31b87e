//! What runs inside the daemon.

pub(crate) mod admin;
pub(crate) mod backups;
pub(crate) mod node;
pub(crate) mod retention;
pub(crate) mod sampler;
pub(crate) mod server;
pub(crate) mod shutdown;
pub(crate) mod supervisor;
pub(crate) mod upkeep;
