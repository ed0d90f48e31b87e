//! The tag of the audit log's head: who has no keys cannot write the log's past anew.

use crate::digest;
use crate::error::CryptoError;
use crate::keys::EncryptionKeys;

/// The tag of a head: the number and hash of the newest entry, the number of the oldest, and the hash
/// before it.
///
/// # Errors
///
/// [`CryptoError::SecretKeyRequired`] of public keys.
pub fn tag(
    keys: &EncryptionKeys,
    (seq, hash): (u64, &[u8; 32]),
    (first_seq, before): (u64, &[u8; 32]),
) -> Result<[u8; 32], CryptoError> {
    let parts: [&[u8]; 4] = [&seq.to_le_bytes(), hash, &first_seq.to_le_bytes(), before];
    Ok(digest::keyed(keys.auth()?, digest::AUDIT_HEAD, &parts))
}

/// Whether `found` is the tag of a head.
///
/// # Errors
///
/// [`CryptoError::Unauthenticated`] if not, [`CryptoError::SecretKeyRequired`] of public keys.
pub fn check(
    keys: &EncryptionKeys,
    newest: (u64, &[u8; 32]),
    oldest: (u64, &[u8; 32]),
    found: &[u8; 32],
) -> Result<(), CryptoError> {
    digest::check(&tag(keys, newest, oldest)?, found)
}
