//! [`EncryptionKeys`]: what is held in memory of a key pair.

use std::fmt;
use std::hint::black_box;

use crypto_box::SecretKey;
use curve25519_dalek::montgomery::MontgomeryPoint;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest;
use crate::error::CryptoError;
use crate::ids::{Access, KeyId};
use crate::stack;

type Secret = Box<Zeroizing<[u8; 32]>>;

/// Keys to seal to, to prove with, and to open with, as far as they are there. Wiped when dropped;
/// neither `Clone` nor serializable, so that they are where they were put and nowhere else.
///
/// ```compile_fail
/// let keys = storage_crypto::EncryptionKeys::generate();
/// let _copy = keys.clone();
/// ```
pub struct EncryptionKeys {
    public: [u8; 32],
    key_id: KeyId,
    held: Held,
}

enum Held {
    Full { secret: Secret, auth: Secret },
    Writer { auth: Secret },
    Public,
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKeys")
            .field("key_id", &self.key_id)
            .field("access", &self.access())
            .finish_non_exhaustive()
    }
}

impl EncryptionKeys {
    /// New keys from the operating system's random bytes.
    ///
    /// # Panics
    ///
    /// If it has none; [`try_generate`](Self::try_generate) does not.
    #[expect(clippy::panic, reason = "documented as returning keys")]
    pub fn generate() -> Self {
        Self::try_generate().unwrap_or_else(|error| panic!("{error}"))
    }

    /// New keys from the operating system's random bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Random`].
    pub fn try_generate() -> Result<Self, CryptoError> {
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        getrandom::fill(&mut **secret).map_err(|_none| CryptoError::Random)?;
        Ok(Self::full(secret))
    }

    /// The keys of these 32 bytes each.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`], [`CryptoError::KeyMismatch`].
    pub fn from_bytes(public: &[u8], secret: &[u8]) -> Result<Self, CryptoError> {
        let keys = Self::from_secret(secret)?;
        if public.len() != 32 {
            return Err(CryptoError::KeyLength);
        }
        if bool::from(keys.public.as_slice().ct_eq(public)) {
            Ok(keys)
        } else {
            Err(CryptoError::KeyMismatch)
        }
    }

    /// The keys of a secret key of 32 bytes.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self::full(boxed(secret)?))
    }

    /// Keys that store, delete and verify, but do not read: the public key, and the key of the tags as
    /// [`to_writer`](Self::to_writer) made it.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`], [`CryptoError::WeakPublicKey`].
    pub fn writer(public: &[u8], auth: &[u8]) -> Result<Self, CryptoError> {
        let public = validated(public)?;
        Ok(Self::of(public, Held::Writer { auth: boxed(auth)? }))
    }

    /// Keys that only seal.
    ///
    /// # Errors
    ///
    /// [`CryptoError::KeyLength`], [`CryptoError::WeakPublicKey`]: not the canonical bytes of a point of
    /// the group that honest keys are in.
    pub fn public_only(public: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self::of(validated(public)?, Held::Public))
    }

    /// The writer's part of these keys.
    ///
    /// # Errors
    ///
    /// [`CryptoError::SecretKeyRequired`] of public keys.
    pub fn to_writer(&self) -> Result<Self, CryptoError> {
        let auth = boxed(self.auth()?)?;
        Ok(Self::of(self.public, Held::Writer { auth }))
    }

    /// Which key it is.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// What these keys allow.
    pub fn access(&self) -> Access {
        match self.held {
            Held::Full { .. } => Access::Full,
            Held::Writer { .. } => Access::Writer,
            Held::Public => Access::Public,
        }
    }

    /// The secret key, as it was given: the one way out, for writing it to a key file.
    pub fn expose_secret(&self) -> Option<&[u8; 32]> {
        match &self.held {
            Held::Full { secret, .. } => Some(secret),
            Held::Writer { .. } | Held::Public => None,
        }
    }

    /// The key of the tags: for the key file of a writer.
    pub(crate) fn auth(&self) -> Result<&[u8; 32], CryptoError> {
        match &self.held {
            Held::Full { auth, .. } | Held::Writer { auth } => Ok(auth),
            Held::Public => Err(CryptoError::SecretKeyRequired),
        }
    }

    /// The library keeps an unwiped copy of the bytes in its type: it lives as short as it can, and is
    /// overwritten in place; what it has on the stack is overwritten after it.
    pub(crate) fn with_secret_key<T>(
        &self,
        work: impl FnOnce(&SecretKey) -> T,
    ) -> Result<T, CryptoError> {
        let secret = self.expose_secret().ok_or(CryptoError::SecretKeyRequired)?;
        Ok(stack::wiped(|| with_secret_key(secret, work)))
    }

    fn full(secret: Secret) -> Self {
        stack::wiped(|| Self::derived(secret))
    }

    fn derived(secret: Secret) -> Self {
        let public = with_secret_key(&secret, |key| *key.public_key().as_bytes());
        let mut clamped = Zeroizing::new(**secret);
        let [first, .., last] = &mut *clamped;
        *first &= 0xf8;
        *last = *last & 0x7f | 0x40;
        let auth = Box::new(digest::keyed_secret(&clamped, digest::AUTH, &[]));
        Self::of(public, Held::Full { secret, auth })
    }

    fn of(public: [u8; 32], held: Held) -> Self {
        let hash = digest::plain(&[digest::KEY_ID, &public]);
        let mut key_id = KeyId([0; 8]);
        key_id.0.copy_from_slice(hash.split_at(8).0);
        Self {
            public,
            key_id,
            held,
        }
    }
}

fn with_secret_key<T>(secret: &[u8; 32], work: impl FnOnce(&SecretKey) -> T) -> T {
    let mut key = Box::new(SecretKey::from_bytes(*secret));
    let done = work(&key);
    *key = SecretKey::from_bytes([0; 32]);
    black_box(&key);
    done
}

fn boxed(bytes: &[u8]) -> Result<Secret, CryptoError> {
    let mut secret = Box::new(Zeroizing::new([0; 32]));
    if bytes.len() != 32 {
        return Err(CryptoError::KeyLength);
    }
    secret.copy_from_slice(bytes);
    Ok(secret)
}

fn validated(public: &[u8]) -> Result<[u8; 32], CryptoError> {
    let public = public.try_into().map_err(|_other| CryptoError::KeyLength)?;
    expect_honest(&public)?;
    Ok(public)
}

/// Refuses a public key that no honest secret key can have: one that is not canonical, not on the curve,
/// or not in the group of prime order. For those the two libraries disagree, and to some anybody can open.
pub(crate) fn expect_honest(public: &[u8; 32]) -> Result<(), CryptoError> {
    let point = MontgomeryPoint(*public).to_edwards(0);
    let is_honest = point.is_some_and(|point| {
        let is_canonical = point.to_montgomery().to_bytes() == *public;
        is_canonical && !point.is_small_order() && point.is_torsion_free()
    });
    is_honest.then_some(()).ok_or(CryptoError::WeakPublicKey)
}
