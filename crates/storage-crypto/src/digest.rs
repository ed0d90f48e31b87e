//! `BLAKE2b` with a key and a personalization, and the labels that keep its uses apart.

use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, Update};
use blake2::{Blake2b, Blake2bMac, Digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::CryptoError;
use crate::stack;

/// Personalizations of keyed hashes, at most 16 bytes each.
pub(crate) const AUTH: &[u8] = b"nsec1.auth";
pub(crate) const TAG: &[u8] = b"nsec1.tag";
pub(crate) const ELEMENT: &[u8] = b"nsec1.elem";
pub(crate) const MANIFEST: &[u8] = b"nsec1.manifest";
pub(crate) const KEYRING: &[u8] = b"nsec1.keyring";
pub(crate) const AUDIT_HEAD: &[u8] = b"nsec1.audithead";
pub(crate) const WRAP: &[u8] = b"nsec1.wrap";
/// Beginnings of what is hashed without a key.
pub(crate) const KEY_ID: &[u8] = b"nsec1.kid";
pub(crate) const CONTEXT: &[u8] = b"nsec1.ctx";
pub(crate) const CHECK: &[u8] = b"nsec1.check";
pub(crate) const NODE_ID: &[u8] = b"nonos-node-id";

#[cfg(test)]
const ALL: [&[u8]; 11] = [
    AUTH, TAG, ELEMENT, MANIFEST, KEYRING, AUDIT_HEAD, WRAP, KEY_ID, CONTEXT, CHECK, NODE_ID,
];

/// The hash of `parts`, one after another, under `key` for the use `person`. The key is not empty: the
/// library would hash a block of zeros for it, which is not `BLAKE2b`.
pub(crate) fn keyed(key: &[u8; 32], person: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // The library has the key in a buffer that it does not wipe.
    stack::wiped(|| {
        // A key of 32 bytes and a personalization of at most 16 are always taken.
        let Ok(mut mac) = Blake2bMac::<U32>::new_with_salt_and_personal(key, &[], person) else {
            unreachable!("a key of 32 bytes and a label of at most 16");
        };
        for part in parts {
            Update::update(&mut mac, part);
        }
        mac.finalize_fixed().into()
    })
}

/// [`keyed`], where the hash itself is secret. It is moved, so the caller's own frames are to be wiped.
pub(crate) fn keyed_secret(key: &[u8; 32], person: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(key, person, parts))
}

/// The hash of `parts` without a key.
pub(crate) fn plain(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2b::<U32>::new();
    for part in parts {
        Digest::update(&mut hash, part);
    }
    hash.finalize().into()
}

/// The length of a part, as it goes before the part: so no two lists of parts hash the same.
pub(crate) fn len(part: &[u8]) -> [u8; 8] {
    u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes()
}

/// Whether `found` is the tag `expected`, in constant time.
pub(crate) fn check(expected: &[u8; 32], found: &[u8]) -> Result<(), CryptoError> {
    if bool::from(expected.as_slice().ct_eq(found)) {
        Ok(())
    } else {
        Err(CryptoError::Unauthenticated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_fit() {
        let distinct: std::collections::BTreeSet<_> = ALL.into_iter().collect();
        assert_eq!(distinct.len(), ALL.len());
        assert!(ALL.iter().all(|label| label.len() <= 16));
        let constants = include_str!("digest.rs").matches("const ").count();
        assert_eq!(
            constants,
            ALL.len() + 2,
            "and the list of them, and this line"
        );
    }
}
