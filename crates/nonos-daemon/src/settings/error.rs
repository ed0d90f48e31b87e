//! What is wrong with a settings file.

use std::error::Error;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::limits;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{} is not valid: {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, what is in it, and what is wrong with that.
        what: String,
    },
    /// Nothing reads this key.
    #[error("{}: unknown key {key:?}; {hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, behind the name of its table.
        key: String,
        /// What was perhaps meant.
        hint: String,
    },
    /// A number that is too small or too large.
    #[error("{}: {key} is {found}; give {}", path.display(), limits(range))]
    Range {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is there.
        found: u64,
        /// What may be there.
        range: RangeInclusive<u64>,
    },
    /// A name that is empty.
    #[error("{}: {key} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// Not an address and a port.
    #[error("{}: server.listen is {found:?}; give an address and a port, as 127.0.0.1:9464, or \"\"", path.display())]
    Listen {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// No place for backups, or nobody to encrypt them to.
    #[error("{}: {key}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A path below the home of a user who has none.
    #[error("{} begins with ~/, but HOME is not set", path.display())]
    NoHome {
        /// The path.
        path: PathBuf,
    },
}

impl SettingsError {
    /// What to do about it; none where the system's error says that.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => None,
            Self::NoHome { .. } => Some("name the node's directory with --data-dir"),
            _ => Some("`nonos init` in an empty directory writes a file with every key explained"),
        }
    }
}
