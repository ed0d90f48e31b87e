//! Keys: what they are made of, what they allow, and what they show.

use std::fmt::Debug;

use storage_crypto::key_file::{self, About, Strength};
use storage_crypto::keyring::{KeyEntry, Keyring, State};
use storage_crypto::manifest::Sum;
use storage_crypto::{
    Access, CryptoError, EncryptionKeys, EncryptionMode, KeyId, NodeIdentity, Padding, StoreId,
    head, parse_header, seal, seal_anonymous, unseal, verify,
};

use crate::TestResult;
use crate::samples::{DATA, PLACE, SECRET, STORE, anonymous, full, others, public, record, writer};
use crate::vectors::array;

#[test]
fn a_key_of_another_length_is_refused() -> TestResult {
    let public = full()?.public_key();
    for len in (0..=64).filter(|len| *len != 32) {
        let bytes = vec![0x11; len];
        for keys in [
            EncryptionKeys::from_secret(&bytes),
            EncryptionKeys::from_bytes(&public, &bytes),
            EncryptionKeys::from_bytes(&bytes, &SECRET),
            EncryptionKeys::writer(&bytes, &SECRET),
            EncryptionKeys::writer(&public, &bytes),
            EncryptionKeys::public_only(&bytes),
        ] {
            assert_eq!(keys.err(), Some(CryptoError::KeyLength), "{len} bytes");
        }
        let identity = NodeIdentity::from_seed(&bytes);
        assert_eq!(identity.err(), Some(CryptoError::KeyLength), "{len} bytes");
    }
    Ok(())
}

/// As the storage document calls it: with an array, and with a vector.
#[test]
fn keys_are_made_of_arrays_and_vectors() -> TestResult {
    let public = full()?.public_key();
    let keys = EncryptionKeys::from_bytes(&public, &SECRET)?;
    assert_eq!(keys.expose_secret(), Some(&SECRET));
    let (public, secret) = (public.to_vec(), SECRET.to_vec());
    let keys = EncryptionKeys::from_bytes(&public, &secret)?;
    assert_eq!(keys.access(), Access::Full);
    Ok(())
}

#[test]
fn a_public_key_of_another_secret_is_a_mismatch() -> TestResult {
    let refused = Some(CryptoError::KeyMismatch);
    let keys = EncryptionKeys::from_bytes(&others()?.public_key(), &SECRET);
    assert_eq!(keys.err(), refused);
    for (at, public) in crate::samples::flipped(&full()?.public_key()) {
        let keys = EncryptionKeys::from_bytes(&public, &SECRET);
        assert_eq!(keys.err(), refused, "byte {at}");
    }
    Ok(())
}

/// The bits that X25519 clamps away make no other key: both open, vouch for, and verify the same.
#[test]
fn two_spellings_of_one_secret_are_one_key() -> TestResult {
    let mut clamped = SECRET;
    clamped[0] &= 0xf8;
    clamped[31] = clamped[31] & 0x7f | 0x40;
    assert_ne!(clamped, SECRET);
    let (loose, clamped) = (full()?, EncryptionKeys::from_secret(&clamped)?);
    assert_eq!(loose.key_id(), clamped.key_id());
    assert_eq!(loose.public_key(), clamped.public_key());
    let sealed = seal(&loose, &PLACE, 1, Padding::None, DATA)?;
    assert_eq!(unseal(&clamped, &PLACE, &sealed)?.as_slice(), DATA);
    let about = About::new(1, None);
    let [one, other] = [loose.to_writer()?, clamped.to_writer()?];
    assert_eq!(
        *key_file::write(&one, about)?,
        *key_file::write(&other, about)?
    );
    // What was given is what is written.
    assert_ne!(loose.expose_secret(), clamped.expose_secret());
    Ok(())
}

#[test]
fn generated_keys_are_of_an_honest_secret() -> TestResult {
    let mut seen = std::collections::BTreeSet::new();
    for keys in [EncryptionKeys::generate(), EncryptionKeys::try_generate()?] {
        EncryptionKeys::public_only(&keys.public_key())?;
        let secret = keys.expose_secret().ok_or("no secret key")?;
        EncryptionKeys::from_bytes(&keys.public_key(), secret)?;
        assert!(seen.insert(*secret), "twice the same");
    }
    let [one, other] = [NodeIdentity::generate()?, NodeIdentity::generate()?];
    assert_ne!(one.expose_seed(), other.expose_seed());
    assert_ne!(one.node_id, other.node_id);
    Ok(())
}

/// Each thing that keys are for, by what they are.
#[test]
fn keys_allow_what_they_hold_and_nothing_else() -> TestResult {
    let required = || Err(CryptoError::SecretKeyRequired);
    let (record, anonymous) = (record()?, anonymous()?);
    let ring = Keyring::first(STORE, &full()?, 1);
    let ring_bytes = ring.encode(&full()?)?;
    let (newest, oldest) = ((1, &[1; 32]), (0, &[0; 32]));
    let tag = head::tag(&full()?, newest, oldest)?;
    let manifest = Sum::default().seal(&full()?, 1)?;
    for keys in [full()?, writer()?, public()?] {
        let access = keys.access();
        let opens = if access == Access::Full {
            Ok(())
        } else {
            required()
        };
        let vouches = if access == Access::Public {
            required()
        } else {
            Ok(())
        };
        let does =
            |done: Result<(), CryptoError>, expected: &Result<(), CryptoError>, what: &str| {
                assert_eq!(&done, expected, "{what}, {access:?}");
            };
        does(
            unseal(&keys, &PLACE, &anonymous).map(drop),
            &opens,
            "unseal an anonymous one",
        );
        // Without the key of the tags it is not even verified.
        does(unseal(&keys, &PLACE, &record).map(drop), &opens, "unseal");
        does(verify(&keys, &PLACE, &record).map(drop), &vouches, "verify");
        does(
            seal(&keys, &PLACE, 1, Padding::None, DATA).map(drop),
            &vouches,
            "seal",
        );
        does(
            seal_anonymous(&keys, &PLACE, Padding::None, DATA).map(drop),
            &Ok(()),
            "anonymously",
        );
        does(keys.to_writer().map(drop), &vouches, "to_writer");
        does(ring.encode(&keys).map(drop), &vouches, "encode a ring");
        does(
            Keyring::open(&ring_bytes, &keys, STORE).map(drop),
            &vouches,
            "open a ring",
        );
        does(ring.expect(&keys), &Ok(()), "expect of a ring");
        does(
            head::tag(&keys, newest, oldest).map(drop),
            &vouches,
            "tag a head",
        );
        does(
            head::check(&keys, newest, oldest, &tag),
            &vouches,
            "check a head",
        );
        let mut sum = Sum::default();
        does(sum.seal(&keys, 1).map(drop), &vouches, "seal a sum");
        does(sum.check(&keys, &manifest), &vouches, "check a sum");
        does(sum.add(&keys, "t", b"k", b"v"), &vouches, "add");
        does(sum.remove(&keys, "t", b"k", b"v"), &vouches, "remove");
        assert_eq!(keys.expose_secret().is_some(), access == Access::Full);
        assert_eq!(keys.key_id(), full()?.key_id());
        assert_eq!(keys.public_key(), full()?.public_key());
    }
    assert_eq!(writer()?.to_writer()?.access(), Access::Writer);
    Ok(())
}

#[test]
fn access_is_named_as_a_key_file_names_it() {
    let names = [Access::Full, Access::Writer, Access::Public].map(Access::name);
    assert_eq!(names, ["full", "writer", "public"]);
    assert_eq!(EncryptionMode::default(), EncryptionMode::None);
}

#[test]
fn ids_are_shown_in_digits() {
    let id = KeyId([0, 1, 0xab, 0xcd, 0xef, 0x10, 0xff, 0x80]);
    assert_eq!(id.to_string(), "0001abcdef10ff80");
    assert_eq!(format!("{id:?}"), "KeyId(0001abcdef10ff80)");
    assert_eq!(STORE.to_string(), "000102030405060708090a0b0c0d0e0f");
    let store = format!("{:?}", StoreId([0x0f; 16]));
    assert_eq!(store, "StoreId(0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f)");
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    let digits = bits.chunks(6).map(|six| {
        let value = six.iter().fold(0, |value, bit| value << 1 | bit);
        char::from(DIGITS[usize::from(value << (6 - six.len()))])
    });
    digits.collect()
}

/// Eight bytes of `secret`, as they would be shown: in digits of either case, as a list, in base64 at
/// each of the three offsets that they can have in it. Without spaces, of which lists have many kinds.
fn shown(secret: &[u8; 32]) -> Vec<String> {
    let part = &secret[12..20];
    let join = |form: fn(&u8) -> String, between| {
        let bytes: Vec<String> = part.iter().map(form).collect();
        bytes.join(between)
    };
    let mut forms = vec![
        join(|byte| format!("{byte:02x}"), ""),
        join(|byte| format!("{byte:02X}"), ""),
        join(|byte| format!("{byte:x}"), ","),
        join(|byte| format!("{byte:#04x}"), ","),
        join(u8::to_string, ","),
    ];
    forms.extend([12, 13, 14].map(|at| base64(&secret[at..at + 6])));
    forms
}

fn debug(value: &dyn Debug) -> String {
    format!("{value:?} {value:#?} {value:x?} {value:X?}").replace(char::is_whitespace, "")
}

/// A secret with bytes that are not by chance elsewhere, the key of the tags that follows from it, as
/// the oracle computed it, and a sum under it.
#[test]
fn no_debug_text_shows_a_secret() -> TestResult {
    let hex = "7d35b440c0605687ea35fed78c07c48793b974f8806d6ded9b69d7d8bccf97de".to_owned();
    let secret = array(&hex)?;
    let auth = array("f1e3cb81292d9a76bdb55fc817eca48a5578c37a103657fa71324a283e865bae")?;
    let keys = EncryptionKeys::from_secret(&secret)?;
    let writer = EncryptionKeys::writer(&keys.public_key(), &auth)?;
    let identity = NodeIdentity::from_seed(&secret)?;
    let sealed = seal(&keys, &PLACE, 1, Padding::None, &secret)?;
    let ring = Keyring::first(STORE, &keys, 1);
    let mut sum = Sum::default();
    sum.add(&keys, "secrets", b"k", &sealed)?;
    let wrong = unseal(&others()?, &PLACE, &sealed).map(drop);
    let texts = [
        debug(&keys),
        debug(&writer),
        debug(&keys.to_writer()?),
        debug(&EncryptionKeys::public_only(&keys.public_key())?),
        debug(&EncryptionKeys::from_bytes(
            &others()?.public_key(),
            &secret,
        )),
        debug(&EncryptionKeys::from_secret(&secret[1..])),
        debug(&identity),
        debug(&NodeIdentity::from_seed(&secret[1..])),
        debug(&parse_header(&sealed)?),
        debug(&ring),
        debug(&KeyEntry::new(&keys, 1)),
        debug(&State::Active),
        debug(&sum),
        debug(&PLACE),
        debug(&key_file::read(
            &key_file::write(&keys, About::new(1, None))?,
            None,
        )?),
        debug(&(About::new(1, Some(STORE)), Strength::Strong, Padding::Padme)),
        debug(&(
            keys.access(),
            keys.key_id(),
            STORE,
            EncryptionMode::SealedBox,
        )),
        debug(&wrong),
        wrong
            .map_err(|error| error.to_string())
            .err()
            .unwrap_or_default(),
    ];
    // That the forms are those in which something would be shown.
    for (leak, forms) in [(debug(&secret), 2), (hex, 1), (base64(&secret), 1)] {
        let shown = shown(&secret);
        let found = shown.iter().filter(|form| leak.contains(*form));
        assert_eq!(found.count(), forms, "{leak}");
    }
    for text in texts {
        for form in [shown(&secret), shown(&auth)].concat() {
            assert!(!text.contains(&form), "{form} in {text}");
        }
    }
    assert_eq!(format!("{sum:?}"), "Sum { count: 1, .. }");
    let expected = format!(
        "EncryptionKeys {{ key_id: {:?}, access: Full, .. }}",
        keys.key_id()
    );
    assert_eq!(format!("{keys:?}"), expected);
    Ok(())
}

/// A ring that is as long as what the tag of a head is of, and a head of its bytes.
#[test]
fn a_tag_of_one_use_is_none_of_another() -> TestResult {
    let keys = full()?;
    let mut ring = Keyring::first(STORE, &keys, 1_760_000_000);
    ring.generation = u64::MAX;
    ring.state = State::Rekeying {
        from: None,
        started_at: 64,
    };
    let ring = ring.encode(&keys)?;
    let (body, ring_tag) = ring.split_at(80);
    let number = |at: usize| TestResult::Ok(u64::from_le_bytes(body[at..][..8].try_into()?));
    let newest = (number(0)?, body[8..40].try_into()?);
    let oldest = (number(40)?, body[48..80].try_into()?);
    assert_eq!(ring_tag.len(), 32);
    assert_ne!(head::tag(&keys, newest, oldest)?.as_slice(), ring_tag);
    Ok(())
}
