//! `config.toml`: what may be in it, and the documented file that `nonos init` writes.
//!
//! TOML 1.0. What no part of the program reads is refused, so that a mistyped key does not become a
//! default in silence; so is a number out of its range. Paths are as they are written: the program
//! takes them relative to the data directory.

use std::ops::RangeInclusive;
use std::path::Path;

use nonos_storage::StorageConfig;
use serde::Deserialize;

use crate::encryption::BackupKeys;
use crate::object_target;

mod error;
mod sections;
#[cfg(test)]
mod tests;

pub use error::SettingsError;
pub use sections::{
    BackupSettings, MetricsSettings, RetentionSettings, SecretsSettings, ServerSettings,
    UpkeepSettings,
};

/// The documented file: every key with its default.
pub const DOCUMENTED: &str = include_str!("config.toml");

/// The tables of the file and the keys of each.
const KNOWN: [(&str, &[&str]); 7] = [
    (
        "storage",
        &[
            "db_path",
            "path",
            "cache_capacity_bytes",
            "flush_every_ms",
            "encryption_mode",
            "compression_enabled",
        ],
    ),
    ("secrets", &["key_file", "anchor_file"]),
    ("metrics", &["interval_secs"]),
    ("server", &["listen", "token_file"]),
    (
        "retention",
        &[
            "metrics_days",
            "audit_log_days",
            "epochs_days",
            "peers_days",
        ],
    ),
    (
        "maintenance",
        &[
            "scrub_every_secs",
            "scrub_bytes_per_sec",
            "compact_above_percent",
            "stop_within_secs",
        ],
    ),
    (
        "backup",
        &[
            "to",
            "every_secs",
            "keep_last",
            "keep_daily",
            "drill_every_secs",
            "recipients",
            "identity_file",
        ],
    ),
];

/// What the daemon is told by its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `[storage]`: where the database is, and how it is kept.
    pub storage: StorageConfig,
    /// `[secrets]`
    pub secrets: SecretsSettings,
    /// `[metrics]`
    pub metrics: MetricsSettings,
    /// `[server]`
    pub server: ServerSettings,
    /// `[retention]`
    pub retention: RetentionSettings,
    /// `[backup]`
    pub backup: BackupSettings,
    /// `[maintenance]`
    pub maintenance: UpkeepSettings,
}

/// [`DOCUMENTED`], for a node whose secrets are sealed or are not.
pub fn documented(is_sealed: bool) -> String {
    if is_sealed {
        let (plain, sealed) = ("mode = \"none\"", "mode = \"sealed_box\"");
        DOCUMENTED.replace(plain, sealed)
    } else {
        DOCUMENTED.to_owned()
    }
}

/// Reads the text of a file; `path` is what errors name. Keys that are not there have their defaults. No file is
/// opened, and `~/` stays as it is.
///
/// ```
/// use std::path::Path;
/// use nonos_daemon::settings::{SettingsError, parse};
///
/// let path = Path::new("config.toml");
/// let settings = parse("[backup]\nevery_secs = 300\n", path)?;
/// assert_eq!((settings.backup.every_secs, settings.metrics.interval_secs), (300, 60));
///
/// let wrong = parse("[backup]\nevery_sec = 300\n", path);
/// assert!(matches!(wrong, Err(SettingsError::UnknownKey { .. })));
/// # Ok::<(), SettingsError>(())
/// ```
///
/// # Errors
///
/// [`SettingsError`], of the first thing that is wrong, in one line; none of a file or a home, as neither is looked
/// at.
pub fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
    let path = path.to_owned();
    let invalid = |error: &toml::de::Error| SettingsError::Invalid {
        path: path.clone(),
        what: in_a_line(text, error),
    };
    let table: toml::Table = text.parse().map_err(|error| invalid(&error))?;
    if let Some((key, hint)) = unknown_key(&table) {
        return Err(SettingsError::UnknownKey { path, key, hint });
    }
    let settings: Settings = toml::from_str(text).map_err(|error| invalid(&error))?;
    if !settings.server.listen.is_empty() && settings.server.address().is_none() {
        let found = settings.server.listen;
        return Err(SettingsError::Listen { path, found });
    }
    let (upkeep, backup) = (&settings.maintenance, &settings.backup);
    for (key, found, range) in [
        (
            "storage.cache_capacity_bytes",
            settings.storage.cache_capacity_bytes,
            1_048_576..=u64::MAX,
        ),
        (
            "metrics.interval_secs",
            settings.metrics.interval_secs,
            1..=86_400,
        ),
        (
            "maintenance.scrub_every_secs",
            upkeep.scrub_every_secs,
            1..=A_YEAR,
        ),
        (
            "maintenance.compact_above_percent",
            upkeep.compact_above_percent.into(),
            0..=100,
        ),
        (
            "maintenance.stop_within_secs",
            upkeep.stop_within_secs,
            0..=60,
        ),
        ("backup.every_secs", backup.every_secs, 0..=86_400),
        (
            "backup.drill_every_secs",
            backup.drill_every_secs,
            0..=A_YEAR,
        ),
    ] {
        if !range.contains(&found) {
            return Err(SettingsError::Range {
                path,
                key,
                found,
                range,
            });
        }
    }
    for (key, is_empty) in [
        (
            "storage.db_path",
            settings.storage.path.as_os_str().is_empty(),
        ),
        (
            "secrets.key_file",
            settings.secrets.key_file.as_os_str().is_empty(),
        ),
        ("backup.to", backup.to.is_empty()),
    ] {
        if is_empty {
            return Err(SettingsError::Empty { path, key });
        }
    }
    let not_usable = |key, source| SettingsError::Backup {
        path: path.clone(),
        key,
        source,
    };
    object_target::check(&backup.to).map_err(|error| not_usable("backup.to", error.into()))?;
    BackupKeys::new(&backup.recipients, None)
        .map_err(|error| not_usable("backup.recipients", error.into()))?;
    Ok(settings)
}

fn limits(range: &RangeInclusive<u64>) -> String {
    match (range.start(), range.end()) {
        (least, &u64::MAX) => format!("{least} or more"),
        (least, most) => format!("{least} to {most}"),
    }
}

/// Longer periods are none, in seconds.
const A_YEAR: u64 = 31_536_000;

/// What is wrong, and in which line; without what would move a terminal's cursor.
fn in_a_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let before = error.span().and_then(|span| text.get(..span.start));
    let told = before.map_or(message.to_owned(), |before| {
        let number = before.matches('\n').count();
        let line = text.lines().nth(number).unwrap_or_default().trim();
        format!("line {}, `{line}`: {message}", number + 1)
    });
    told.trim_end().replace(char::is_control, " ")
}

/// The first key that no part of the program reads, and what was perhaps meant.
fn unknown_key(table: &toml::Table) -> Option<(String, String)> {
    for (name, content) in table {
        let Some((_, keys)) = KNOWN.iter().find(|(known, _)| known == name) else {
            let tables = KNOWN.map(|(known, _)| known);
            return Some((name.clone(), hint(name, &tables)));
        };
        let unknown = content
            .as_table()
            .and_then(|content| content.keys().find(|key| !keys.contains(&key.as_str())));
        if let Some(key) = unknown {
            return Some((format!("{name}.{key}"), hint(key, keys)));
        }
    }
    None
}

fn hint(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(key.len()) / 2)
        .min();
    match near {
        Some((_, known)) => format!("did you mean {known:?}?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
