//! Everything that a database holds, read through its public methods.

use std::fmt::Debug;

use crate::watched::Watched as _;

use nonos_storage::{
    AuditLogEntry, EpochNumber, ErrorCode, NodeId, NodeStorage, NonosError, NonosResult,
    StoredClaim, StoredEpochSummary, StoredMetrics, StoredPeerInfo, TreeSizes,
};

/// All records. Config values are read as TOML, so a test that compares them stores such values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) sizes: TreeSizes,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) encrypted_key: Option<Vec<u8>>,
    pub(crate) peers: Vec<(String, StoredPeerInfo)>,
    pub(crate) metrics: Vec<(i64, StoredMetrics)>,
    pub(crate) epochs: Vec<StoredEpochSummary>,
    pub(crate) claims: Vec<(EpochNumber, StoredClaim)>,
    pub(crate) config: Vec<(String, Option<toml::Value>)>,
    pub(crate) secrets: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) audit: Vec<AuditLogEntry>,
}

impl Contents {
    pub(crate) fn of(storage: &NodeStorage) -> NonosResult<Self> {
        let mut config = Vec::new();
        for key in storage.list_config_keys()? {
            let value = storage.load_config(&key)?;
            config.push((key, value));
        }
        let mut secrets = Vec::new();
        for key in storage.list_secrets()? {
            let value = storage.load_secret(&key)?;
            secrets.push((key, value));
        }
        Ok(Self {
            sizes: storage.tree_sizes()?,
            node_id: storage.load_node_id()?,
            encrypted_key: storage.load_encrypted_key()?,
            peers: storage.list_peers()?,
            metrics: storage.load_metrics_range(0, i64::MAX)?,
            epochs: storage.load_epoch_range(EpochNumber(0), EpochNumber(u64::MAX))?,
            claims: storage.load_claims()?,
            config,
            secrets,
            audit: storage.load_audit_log(usize::MAX)?,
        })
    }
}

/// Puts something into every tree.
pub(crate) fn populate(storage: &NodeStorage) -> NonosResult<()> {
    storage.keep_identity(&NodeId([7; 32]), b"encrypted")?;
    for id in ["alpha", "beta"] {
        storage.store_peer(id, &peer(id))?;
    }
    for time in [10, 20, 30] {
        storage.store_metrics(time, &sample(time.unsigned_abs()))?;
    }
    for epoch in [1, 2] {
        storage.store_epoch(EpochNumber(epoch), &summary(epoch))?;
        storage.store_claim(EpochNumber(epoch), &claim(epoch))?;
    }
    storage.store_config("name", "a node")?;
    storage.store_config("limits", &[1, 2, 3])?;
    storage.keep_secret("wallet", b"secret")
}

pub(crate) fn peer(id: &str) -> StoredPeerInfo {
    StoredPeerInfo {
        peer_id: id.to_owned(),
        addresses: vec!["192.0.2.1:9000".to_owned()],
        last_seen: 1_700_000_000,
        ..Default::default()
    }
}

pub(crate) fn sample(total_requests: u64) -> StoredMetrics {
    StoredMetrics {
        total_requests,
        quality_score: 0.5,
        cpu_usage: Some(12.5),
        ..Default::default()
    }
}

pub(crate) fn summary(epoch: u64) -> StoredEpochSummary {
    StoredEpochSummary {
        epoch,
        total_emission: u128::MAX,
        quality_score: 0.75,
        participated: true,
        ..Default::default()
    }
}

pub(crate) fn claim(epoch: u64) -> StoredClaim {
    StoredClaim {
        epoch,
        amount: 1 << 100,
        claimed_at: 1_700_000_000,
        tx_hash: None,
        claimant: "this node".to_owned(),
    }
}

/// The code of a result that must be an error of the database; other results come back as text.
pub(crate) fn code<T: Debug>(result: NonosResult<T>) -> Result<ErrorCode, String> {
    match result {
        Err(NonosError::Storage(error)) => Ok(error.code()),
        other => Err(format!("not an error of the database: {other:?}")),
    }
}

/// An error with its causes, as a binary prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

/// Bytes that neither compress nor repeat, the same for every run.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
