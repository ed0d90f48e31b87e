//! Why something is not sealed, not opened, or not believed.

use crate::ids::KeyId;

/// Why an operation on secrets or keys failed. It says nothing about a secret that the clear part of a
/// record does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// Bytes that are no key by their number.
    #[error("a key has 32 bytes")]
    KeyLength,
    /// A public key that is not that of the secret key.
    #[error("the public key is not that of the secret key")]
    KeyMismatch,
    /// Bytes that no honest secret key has as its public key: what is sealed to them may be open to all.
    #[error("these bytes are no public key of an honest secret key")]
    WeakPublicKey,
    /// Other keys than those of this store.
    #[error("the keys are {got}, this store is sealed to {expected}")]
    WrongKey {
        /// The store's.
        expected: KeyId,
        /// Those that were given.
        got: KeyId,
    },
    /// The new keys are those in use.
    #[error("the new keys are those in use: {0}")]
    SameKey(KeyId),
    /// There are no keys, and without them nothing is stored or read.
    #[error("{}", match key_id {
        Some(key_id) => format!("the key {key_id} is required"),
        None => "keys are required: secrets are stored sealed only".to_owned(),
    })]
    KeyRequired {
        /// Which key, where it is known.
        key_id: Option<KeyId>,
    },
    /// The keys that were given allow storing only.
    #[error("this needs the secret key; the keys in use do not have it")]
    SecretKeyRequired,
    /// The keys are being changed; the new ones are needed, and both to go on.
    #[error("the keys are being changed{} to {to}: give the new ones, and go on with changing", match from {
        Some(from) => format!(" from {from}"),
        None => String::new(),
    })]
    RekeyInProgress {
        /// The key before, if there was one.
        from: Option<KeyId>,
        /// The key after.
        to: KeyId,
    },
    /// Sealed records are there, but not the record that says to which key.
    #[error("secrets are sealed, but the record of their key is missing")]
    KeyringMissing,
    /// Secrets were removed, added or put back behind the keys' back.
    #[error(
        "the secrets are not those that were stored last: one was removed, added, or put back to an older one"
    )]
    ManifestMismatch,
    /// The record is not one that was sealed for this place with this key.
    #[error("the record cannot be opened: it was changed, or is not of this place")]
    Unopenable,
    /// The database is older than what was last seen of it.
    #[error("the database was put back: it is at {database}, and was at {anchor}")]
    RolledBack {
        /// The counter in the database.
        database: u64,
        /// The counter outside of it.
        anchor: u64,
    },
    /// Nobody vouches for it: it was sealed by somebody who has the public key, or it was changed.
    #[error("nobody with the keys of this store vouches for it")]
    Unauthenticated,
    /// A secret that is not sealed, where every one must be.
    #[error("the record is not sealed, where every one must be")]
    PlaintextRecord,
    /// Bytes that are not of the format.
    #[error("{what} is malformed")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A version of a format that this program does not know.
    #[error("version {0} of the format is not known to this program")]
    UnsupportedVersion(u8),
    /// More bytes than are taken.
    #[error("{len} bytes are more than {max}")]
    TooLarge {
        /// How many there are.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// The key file is protected by a passphrase.
    #[error("the key file is protected: its passphrase is required")]
    PassphraseRequired,
    /// The passphrase does not open the key file.
    #[error("the passphrase does not open the key file")]
    BadPassphrase,
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// This program was built without it.
    #[error("this program was built without encrypted-storage")]
    FeatureDisabled,
}
