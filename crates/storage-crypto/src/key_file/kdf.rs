//! How a passphrase becomes a key: the line that says it, and the work.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{MALFORMED, bytes, hex, number};
use crate::digest;
use crate::error::CryptoError;

const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

/// How a passphrase becomes a key.
pub(super) struct Kdf {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 16],
}

impl Kdf {
    /// With a salt that is still to come.
    pub(super) const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Self {
        Self {
            memory_kib,
            passes,
            lanes,
            salt: [0; 16],
        }
    }

    pub(super) fn is_harder_than(&self, other: &Self) -> bool {
        let cost = |kdf: &Self| u64::from(kdf.memory_kib) * u64::from(kdf.passes);
        cost(self) > cost(other)
    }

    pub(super) fn salt_mut(&mut self) -> &mut [u8; 16] {
        &mut self.salt
    }

    pub(super) fn line(&self) -> String {
        let Self {
            memory_kib,
            passes,
            lanes,
            salt,
        } = self;
        let salt = hex(salt);
        format!(
            "argon2id v=19 m={memory_kib} t={passes} p={lanes} salt={}",
            *salt
        )
    }

    /// Bounded before anything is spent on it.
    pub(super) fn parse(line: &str) -> Result<Self, CryptoError> {
        let mut parts = line.split(' ');
        if (parts.next(), parts.next()) != (Some("argon2id"), Some("v=19")) {
            return Err(MALFORMED);
        }
        let mut bounded = |name: &str, max: u32| {
            let value = parts.next().and_then(|part| part.strip_prefix(name));
            let value = value.and_then(number).ok_or(MALFORMED)?;
            (1..=max).contains(&value).then_some(value).ok_or(MALFORMED)
        };
        let memory_kib = bounded("m=", MAX_MEMORY_KIB)?;
        let passes = bounded("t=", MAX_PASSES)?;
        let lanes = bounded("p=", MAX_LANES)?;
        let salt = parts.next().and_then(|part| part.strip_prefix("salt="));
        let salt = bytes(salt.ok_or(MALFORMED)?)?;
        match parts.next() {
            None => Ok(Self {
                memory_kib,
                passes,
                lanes,
                salt,
            }),
            Some(_) => Err(MALFORMED),
        }
    }

    /// The key of the secretbox, for a file that begins with the lines `above`. The caller's own
    /// frames are to be wiped.
    pub(super) fn wrap_key(
        &self,
        passphrase: &str,
        above: &str,
    ) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_out_of_range| MALFORMED)?;
        // The library would not wipe them, and the key is a hash of the last ones.
        let mut blocks = Zeroizing::new(vec![Block::new(); params.block_count()]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut key = Zeroizing::new([0; 32]);
        let (passphrase, salt) = (passphrase.as_bytes(), &self.salt);
        argon2
            .hash_password_into_with_memory(passphrase, salt, &mut *key, &mut *blocks)
            .map_err(|_out_of_range| MALFORMED)?;
        Ok(digest::keyed_secret(
            &key,
            digest::WRAP,
            &[above.as_bytes()],
        ))
    }
}
