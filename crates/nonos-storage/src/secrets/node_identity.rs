//! The node's identity, kept as a sealed record.

use storage_core::trees::identity::{self, NodeId};
use storage_core::trees::secrets::Stored;
use storage_core::{Commit, Read, TreeId};

#[cfg(feature = "encrypted-storage")]
use super::held;
use super::{Secrets, Way};
use crate::error::NonosResult;
#[cfg(not(feature = "encrypted-storage"))]
use storage_crypto::CryptoError;

impl Secrets {
    /// Puts the node's id and its key into the commit.
    pub(crate) fn store_identity(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        now_ms: i64,
        node_id: &NodeId,
        secret: &[u8],
    ) -> NonosResult<()> {
        match self.way(&commit.over(view))? {
            Way::Plain => {
                self.may_be_plain()?;
                let secret = Stored::Plain(secret);
                Ok(identity::store(view, commit, now_ms, node_id, secret)?)
            }
            #[cfg(feature = "encrypted-storage")]
            Way::Sealed(sealing) => {
                let tree = TreeId::Identity;
                let mut changed = Vec::new();
                for key in [identity::NODE_ID, identity::ENCRYPTED_KEY] {
                    let old = commit.over(view).get(tree, key)?;
                    changed.push((tree, key.to_vec(), old));
                }
                let over = commit.over(view);
                let sealed = sealing.seal_tagged(&over, tree, identity::ENCRYPTED_KEY, secret)?;
                let sealed = Stored::Sealed(sealed.as_slice());
                identity::store(view, commit, now_ms, node_id, sealed)?;
                sealing.changed(view, commit, &changed)
            }
        }
    }

    /// Takes the node's id and its key out; returns whether there were any.
    pub(crate) fn delete_identity(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        now_ms: i64,
    ) -> NonosResult<bool> {
        let tree = TreeId::Identity;
        let mut changed = Vec::new();
        for key in [identity::NODE_ID, identity::ENCRYPTED_KEY] {
            let old = commit.over(view).get(tree, key)?;
            changed.push((tree, key.to_vec(), old));
        }
        if changed.iter().all(|(_, _, old)| old.is_none()) {
            return Ok(false);
        }
        match self.way(&commit.over(view))? {
            Way::Plain => identity::delete(view, commit, now_ms)?,
            #[cfg(feature = "encrypted-storage")]
            Way::Sealed(sealing) => {
                identity::delete(view, commit, now_ms)?;
                sealing.changed(view, commit, &changed)?;
            }
        }
        Ok(true)
    }

    /// The node's key, as it was given.
    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn load_identity(
        &self,
        view: &dyn Read,
    ) -> NonosResult<Option<storage_crypto::Zeroizing<Vec<u8>>>> {
        let Some((way, stored)) = self.read(view, || identity::encrypted_key(view))? else {
            return Ok(None);
        };
        let tree = TreeId::Identity;
        held::open(&way, tree, identity::ENCRYPTED_KEY, stored).map(Some)
    }

    /// The node's key, as it was given.
    #[cfg(not(feature = "encrypted-storage"))]
    pub(crate) fn load_identity(&self, view: &dyn Read) -> NonosResult<Option<Vec<u8>>> {
        let Way::Plain = self.way(view)?;
        match identity::encrypted_key(view)? {
            Some(Stored::Sealed(_)) => Err(CryptoError::FeatureDisabled.into()),
            Some(Stored::Plain(key)) => Ok(Some(key)),
            None => Ok(None),
        }
    }
}
