//! `config.toml`, whole.

use std::error::Error;
use std::path::Path;

use nonos_daemon::settings::{self, DOCUMENTED, Settings, SettingsError};
use nonos_storage::StorageConfig;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let settings = match read(text) {
        Ok(settings) => settings,
        Err(error) => {
            let mut told: Option<&dyn Error> = Some(&error);
            while let Some(error) = told {
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
                told = error.source();
            }
            return;
        }
    };
    // Written in another form, it says the same.
    let table: toml::Table = text.parse().expect("it was read");
    let written = toml::to_string(&table).expect("a table");
    assert_eq!(read(&written).expect("it was read"), settings, "{written}");
    storage(&settings.storage);
}

fn read(text: &str) -> Result<Settings, SettingsError> {
    settings::parse(text, Path::new("config.toml"))
}

fn storage(config: &StorageConfig) {
    assert_ne!(config.flush_every_ms, Some(0), "zero milliseconds");
    // What is over i64::MAX has no form in TOML.
    let Ok(written) = toml::to_string(config) else {
        return;
    };
    assert_eq!(
        toml::from_str(&written).as_ref(),
        Ok(config),
        "written as {written}"
    );
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        DOCUMENTED,
        "",
        "[storage]\npath = \"~/node/data.sled\"\nflush_every_ms = \"never\"\n",
        "[storage]\ndb_path = '''a\nb'''\ncache_capacity_bytes = 0x10_0000\nencryption_mode = \"sealed_box\"\n",
        "storage.flush_every_ms = 1\nstorage = { compression_enabled = false } # twice\n",
        "[secrets]\nkey_file = \"k\"\nanchor_file = \"\"\n[metrics]\ninterval_secs = 86_400\n",
        "[server]\nlisten = \"[::1]:9464\"\ntoken_file = 't'\n[retention]\nmetrics_days = 30\npeers_days = 1\n",
        "[maintenance]\nscrub_every_secs = 3600\ncompact_above_percent = 100\nstop_within_secs = 60\n",
        "[backup]\nto = \"s3://bucket/prefix\"\nevery_secs = 0b1\nkeep_last = 0\nkeep_daily = 0\n",
        "backup = { to = \"file:///b\", recipients = [\"age1q\"], identity_file = \"i\", drill_every_secs = 0 }\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
