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

/// The `[secrets]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct SecretsSettings {
    /// The key file of this node.
    pub(crate) key_file: PathBuf,
    /// The file that tells that the database was put back; none if it is empty.
    pub(crate) anchor_file: PathBuf,
}

impl Default for SecretsSettings {
    fn default() -> Self {
        Self {
            key_file: PathBuf::from("storage.key"),
            anchor_file: PathBuf::from("storage.anchor"),
        }
    }
}

/// The `[metrics]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct MetricsSettings {
    /// Seconds between two samples, from 1 to a day.
    pub(crate) interval_secs: u64,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { interval_secs: 60 }
    }
}

/// The `[server]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ServerSettings {
    /// The address and the port of the status page; none if it is empty.
    pub(crate) listen: String,
    /// The file of the token that who asks from elsewhere must show; none if it is empty.
    pub(crate) token_file: PathBuf,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".to_owned(),
            token_file: PathBuf::new(),
        }
    }
}

impl ServerSettings {
    /// Where to listen.
    pub(crate) fn address(&self) -> Option<std::net::SocketAddr> {
        self.listen.parse().ok()
    }
}

/// The `[retention]` table: days that are kept; 0 for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_field_names,
    reason = "keys of the file, which have their unit"
)]
pub(crate) struct RetentionSettings {
    /// Of the samples.
    pub(crate) metrics_days: u32,
    /// Of the audit log.
    pub(crate) audit_log_days: u32,
    /// Of the epochs, by when they ended.
    pub(crate) epochs_days: u32,
    /// Of the peers, by when they were seen.
    pub(crate) peers_days: u32,
}

/// The `[backup]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct BackupSettings {
    /// Where backups are kept: a directory, or a URL.
    pub(crate) to: String,
    /// Seconds between two backups that the daemon makes, at most a day; 0 for none.
    pub(crate) every_secs: u64,
    /// Full backups that the daemon keeps.
    pub(crate) keep_last: usize,
    /// Days of which the daemon keeps the newest.
    pub(crate) keep_daily: usize,
    /// Seconds between two drills; 0 for none.
    pub(crate) drill_every_secs: u64,
    /// To whom backups are encrypted; to nobody if it is empty.
    pub(crate) recipients: Vec<String>,
    /// The file of an age identity that opens them; none if it is empty.
    pub(crate) identity_file: PathBuf,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            to: "backups".to_owned(),
            every_secs: 0,
            keep_last: 7,
            keep_daily: 30,
            drill_every_secs: 604_800,
            recipients: Vec::new(),
            identity_file: PathBuf::new(),
        }
    }
}

/// The `[maintenance]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct UpkeepSettings {
    /// Seconds from the beginning of one scrub to that of the next.
    pub(crate) scrub_every_secs: u64,
    /// What a scrub reads in a second; 0 for no scrub.
    pub(crate) scrub_bytes_per_sec: u64,
    /// Hundredths of the index that compacting must return, at most 100; 0 for never.
    pub(crate) compact_above_percent: u8,
    /// Seconds that an upload which is under way gets to end when the daemon is told to stop.
    pub(crate) stop_within_secs: u64,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self {
            scrub_every_secs: 604_800,
            scrub_bytes_per_sec: 1_048_576,
            compact_above_percent: 50,
            stop_within_secs: 5,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use storage_testkit::Random;

    use super::*;

    #[test]
    fn the_documented_file_holds_the_defaults() -> Result<(), SettingsError> {
        assert_eq!(
            parse(DOCUMENTED, Path::new("config.toml"))?,
            Settings::default()
        );
        Ok(())
    }

    #[test]
    fn a_file_of_anything_is_read_or_refused_in_a_line() {
        const PIECES: [&str; 16] = [
            "[", "]", "=", "\"", "'''", "\n", "#", "0", "-1", "1e9", "true", "{", "é", "\0",
            "= [1, 2]", "[server]",
        ];
        let (mut read, mut refused) = (0, 0);
        for seed in 0..2000 {
            let mut random = Random(seed);
            let mut text = DOCUMENTED.to_owned();
            for _ in 0..=random.below(3) {
                let at = text.floor_char_boundary(random.index(text.len() + 1));
                match random.below(8) {
                    0 => text.truncate(at),
                    1..=3 => {
                        let end = text.floor_char_boundary((at + 40).min(text.len()));
                        text.replace_range(at..end, "");
                    }
                    _ => text.insert_str(at, random.one_of(PIECES)),
                }
            }
            match parse(&text, Path::new("config.toml")) {
                Ok(_) => read += 1,
                Err(error) => {
                    let told = chain(&error);
                    assert!(!told.contains('\n'), "{seed}: {told:?}");
                    refused += 1;
                }
            }
        }
        assert!(
            read > 100 && refused > 100,
            "{read} read, {refused} refused"
        );
    }

    #[test]
    fn the_file_of_a_node_with_keys_says_that_secrets_are_sealed() -> Result<(), SettingsError> {
        let parsed = parse(&documented(true), Path::new("config.toml"))?;
        let mut expected = Settings::default();
        expected.storage.encryption_mode = nonos_storage::EncryptionMode::SealedBox;
        assert_eq!(parsed, expected);
        Ok(())
    }

    #[test]
    fn every_known_key_is_in_the_documented_file() {
        let table: toml::Table = DOCUMENTED.parse().unwrap();
        for (name, keys) in KNOWN {
            for key in keys.iter().filter(|key| **key != "path") {
                assert!(table[name].get(key).is_some(), "{name}.{key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        for (text, expected) in [
            (
                "[storage]\nflush_evry_ms = 1",
                "did you mean \"flush_every_ms\"?",
            ),
            (
                "[storage]\ncompression = true",
                "did you mean \"compression_enabled\"?",
            ),
            ("[metrics]\ninterval = 1", "did you mean \"interval_secs\"?"),
            ("[stroage]\n", "did you mean \"storage\"?"),
            ("[storage]\nx = 1", "known here: db_path, path,"),
        ] {
            let error = parse(text, Path::new("config.toml"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for text in [
            "[storage]\nflush_every_ms = 0",
            "[storage]\nflush_every_ms = \"sometimes\"",
            "[storage]\ncache_capacity_bytes = -1",
            "[storage]\nencryption_mode = \"rot13\"",
            "[metrics]\ninterval_secs = 0",
            "[metrics]\ninterval_secs = 86401",
            "[maintenance]\ncompact_above_percent = 101",
            "[backup]\nevery_secs = 86401",
            "[backup]\ndrill_every_secs = 9223372036854775807",
            "[maintenance]\nscrub_every_secs = 0",
            "[storage]\ndb_path = \"\"",
            "[backup]\nto = 1",
            "metrics = 1",
            "[storage",
        ] {
            assert!(parse(text, Path::new("config.toml")).is_err(), "{text:?}");
        }
    }
}
