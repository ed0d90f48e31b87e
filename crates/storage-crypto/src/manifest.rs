//! The manifest: a counter of writes, how many sealed records there are, and a proof of which.
//!
//! Each record has an element, a keyed hash of its place and bytes; their sum modulo 2^256 changes with
//! each store and delete, whatever the order. Only a keyed hash of the sum is stored: who sees many sums
//! could look for other sets that have the same.

use std::fmt;

use crate::digest;
use crate::error::CryptoError;
use crate::keys::EncryptionKeys;

/// How long a stored manifest is.
pub const MANIFEST_LEN: usize = 48;
const MALFORMED: CryptoError = CryptoError::Malformed {
    what: "the manifest",
};

/// The sealed records of a store, as a sum, which is in no `Debug` text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    limbs: [u64; 4],
    count: u64,
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sum")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Sum {
    /// Adds the record that is at this place now.
    ///
    /// # Errors
    ///
    /// [`CryptoError::SecretKeyRequired`] of public keys.
    pub fn add(
        &mut self,
        keys: &EncryptionKeys,
        tree: &str,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CryptoError> {
        let element = element(keys, tree, key, value)?;
        let mut carry = false;
        for (limb, element) in self.limbs.iter_mut().zip(element) {
            let (sum, over) = limb.overflowing_add(element);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
        self.count += 1;
        Ok(())
    }

    /// Takes away the record that was at this place.
    ///
    /// # Errors
    ///
    /// [`CryptoError::SecretKeyRequired`] of public keys, [`CryptoError::ManifestMismatch`] if there is
    /// none to take away.
    pub fn remove(
        &mut self,
        keys: &EncryptionKeys,
        tree: &str,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CryptoError> {
        let element = element(keys, tree, key, value)?;
        self.count = self
            .count
            .checked_sub(1)
            .ok_or(CryptoError::ManifestMismatch)?;
        let mut borrow = false;
        for (limb, element) in self.limbs.iter_mut().zip(element) {
            let (rest, under) = limb.overflowing_sub(element);
            let (rest, under_again) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, under || under_again);
        }
        Ok(())
    }

    /// How many records it is of.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The manifest of this sum after the `counter`th write.
    ///
    /// # Errors
    ///
    /// [`CryptoError::SecretKeyRequired`] of public keys.
    pub fn seal(
        &self,
        keys: &EncryptionKeys,
        counter: u64,
    ) -> Result<[u8; MANIFEST_LEN], CryptoError> {
        let mut sum = [0; 32];
        for (bytes, limb) in sum.chunks_exact_mut(8).zip(self.limbs) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        let parts: [&[u8]; 3] = [&counter.to_le_bytes(), &self.count.to_le_bytes(), &sum];
        let tag = digest::keyed(keys.auth()?, digest::MANIFEST, &parts);
        let mut manifest = [0; MANIFEST_LEN];
        let (numbers, stored_tag) = manifest.split_at_mut(16);
        let (stored_counter, stored_count) = numbers.split_at_mut(8);
        stored_counter.copy_from_slice(&counter.to_be_bytes());
        stored_count.copy_from_slice(&self.count.to_be_bytes());
        stored_tag.copy_from_slice(&tag);
        Ok(manifest)
    }

    /// Whether a stored manifest is of this sum.
    ///
    /// # Errors
    ///
    /// [`CryptoError::ManifestMismatch`] if not, [`CryptoError::Malformed`],
    /// [`CryptoError::SecretKeyRequired`] of public keys.
    pub fn check(&self, keys: &EncryptionKeys, stored: &[u8]) -> Result<(), CryptoError> {
        let expected = self.seal(keys, counter(stored)?)?;
        let same = <[u8] as subtle::ConstantTimeEq>::ct_eq(&expected, stored);
        bool::from(same)
            .then_some(())
            .ok_or(CryptoError::ManifestMismatch)
    }
}

/// The counter of a stored manifest.
///
/// # Errors
///
/// [`CryptoError::Malformed`].
pub fn counter(stored: &[u8]) -> Result<u64, CryptoError> {
    let manifest: &[u8; MANIFEST_LEN] = stored.try_into().map_err(|_other| MALFORMED)?;
    let counter = manifest.first_chunk::<8>().ok_or(MALFORMED)?;
    Ok(u64::from_be_bytes(*counter))
}

fn element(
    keys: &EncryptionKeys,
    tree: &str,
    key: &[u8],
    value: &[u8],
) -> Result<[u64; 4], CryptoError> {
    let tree = tree.as_bytes();
    let (tree_len, key_len, value_len) = (digest::len(tree), digest::len(key), digest::len(value));
    let parts = [&tree_len, tree, &key_len, key, &value_len, value];
    let hash = digest::keyed(keys.auth()?, digest::ELEMENT, &parts);
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(hash.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*bytes);
    }
    Ok(limbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A carry that only comes of a carry, which no hash gives by chance.
    #[test]
    fn a_sum_carries_and_borrows_through_all_its_limbs() -> Result<(), CryptoError> {
        let keys = EncryptionKeys::try_generate()?;
        let [e0, e1, e2, e3] = element(&keys, "t", b"k", b"v")?;
        let mut sum = Sum {
            limbs: [e0.wrapping_neg(), !e1, !e2, 5],
            count: 0,
        };
        sum.add(&keys, "t", b"k", b"v")?;
        assert_eq!(sum.limbs, [0, 0, 0, e3.wrapping_add(6)]);
        sum.limbs = [0, e1, e2, e3.wrapping_add(6)];
        sum.remove(&keys, "t", b"k", b"v")?;
        assert_eq!(sum.limbs, [e0.wrapping_neg(), u64::MAX, u64::MAX, 5]);
        assert_eq!(sum.count, 0);
        Ok(())
    }
}
