//! What is wrong with a settings file.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::limits;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid: {what}", path.display())]
    Invalid {
        path: PathBuf,
        /// The line, what is in it, and what is wrong with that.
        what: String,
    },
    #[error("{}: unknown key {key:?}; {hint}", path.display())]
    UnknownKey {
        path: PathBuf,
        key: String,
        hint: String,
    },
    #[error("{}: {key} is {found}; give {}", path.display(), limits(range))]
    Range {
        path: PathBuf,
        key: &'static str,
        found: u64,
        range: RangeInclusive<u64>,
    },
    #[error("{}: {key} is empty", path.display())]
    Empty { path: PathBuf, key: &'static str },
    #[error("{}: server.listen is {found:?}; give an address and a port, as 127.0.0.1:9464, or \"\"", path.display())]
    Listen { path: PathBuf, found: String },
    #[error("{}: {key}: {what}", path.display())]
    Backup {
        path: PathBuf,
        key: &'static str,
        what: String,
    },
    #[error("{} begins with ~/, but HOME is not set", path.display())]
    NoHome { path: PathBuf },
}

impl SettingsError {
    pub(crate) fn remedy(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => None,
            Self::NoHome { .. } => Some("name the node's directory with --data-dir"),
            _ => Some("`nonos init` in an empty directory writes a file with every key explained"),
        }
    }
}
