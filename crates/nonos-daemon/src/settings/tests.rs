//! Settings read, refused, written.

use std::error::Error;

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
                let mut told: Option<&dyn Error> = Some(&error);
                while let Some(error) = told {
                    let line = error.to_string();
                    assert!(!line.contains(char::is_control), "{seed}: {line:?}");
                    told = error.source();
                }
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
