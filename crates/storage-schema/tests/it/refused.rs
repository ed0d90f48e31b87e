//! What is refused, before anything is written.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{Db, ErrorCode, SimulatedHome, TreeId, bincode};
use storage_schema::{SchemaError, import, open_with};
use storage_testkit::first_home::{SCHEMA_KEY, home, vectors};

use crate::TestResult;
use crate::old::{dump, how, open, options};

/// Changes the value under a key of the home's index.
fn change(home: &SimulatedHome, tree: TreeId, key: &[u8], change: impl Fn(&mut Vec<u8>)) {
    home.damage(tree, |entries| {
        change(entries.entry(key.to_vec()).or_default());
    });
}

/// A record, and what is done to its value.
type Case = (TreeId, Vec<u8>, fn(&mut Vec<u8>));

#[test]
fn a_record_that_does_not_convert_refuses_everything_and_is_named() -> TestResult {
    let time = 1_i64.to_be_bytes();
    let claim = |change: fn(&mut Vec<u8>)| (TreeId::Claims, time.to_vec(), change);
    let cases: [Case; 7] = [
        claim(|value| value.truncate(20)),
        claim(|value| value.push(0)),
        // The length of `tx_hash`.
        claim(|value| value[33..41].copy_from_slice(&(1_u64 << 60).to_le_bytes())),
        (TreeId::Peers, b"peer-000".to_vec(), |value| value[0] = b'['),
        (TreeId::Metrics, (-5_i64).to_be_bytes().to_vec(), |value| {
            *value = vectors()[0].2.clone();
        }),
        (TreeId::Identity, b"node_id".to_vec(), |value| {
            value.truncate(31);
        }),
        (TreeId::Config, Vec::new(), |value| {
            *value = bincode::encode("x").expect("text");
        }),
    ];
    for (tree, key, damage) in cases {
        let (disk, home) = (SimulatedDisk::default(), home(5));
        change(&home, tree, &key, damage);
        let error = open(&disk, &home, Some(&how())).expect_err("it does not convert");
        let SchemaError::Unconvertible { count: 1, first } = &error else {
            return Err(format!("{tree:?}: {error}").into());
        };
        assert_eq!(first.tree, tree, "{error}");
        let hex = HEXLOWER.encode(&key);
        assert_eq!(first.key_hex, hex, "{error}");
        // Nothing of it was begun.
        let again = open(&disk, &home, Some(&how())).expect_err("it still does not");
        assert!(
            matches!(again, SchemaError::Unconvertible { count: 1, .. }),
            "{again}"
        );
    }
    Ok(())
}

#[test]
fn a_damaged_schema_record_is_refused() {
    for damage in [
        |value: &mut Vec<u8>| value.truncate(20),
        |value: &mut Vec<u8>| value.push(0),
        |value: &mut Vec<u8>| value[13..21].copy_from_slice(&(1_u64 << 60).to_le_bytes()),
        |value: &mut Vec<u8>| value[12] = 7,
    ] {
        let (disk, home) = (SimulatedDisk::default(), home(1));
        change(&home, TreeId::Schema, SCHEMA_KEY, damage);
        let error = open(&disk, &home, Some(&how())).expect_err("it is damaged");
        assert_eq!(error.code(), ErrorCode::SchemaMismatch, "{error}");
        assert!(disk.files().is_empty(), "something was written");
    }
    let (disk, home) = (SimulatedDisk::default(), home(1));
    home.damage(TreeId::Schema, std::collections::BTreeMap::clear);
    let error = open(&disk, &home, Some(&how())).expect_err("it has no version");
    assert!(matches!(error, SchemaError::Unversioned), "{error}");
    assert!(disk.files().is_empty(), "something was written");
}

#[test]
fn a_newer_version_is_refused_with_the_documented_sentence() {
    for version in [3, 200] {
        let (disk, home) = (SimulatedDisk::default(), home(1));
        change(&home, TreeId::Schema, SCHEMA_KEY, |value| {
            value[0] = version;
        });
        let error = open(&disk, &home, Some(&how())).expect_err("it is newer");
        let expected =
            format!("Database schema version {version} is newer than supported version 2");
        assert_eq!(error.to_string().lines().next(), Some(&*expected));
        assert_eq!(error.code(), ErrorCode::SchemaTooNew);
        assert!(disk.files().is_empty(), "something was written");
    }
}

#[test]
fn the_first_implementations_vectors_become_the_records_they_were() -> TestResult {
    use storage_core::trees::{audit_log, claims, epochs, metrics, secrets};
    let opened = open(&SimulatedDisk::default(), &home(0), Some(&how()))?;
    let view = opened.db.view();
    assert_eq!(dump(&view)?.len(), vectors().len() + 1);
    let samples = metrics::range(&view, 0, i64::MAX)?;
    assert_eq!(samples.len(), 2);
    assert_eq!(
        (samples[0].1.total_requests, samples[0].1.quality_score),
        (7, 0.95)
    );
    assert_eq!(samples[1].1.network_bytes_received, Some(2_097_152));
    assert_eq!(samples[1].1.cpu_usage, Some(25.0));
    let epoch = epochs::get(&view, storage_core::EpochNumber(1))?.ok_or("no epoch")?;
    assert_eq!(epoch.total_emission, 100_000_000_000_000_000_000_000);
    assert_eq!((epoch.streak, epoch.participated), (5, true));
    let claims = claims::list(&view)?;
    assert_eq!(claims[0].1.tx_hash.as_deref(), Some("0xab"));
    assert_eq!(claims[0].1.amount, 1_000_000_000_000_000_000_000);
    let audit = audit_log::latest(&view, 9)?;
    assert_eq!(audit[0].details.as_deref(), Some("wallet_key"));
    let secret = secrets::get(&view, "wallet")?;
    assert_eq!(
        secret,
        Some(secrets::Stored::Plain(b"of an old wallet".to_vec()))
    );
    Ok(())
}

#[test]
fn what_does_not_convert_is_set_aside_and_listed_where_that_is_allowed() -> TestResult {
    let directory = storage_testkit::Directory::new()?;
    let (disk, home) = (SimulatedDisk::default(), home(5));
    change(&home, TreeId::Peers, b"peer-003", |value| value.truncate(9));
    change(&home, TreeId::Secrets, &[], |value| {
        *value = b"nameless".to_vec();
    });
    let mut options = options();
    options.path = directory.database();
    let mut how = how();
    how.allow_quarantine = true;
    let opened = open_with(&options, Some(&how), |accept| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Db::open_simulated(disk, &home, &options, accept)
    })?;
    assert_eq!(opened.climbed[0].quarantined, 2);
    let found = dump(&opened.db.view())?;
    assert!(!found.contains_key(&(TreeId::Peers, b"peer-003".to_vec())));
    assert_eq!(
        found
            .keys()
            .filter(|(tree, _)| *tree == TreeId::Peers)
            .count(),
        4
    );
    let listed = directory
        .root()
        .join("data.sled.quarantine-schema-2.ndjson");
    let listed = std::fs::read_to_string(listed)?;
    let lines: Result<Vec<serde_json::Value>, _> =
        listed.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!(lines[0]["tree"], "secrets");
    assert_eq!(lines[0]["value_hex"], HEXLOWER.encode(b"nameless"));
    assert_eq!(lines[1]["key_hex"], HEXLOWER.encode(b"peer-003"));
    assert!(!lines[1]["reason"].as_str().unwrap_or_default().is_empty());
    Ok(())
}

/// A backup of the first implementation with two records in `config`, whose count and length say otherwise.
fn backup(count: u64, shorter: u64) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&len(bytes).to_le_bytes(), bytes].concat();
    let record = |key: &[u8]| [2_u64.to_le_bytes().to_vec(), sized(key), sized(b"value")].concat();
    let name = [sized(b"tree"), sized(b"config")].concat();
    let records = [record(b"a"), record(b"b")].concat();
    let blob = [&name[..], &count.to_le_bytes(), &records].concat();
    let len = len(&blob) - shorter;
    [&1_u64.to_le_bytes(), &len.to_le_bytes(), &blob[..]].concat()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a short text")
}

/// It has no checksum, and a count that is too low would leave records out without a word.
#[test]
fn a_backup_with_records_behind_those_that_it_counts_is_none() -> TestResult {
    let directory = storage_testkit::Directory::new()?;
    let path = directory.root().join("backup.nonos");
    for (count, shorter, is_one) in [
        (2, 0, true),
        (0, 0, false),
        (1, 0, false),
        (3, 0, false),
        (2, 5, false),
    ] {
        std::fs::write(&path, backup(count, shorter))?;
        let mut options = options();
        options.path = directory.root().join(format!("{count}-{shorter}"));
        let imported = import(&path, &options);
        let case = format!("{count} counted, {shorter} shorter: {imported:?}");
        match imported {
            Ok(imported) => assert_eq!((imported.entries, is_one), (2, true), "{case}"),
            Err(SchemaError::NoOldBackup { .. }) => assert!(!is_one, "{case}"),
            Err(error) => return Err(format!("{case}: {error}").into()),
        }
    }
    Ok(())
}
