//! Secrets sealed to a public key, the keys, and what proves that they are whole: bytes in, bytes out.
//!
//! No I/O, no clock, no state. The formats are those of docs/FORMAT.md, section "Secrets"; an oracle in
//! another language, made from that text alone, has written the fixtures of the tests.
//!
//! # Invariants
//!
//! - A secret key, what is derived from it and opened secrets are wiped when dropped, are in no `Debug`
//!   text and in no error.
//! - Nothing is guessed: an unknown byte in a header is an error.
//! - Tags are compared in constant time, and before anything under them is looked at.
//!
//! Without the feature `encrypted-storage` only [`EncryptionMode`], [`CryptoError`] and the ids exist.

mod error;
mod ids;
mod mode;

#[cfg(feature = "encrypted-storage")]
mod digest;
#[cfg(feature = "encrypted-storage")]
mod first_form;
#[cfg(feature = "encrypted-storage")]
pub mod head;
#[cfg(feature = "encrypted-storage")]
pub mod key_file;
#[cfg(feature = "encrypted-storage")]
pub mod keyring;
#[cfg(feature = "encrypted-storage")]
mod keys;
#[cfg(feature = "encrypted-storage")]
pub mod manifest;
#[cfg(feature = "encrypted-storage")]
mod node_identity;
#[cfg(feature = "encrypted-storage")]
mod padding;
#[cfg(feature = "encrypted-storage")]
mod record;
#[cfg(feature = "encrypted-storage")]
mod stack;

pub use error::CryptoError;
#[cfg(feature = "encrypted-storage")]
pub use first_form::open_first_form;
pub use ids::{Access, KeyId, StoreId};
#[cfg(feature = "encrypted-storage")]
pub use keys::EncryptionKeys;
pub use mode::EncryptionMode;
#[cfg(feature = "encrypted-storage")]
pub use node_identity::NodeIdentity;
#[cfg(feature = "encrypted-storage")]
pub use padding::Padding;
#[cfg(feature = "encrypted-storage")]
pub use record::{
    Header, Kind, MAX_SECRET_LEN, SecretContext, parse_header, seal, seal_anonymous, unseal, verify,
};
#[cfg(feature = "encrypted-storage")]
pub use zeroize::Zeroizing;
