//! Every bit changed, every beginning, everything in another place: an error, and the right one.

use storage_crypto::keyring::{Keyring, State};
use storage_crypto::manifest::{self, Sum};
use storage_crypto::{
    CryptoError, EncryptionKeys, Header, Padding, SecretContext, StoreId, head, parse_header, seal,
    seal_anonymous, unseal, verify,
};

use crate::TestResult;
use crate::samples::{
    DATA, PLACE, STORE, anonymous, cut_and_continued, flipped, full, others, public, record, writer,
};

const MALFORMED: CryptoError = CryptoError::Malformed { what: "the record" };

/// What a record is refused with that was changed at `at`.
fn expected(is_tagged: bool, at: usize, changed: &[u8]) -> TestResult<CryptoError> {
    Ok(match at {
        0..4 | 5..8 => MALFORMED,
        4 => CryptoError::UnsupportedVersion(changed[4]),
        8..16 => CryptoError::WrongKey {
            expected: parse_header(changed)?.key_id,
            got: full()?.key_id(),
        },
        16..24 if !is_tagged => MALFORMED,
        _ => CryptoError::Unopenable,
    })
}

#[test]
fn a_tagged_record_with_a_bit_changed_is_refused() -> TestResult {
    let (full, writer) = (full()?, writer()?);
    for (at, changed) in flipped(&record()?) {
        let refused = expected(true, at, &changed)?;
        let opened = unseal(&full, &PLACE, &changed).map(drop);
        assert_eq!(opened, Err(refused.clone()), "byte {at}");
        let verified = verify(&writer, &PLACE, &changed);
        assert_eq!(verified, Err(refused), "byte {at}");
    }
    Ok(())
}

#[test]
fn an_anonymous_record_with_a_bit_changed_is_refused() -> TestResult {
    let full = full()?;
    for (at, changed) in flipped(&anonymous()?) {
        let refused = expected(false, at, &changed)?;
        let opened = unseal(&full, &PLACE, &changed).map(drop);
        assert_eq!(opened, Err(refused), "byte {at}");
    }
    Ok(())
}

#[test]
fn a_record_cut_or_continued_is_refused() -> TestResult {
    let full = full()?;
    for whole in [record()?, anonymous()?] {
        for changed in cut_and_continued(&whole) {
            let refused = unseal(&full, &PLACE, &changed).map(drop);
            let is_refused = matches!(
                refused,
                Err(CryptoError::Malformed { .. } | CryptoError::Unopenable)
            );
            assert!(
                is_refused,
                "{} of {}: {refused:?}",
                changed.len(),
                whole.len()
            );
            assert!(
                verify(&full, &PLACE, &changed).is_err(),
                "{}",
                changed.len()
            );
        }
        unseal(&full, &PLACE, &whole)?;
    }
    Ok(())
}

/// The names run into each other the same way, or differ in what no name shows.
#[test]
fn a_record_opens_in_its_place_only() -> TestResult {
    let full = full()?;
    let place = |tree, key| SecretContext {
        store: STORE,
        tree,
        key,
    };
    let mut other_store = PLACE;
    other_store.store.0[15] ^= 1;
    let places = [
        PLACE,
        other_store,
        place("identity", PLACE.key),
        place("secretswallet", b"_key"),
        place("secret", b"swallet_key"),
        place("", b"secretswallet_key"),
        place("secretswallet_key", b""),
        place("secrets", b""),
        place("secrets", b"wallet_ke"),
        place("secrets", b"wallet_key\0"),
        place("secrets", b"wallet_kez"),
        place("secrets\0", PLACE.key),
        place("Secrets", PLACE.key),
    ];
    for (at, there) in places.iter().enumerate() {
        let tagged = seal(&full, there, 7, Padding::Block64, DATA)?;
        let untagged = seal_anonymous(&full, there, Padding::Block64, DATA)?;
        for (other_at, here) in places.iter().enumerate() {
            let is_refused = at != other_at;
            let expected = if is_refused {
                Err(CryptoError::Unopenable)
            } else {
                Ok(())
            };
            for record in [&tagged, &untagged] {
                let opened = unseal(&full, here, record).map(drop);
                assert_eq!(opened, expected, "{there:?}, {here:?}");
            }
            let verified = verify(&full, here, &tagged).map(drop);
            assert_eq!(verified, expected, "{there:?}, {here:?}");
        }
    }
    Ok(())
}

#[test]
fn a_record_with_the_version_of_another_is_refused() -> TestResult {
    let full = full()?;
    for (version, other) in [(1, 2), (7, 8), (1, 256), (u64::MAX, 1), (1, 1 << 56)] {
        let mut record = seal(&full, &PLACE, version, Padding::None, DATA)?;
        record[16..24].copy_from_slice(&u64::to_be_bytes(other));
        let refused = unseal(&full, &PLACE, &record).map(drop);
        assert_eq!(refused, Err(CryptoError::Unopenable), "{version}, {other}");
    }
    Ok(())
}

#[test]
fn other_keys_are_wrong_keys() -> TestResult {
    let (expected, got) = (full()?.key_id(), others()?.key_id());
    let refused = Err(CryptoError::WrongKey { expected, got });
    let ring = Keyring::first(STORE, &full()?, 1);
    let bytes = ring.encode(&full()?)?;
    for keys in [others()?, others()?.to_writer()?] {
        for record in [record()?, anonymous()?] {
            assert_eq!(unseal(&keys, &PLACE, &record).map(drop), refused);
            assert_eq!(verify(&keys, &PLACE, &record).map(drop), refused);
        }
        assert_eq!(Keyring::open(&bytes, &keys, STORE).map(drop), refused);
        assert_eq!(ring.expect(&keys), refused);
        assert_eq!(ring.encode(&keys).map(drop), refused);
    }
    Ok(())
}

/// A thief of the id and the public key, with a key of the tags of their own.
#[test]
fn a_key_of_the_tags_that_is_another_proves_nothing() -> TestResult {
    let thief = EncryptionKeys::writer(&full()?.public_key(), &[0x55; 32])?;
    let forged = seal(&thief, &PLACE, 7, Padding::None, b"forged")?;
    assert_eq!(
        unseal(&full()?, &PLACE, &forged).map(drop),
        Err(CryptoError::Unopenable)
    );
    let unproved = verify(&thief, &PLACE, &record()?);
    assert_eq!(unproved, Err(CryptoError::Unopenable));

    let ring = Keyring::first(STORE, &thief, 1).encode(&thief)?;
    let opened = Keyring::open(&ring, &full()?, STORE);
    assert_eq!(opened, Err(CryptoError::Unauthenticated));

    let (newest, oldest) = ((1, &[1; 32]), (0, &[0; 32]));
    let tag = head::tag(&thief, newest, oldest)?;
    let checked = head::check(&full()?, newest, oldest, &tag);
    assert_eq!(checked, Err(CryptoError::Unauthenticated));

    let sum = Sum::default();
    let checked = sum.check(&full()?, &sum.seal(&thief, 1)?);
    assert_eq!(checked, Err(CryptoError::ManifestMismatch));
    Ok(())
}

#[test]
fn a_newer_format_is_named_as_such_whatever_else_it_has() -> TestResult {
    let mut newer = record()?;
    newer[4] = 2;
    newer[5] = 9;
    newer[6] = 0xff;
    let refused = CryptoError::UnsupportedVersion(2);
    assert_eq!(parse_header(&newer), Err(refused.clone()));
    assert_eq!(parse_header(&newer[..24]), Err(refused));
    Ok(())
}

fn rings() -> TestResult<[Keyring; 3]> {
    let first = Keyring::first(STORE, &others()?, 1_760_000_000);
    let rekeying = first.rekeying(&full()?, 1_760_000_001);
    assert_eq!(rekeying.from(), Some(others()?.key_id()));
    assert_eq!(rekeying.generation, 2);
    let enrolling = Keyring::first(STORE, &full()?, -1);
    Ok([rekeying, rekeying.settled(), enrolling])
}

#[test]
fn a_keyring_with_a_change_is_refused() -> TestResult {
    let full = full()?;
    for ring in rings()? {
        let bytes = ring.encode(&full)?;
        assert_eq!(Keyring::open(&bytes, &full, STORE), Ok(ring));
        let flipped = flipped(&bytes).map(|(_, changed)| changed);
        for changed in flipped.chain(cut_and_continued(&bytes)) {
            let refused = Keyring::open(&changed, &full, STORE);
            assert!(refused.is_err(), "{ring:?} as {changed:02x?}");
        }
    }
    Ok(())
}

#[test]
fn a_keyring_is_of_its_store_and_of_its_keys() -> TestResult {
    let [rekeying, settled, _] = rings()?;
    let bytes = rekeying.encode(&full()?)?;
    let elsewhere = Keyring::open(&bytes, &full()?, StoreId([9; 16]));
    assert_eq!(elsewhere, Err(CryptoError::Unauthenticated));
    let before = Keyring::open(&bytes, &others()?, STORE);
    let in_progress = CryptoError::RekeyInProgress {
        from: Some(others()?.key_id()),
        to: full()?.key_id(),
    };
    assert_eq!(before, Err(in_progress));
    assert_eq!(Keyring::open(&bytes, &writer()?, STORE), Ok(rekeying));
    let unproved = Keyring::open(&bytes, &public()?, STORE);
    assert_eq!(unproved, Err(CryptoError::SecretKeyRequired));

    // The id alone is not the key.
    let mut of_another = settled;
    of_another.active.public_key = others()?.public_key();
    assert!(of_another.expect(&full()?).is_err());
    assert_eq!(settled.state, State::Active);
    Ok(())
}

#[test]
fn a_manifest_with_a_change_is_refused() -> TestResult {
    let keys = writer()?;
    let mut sum = Sum::default();
    for (key, value) in [(b"a", b"1"), (b"b", b"2")] {
        sum.add(&keys, "secrets", key, value)?;
    }
    let stored = sum.seal(&keys, 7)?;
    assert_eq!(sum.check(&keys, &stored), Ok(()));
    for (at, changed) in flipped(&stored) {
        let refused = sum.check(&keys, &changed);
        assert_eq!(refused, Err(CryptoError::ManifestMismatch), "byte {at}");
    }
    let malformed = CryptoError::Malformed {
        what: "the manifest",
    };
    for changed in cut_and_continued(&stored) {
        assert_eq!(sum.check(&keys, &changed), Err(malformed.clone()));
        assert_eq!(manifest::counter(&changed), Err(malformed.clone()));
    }
    Ok(())
}

/// One record put back, removed, added, or in the place of another.
#[test]
fn a_manifest_is_of_its_records_only() -> TestResult {
    let keys = full()?;
    let sum_of = |entries: &[(&str, &[u8], &[u8])]| {
        let mut sum = Sum::default();
        for (tree, key, value) in entries {
            sum.add(&keys, tree, key, value)?;
        }
        Ok::<_, CryptoError>(sum)
    };
    let (a, b) = (
        ("secrets", &b"a"[..], &b"1"[..]),
        ("secrets", &b"b"[..], &b"2"[..]),
    );
    let stored = sum_of(&[a, b])?.seal(&keys, 7)?;
    assert_eq!(sum_of(&[b, a])?.check(&keys, &stored), Ok(()));
    for (what, entries) in [
        ("none", &[][..]),
        ("one removed", &[a]),
        ("one added", &[a, b, ("secrets", b"c", b"3")]),
        ("one twice", &[a, a]),
        ("an older one", &[a, ("secrets", b"b", b"1")]),
        (
            "two in each other's place",
            &[("secrets", b"a", b"2"), ("secrets", b"b", b"1")],
        ),
        ("another tree", &[a, ("identity", b"b", b"2")]),
        ("another cut", &[a, ("secrets", b"b2", b"")]),
    ] {
        let refused = sum_of(entries)?.check(&keys, &stored);
        assert_eq!(refused, Err(CryptoError::ManifestMismatch), "{what}");
    }
    let mut sum = Sum::default();
    let nothing = sum.remove(&keys, "secrets", b"a", b"1");
    assert_eq!(nothing, Err(CryptoError::ManifestMismatch));
    assert_eq!(sum, Sum::default(), "nothing was taken away");
    Ok(())
}

#[test]
fn a_head_with_a_change_is_refused() -> TestResult {
    let keys = writer()?;
    let as_bytes = |(seq, hash): (u64, [u8; 32]), (first, before): (u64, [u8; 32])| {
        [&seq.to_le_bytes()[..], &hash, &first.to_le_bytes(), &before].concat()
    };
    let head = as_bytes((7, [1; 32]), (3, [2; 32]));
    let tag_of = |head: &[u8]| {
        let number = |at| {
            Ok::<_, std::array::TryFromSliceError>(u64::from_le_bytes(head[at..][..8].try_into()?))
        };
        let newest = (number(0)?, head[8..40].try_into()?);
        let oldest = (number(40)?, head[48..80].try_into()?);
        TestResult::Ok(head::tag(&keys, newest, oldest)?)
    };
    let tag = tag_of(&head)?;
    for (at, changed) in flipped(&head) {
        assert_ne!(tag_of(&changed)?, tag, "byte {at}");
    }
    let (newest, oldest) = ((7, &[1; 32]), (3, &[2; 32]));
    assert_eq!(head::check(&keys, newest, oldest, &tag), Ok(()));
    for (at, changed) in flipped(&tag) {
        let changed = changed.try_into().map_err(|_other| "its length")?;
        let refused = head::check(&keys, newest, oldest, &changed);
        assert_eq!(refused, Err(CryptoError::Unauthenticated), "byte {at}");
    }
    Ok(())
}

#[test]
fn what_parses_says_what_is_there_and_proves_nothing() -> TestResult {
    let mut changed = record()?;
    changed[30] ^= 1;
    let header: Header = parse_header(&changed)?;
    assert_eq!((header.version, header.key_id), (7, full()?.key_id()));
    let ring = rings()?[0];
    let mut bytes = ring.encode(&full()?)?;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(Keyring::parse(&bytes), Ok(ring));
    // But not of what is not all of it.
    bytes.insert(last - 31, 0);
    let malformed = CryptoError::Malformed {
        what: "the keyring",
    };
    assert_eq!(Keyring::parse(&bytes), Err(malformed));
    Ok(())
}
