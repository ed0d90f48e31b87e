//! What is wrong with sealed records, as a verification asks.

use storage_core::trees::identity;
use storage_core::trees::secrets::{Stored, open};
use storage_core::{Db, TreeId};
use storage_crypto::keyring::{Keyring, State};
use storage_crypto::{Access, CryptoError, Kind, parse_header, verify};
use storage_ops::FindingCode;

use super::held::Sealing;
use super::{EnvelopeCheck, Fault, KEYRING, Secrets, Way, schema_value};
use crate::error::NonosResult;

impl Secrets {
    /// Who tells what is wrong with sealed records, without changing or opening one: with keys and `deep`
    /// by their tags, else by their form.
    pub(crate) fn envelope<'a>(&'a self, db: &'a Db, deep: bool) -> NonosResult<EnvelopeCheck<'a>> {
        let view = db.view();
        let ring = schema_value(&view, KEYRING)?;
        let ring = ring.map(|ring| Keyring::parse(&ring));
        let is_enrolling = matches!(
            ring,
            Some(Ok(Keyring {
                state: State::Rekeying { from: None, .. },
                ..
            }))
        );
        let must_be_sealed = ring.is_some() && !is_enrolling;
        let sealing = match self.way(&view) {
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
                Stored::Sealed(record) => match fault(sealing.as_ref(), tree, key, &record) {
                    Judged::OfOtherKeys(error) => {
                        self.changed_since(db, (tree, key, &record), error)
                    }
                    Judged::Sound => None,
                    Judged::Faulty(fault) => Some(fault),
                },
            }
        }))
    }

    /// A record of other keys than those that were in use when verifying began: looked at once more with those in use
    /// now.
    fn changed_since(
        &self,
        db: &Db,
        (tree, key, record): (TreeId, &[u8], &[u8]),
        error: CryptoError,
    ) -> Option<Fault> {
        // Commits are held off here. Who changes the keys at this moment waits for that and cannot be waited for;
        // another verification looks at this record.
        let way = self.try_way(&db.view())?;
        let judged = match way {
            Ok(Way::Sealed(sealing)) => fault(Some(&sealing), tree, key, record),
            _ => Judged::OfOtherKeys(error),
        };
        match judged {
            Judged::Sound => None,
            Judged::Faulty(fault) => Some(fault),
            Judged::OfOtherKeys(error) => Some((FindingCode::SecretTag, error.to_string())),
        }
    }
}

/// What a look at a record gave.
enum Judged {
    Sound,
    Faulty(Fault),
    /// Of keys that are neither those in use nor those before.
    OfOtherKeys(CryptoError),
}

fn fault(sealing: Option<&Sealing>, tree: TreeId, key: &[u8], record: &[u8]) -> Judged {
    let header = match parse_header(record) {
        Ok(header) => header,
        Err(error) => return Judged::Faulty((FindingCode::SecretEnvelope, error.to_string())),
    };
    let Some(sealing) = sealing else {
        return Judged::Sound;
    };
    let keys = match sealing.keys_of(header.key_id) {
        Ok(keys) => keys,
        // Keys before those in use, while they are being changed.
        Err(CryptoError::KeyRequired { .. }) => return Judged::Sound,
        Err(error) => return Judged::OfOtherKeys(error),
    };
    if header.kind == Kind::Anonymous || keys.access() == Access::Public {
        return Judged::Sound;
    }
    match verify(keys, &sealing.context(tree, key), record) {
        Ok(_) => Judged::Sound,
        Err(error) => Judged::Faulty((FindingCode::SecretTag, error.to_string())),
    }
}
