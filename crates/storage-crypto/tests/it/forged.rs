//! Records that the crate would not make, of parts that an attacker can make: who has the public key can
//! seal anything in a box.

use crypto_box::aead::OsRng;
use crypto_box::{PublicKey, SalsaBox, SecretKey, aead::Aead};
use storage_crypto::{
    CryptoError, EncryptionKeys, MAX_SECRET_LEN, SecretContext, parse_header, seal, seal_anonymous,
    unseal, verify,
};

use crate::TestResult;
use crate::hashes::{nonce, plain};
use crate::samples::{DATA, PLACE, full, others, public, record, writer};
use crate::vectors::{each, unhex};

/// As docs and oracle have it, once more.
pub(crate) fn context(place: &SecretContext<'_>, version: u64) -> [u8; 32] {
    let len = |part: &[u8]| u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes();
    let parts = [
        b"nsec1.ctx",
        &place.store.0[..],
        place.tree.as_bytes(),
        place.key,
    ];
    let mut hashed = Vec::new();
    for part in parts {
        hashed.extend(len(part));
        hashed.extend(part);
    }
    hashed.extend(version.to_le_bytes());
    plain(&hashed)
}

/// What is in the box of a record.
fn inner(version: u8, context: &[u8; 32], len: u32, data: &[u8]) -> Vec<u8> {
    [&[version][..], context, &len.to_be_bytes(), data].concat()
}

/// A record of `kind` and `version` around `sealed`, for the keys of the samples.
fn around(kind: u8, version: u64, sealed: &[u8]) -> TestResult<Vec<u8>> {
    let mut record = b"NSEC\x01".to_vec();
    record.extend([kind, 0, 0]);
    record.extend(full()?.key_id().0);
    record.extend(version.to_be_bytes());
    record.extend(sealed);
    Ok(record)
}

fn boxed(inner: &[u8]) -> TestResult<Vec<u8>> {
    let public = PublicKey::from(full()?.public_key());
    let sealed = public.seal(&mut OsRng, inner);
    Ok(sealed.map_err(|error| error.to_string())?)
}

/// An anonymous record of the sample's place with this inside.
fn anonymous(inner: &[u8]) -> TestResult<Vec<u8>> {
    around(2, 0, &boxed(inner)?)
}

fn opened(record: &[u8]) -> TestResult<Result<Vec<u8>, CryptoError>> {
    Ok(unseal(&full()?, &PLACE, record).map(|data| data.to_vec()))
}

/// That the parts above are right: otherwise the tests below refuse them for nothing.
#[test]
fn a_record_made_by_hand_opens() -> TestResult {
    let context = context(&PLACE, 0);
    for (len, data) in [(0, &[][..]), (2, b"ab"), (2, b"ab\0\0\0"), (0, &[0; 100])] {
        let record = anonymous(&inner(1, &context, len, data))?;
        let len = usize::try_from(len)?;
        assert_eq!(opened(&record)?, Ok(data[..len].to_vec()), "{data:?}");
        let unproved = verify(&writer()?, &PLACE, &record);
        assert_eq!(unproved, Err(CryptoError::Unauthenticated), "{data:?}");
    }
    let longest = vec![7; MAX_SECRET_LEN];
    let record = anonymous(&inner(1, &context, u32::try_from(longest.len())?, &longest))?;
    assert_eq!(opened(&record)?, Ok(longest));
    Ok(())
}

#[test]
fn what_is_in_the_box_has_to_be_of_the_format() -> TestResult {
    let right = context(&PLACE, 0);
    let mut almost = right;
    almost[31] ^= 1;
    let too_long = vec![7; MAX_SECRET_LEN + 1];
    let too_long_len = u32::try_from(too_long.len())?;
    for (what, inner) in [
        ("version 0", inner(0, &right, 2, b"ab")),
        ("version 2", inner(2, &right, 2, b"ab")),
        ("another context", inner(1, &almost, 2, b"ab")),
        ("that of version 7", inner(1, &context(&PLACE, 7), 2, b"ab")),
        ("a length over the end", inner(1, &right, 3, b"ab")),
        ("the longest length", inner(1, &right, u32::MAX, b"ab")),
        ("padding of ones", inner(1, &right, 2, b"ab\x01")),
        ("padding that ends so", inner(1, &right, 2, b"ab\0\0\0\x80")),
        ("too much data", inner(1, &right, too_long_len, &too_long)),
    ] {
        let refused = opened(&anonymous(&inner)?)?;
        assert_eq!(refused, Err(CryptoError::Unopenable), "{what}");
    }
    for len in 0..37 {
        let short = &inner(1, &right, 0, b"")[..len];
        let malformed = Err(CryptoError::Malformed { what: "the record" });
        assert_eq!(opened(&anonymous(short)?)?, malformed, "{len} bytes");
    }
    Ok(())
}

/// With the public key only, a tag is a guess, and what has none is not vouched for.
#[test]
fn a_record_forged_with_the_public_key_is_not_believed() -> TestResult {
    for version in [1, 7, u64::MAX] {
        let sealed = boxed(&inner(1, &context(&PLACE, version), 6, b"forged"))?;
        let untagged = around(1, version, &sealed)?;
        let of_another = seal(
            &others()?,
            &PLACE,
            version,
            storage_crypto::Padding::None,
            b"forged",
        )?;
        let (_, tag_of_another) = of_another.split_at(of_another.len() - 32);
        for tag in [&[0; 32], &[0xff; 32], tag_of_another] {
            let forged = [&untagged, tag].concat();
            assert_eq!(parse_header(&forged)?.version, version);
            let verified = verify(&writer()?, &PLACE, &forged);
            assert_eq!(verified, Err(CryptoError::Unopenable), "version {version}");
            assert_eq!(
                opened(&forged)?,
                Err(CryptoError::Unopenable),
                "version {version}"
            );
        }
    }
    let anonymous = seal_anonymous(&public()?, &PLACE, storage_crypto::Padding::None, b"forged")?;
    let verified = verify(&full()?, &PLACE, &anonymous);
    assert_eq!(verified, Err(CryptoError::Unauthenticated));
    let mut tagged = [&anonymous[..], &[0; 32]].concat();
    tagged[5] = 1;
    assert!(opened(&tagged)?.is_err(), "of version 0");
    tagged[23] = 1;
    assert_eq!(opened(&tagged)?, Err(CryptoError::Unopenable));
    Ok(())
}

/// The kind is not in the context. A tagged record of version 0 would open as an anonymous one once its
/// tag is gone, so there is none; of another version, the context in the box is another.
#[test]
fn a_tagged_record_is_no_anonymous_one_without_its_tag() -> TestResult {
    let stripped = |mut record: Vec<u8>| {
        record.truncate(record.len() - 32);
        record[5] = 2;
        record
    };
    let malformed = Err(CryptoError::Malformed { what: "the record" });
    let without = stripped(record()?);
    assert_eq!(opened(&without)?, malformed, "with its version");
    let mut of_no_version = without;
    of_no_version[16..24].fill(0);
    assert_eq!(opened(&of_no_version)?, Err(CryptoError::Unopenable));

    // What an earlier program could have made.
    let count = each("records.txt", |vector| {
        if (vector.text("kind")?, vector.text("version")?) != ("1", "0") {
            return Ok(());
        }
        let keys = EncryptionKeys::from_secret(&vector.bytes("sk")?)?;
        let key = vector.bytes("key")?;
        let place = SecretContext {
            store: storage_crypto::StoreId(vector.array("store")?),
            tree: vector.text("tree")?,
            key: &key,
        };
        let record = vector.bytes("record")?;
        assert_eq!(
            parse_header(&record).map(drop),
            malformed.clone().map(drop),
            "{vector}"
        );
        // It is nothing else that refuses it.
        assert!(unseal(&keys, &place, &stripped(record)).is_ok(), "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 80);
    Ok(())
}

/// libsodium refuses points of low order, and has other results for those on the twist; who opens must
/// not depend on the library. Whoever seals to an honest key has an honest ephemeral key.
#[test]
fn an_ephemeral_key_that_no_honest_sender_has_is_refused() -> TestResult {
    let keys = full()?;
    let secret = SecretKey::from_bytes(crate::samples::SECRET);
    let inner = inner(1, &context(&PLACE, 0), 2, b"ab");
    let refused = Err(CryptoError::Unopenable);
    let count = each("points.txt", |vector| {
        let point = vector.array::<32>("public")?;
        // Nobody knows the secret key of most of these. The recipient's does as well for a test.
        let shared = SalsaBox::new(&PublicKey::from(point), &secret);
        let nonce = nonce(&point, &keys.public_key());
        let sealed = shared.encrypt(&nonce.into(), &inner[..]);
        let sealed = sealed.map_err(|error| error.to_string())?;
        let record = around(2, 0, &[&point[..], &sealed].concat())?;
        let is_honest = vector.text("verdict")? == "ok";
        let expected = if is_honest {
            Ok(b"ab".to_vec())
        } else {
            refused.clone()
        };
        assert_eq!(opened(&record)?, expected, "{vector}");
        let of_the_library = secret.unseal(&record[24..]);
        assert!(of_the_library.is_ok(), "{vector}: the library refuses it");
        Ok(())
    })?;
    assert_eq!(count, 64);
    Ok(())
}

/// With a shared secret of zeros, which every secret key has with a point of low order: no key is needed.
#[test]
fn a_box_from_a_point_of_low_order_is_refused() -> TestResult {
    let inner = inner(1, &context(&PLACE, 0), 2, b"ab");
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ] {
        let ephemeral: [u8; 32] = unhex(point)?.try_into().map_err(|_other| "its length")?;
        let zeros = SalsaBox::new(
            &PublicKey::from([0; 32]),
            &SecretKey::from_bytes([0x77; 32]),
        );
        let nonce = nonce(&ephemeral, &full()?.public_key());
        let sealed = zeros.encrypt(&nonce.into(), &inner[..]);
        let sealed = sealed.map_err(|error| error.to_string())?;
        let record = around(2, 0, &[&ephemeral[..], &sealed].concat())?;
        assert_eq!(opened(&record)?, Err(CryptoError::Unopenable), "{point}");
    }
    Ok(())
}

#[test]
fn a_box_and_a_tag_of_two_records_are_no_record() -> TestResult {
    let one = seal(&full()?, &PLACE, 7, storage_crypto::Padding::Block64, DATA)?;
    let other = record()?;
    assert_eq!(one.len(), other.len());
    for cut in [24, 56, one.len() - 32] {
        for (start, end) in [(&one, &other), (&other, &one)] {
            let mixed = [&start[..cut], &end[cut..]].concat();
            // Both have the same header, so the first is no mixture.
            let expected = (cut == 24).then(|| DATA.to_vec());
            let expected = expected.ok_or(CryptoError::Unopenable);
            assert_eq!(opened(&mixed)?, expected, "cut at {cut}");
        }
    }
    Ok(())
}
