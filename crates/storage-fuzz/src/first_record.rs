//! A record of the first implementation: decoded, and migrated in a database of it.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::audit_log::AuditLogEntry;
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::{CoreError, Db, SimulatedHome, TreeId, bincode};
use storage_ops::{FindingCode, VerifyOptions};
use storage_schema::{MigrateOptions, SchemaError, open_with};

use crate::disk::options;
use crate::input::{Input, SECOND, output};

const SCHEMA_KEY: &[u8] = b"__schema_version__";
/// Version 2, as the first implementation stamped what this one calls 1.
const SCHEMA: [u8; 21] = [
    2, 0, 0, 0, 0x80, 0x0e, 0x80, 0x69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// What a block of the index begins with (`storage-core/src/index/packed.rs`).
const BLOCK: &[u8] = b"\xfePACKED\x01";

pub(crate) fn run(data: &[u8]) {
    let read = Input::of(data).and_then(|mut input| {
        let (tree, key) = (input.tree()?, input.short()?);
        Some((input, tree, key))
    });
    let Some((input, tree, key)) = read else {
        return;
    };
    match tree {
        TreeId::Peers => encodes_again::<StoredPeerInfo>(input.bytes),
        TreeId::Metrics => encodes_again::<StoredMetrics>(input.bytes),
        TreeId::Epochs => encodes_again::<StoredEpochSummary>(input.bytes),
        TreeId::Claims => encodes_again::<StoredClaim>(input.bytes),
        TreeId::AuditLog => encodes_again::<AuditLogEntry>(input.bytes),
        _ => encodes_again::<(Vec<String>, Option<f64>, bool, char)>(input.bytes),
    }
    migrates(tree, key, input.bytes, input.is(SECOND));
}

/// Nothing is left over, and there is one form of everything.
fn encodes_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(record) = bincode::decode::<T>(bytes) {
        assert_eq!(bincode::encode(&record).as_deref(), Ok(bytes));
    }
}

/// Either nothing happens, or every record is there and one of the current schema, or was set aside.
fn migrates(tree: TreeId, key: &[u8], value: &[u8], allow_quarantine: bool) {
    let home = SimulatedHome::default();
    let put = |tree, key: &[u8], value: &[u8]| {
        home.damage(tree, |entries| {
            entries.insert(key.to_vec(), value.to_vec());
        });
    };
    put(TreeId::Schema, SCHEMA_KEY, &SCHEMA);
    put(tree, key, value);
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
    let mut how = MigrateOptions::default();
    how.allow_quarantine = allow_quarantine;
    // What is set aside is listed in a file, on no simulated disk.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = options();
    options.path = directory.path().join("data.sled");
    let opened = open_with(&options, Some(&how), |accept| {
        Db::open_simulated(disk, &home, &options, accept)
    });
    let opened = match opened {
        Ok(opened) => opened,
        Err(SchemaError::Unconvertible { .. }) => {
            assert!(!allow_quarantine, "it was to be set aside");
            return;
        }
        // It begins as a block of the index does, which no value of the first implementation can: a damaged one.
        Err(SchemaError::Core(CoreError::Corrupt { .. })) if value.starts_with(BLOCK) => return,
        // The record of the schema itself was replaced, by one of another version or of none.
        Err(_) if tree == TreeId::Schema => return,
        Err(error) => panic!("{error:?}"),
    };
    let found = storage_ops::verify(&opened.db, &VerifyOptions::default());
    let found = found.expect("a disk without faults").findings;
    let is_undecoded = |code: FindingCode| matches!(code, FindingCode::Frame | FindingCode::Decode);
    let undecoded = found.iter().find(|finding| is_undecoded(finding.code));
    assert!(
        undecoded.is_none(),
        "migrated to what is no record: {undecoded:?}"
    );
    let quarantined: u64 = opened.climbed.iter().map(|step| step.quarantined).sum();
    let len = opened.db.len(tree).expect("an index without faults");
    let expected = usize::from(quarantined == 0);
    assert!(
        tree == TreeId::Schema || len == expected,
        "{len} of {expected}"
    );
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let peer = StoredPeerInfo {
        peer_id: "peer-1".to_owned(),
        addresses: vec!["192.0.2.1:9000".to_owned()],
        ..Default::default()
    };
    let entry = AuditLogEntry {
        timestamp: 7,
        tree: "secrets".to_owned(),
        operation: "store".to_owned(),
        details: Some("wallet".to_owned()),
    };
    let time = 7_i64.to_be_bytes();
    let json = serde_json::to_vec(&peer).expect("text");
    let records = [
        (TreeId::Schema, SCHEMA_KEY, Ok(SCHEMA.to_vec())),
        (TreeId::Peers, b"peer-1", bincode::encode(&peer)),
        (TreeId::Peers, b"peer-1", Ok(json)),
        (
            TreeId::Metrics,
            &time,
            bincode::encode(&StoredMetrics::default()),
        ),
        (
            TreeId::Epochs,
            &time,
            bincode::encode(&StoredEpochSummary::default()),
        ),
        (
            TreeId::Claims,
            &time,
            bincode::encode(&StoredClaim::default()),
        ),
        (TreeId::AuditLog, &time, bincode::encode(&entry)),
        (TreeId::Config, b"nodes", bincode::encode(&["a", "b"])),
        (TreeId::Identity, b"node_id", Ok(vec![7; 32])),
        (TreeId::Secrets, b"wallet", Ok(b"a secret".to_vec())),
    ];
    let with_modes = records
        .into_iter()
        .flat_map(|(tree, key, value): (_, &[u8], _)| {
            let value = value.expect("a record has a form");
            [0, SECOND].map(|mode| {
                let mut seed = output(mode, &[key], &value);
                seed.insert(1, tree.number());
                seed
            })
        });
    with_modes.collect()
}
