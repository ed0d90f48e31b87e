//! `config.toml`: where it is, what may be in it, and the documented file that `init` writes.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nonos_daemon::encryption::BackupKeys;
use nonos_daemon::object_target;
use nonos_storage::StorageConfig;
use serde::Deserialize;

use crate::args::Args;
use crate::error::CliError;
use crate::output::chain;

mod error;
mod sections;
#[cfg(test)]
mod tests;

pub(crate) use error::SettingsError;
pub(crate) use sections::{
    BackupSettings, MetricsSettings, RetentionSettings, SecretsSettings, ServerSettings,
    UpkeepSettings,
};

/// The file that `init` writes: every key with its default.
const DOCUMENTED: &str = include_str!("config.toml");

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
pub(crate) struct Settings {
    pub(crate) storage: StorageConfig,
    pub(crate) secrets: SecretsSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) server: ServerSettings,
    pub(crate) retention: RetentionSettings,
    pub(crate) backup: BackupSettings,
    pub(crate) maintenance: UpkeepSettings,
}

/// Where a node keeps its files.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) data_dir: PathBuf,
    pub(crate) config: PathBuf,
    /// Whether the file was named, so that it must exist.
    named: bool,
}

impl Places {
    /// Where a node keeps its files that has a copy of this configuration.
    pub(crate) fn of_copy(&self, data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            ..self.clone()
        }
    }

    pub(crate) fn of(args: &Args) -> Result<Self, SettingsError> {
        let data_dir = expand_home(&args.data_dir)?;
        let config = match &args.config {
            Some(config) => expand_home(config)?,
            None => data_dir.join("config.toml"),
        };
        Ok(Self {
            data_dir,
            config,
            named: args.config.is_some(),
        })
    }

    /// Reads the settings; a file that is not there says nothing, unless it was named.
    pub(crate) fn load(&self) -> Result<Settings, SettingsError> {
        let text = match fs::read_to_string(&self.config) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.named => String::new(),
            Err(source) => {
                let path = self.config.clone();
                return Err(SettingsError::Read { path, source });
            }
        };
        let mut settings = parse(&text, &self.config)?;
        let path = &mut settings.storage.path;
        *path = self.data_dir.join(expand_home(path)?);
        let secrets = &mut settings.secrets;
        secrets.key_file = self.data_dir.join(expand_home(&secrets.key_file)?);
        if !secrets.anchor_file.as_os_str().is_empty() {
            secrets.anchor_file = self.data_dir.join(expand_home(&secrets.anchor_file)?);
        }
        let server = &mut settings.server;
        if !server.token_file.as_os_str().is_empty() {
            server.token_file = self.data_dir.join(expand_home(&server.token_file)?);
        }
        Ok(settings)
    }

    /// Makes the data directory and the documented file, where they are missing; returns whether
    /// the file was. It says that secrets are sealed, if they are to be.
    pub(crate) fn create(&self, is_sealed: bool) -> Result<bool, CliError> {
        let io = |action, path: &Path, source| CliError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.data_dir)
            .map_err(|e| io("create", &self.data_dir, e))?;
        if self.named || self.config.exists() {
            return Ok(false);
        }
        // Beside it first: a power cut leaves no half of a file under the real name.
        let new = self.config.with_extension("toml.new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(documented(is_sealed).as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.config))
            .and_then(|()| File::open(&self.data_dir)?.sync_all());
        written.map_err(|e| io("write", &self.config, e))?;
        Ok(true)
    }
}

fn documented(is_sealed: bool) -> String {
    if is_sealed {
        let (plain, sealed) = ("mode = \"none\"", "mode = \"sealed_box\"");
        DOCUMENTED.replace(plain, sealed)
    } else {
        DOCUMENTED.to_owned()
    }
}

fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
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
    let not_usable = |key, error: &dyn Error| SettingsError::Backup {
        path: path.clone(),
        key,
        what: chain(error),
    };
    object_target::check(&backup.to).map_err(|error| not_usable("backup.to", &error))?;
    BackupKeys::new(&backup.recipients, None)
        .map_err(|error| not_usable("backup.recipients", &error))?;
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

/// What is wrong, and in which line.
fn in_a_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message;
    };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, `{line}`: {message}", number + 1)
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

pub(crate) fn expand_home(path: &Path) -> Result<PathBuf, SettingsError> {
    let Ok(below_home) = path.strip_prefix("~") else {
        return Ok(path.to_owned());
    };
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(below_home)),
        None => Err(SettingsError::NoHome {
            path: path.to_owned(),
        }),
    }
}
