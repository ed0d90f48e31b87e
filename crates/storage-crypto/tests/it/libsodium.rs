//! Where the library that does the sealing and libsodium do not agree, so that the day on which they do
//! is noticed. The crate lets neither see such a point: `an_ephemeral_key_that_no_honest_sender_has_is_refused`
//! and `only_points_of_honest_secret_keys_are_public_keys`.
//!
//! `crypto_box` 0.9.1 reduces the secret scalar modulo the order of the group, which changes its product
//! with every point that is not in the group; fixed upstream (RustCrypto/nacl-compat#177), not released.
//! It does not look for points of low order either.

use crypto_box::aead::{Aead, OsRng};
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use storage_crypto::{CryptoError, EncryptionKeys};

use crate::TestResult;
use crate::hashes::nonce;
use crate::vectors::array;

/// A point, and what libsodium 1.0.18 (`PyNaCl` 1.6.2, `crypto_box(b"", bytes(24), point, b"\x33" * 32)`)
/// makes of an empty message to it.
type Boxed = (&'static str, &'static str);

const HONEST: [Boxed; 3] = [
    (
        "4e8c25766ab55628d5e286fe69dd5b7310bd55806e1f77ff2061ce5b18cdb240",
        "de13010d621d2678bf1fff32f5fe7dc0",
    ),
    (
        "63dcc6e1238afa5a51f176836b0a7a1028b1cd95287a527507895772072ddd68",
        "90b9b3405e1b7e2e51e049c7b30867ba",
    ),
    (
        "0900000000000000000000000000000000000000000000000000000000000000",
        "fbfcc08b1ebfe8f76e136c73d036873d",
    ),
];
const ON_THE_TWIST: [Boxed; 3] = [
    (
        "eb77735b0db629ebe6d9d70cfb55991df635f56bdf40a887103e26826deb4d02",
        "351e6c9af1f01dc3592eb39bfafb72e9",
    ),
    (
        "e1609757f24751b65336bf920c4f58ffdb1e2401ca526cd47d01e18ce6eab37f",
        "392ce3365f3d320670ac5ba0cde71b99",
    ),
    (
        "5c7813abb8fc9b898efc5e5722df829d0fc750988362a084684dec747af8d875",
        "3bcd39b060daf95db76b678351604baa",
    ),
];
/// The first two honest ones, with a point of order 8 and one of order 2 added to them: clamping makes
/// the scalar a multiple of 8, so libsodium has the same result as without.
const WITH_TORSION: [Boxed; 2] = [
    (
        "2c5dbfd0ee7a24f2969b8e1983818aaa404ca464515b3a930baaa6bee164f46d",
        "de13010d621d2678bf1fff32f5fe7dc0",
    ),
    (
        "318a57c19db89ba868fc18802850a032a99c3c5c38df3a2ad27992ab33238478",
        "90b9b3405e1b7e2e51e049c7b30867ba",
    ),
];

/// The points that the library disagrees on.
fn disagreeing(boxed: &[Boxed]) -> TestResult<Vec<&'static str>> {
    let secret = SecretKey::from_bytes([0x33; 32]);
    let mut disagreeing = Vec::new();
    for (point, of_libsodium) in boxed {
        let shared = SalsaBox::new(&PublicKey::from(array::<32>(point)?), &secret);
        let tag = shared.encrypt(&[0; 24].into(), &b""[..]);
        if tag.map_err(|error| error.to_string())? != array::<16>(of_libsodium)? {
            disagreeing.push(*point);
        }
    }
    Ok(disagreeing)
}

/// If this fails after an update of `crypto_box`, the update is good news: turn the second half around.
#[test]
fn the_library_disagrees_with_libsodium_on_points_outside_of_the_group() -> TestResult {
    assert_eq!(disagreeing(&HONEST)?, [""; 0]);
    assert_eq!(disagreeing(&ON_THE_TWIST)?.len(), ON_THE_TWIST.len());
    assert_eq!(disagreeing(&WITH_TORSION)?.len(), WITH_TORSION.len());
    Ok(())
}

#[test]
fn nothing_is_sealed_to_a_point_that_is_disagreed_on() -> TestResult {
    for (point, _) in ON_THE_TWIST.iter().chain(&WITH_TORSION) {
        let refused = EncryptionKeys::public_only(&array::<32>(point)?);
        assert_eq!(refused.err(), Some(CryptoError::WeakPublicKey), "{point}");
    }
    Ok(())
}

/// libsodium refuses: its `crypto_box_seal` fails. If this fails after an update, so does the library.
#[test]
fn the_library_seals_to_32_zero_bytes_and_anybody_opens_it() -> TestResult {
    let nobody = [0; 32];
    let sealed = PublicKey::from(nobody).seal(&mut OsRng, b"secret");
    let sealed = sealed.map_err(|error| error.to_string())?;
    let (ephemeral, boxed) = sealed.split_at(32);
    let anybody = SecretKey::from_bytes([0x99; 32]);
    let shared = SalsaBox::new(&PublicKey::from(nobody), &anybody);
    let opened = shared.decrypt(&nonce(ephemeral.try_into()?, &nobody).into(), boxed);
    assert_eq!(opened, Ok(b"secret".to_vec()));

    let refused = EncryptionKeys::public_only(&nobody);
    assert_eq!(refused.err(), Some(CryptoError::WeakPublicKey));
    Ok(())
}
