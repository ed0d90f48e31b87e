//! The `[storage]` table of `config.toml`.

use nonos_storage::StorageConfig;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(config) = toml::from_str::<StorageConfig>(text) else {
        return;
    };
    assert_ne!(config.flush_every_ms, Some(0), "zero milliseconds");
    // What is over i64::MAX has no form in TOML.
    let Ok(written) = toml::to_string(&config) else {
        return;
    };
    assert_eq!(toml::from_str(&written), Ok(config), "{written}");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let defaults = toml::to_string(&StorageConfig::default()).expect("a table");
    let texts = [
        &defaults,
        "",
        "path = \"~/node/data.sled\"\nflush_every_ms = \"never\"\n",
        "db_path = '''a\nb'''\ncache_capacity_bytes = 0x10_0000\nencryption_mode = \"sealed_box\"\n",
        "flush_every_ms = 1\ncompression_enabled = false # a comment\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
