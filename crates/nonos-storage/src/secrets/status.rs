//! How secrets are kept, told without a key.

use storage_crypto::{Access, EncryptionMode, KeyId};

/// How secrets are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretsStatus {
    /// The configured mode.
    pub mode: EncryptionMode,
    /// What the keys that are set allow; `None` without keys.
    pub access: Option<Access>,
    /// The key that the store is sealed to; `None` if it is not.
    pub active: Option<KeyId>,
    /// The key before, while keys are being changed; `None` while plain secrets are sealed.
    pub previous: Option<KeyId>,
    /// Whether the keys are being changed, or plain secrets sealed.
    pub is_rekeying: bool,
    /// How often sealed secrets were changed; 0 if the store is not sealed.
    pub counter: u64,
    /// What there is, with the node's key.
    pub counts: SecretCounts,
    /// Whether files of the database may hold what was sealed, or sealed anew, since: `purge` ends that.
    pub purge_needed: bool,
}

/// Secrets by how they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretCounts {
    /// Sealed, by somebody with the keys.
    pub sealed: u64,
    /// Sealed, by somebody with the public key.
    pub anonymous: u64,
    /// As they were given.
    pub plaintext: u64,
    /// Of the sealed ones, those of the keys before.
    pub rekey_remaining: u64,
}

#[cfg(feature = "encrypted-storage")]
impl super::Secrets {
    pub(crate) fn status(
        &self,
        from: &dyn storage_core::Read,
    ) -> crate::NonosResult<SecretsStatus> {
        use std::sync::PoisonError;

        use storage_core::trees::identity;
        use storage_core::trees::secrets::{Stored, open};
        use storage_crypto::keyring::{Keyring, State};
        use storage_crypto::{Kind, manifest, parse_header};

        use super::held::Held;
        use super::{KEYRING, MANIFEST, PURGE_NEEDED, schema_value, sums};

        let ring = schema_value(from, KEYRING)?;
        let ring = ring.map(|ring| Keyring::parse(&ring)).transpose()?;
        let active = ring.map(|ring| ring.active.id());
        let previous = ring.and_then(|ring| ring.from());
        let manifest = schema_value(from, MANIFEST)?;
        let counter = manifest.map_or(Ok(0), |stored| manifest::counter(&stored))?;
        let mut counts = SecretCounts::default();
        sums::each(from, &mut |tree, key, frame| {
            match open(tree, key, frame)? {
                Stored::Plain(_) if key == identity::NODE_ID && tree.name() == "identity" => {}
                Stored::Plain(_) => counts.plaintext += 1,
                Stored::Sealed(record) => {
                    let header = parse_header(&record)?;
                    match header.kind {
                        Kind::Anonymous => counts.anonymous += 1,
                        _ => counts.sealed += 1,
                    }
                    if active != Some(header.key_id) {
                        counts.rekey_remaining += 1;
                    }
                }
            }
            Ok(())
        })?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let access = match &*held {
            Held::Keys(keys) => Some(keys.active.access()),
            Held::Nothing | Held::Refused(_) => None,
        };
        Ok(SecretsStatus {
            mode: self.mode,
            access,
            active,
            previous,
            is_rekeying: ring.is_some_and(|ring| ring.state != State::Active),
            counter,
            counts,
            purge_needed: schema_value(from, PURGE_NEEDED)?.is_some(),
        })
    }
}
