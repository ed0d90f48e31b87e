//! The keyring: to which key a store is sealed, and whether that is being changed.
//!
//! `"NKRG"`, the version 1, the ring in postcard, and a tag under the key of the tags of the active key.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::error::CryptoError;
use crate::ids::{KeyId, StoreId};
use crate::keys::EncryptionKeys;

const MAGIC: &[u8; 4] = b"NKRG";
const VERSION: u8 = 1;
const TAG_LEN: usize = 32;
const MALFORMED: CryptoError = CryptoError::Malformed {
    what: "the keyring",
};

/// To which key a store is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Keyring {
    /// Which store.
    pub store_id: [u8; 16],
    /// How often the key was changed.
    pub generation: u64,
    /// The key in use.
    pub active: KeyEntry,
    /// Whether it is being changed to.
    pub state: State,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyEntry {
    /// Which key.
    pub key_id: [u8; 8],
    /// The public key. Never sealed to from here: who writes the database could put theirs.
    pub public_key: [u8; 32],
    /// Since when it is in use, in Unix seconds.
    pub created_at: i64,
}

/// Whether every record is under the active key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// Every one is.
    Active,
    /// Records of the key before may be left.
    Rekeying {
        /// The key before; none if records were not sealed.
        from: Option<KeyEntry>,
        /// When it began, in Unix seconds.
        started_at: i64,
    },
}

impl KeyEntry {
    /// The entry of these keys.
    pub fn new(keys: &EncryptionKeys, created_at: i64) -> Self {
        Self {
            key_id: keys.key_id().0,
            public_key: keys.public_key(),
            created_at,
        }
    }

    /// Which key.
    pub fn id(&self) -> KeyId {
        KeyId(self.key_id)
    }
}

impl Keyring {
    /// The first ring of a store.
    pub fn first(store_id: StoreId, keys: &EncryptionKeys, now: i64) -> Self {
        Self {
            store_id: store_id.0,
            generation: 1,
            active: KeyEntry::new(keys, now),
            state: State::Rekeying {
                from: None,
                started_at: now,
            },
        }
    }

    /// The ring that changes this one's key for `keys`.
    #[must_use]
    pub fn rekeying(&self, keys: &EncryptionKeys, now: i64) -> Self {
        Self {
            store_id: self.store_id,
            generation: self.generation.saturating_add(1),
            active: KeyEntry::new(keys, now),
            state: State::Rekeying {
                from: Some(self.active),
                started_at: now,
            },
        }
    }

    /// The ring once every record is under the active key.
    #[must_use]
    pub fn settled(&self) -> Self {
        Self {
            state: State::Active,
            ..*self
        }
    }

    /// The key before, while records of it may be left.
    pub fn from(&self) -> Option<KeyId> {
        match self.state {
            State::Rekeying { from, .. } => from.map(|from| from.id()),
            State::Active => None,
        }
    }

    /// The bytes of the ring, with the tag of its active keys.
    ///
    /// # Errors
    ///
    /// [`CryptoError::WrongKey`] of other keys, [`CryptoError::SecretKeyRequired`] of public ones.
    pub fn encode(&self, keys: &EncryptionKeys) -> Result<Vec<u8>, CryptoError> {
        self.expect(keys)?;
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        bytes.extend(postcard::to_allocvec(self).map_err(|_never| MALFORMED)?);
        bytes.extend(digest::keyed(keys.auth()?, digest::KEYRING, &[&bytes]));
        Ok(bytes)
    }

    /// What a ring says, without a key, so without proof.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Malformed`], [`CryptoError::UnsupportedVersion`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CryptoError> {
        let (ring, _tag) = split(bytes)?;
        let (start, body) = ring.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let (version, body) = body.split_first().ok_or(MALFORMED)?;
        if start != MAGIC {
            return Err(MALFORMED);
        }
        if *version != VERSION {
            return Err(CryptoError::UnsupportedVersion(*version));
        }
        match postcard::take_from_bytes(body) {
            Ok((ring, [])) => Ok(ring),
            _ => Err(MALFORMED),
        }
    }

    /// What a ring of these keys, and of this store, says.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse); [`CryptoError::WrongKey`];
    /// [`CryptoError::RekeyInProgress`] of the keys before, [`CryptoError::Unauthenticated`],
    /// [`CryptoError::SecretKeyRequired`] of public keys.
    pub fn open(bytes: &[u8], keys: &EncryptionKeys, store: StoreId) -> Result<Self, CryptoError> {
        let ring = Self::parse(bytes)?;
        ring.expect(keys)?;
        let (tagged, found) = split(bytes)?;
        let expected = digest::keyed(keys.auth()?, digest::KEYRING, &[tagged]);
        digest::check(&expected, found)?;
        if ring.store_id != store.0 {
            return Err(CryptoError::Unauthenticated);
        }
        Ok(ring)
    }

    /// Whether these are the active keys.
    ///
    /// # Errors
    ///
    /// [`CryptoError::RekeyInProgress`] of the keys before, [`CryptoError::WrongKey`] of others.
    pub fn expect(&self, keys: &EncryptionKeys) -> Result<(), CryptoError> {
        let (expected, got) = (self.active.id(), keys.key_id());
        if expected == got && self.active.public_key == keys.public_key() {
            return Ok(());
        }
        match self.from() {
            Some(from) if from == got => Err(CryptoError::RekeyInProgress {
                from: Some(from),
                to: expected,
            }),
            _ => Err(CryptoError::WrongKey { expected, got }),
        }
    }
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), CryptoError> {
    let at = bytes.len().checked_sub(TAG_LEN).ok_or(MALFORMED)?;
    bytes.split_at_checked(at).ok_or(MALFORMED)
}
