//! What is wrong with sealed records, as a verification asks.

use storage_core::trees::identity;
use storage_core::trees::secrets::{Stored, open};
use storage_core::{Read, TreeId};
use storage_crypto::keyring::{Keyring, State};
use storage_crypto::{Access, CryptoError, Kind, parse_header, verify};
use storage_ops::FindingCode;

use super::held::Sealing;
use super::{EnvelopeCheck, Fault, KEYRING, Secrets, Way, schema_value};
use crate::error::NonosResult;

impl Secrets {
    /// Who tells what is wrong with sealed records, without changing or opening one: with keys and `deep`
    /// by their tags, else by their form.
    pub(crate) fn envelope(&self, view: &dyn Read, deep: bool) -> NonosResult<EnvelopeCheck> {
        let ring = schema_value(view, KEYRING)?;
        let ring = ring.map(|ring| Keyring::parse(&ring));
        let is_enrolling = matches!(
            ring,
            Some(Ok(Keyring {
                state: State::Rekeying { from: None, .. },
                ..
            }))
        );
        let must_be_sealed = ring.is_some() && !is_enrolling;
        let sealing = match self.way(view) {
            Ok(Way::Sealed(sealing)) if deep => Some(sealing),
            _ => None,
        };
        Ok(Box::new(move |tree, key, frame| {
            let is_secret = tree == TreeId::Secrets
                || (tree, key) == (TreeId::Identity, identity::ENCRYPTED_KEY);
            if !is_secret {
                return None;
            }
            match open(tree, key, frame).ok()? {
                Stored::Plain(_) if must_be_sealed => {
                    let detail = CryptoError::PlaintextRecord.to_string();
                    Some((FindingCode::SecretPlaintext, detail))
                }
                Stored::Plain(_) => None,
                Stored::Sealed(record) => fault(sealing.as_ref(), tree, key, &record),
            }
        }))
    }
}

fn fault(sealing: Option<&Sealing>, tree: TreeId, key: &[u8], record: &[u8]) -> Option<Fault> {
    let header = match parse_header(record) {
        Ok(header) => header,
        Err(error) => return Some((FindingCode::SecretEnvelope, error.to_string())),
    };
    let sealing = sealing?;
    let keys = match sealing.keys_of(header.key_id) {
        Ok(keys) => keys,
        // Keys before those in use, while they are being changed.
        Err(CryptoError::KeyRequired { .. }) => return None,
        Err(error) => return Some((FindingCode::SecretTag, error.to_string())),
    };
    if header.kind == Kind::Anonymous || keys.access() == Access::Public {
        return None;
    }
    let checked = verify(keys, &sealing.context(tree, key), record);
    let error = checked.err()?;
    Some((FindingCode::SecretTag, error.to_string()))
}
