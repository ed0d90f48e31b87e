//! The hashes of the formats, as an attacker computes them.

use blake2::digest::consts::{U24, U32};
use blake2::{Blake2b, Digest};

pub(crate) fn plain(bytes: &[u8]) -> [u8; 32] {
    Blake2b::<U32>::digest(bytes).into()
}

/// The nonce of a sealed box.
pub(crate) fn nonce(ephemeral: &[u8; 32], recipient: &[u8; 32]) -> [u8; 24] {
    let both = [ephemeral.as_slice(), recipient].concat();
    Blake2b::<U24>::digest(both).into()
}

/// The key file that begins with these lines, with the check that they have.
pub(crate) fn key_file(lines: &str) -> String {
    let label = b"nsec1.check";
    let len = u64::try_from(label.len()).unwrap_or(u64::MAX).to_le_bytes();
    let check = plain(&[&len, label.as_slice(), lines.as_bytes()].concat());
    let check = check.map(|byte| format!("{byte:02x}")).concat();
    format!("{lines}check = {check}\n")
}
