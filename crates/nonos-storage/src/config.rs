//! The configuration of a database, and what of it is not allowed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use storage_crypto::EncryptionMode;

use crate::error::ConfigError;

/// The smallest cache, in bytes.
pub(crate) const MIN_CACHE_BYTES: u64 = 1024 * 1024;

/// How to open a database: the `[storage]` table of `config.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// The directory of the database; `db_path` in the file. A leading `~/` is the home directory.
    /// Other files of the database lie beside it, under its name with an ending. By default `data.sled`, in the
    /// current directory.
    #[serde(rename = "db_path", alias = "path")]
    pub path: PathBuf,
    /// Bytes of memory for caches, at least 1 MiB; by default 64 MiB.
    pub cache_capacity_bytes: u64,
    /// Milliseconds until a buffered write is durable, over 0; `None`, in the file `"never"`: only
    /// when flushed. By default 30,000.
    #[serde(with = "flush_every")]
    pub flush_every_ms: Option<u64>,
    /// How secrets are protected; by default not at all.
    pub encryption_mode: EncryptionMode,
    /// Whether values are compressed with LZ4 where that pays, as by default. Can be changed at any time.
    pub compression_enabled: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data.sled"),
            cache_capacity_bytes: 64 * 1024 * 1024,
            flush_every_ms: Some(30_000),
            encryption_mode: EncryptionMode::None,
            compression_enabled: true,
        }
    }
}

impl StorageConfig {
    /// Checks what does not need the disk; returns the path with `~/` expanded.
    pub(crate) fn check(&self) -> Result<PathBuf, ConfigError> {
        if self.cache_capacity_bytes < MIN_CACHE_BYTES {
            let found = self.cache_capacity_bytes;
            return Err(ConfigError::CacheTooSmall { found });
        }
        if self.flush_every_ms == Some(0) {
            return Err(ConfigError::FlushEveryZero);
        }
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::EmptyPath);
        }
        expand_home(&self.path)
    }
}

fn expand_home(path: &Path) -> Result<PathBuf, ConfigError> {
    let Ok(below_home) = path.strip_prefix("~") else {
        // Without what changes nothing: a slash at the end, a dot in the middle.
        return Ok(path.components().collect());
    };
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(below_home)),
        None => Err(ConfigError::NoHome {
            path: path.to_owned(),
        }),
    }
}

/// `flush_every_ms` in the file: a number, or `"never"`.
mod flush_every {
    use serde::de::{Error, Unexpected};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const NEVER: &str = "never";

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Setting {
        Ms(u64),
        Text(String),
    }

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(super) fn serialize<S: Serializer>(ms: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match ms {
            Some(ms) => ms.serialize(to),
            None => NEVER.serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let expected = &"a number of milliseconds over 0, or \"never\"";
        match Option::<Setting>::deserialize(from)? {
            Some(Setting::Ms(0)) => Err(Error::invalid_value(Unexpected::Unsigned(0), expected)),
            Some(Setting::Ms(ms)) => Ok(Some(ms)),
            Some(Setting::Text(text)) if text == NEVER => Ok(None),
            Some(Setting::Text(text)) => {
                Err(Error::invalid_value(Unexpected::Str(&text), expected))
            }
            None => Ok(None),
        }
    }
}
