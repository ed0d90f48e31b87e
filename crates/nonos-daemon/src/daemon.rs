//! What runs inside the daemon.

pub(crate) mod backups;
pub(crate) mod sampler;
pub(crate) mod shutdown;
pub(crate) mod upkeep;
