//! Keys, a place and records that more than one test uses.

use storage_crypto::{CryptoError, EncryptionKeys, Padding, SecretContext, StoreId};

use crate::TestResult;
use crate::vectors::unhex;

pub(crate) const STORE: StoreId = StoreId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
pub(crate) const PLACE: SecretContext<'static> = SecretContext {
    store: STORE,
    tree: "secrets",
    key: b"wallet_key",
};
pub(crate) const SECRET: [u8; 32] = [0x11; 32];
pub(crate) const DATA: &[u8] = b"super_secret_key_material";
/// What [`PLACE`], [`SECRET`] and [`DATA`] give as version 7, with an ephemeral key of 32 times 0x22: the
/// vector in the specification.
const RECORD: &str = "4e534543010100008ad06ac367cf1c7a00000000000000070faa684ed28867b97f4a6a2dee5df8ce\
    974e76b7018e3f22a1c4cf2678570f20d5e7be4ddc0dac19af4f4d6d669f19b3dbbc2c065fec7fe5f315a95a0b18eb94\
    aaefa0174f273f2a3ebf32e55f4b184b63e2d55dc9598998e0fca8f12957c233184277c8c096d0157e869ace9271b553\
    8c027604f14366d8c802a2a1bde19d1a74b231784db222e9ba72fdbc21623f481df10a19f5094c048b2d2d9bb0097543\
    3c50e531d6da04fa0377cad1981b36914d053c8c19";

pub(crate) fn record() -> TestResult<Vec<u8>> {
    unhex(RECORD)
}

pub(crate) fn anonymous() -> Result<Vec<u8>, CryptoError> {
    storage_crypto::seal_anonymous(&full()?, &PLACE, Padding::None, b"x")
}

pub(crate) fn full() -> Result<EncryptionKeys, CryptoError> {
    EncryptionKeys::from_secret(&SECRET)
}

pub(crate) fn writer() -> Result<EncryptionKeys, CryptoError> {
    full()?.to_writer()
}

pub(crate) fn public() -> Result<EncryptionKeys, CryptoError> {
    EncryptionKeys::public_only(&full()?.public_key())
}

/// Keys of another secret.
pub(crate) fn others() -> Result<EncryptionKeys, CryptoError> {
    EncryptionKeys::from_secret(&[0x44; 32])
}

/// Every other value that differs in one bit, and where.
pub(crate) fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        (bit / 8, flipped)
    })
}

/// Every beginning, and the whole with something after it.
pub(crate) fn cut_and_continued(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    let more: [&[u8]; 4] = [&[0], &[0xff], &[0; 32], bytes];
    let continued = more.map(|more| [bytes, more].concat());
    cut.chain(continued)
}
