//! The keys that a handle holds, and sealing and opening with them.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use storage_core::trees::secrets::Stored;
use storage_core::{Commit, CoreError, Read, TreeId};
use storage_crypto::keyring::Keyring;
use storage_crypto::{
    Access, CryptoError, EncryptionKeys, EncryptionMode, KeyId, Kind, Padding, SecretContext,
    StoreId, Zeroizing, parse_header, seal, seal_anonymous, unseal,
};

use super::sums::{Changed, Sums};
use super::{KEYRING, Secrets, Way, schema_value};
use crate::error::NonosResult;

/// What was set on a handle.
#[derive(Debug, Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// Keys that were not right: nothing works until the right ones are set.
    Refused(CryptoError),
    Keys(Arc<Keys>),
}

/// The keys in use.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) active: EncryptionKeys,
    /// Those before, while the keys are being changed.
    previous: Mutex<Option<Arc<Keys>>>,
    pub(super) sums: Sums,
}

impl Keys {
    pub(super) fn new(active: EncryptionKeys) -> Self {
        Self {
            active,
            previous: Mutex::default(),
            sums: Sums::default(),
        }
    }

    pub(super) fn set_previous(&self, keys: Option<Arc<Keys>>) {
        let previous = self.previous.lock();
        *previous.unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The keys before, if they are those that the keyring names.
    fn previous(&self, ring: &Keyring) -> Option<Arc<Keys>> {
        let previous = self.previous.lock();
        let previous = previous.unwrap_or_else(PoisonError::into_inner).clone();
        previous.filter(|previous| ring.from() == Some(previous.active.key_id()))
    }
}

/// Keys that fit the keyring.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) keys: Arc<Keys>,
    /// Those before, if they are known and still needed.
    previous: Option<Arc<Keys>>,
    pub(super) ring: Keyring,
    pub(super) store_id: StoreId,
}

impl Secrets {
    /// What applies to a secret, as `from` sees the keyring.
    pub(super) fn way(&self, from: &dyn Read) -> NonosResult<Way> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        self.way_of(&held, from)
    }

    /// [`way`](Self::way), unless keys are being exchanged: it waits for nobody.
    pub(super) fn try_way(&self, from: &dyn Read) -> Option<NonosResult<Way>> {
        let held = match self.held.try_read() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.way_of(&held, from))
    }

    /// What applies to a record, and the record. Keys are not exchanged in between: otherwise the record
    /// could be sealed anew already, to keys that are not the ones of before.
    pub(super) fn read(
        &self,
        from: &dyn Read,
        get: impl FnOnce() -> Result<Option<Stored<Vec<u8>>>, CoreError>,
    ) -> NonosResult<Option<(Way, Stored<Vec<u8>>)>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let way = self.way_of(&held, from)?;
        Ok(get()?.map(|stored| (way, stored)))
    }

    fn way_of(&self, held: &Held, from: &dyn Read) -> NonosResult<Way> {
        let ring = schema_value(from, KEYRING)?;
        match (held, ring) {
            (Held::Refused(error), _) => Err(error.clone().into()),
            (Held::Nothing, Some(ring)) => {
                let key_id = Keyring::parse(&ring).ok().map(|ring| ring.active.id());
                Err(CryptoError::KeyRequired { key_id }.into())
            }
            (Held::Nothing, None) if self.mode == EncryptionMode::SealedBox => {
                Err(CryptoError::KeyRequired { key_id: None }.into())
            }
            (Held::Nothing, None) if self.is_orphaned(from)? => {
                Err(CryptoError::KeyringMissing.into())
            }
            (Held::Nothing, None) => Ok(Way::Plain),
            (Held::Keys(_), None) => Err(CryptoError::KeyringMissing.into()),
            (Held::Keys(keys), Some(ring)) => {
                let store_id = self.store_id;
                let ring = opened(&ring, &keys.active, store_id)?;
                Ok(Way::Sealed(Sealing {
                    keys: Arc::clone(keys),
                    previous: keys.previous(&ring),
                    ring,
                    store_id,
                }))
            }
        }
    }
}

/// The keyring, proved as far as these keys can.
pub(super) fn opened(
    ring: &[u8],
    keys: &EncryptionKeys,
    store_id: StoreId,
) -> Result<Keyring, CryptoError> {
    if keys.access() == Access::Public {
        let ring = Keyring::parse(ring)?;
        ring.expect(keys)?;
        return Ok(ring);
    }
    Keyring::open(ring, keys, store_id)
}

impl Sealing {
    pub(super) fn context<'a>(&self, tree: TreeId, key: &'a [u8]) -> SecretContext<'a> {
        SecretContext {
            store: self.store_id,
            tree: tree.name(),
            key,
        }
    }

    /// Seals a value for its place, with a tag if these keys can make one.
    pub(super) fn seal(
        &self,
        from: &dyn Read,
        tree: TreeId,
        key: &[u8],
        value: &[u8],
    ) -> NonosResult<Vec<u8>> {
        if self.keys.active.access() != Access::Public {
            return self.seal_tagged(from, tree, key, value);
        }
        // Nobody could prove that what was there may be replaced.
        if from.get(tree, key)?.is_some() {
            return Err(CryptoError::SecretKeyRequired.into());
        }
        let context = self.context(tree, key);
        let keys = &self.keys.active;
        Ok(seal_anonymous(keys, &context, Padding::default(), value)?)
    }

    /// Seals a value for its place, with a tag.
    pub(super) fn seal_tagged(
        &self,
        from: &dyn Read,
        tree: TreeId,
        key: &[u8],
        value: &[u8],
    ) -> NonosResult<Vec<u8>> {
        let (_, counter) = self.keys.sums.proved(from, &self.keys.active)?;
        let (context, version) = (self.context(tree, key), counter.saturating_add(1));
        let keys = &self.keys.active;
        Ok(seal(keys, &context, version, Padding::default(), value)?)
    }

    /// Puts the manifest that follows from changes in the commit.
    pub(super) fn changed(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        changes: &[Changed],
    ) -> NonosResult<()> {
        if self.keys.active.access() == Access::Public {
            let only_new = changes.iter().all(|(.., old)| old.is_none());
            return only_new
                .then_some(())
                .ok_or(CryptoError::SecretKeyRequired.into());
        }
        let keys = &self.keys.active;
        self.keys.sums.changed((view, commit), keys, changes)
    }

    /// Opens a record of these keys, or of those before.
    pub(super) fn open(
        &self,
        tree: TreeId,
        key: &[u8],
        record: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let header = parse_header(record)?;
        if header.kind == Kind::Anonymous {
            return Err(CryptoError::Unauthenticated);
        }
        unseal(
            self.keys_of(header.key_id)?,
            &self.context(tree, key),
            record,
        )
    }

    /// The keys of this id, in use or before.
    pub(super) fn keys_of(&self, key_id: KeyId) -> Result<&EncryptionKeys, CryptoError> {
        let active = &self.keys.active;
        if active.key_id() == key_id {
            return Ok(active);
        }
        match &self.previous {
            Some(previous) if previous.active.key_id() == key_id => Ok(&previous.active),
            _ if self.ring.from() == Some(key_id) => Err(CryptoError::KeyRequired {
                key_id: Some(key_id),
            }),
            _ => Err(CryptoError::WrongKey {
                expected: key_id,
                got: active.key_id(),
            }),
        }
    }

    /// Whether records may be there that are not sealed yet.
    pub(super) fn is_enrolling(&self) -> bool {
        use storage_crypto::keyring::State;
        matches!(self.ring.state, State::Rekeying { from: None, .. })
    }
}

/// What a stored value is, opened where it is sealed.
pub(super) fn open(
    way: &Way,
    tree: TreeId,
    key: &[u8],
    stored: Stored<Vec<u8>>,
) -> NonosResult<Zeroizing<Vec<u8>>> {
    match (way, stored) {
        (Way::Plain, Stored::Plain(value)) => Ok(Zeroizing::new(value)),
        (Way::Plain, Stored::Sealed(record)) => {
            let key_id = Some(parse_header(&record)?.key_id);
            Err(CryptoError::KeyRequired { key_id }.into())
        }
        (Way::Sealed(sealing), Stored::Plain(value)) if sealing.is_enrolling() => {
            Ok(Zeroizing::new(value))
        }
        (Way::Sealed(_), Stored::Plain(_)) => Err(CryptoError::PlaintextRecord.into()),
        (Way::Sealed(sealing), Stored::Sealed(record)) => Ok(sealing.open(tree, key, &record)?),
    }
}
