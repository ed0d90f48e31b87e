//! What runs inside the daemon.

pub(crate) mod sampler;
pub(crate) mod shutdown;
