//! What runs inside the daemon.

pub(crate) mod admin;
pub(crate) mod backups;
pub(crate) mod node;
pub(crate) mod retention;
pub(crate) mod sampler;
pub(crate) mod server;
pub(crate) mod shutdown;
#[cfg(feature = "soak")]
pub(crate) mod soak;
pub(crate) mod supervisor;
mod turns;
pub(crate) mod upkeep;
pub(crate) mod watch;
