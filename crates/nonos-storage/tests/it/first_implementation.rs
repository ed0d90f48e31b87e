//! Real databases of the first implementation, against the listings of its own methods.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

use std::fs;
use std::path::Path;

use nonos_storage::{
    EpochNumber, ErrorCode, NodeStorage, NonosError, OpenOptions, StorageConfig, StoredClaim,
    StoredEpochSummary, StoredMetrics, StoredPeerInfo,
};
use serde_json::{Value, json};
use storage_testkit::Directory;
use storage_testkit::first_implementation::{FIXTURES, FirstImplementation};

use crate::TestResult;
use crate::contents::code;

fn config(path: &Path) -> StorageConfig {
    StorageConfig {
        path: path.to_owned(),
        ..Default::default()
    }
}

/// The listing of a database, in the form of the fixtures.
fn listing(storage: &NodeStorage) -> Result<Value, NonosError> {
    let hex = |bytes: &[u8]| -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    };
    let claims = storage.load_claims()?.into_iter().map(|(_, claim)| {
        let mut value = value(&StoredClaim {
            amount: 0,
            ..claim.clone()
        });
        value["amount"] = json!(claim.amount.to_string());
        value
    });
    let epochs = storage.load_epoch_range(EpochNumber(0), EpochNumber(u64::MAX))?;
    let epochs = epochs.iter().map(|epoch| {
        let mut value = value(&StoredEpochSummary {
            total_emission: 0,
            our_reward: 0,
            ..epoch.clone()
        });
        value["total_emission"] = json!(epoch.total_emission.to_string());
        value["our_reward"] = json!(epoch.our_reward.to_string());
        value
    });
    let metrics = storage.load_metrics_range(0, i64::MAX)?;
    let mut secrets = serde_json::Map::new();
    for name in storage.list_secrets()? {
        let secret = storage.load_secret(&name)?.unwrap_or_default();
        secrets.insert(name, json!(String::from_utf8(secret).unwrap_or_default()));
    }
    let audit = storage.load_audit_log(usize::MAX)?;
    Ok(json!({
        "audit_newest_first": audit.iter().map(value).collect::<Vec<_>>(),
        "claims": claims.collect::<Vec<_>>(),
        "config": {
            "bootstrap_nodes": storage.load_config::<Vec<String>>("bootstrap_nodes")?,
            "last_sync": storage.load_config::<i64>("last_sync")?,
            "nickname": storage.load_config::<String>("nickname")?,
        },
        "encrypted_key_hex": storage.load_encrypted_key()?.as_deref().map(hex),
        "epochs": epochs.collect::<Vec<_>>(),
        "metrics": metrics.iter().map(|(time, m)| json!([time, value(m)])).collect::<Vec<_>>(),
        "node_id": storage.load_node_id()?.map(|id| id.to_hex()),
        "peers": storage.list_peers()?.iter().map(|(id, peer)| json!([id, value(peer)])).collect::<Vec<_>>(),
        "secrets": secrets,
    }))
}

/// A record as JSON; its 128-bit fields are put in as text.
fn value(record: &impl serde::Serialize) -> Value {
    serde_json::to_value(record).expect("a record is JSON")
}

/// What the fixture's listing becomes: absent protocol versions are filled in, the rest is unchanged.
fn expected(fixture: &FirstImplementation) -> Result<Value, Box<dyn std::error::Error>> {
    let mut listing = fixture.listing()?;
    for peer in listing["peers"].as_array_mut().ok_or("no peers")? {
        let version = &mut peer[1]["protocol_version"];
        if version.is_null() {
            *version = json!("1.0.0");
        }
    }
    Ok(listing)
}

fn assert_same(found: &Value, expected: &Value, case: &str) {
    let keys = expected.as_object().expect("an object").keys();
    for key in keys {
        assert_eq!(found[key], expected[key], "{case}: {key}");
    }
}

#[test]
fn both_open_and_equal_their_listings() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let expected = expected(&fixture)?;
        let config = config(&fixture.database());

        let refused = OpenOptions::new(config.clone()).migrate(false).open();
        assert_eq!(
            code(refused.map(drop))?,
            ErrorCode::MigrationNeeded,
            "{name}"
        );
        let outlook = NodeStorage::schema_outlook(&config, true)?;
        let survey = outlook.survey.ok_or("no survey")?;
        assert_eq!((outlook.version, survey.quarantined), (1, 0), "{name}");

        let storage = NodeStorage::open(config.clone())?;
        assert_same(&listing(&storage)?, &expected, name);
        let taken = storage.migrations_taken();
        assert_eq!(taken.len(), 1, "{name}");
        // The prediction was exact.
        assert_eq!(taken[0].converted, survey.records(), "{name}");
        let sizes = storage.tree_sizes()?;
        let predicted = survey.trees.iter().find(|tree| tree.tree.name() == "peers");
        assert_eq!(
            predicted.map(|tree| tree.records),
            u64::try_from(sizes.peers).ok(),
            "{name}"
        );
        assert_eq!(storage.schema_version()?, 2);
        let history = storage.schema_info()?.migrations_applied;
        let last = history.last().ok_or("no history")?;
        assert_eq!(
            (last.from_version, last.to_version, last.success),
            (1, 2, true),
            "{name}"
        );
        assert!(storage.opening_report().adopted);
        assert!(storage.opening_report().damage.is_empty(), "{name}");
        storage.close()?;

        let again = NodeStorage::open(config.clone())?;
        assert!(again.opening_report().clean && again.migrations_taken().is_empty());
        assert_same(&listing(&again)?, &expected, &format!("{name}, again"));
        drop(again);
        let view = NodeStorage::open_readonly(config)?;
        assert_same(&listing(&view)?, &expected, &format!("{name}, read only"));
    }
    Ok(())
}

#[test]
fn a_refusal_changes_no_byte() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let config = config(&fixture.database());
        let before = bytes(fixture.root())?;
        let refused = OpenOptions::new(config.clone()).migrate(false).open();
        assert_eq!(code(refused.map(drop))?, ErrorCode::MigrationNeeded);
        let refused = NodeStorage::open_readonly(config.clone());
        assert_eq!(code(refused.map(drop))?, ErrorCode::MigrationNeeded);
        NodeStorage::schema_outlook(&config, true)?;
        let mut after = bytes(fixture.root())?;
        after.retain(|(path, _)| Path::new(path).extension().is_none_or(|e| e != "lock"));
        assert!(before == after, "{name}");
    }
    Ok(())
}

fn bytes(root: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn its_directory_and_its_backup_are_imported() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let expected = expected(&fixture)?;
        let before = bytes(fixture.root())?;
        for source in [fixture.database(), fixture.backup()] {
            let target = Directory::new()?;
            let config = config(&target.database());
            let imported = NodeStorage::import_first_implementation(&source, &config)?;
            let storage = NodeStorage::open(config.clone())?;
            let case = format!("{name}, {}", source.display());
            assert_same(&listing(&storage)?, &expected, &case);
            let sizes = storage.tree_sizes()?;
            let records = sizes.identity + sizes.peers + sizes.metrics + sizes.epochs;
            let records = records + sizes.config + sizes.claims + sizes.secrets + sizes.audit_log;
            assert_eq!(imported.entries, u64::try_from(records)? + 1, "{case}");
            assert!(storage.opening_report().damage.is_empty(), "{case}");
            storage.close()?;
            let again = NodeStorage::import_first_implementation(&source, &config);
            assert_eq!(code(again.map(drop))?, ErrorCode::InvalidArgument, "{case}");
        }
        let target = Directory::new()?;
        let config = config(&target.database());
        let restored = NodeStorage::restore_backup(fixture.backup(), config.clone())?;
        assert_eq!(restored.migrated_from, Some(1), "{name}");
        assert_same(&listing(&NodeStorage::open(config)?)?, &expected, name);
        assert!(before == bytes(fixture.root())?, "{name}");
    }
    Ok(())
}

#[test]
fn a_damaged_old_backup_is_refused_and_nothing_is_made() -> TestResult {
    let fixture = FirstImplementation::unpack("stamped-1")?;
    let backup = fs::read(fixture.backup())?;
    let target = Directory::new()?;
    let damaged = target.root().join("damaged.nonos");
    for (number, at) in [0, 8, 16, 24, 40, 60, 100, 4000, backup.len() - 20]
        .into_iter()
        .enumerate()
    {
        let mut bytes = backup.clone();
        if number % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at..at + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        }
        fs::write(&damaged, &bytes)?;
        let config = config(&target.root().join(format!("{number}/data.sled")));
        let refused = NodeStorage::import_first_implementation(&damaged, &config);
        // Bytes of a value may be anything: then it is the migration that refuses.
        let code = match refused {
            Ok(_) => code(NodeStorage::open(config.clone()).map(drop))?,
            refused => {
                let code = code(refused.map(drop))?;
                assert!(NodeStorage::open_readonly(config).is_err(), "at {at}");
                code
            }
        };
        let known = [
            ErrorCode::BackupInvalid,
            ErrorCode::SchemaMismatch,
            ErrorCode::Corrupt,
        ];
        assert!(known.contains(&code), "at {at}: {code}");
    }
    Ok(())
}

#[test]
fn the_way_back_is_its_own_backup_format() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let expected = expected(&fixture)?;
        let storage = NodeStorage::open(config(&fixture.database()))?;
        let target = Directory::new()?;
        let exported = target.root().join("back.nonos");
        storage.store_config("new", &vec![1_i64, 2])?;
        let report = storage.export_first_implementation(&exported)?;
        assert_eq!(report.bytes, fs::metadata(&exported)?.len());
        assert_eq!(report.widened, ["new"]);
        let config = config(&target.database());
        NodeStorage::import_first_implementation(&exported, &config)?;
        let again = NodeStorage::open(config)?;
        assert_same(&listing(&again)?, &expected, name);
        assert_eq!(again.load_config::<Vec<i64>>("new")?, Some(vec![1, 2]));
        // A map has no form there, as whether it was a struct is not known.
        let map = std::collections::BTreeMap::from([("a", 1)]);
        storage.store_config("map", &map)?;
        let refused = storage.export_first_implementation(target.root().join("none.nonos"));
        assert_eq!(code(refused.map(drop))?, ErrorCode::Serialization);
        assert!(!target.root().join("none.nonos").exists());
        assert!(!target.root().join("none.nonos.new").exists());
    }
    Ok(())
}

#[test]
fn a_typed_value_of_it_is_checked_when_it_is_loaded() -> TestResult {
    let fixture = FirstImplementation::unpack("stamped-1")?;
    let storage = NodeStorage::open(config(&fixture.database()))?;
    assert_eq!(
        code(storage.load_config::<Vec<String>>("nickname"))?,
        ErrorCode::WrongType
    );
    assert_eq!(
        code(storage.load_config::<bool>("last_sync"))?,
        ErrorCode::WrongType
    );
    assert_eq!(
        code(storage.load_config::<Value>("last_sync"))?,
        ErrorCode::WrongType
    );
    // Stored again, it is a value of this release.
    storage.store_config("last_sync", &5)?;
    assert_eq!(storage.load_config::<u8>("last_sync")?, Some(5));
    let _shapes: (StoredPeerInfo, StoredMetrics) = Default::default();
    Ok(())
}
