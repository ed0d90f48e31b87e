//! The records of a node: each method is one delegation.

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage_core::Durability::{Buffered, Durable};
use storage_core::TreeId;
use storage_core::trees::{audit_log, claims, config, epochs, identity, metrics, peers};
use storage_schema::SchemaInfo;

use super::NodeStorage;
use crate::clock;
use crate::error::{NonosResult, StorageError};
use crate::{
    AuditLogEntry, EpochNumber, NodeId, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo,
};

/// # Identity
impl NodeStorage {
    /// Stores the node's id and its private key, both or neither, with an audit entry. The key is sealed
    /// as a secret is, once keys are set. Durable on return.
    ///
    /// # Errors
    ///
    /// [`NonosError::Encryption`](crate::NonosError::Encryption) as
    /// [`store_secret`](Self::store_secret); also for a key over 64 KiB that is to be sealed.
    /// `INVALID_ARGUMENT` for one over 1 MiB, `POISONED`, `IO`, `DISK_FULL`.
    pub fn store_identity(
        &self,
        node_id: &NodeId,
        encrypted_private_key: &[u8],
    ) -> NonosResult<()> {
        let now_ms = clock::now_ms();
        self.write_secret(|view, commit| {
            let secret = encrypted_private_key;
            self.secrets
                .store_identity(view, commit, now_ms, node_id, secret)
        })
    }

    /// The node's id, if it has one.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_node_id(&self) -> NonosResult<Option<NodeId>> {
        self.done(identity::node_id(&self.db.view()))
    }

    /// The node's private key, as it was given.
    ///
    /// # Errors
    ///
    /// As [`load_node_id`](Self::load_node_id), and
    /// [`NonosError::Encryption`](crate::NonosError::Encryption) as [`load_secret`](Self::load_secret).
    pub fn load_encrypted_key(&self) -> NonosResult<Option<Vec<u8>>> {
        let key = self.done(self.secrets.load_identity(&self.db.view()))?;
        Ok(key.map(|key| Vec::clone(&key)))
    }
}

/// # Peers
impl NodeStorage {
    /// Stores what is known of a peer, in place of what was. Buffered.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for an id that is empty or over 1 KiB, for another `info.peer_id`, for a
    /// reputation over 100, for a record over 1 MiB: nothing was written. `POISONED`, `IO`,
    /// `DISK_FULL`.
    pub fn store_peer(&self, peer_id: &str, info: &StoredPeerInfo) -> NonosResult<()> {
        self.write(Buffered, |_, commit| peers::store(commit, peer_id, info))
    }

    /// What is known of a peer.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for an id that is empty or over 1 KiB, `CORRUPT`, `POISONED` after
    /// closing, `IO`.
    pub fn load_peer(&self, peer_id: &str) -> NonosResult<Option<StoredPeerInfo>> {
        self.done(peers::load(&self.db, peer_id))
    }

    /// Removes a peer; returns whether it was known. Buffered.
    ///
    /// # Errors
    ///
    /// As [`store_peer`](Self::store_peer).
    pub fn remove_peer(&self, peer_id: &str) -> NonosResult<bool> {
        self.write(Buffered, |view, commit| {
            peers::remove(view, commit, peer_id)
        })
    }

    /// Stores many peers and returns how many were given; of several with one id the last counts.
    ///
    /// They are written in commits of [`MAX_BATCH_SIZE`](crate::MAX_BATCH_SIZE), each all or
    /// nothing. Buffered.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` as [`store_peer`](Self::store_peer), if any one is bad: nothing of the
    /// batch was written. An error of writing says how many commits were made before it.
    pub fn store_peers_batch(&self, peers: &[(String, StoredPeerInfo)]) -> NonosResult<usize> {
        self.done(peers::store_batch(&self.db, peers))
    }

    /// All peers as of one commit, in the byte order of their ids.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn list_peers(&self) -> NonosResult<Vec<(String, StoredPeerInfo)>> {
        self.done(peers::list(&self.db))
    }

    /// Iterates over all peers in the byte order of their ids, in bounded memory; errors as of
    /// [`list_peers`](Self::list_peers).
    ///
    /// A page at a time is read, each as of one commit. No lock is held between pages, so writing
    /// inside the loop is fine, and shows in the pages read later. After an error it ends.
    pub fn iter_peers(&self) -> impl Iterator<Item = NonosResult<(String, StoredPeerInfo)>> {
        peers::iter(&self.db).map(|peer| self.done(peer))
    }

    /// How many peers are known. No record is read for it: what is held back from the index is written first,
    /// most of the cache at most, however many there are.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing; `CORRUPT`, `IO` if neither the index nor the journal can be read.
    pub fn count_peers(&self) -> NonosResult<usize> {
        self.done(self.db.len(TreeId::Peers))
    }
}

/// # Metrics
impl NodeStorage {
    /// Stores the sample of a Unix second, in place of an earlier one of that second. Buffered.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a time before 1970 and for NaN or infinity: nothing was written.
    /// `POISONED`, `IO`, `DISK_FULL`.
    pub fn store_metrics(&self, timestamp: i64, metrics: &StoredMetrics) -> NonosResult<()> {
        self.write(Buffered, |_, commit| {
            metrics::store(commit, timestamp, metrics)
        })
    }

    /// Stores many samples and returns how many were given, as
    /// [`store_peers_batch`](Self::store_peers_batch) does.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` as [`store_metrics`](Self::store_metrics), if any one is bad: nothing of
    /// the batch was written. An error of writing says how many commits were made before it.
    pub fn store_metrics_batch(&self, samples: &[(i64, StoredMetrics)]) -> NonosResult<usize> {
        self.done(metrics::store_batch(&self.db, samples))
    }

    /// The samples from `start` to `end`, both included and in Unix seconds, oldest first. A reversed range is empty,
    /// and nothing is before 1970.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_metrics_range(
        &self,
        start: i64,
        end: i64,
    ) -> NonosResult<Vec<(i64, StoredMetrics)>> {
        self.done(metrics::load_range(&self.db, start, end))
    }

    /// Iterates from `start` to `end`, both included, oldest first, as
    /// [`iter_peers`](Self::iter_peers) does.
    pub fn iter_metrics(
        &self,
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = NonosResult<(i64, StoredMetrics)>> {
        metrics::iter(&self.db, start, end).map(|sample| self.done(sample))
    }

    /// The newest `count` samples, or all there are, oldest first.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_latest_metrics(&self, count: usize) -> NonosResult<Vec<(i64, StoredMetrics)>> {
        self.done(metrics::load_latest(&self.db, count))
    }

    /// Removes every sample older than `older_than` (Unix seconds) and returns how many; one of
    /// exactly that second stays. Buffered, in commits of at most 1000, oldest first.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a time before 1970: nothing was removed. `POISONED`, `IO`,
    /// `DISK_FULL`: some of the oldest may be gone; calling again finishes.
    pub fn prune_metrics(&self, older_than: i64) -> NonosResult<usize> {
        let pruned = storage_ops::prune_metrics(&self.db, older_than);
        self.done(pruned.map_err(StorageError::from))
    }
}

/// # Epochs and claims
impl NodeStorage {
    /// Stores the summary of an epoch, in place of an earlier one. Buffered.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for another `summary.epoch` and for a score that is NaN or infinite:
    /// nothing was written. `POISONED`, `IO`, `DISK_FULL`.
    pub fn store_epoch(&self, epoch: EpochNumber, summary: &StoredEpochSummary) -> NonosResult<()> {
        self.write(Buffered, |_, commit| epochs::store(commit, epoch, summary))
    }

    /// The summary of an epoch.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_epoch(&self, epoch: EpochNumber) -> NonosResult<Option<StoredEpochSummary>> {
        self.done(epochs::load(&self.db, epoch))
    }

    /// The newest epoch that has a summary.
    ///
    /// # Errors
    ///
    /// As [`load_epoch`](Self::load_epoch).
    pub fn latest_epoch(&self) -> NonosResult<Option<EpochNumber>> {
        self.done(epochs::latest(&self.db.view()))
    }

    /// The summaries from `start` to `end`, both included, in order. A reversed range is empty.
    ///
    /// # Errors
    ///
    /// As [`load_epoch`](Self::load_epoch).
    pub fn load_epoch_range(
        &self,
        start: EpochNumber,
        end: EpochNumber,
    ) -> NonosResult<Vec<StoredEpochSummary>> {
        self.done(epochs::range(&self.db.view(), start, end))
    }

    /// Stores the claim of an epoch, in place of an earlier one, with an audit entry. Durable on
    /// return.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for another `claim.epoch` and for a record over 1 MiB: nothing was
    /// written. `POISONED`, `IO`, `DISK_FULL`.
    pub fn store_claim(&self, epoch: EpochNumber, claim: &StoredClaim) -> NonosResult<()> {
        let now_ms = clock::now_ms();
        self.write(Durable, |view, commit| {
            claims::store(view, commit, now_ms, epoch, claim)
        })
    }

    /// The claim of an epoch.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_claim(&self, epoch: EpochNumber) -> NonosResult<Option<StoredClaim>> {
        self.done(claims::load(&self.db, epoch))
    }

    /// All claims as of one commit, in the order of their epochs.
    ///
    /// # Errors
    ///
    /// As [`load_claim`](Self::load_claim).
    pub fn load_claims(&self) -> NonosResult<Vec<(EpochNumber, StoredClaim)>> {
        self.done(claims::list(&self.db.view()))
    }
}

/// # Config
impl NodeStorage {
    /// Stores any serializable value by name, in place of an earlier one. Durable on return.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a name that is empty or over 1 KiB and for a value over 1 MiB,
    /// `SERIALIZATION` for one that cannot be encoded: nothing was written. `POISONED`, `IO`,
    /// `DISK_FULL`.
    pub fn store_config<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> NonosResult<()> {
        self.write(Durable, |_, commit| config::store(commit, key, value))
    }

    /// The value of this name, as a `T`.
    ///
    /// # Errors
    ///
    /// `WRONG_TYPE` if what is stored is not a `T`: another kind, a number that does not fit, a
    /// missing field. `INVALID_ARGUMENT` for a bad name, `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_config<T: DeserializeOwned>(&self, key: &str) -> NonosResult<Option<T>> {
        self.done(config::get(&self.db.view(), key))
    }

    /// Removes a value; returns whether there was one. Durable on return.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a bad name, `POISONED`, `IO`, `DISK_FULL`.
    pub fn delete_config(&self, key: &str) -> NonosResult<bool> {
        self.write(Durable, |view, commit| config::delete(view, commit, key))
    }

    /// The names of all values, in byte order.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn list_config_keys(&self) -> NonosResult<Vec<String>> {
        self.done(config::names(&self.db.view()))
    }
}

/// # Audit and schema
impl NodeStorage {
    /// The newest `count` audit entries, or all there are, newest first.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn load_audit_log(&self, count: usize) -> NonosResult<Vec<AuditLogEntry>> {
        self.done(audit_log::latest(&self.db.view(), count))
    }

    /// The schema version of the database.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing.
    pub fn schema_version(&self) -> NonosResult<u32> {
        Ok(self.schema_info()?.version)
    }

    /// The schema of the database and how it came to it.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing.
    pub fn schema_info(&self) -> NonosResult<SchemaInfo> {
        self.done(self.db.len(TreeId::Schema))?;
        Ok(self.schema.clone())
    }
}
