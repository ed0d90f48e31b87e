//! Sealing with an ephemeral key that is known makes the very bytes of the oracle, and leaves none of it.

use std::error::Error;

use crypto_box::aead::rand_core::{self, CryptoRng, RngCore, impls};
use zeroize::Zeroizing;

use super::{Header, Kind, SecretContext, seal, seal_with, unseal};
use crate::error::CryptoError;
use crate::ids::StoreId;
use crate::keys::EncryptionKeys;
use crate::padding::Padding;

#[path = "../../tests/it/vectors.rs"]
#[expect(dead_code, reason = "the tests of the other formats need more of it")]
mod vectors;

#[cfg(target_os = "linux")]
#[path = "../../tests/it/own_memory.rs"]
#[expect(dead_code, reason = "a key has no digits here")]
mod own_memory;

use vectors::{Vector, each};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Not random at all: one ephemeral key, again and again.
struct Ephemeral(Box<Zeroizing<[u8; 32]>>);

impl CryptoRng for &Ephemeral {}

impl RngCore for &Ephemeral {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for (byte, ephemeral) in bytes.iter_mut().zip(self.0.iter().cycle()) {
            *byte = *ephemeral;
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

fn padding_of(vector: &Vector) -> TestResult<Padding> {
    match vector.text("padding")? {
        "none" => Ok(Padding::None),
        "block64" => Ok(Padding::Block64),
        "padme" => Ok(Padding::Padme),
        other => Err(format!("no padding {other}").into()),
    }
}

#[test]
fn a_record_is_that_of_the_oracle_to_the_byte() -> TestResult {
    let count = each("records.txt", |vector| {
        let keys = EncryptionKeys::from_secret(&vector.bytes("sk")?)?;
        let (key, data) = (vector.bytes("key")?, vector.data()?);
        let context = SecretContext {
            store: StoreId(vector.array("store")?),
            tree: vector.text("tree")?,
            key: &key,
        };
        let header = Header {
            kind: match vector.text("kind")? {
                "1" => Kind::Tagged,
                _ => Kind::Anonymous,
            },
            key_id: keys.key_id(),
            version: vector.number("version")?,
        };
        let padding = padding_of(vector)?;
        let random = Ephemeral(Box::new(Zeroizing::new(vector.array("esk")?)));
        let sealed = seal_with(&mut &random, &keys, &context, header, padding, &data);
        if header.kind == Kind::Tagged && header.version == 0 {
            assert_eq!(sealed, Err(super::MALFORMED), "{vector}");
            return Ok(());
        }
        let record = sealed?;
        if vector.has("record") {
            assert!(record == vector.bytes("record")?, "{vector}: other bytes");
            return Ok(());
        }
        // The long ones are in the fixture as a hash of a kind that we do not have.
        let overhead = match header.kind {
            Kind::Tagged => 24 + 48 + 37 + 32,
            Kind::Anonymous => 24 + 48 + 37,
        };
        assert_eq!(
            record.len(),
            overhead + padding.padded(data.len())?,
            "{vector}"
        );
        let opened = unseal(&keys, &context, &record)?;
        assert!(*opened == data, "{vector}: other data");
        Ok(())
    })?;
    assert_eq!(count, 80);
    Ok(())
}

#[test]
fn nothing_is_sealed_with_the_version_of_records_without_a_tag() -> TestResult {
    let keys = EncryptionKeys::try_generate()?;
    let context = SecretContext {
        store: StoreId([0; 16]),
        tree: "secrets",
        key: b"k",
    };
    let refused = Err(CryptoError::Malformed { what: "the record" });
    for keys in [&keys, &keys.to_writer()?] {
        assert_eq!(seal(keys, &context, 0, Padding::None, b"x"), refused);
        assert!(seal(keys, &context, 1, Padding::None, b"x").is_ok());
    }
    Ok(())
}

/// The library keeps the ephemeral key in a type that it does not wipe.
#[cfg(target_os = "linux")]
#[test]
fn the_ephemeral_key_is_not_left_in_memory() -> TestResult {
    use own_memory::{Masked, left_after, search};

    let keys = EncryptionKeys::try_generate()?;
    let mut ephemeral = Box::new(Zeroizing::new([0; 32]));
    getrandom::fill(&mut **ephemeral)?;
    let masked = [Masked::of("the ephemeral key", &ephemeral)];
    assert!(!search(&masked)?.is_empty(), "not found while it is there");
    let found = left_after(&masked, (Ephemeral(ephemeral), keys), |(random, keys)| {
        let context = SecretContext {
            store: StoreId([0; 16]),
            tree: "secrets",
            key: b"k",
        };
        let header = Header {
            kind: Kind::Anonymous,
            key_id: keys.key_id(),
            version: 0,
        };
        let mut random = random;
        seal_with(&mut random, keys, &context, header, Padding::None, b"x")?;
        Ok(())
    })?;
    assert_eq!(found, [""; 0]);
    Ok(())
}
