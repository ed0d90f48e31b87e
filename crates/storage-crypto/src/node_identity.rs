//! The node's identity: an Ed25519 key pair, and the id that follows from it.

use std::fmt;

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::digest;
use crate::error::CryptoError;
use crate::stack;

/// A new identity of a node. Its secret is stored sealed; wiped when dropped.
pub struct NodeIdentity {
    /// BLAKE2b-256 of a label and the public key.
    pub node_id: [u8; 32],
    /// The public key, as RFC 8032 encodes it.
    pub public_key: [u8; 32],
    seed: Box<Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// A new one from the operating system's random bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Random`].
    pub fn generate() -> Result<Self, CryptoError> {
        let mut seed = Box::new(Zeroizing::new([0; 32]));
        getrandom::fill(&mut **seed).map_err(|_none| CryptoError::Random)?;
        Ok(Self::of(seed))
    }

    /// That of a secret key (a seed, in the words of RFC 8032) of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`].
    pub fn from_seed(bytes: &[u8]) -> Result<Self, CryptoError> {
        let mut seed = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != 32 {
            return Err(CryptoError::KeyLength);
        }
        seed.copy_from_slice(bytes);
        Ok(Self::of(seed))
    }

    fn of(seed: Box<Zeroizing<[u8; 32]>>) -> Self {
        let public_key = stack::wiped(|| SigningKey::from_bytes(&seed).verifying_key().to_bytes());
        Self {
            node_id: digest::plain(&[digest::NODE_ID, &public_key]),
            public_key,
            seed,
        }
    }

    /// The secret key, to be stored sealed.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }
}
