//! The sections of the settings, with their defaults.

use std::path::PathBuf;

use serde::Deserialize;

/// The `[secrets]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SecretsSettings {
    /// The key file of this node.
    pub key_file: PathBuf,
    /// The file that tells that the database was put back; none if it is empty.
    pub anchor_file: PathBuf,
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
pub struct MetricsSettings {
    /// Seconds between two samples, from 1 to a day.
    pub interval_secs: u64,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { interval_secs: 60 }
    }
}

/// The `[server]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerSettings {
    /// The address and the port of the status page; none if it is empty.
    pub listen: String,
    /// The file of the token that who asks from elsewhere must show; none if it is empty.
    pub token_file: PathBuf,
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
    /// Where to listen; `None` if that is nowhere.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.listen.parse().ok()
    }
}

/// The `[retention]` table: days that are kept; 0 for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RetentionSettings {
    /// Of the samples.
    pub metrics_days: u32,
    /// Of the audit log.
    pub audit_log_days: u32,
    /// Of the epochs, by when they ended.
    pub epochs_days: u32,
    /// Of the peers, by when they were seen.
    pub peers_days: u32,
}

/// The `[backup]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackupSettings {
    /// Where backups are kept: a directory, or a URL.
    pub to: String,
    /// Seconds between two backups that the daemon makes, at most a day; 0 for none.
    pub every_secs: u64,
    /// Full backups that the daemon keeps.
    pub keep_last: usize,
    /// Days of which the daemon keeps the newest.
    pub keep_daily: usize,
    /// Seconds between two drills, at most 31,536,000; 0 for none.
    pub drill_every_secs: u64,
    /// To whom backups are encrypted; to nobody if it is empty.
    pub recipients: Vec<String>,
    /// The file of an age identity that opens them; none if it is empty.
    pub identity_file: PathBuf,
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
pub struct UpkeepSettings {
    /// Seconds from the beginning of one scrub to that of the next, 1 to 31,536,000.
    pub scrub_every_secs: u64,
    /// Bytes that a scrub reads in a second at most; 0 for no scrub.
    pub scrub_bytes_per_sec: u64,
    /// Hundredths of the index that compacting must return, at most 100; 0 for never.
    pub compact_above_percent: u8,
    /// Seconds that an upload which is under way gets to end when the daemon is told to stop, 0 to 60.
    pub stop_within_secs: u64,
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
