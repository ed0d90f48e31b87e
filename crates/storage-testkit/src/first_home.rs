//! A small database of the first implementation in a simulated index, of the byte vectors of its own encoder.

use serde::Serialize;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::{SimulatedHome, TreeId, bincode};

use crate::logs::forbid;

/// The key of the schema record.
pub const SCHEMA_KEY: &[u8] = b"__schema_version__";

/// The schema record of a fresh database of the first implementation, which says 2.
const SCHEMA_2: &str = "02000000800e806900000000000000000000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| {
        u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|e| unreachable!("{e}"))
    };
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A record of each tree as the first implementation wrote it, from its own encoder.
pub fn vectors() -> Vec<(TreeId, Vec<u8>, Vec<u8>)> {
    let secret = b"of an old wallet";
    forbid(secret);
    let time = |n: i64| n.to_be_bytes().to_vec();
    let entry = |tree, key: Vec<u8>, hex: &str| (tree, key, bytes(hex));
    vec![
        entry(
            TreeId::Metrics,
            time(1_770_000_000),
            "070000000000000007000000000000000000000000000000000000000000000000000000666666666666ee3f000000000000000000000000",
        ),
        entry(
            TreeId::Metrics,
            time(1_770_000_060),
            "64000000000000005f000000000000000500000000000000320000000a00000000000000666666666666ee3f100e000000000000010000c8410100004842010000100000000000010000200000000000",
        ),
        entry(
            TreeId::Epochs,
            time(1),
            "010000000000000000000000000000008051010000000000000080f64ae1c7022d150000000000000000a0dec5adc9353600000000000000666666666666ee3f0105000000",
        ),
        entry(
            TreeId::Claims,
            time(1),
            "01000000000000000000a0dec5adc9353600000000000000800e80690000000001040000000000000030786162040000000000000030786364",
        ),
        entry(
            TreeId::AuditLog,
            time(1_770_000_000_123),
            "7ba4381c9c010000070000000000000073656372657473050000000000000073746f7265010a0000000000000077616c6c65745f6b6579",
        ),
        (TreeId::Identity, b"node_id".to_vec(), vec![7; 32]),
        (
            TreeId::Identity,
            b"encrypted_key".to_vec(),
            b"a key".to_vec(),
        ),
        (TreeId::Secrets, b"wallet".to_vec(), secret.to_vec()),
    ]
}

#[derive(Serialize)]
struct Old<'a>(&'a StoredPeerInfo);

/// A peer in bincode or, every fifth, in JSON; every third without a protocol version.
fn peer(number: u32) -> (Vec<u8>, Vec<u8>) {
    let info = StoredPeerInfo {
        peer_id: format!("peer-{number:03}"),
        addresses: vec![format!("192.0.2.{}:9000", number % 250)],
        protocol_version: (!number.is_multiple_of(3)).then(|| "0.9.0".to_owned()),
        ..Default::default()
    };
    let value = if number.is_multiple_of(5) {
        serde_json::to_vec(&info).unwrap_or_else(|e| unreachable!("{e}"))
    } else {
        bincode::encode(&Old(&info)).unwrap_or_else(|e| unreachable!("{e}"))
    };
    (info.peer_id.into_bytes(), value)
}

/// A home that holds a database of the first implementation: no journal, no frames.
pub fn home(peers: u32) -> SimulatedHome {
    let home = SimulatedHome::default();
    let put = |tree, key: Vec<u8>, value: Vec<u8>| {
        home.damage(tree, |entries| {
            entries.insert(key, value);
        });
    };
    put(TreeId::Schema, SCHEMA_KEY.to_vec(), bytes(SCHEMA_2));
    for (tree, key, value) in vectors() {
        put(tree, key, value);
    }
    for number in 0..peers {
        let (key, value) = peer(number);
        put(TreeId::Peers, key, value);
    }
    put(
        TreeId::Config,
        b"nodes".to_vec(),
        bincode::encode(&vec!["a", "b"]).unwrap_or_else(|e| unreachable!("{e}")),
    );
    home
}
