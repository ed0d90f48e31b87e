//! Several records in one commit.

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage_core::trees::{audit_log, claims, config, epochs, identity, metrics, peers};
use storage_core::{Commit, View};

use crate::error::NonosResult;
use crate::secrets::Secrets;
use crate::{
    AuditLogEntry, EpochNumber, NodeId, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo,
};

/// A commit in the making: what [`NodeStorage::update`](crate::NodeStorage::update) gives its
/// closure. Writes are seen by later reads through it, and by nobody else until it is applied.
///
/// Each method does what the method of the same name of `NodeStorage` does, but for two things: a batch goes
/// into this one commit, however long it is, and when it is durable `update` was told. A method that returns
/// an error leaves the commit as it was before.
#[derive(Debug)]
pub struct Update<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) commit: &'a mut Commit,
    pub(crate) now_ms: i64,
    pub(crate) secrets: &'a Secrets,
}

#[expect(
    missing_docs,
    reason = "each method is described at the one of NodeStorage"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "each method is described at the one of NodeStorage"
)]
impl Update<'_> {
    pub fn store_identity(
        &mut self,
        node_id: &NodeId,
        encrypted_private_key: &[u8],
    ) -> NonosResult<()> {
        self.secrets.store_identity(
            self.view,
            self.commit,
            self.now_ms,
            node_id,
            encrypted_private_key,
        )
    }

    pub fn load_node_id(&self) -> NonosResult<Option<NodeId>> {
        Ok(identity::node_id(&self.commit.over(self.view))?)
    }

    pub fn load_encrypted_key(&self) -> NonosResult<Option<Vec<u8>>> {
        let from = self.commit.over(self.view);
        let key = self.secrets.load_identity(&from)?;
        Ok(key.map(|key| Vec::clone(&key)))
    }

    pub fn store_peer(&mut self, peer_id: &str, info: &StoredPeerInfo) -> NonosResult<()> {
        Ok(peers::store(self.commit, peer_id, info)?)
    }

    pub fn store_peers_batch(&mut self, peers: &[(String, StoredPeerInfo)]) -> NonosResult<usize> {
        Ok(peers::store_all(self.commit, peers)?)
    }

    pub fn load_peer(&self, peer_id: &str) -> NonosResult<Option<StoredPeerInfo>> {
        Ok(peers::get(&self.commit.over(self.view), peer_id)?)
    }

    pub fn remove_peer(&mut self, peer_id: &str) -> NonosResult<bool> {
        Ok(peers::remove(self.view, self.commit, peer_id)?)
    }

    pub fn store_metrics(&mut self, timestamp: i64, metrics: &StoredMetrics) -> NonosResult<()> {
        Ok(metrics::store(self.commit, timestamp, metrics)?)
    }

    pub fn store_metrics_batch(&mut self, samples: &[(i64, StoredMetrics)]) -> NonosResult<usize> {
        Ok(metrics::store_all(self.commit, samples)?)
    }

    pub fn load_metrics_range(
        &self,
        start: i64,
        end: i64,
    ) -> NonosResult<Vec<(i64, StoredMetrics)>> {
        Ok(metrics::range(&self.commit.over(self.view), start, end)?)
    }

    pub fn load_latest_metrics(&self, count: usize) -> NonosResult<Vec<(i64, StoredMetrics)>> {
        Ok(metrics::latest(&self.commit.over(self.view), count)?)
    }

    pub fn store_epoch(
        &mut self,
        epoch: EpochNumber,
        summary: &StoredEpochSummary,
    ) -> NonosResult<()> {
        Ok(epochs::store(self.commit, epoch, summary)?)
    }

    pub fn load_epoch(&self, epoch: EpochNumber) -> NonosResult<Option<StoredEpochSummary>> {
        Ok(epochs::get(&self.commit.over(self.view), epoch)?)
    }

    pub fn load_epoch_range(
        &self,
        start: EpochNumber,
        end: EpochNumber,
    ) -> NonosResult<Vec<StoredEpochSummary>> {
        Ok(epochs::range(&self.commit.over(self.view), start, end)?)
    }

    pub fn store_claim(&mut self, epoch: EpochNumber, claim: &StoredClaim) -> NonosResult<()> {
        Ok(claims::store(
            self.view,
            self.commit,
            self.now_ms,
            epoch,
            claim,
        )?)
    }

    pub fn load_claim(&self, epoch: EpochNumber) -> NonosResult<Option<StoredClaim>> {
        Ok(claims::get(&self.commit.over(self.view), epoch)?)
    }

    pub fn load_claims(&self) -> NonosResult<Vec<(EpochNumber, StoredClaim)>> {
        Ok(claims::list(&self.commit.over(self.view))?)
    }

    pub fn store_config<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> NonosResult<()> {
        Ok(config::store(self.commit, key, value)?)
    }

    pub fn load_config<T: DeserializeOwned>(&self, key: &str) -> NonosResult<Option<T>> {
        Ok(config::get(&self.commit.over(self.view), key)?)
    }

    pub fn delete_config(&mut self, key: &str) -> NonosResult<bool> {
        Ok(config::delete(self.view, self.commit, key)?)
    }

    pub fn load_audit_log(&self, count: usize) -> NonosResult<Vec<AuditLogEntry>> {
        Ok(audit_log::latest(&self.commit.over(self.view), count)?)
    }
}
