//! The storage of a NONOS node, for programs that depend on the daemon's crate: everything of
//! [`nonos_storage`] under this name, [`settings`], which `config.toml` says, [`object_target`], the
//! places for backups, and [`encryption`] of what goes there.

pub mod encryption;
pub mod object_target;
pub mod settings;

pub use nonos_storage::*;
