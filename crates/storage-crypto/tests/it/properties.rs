//! For any place, version, padding and data; and any bytes where a format is expected.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseResult, TestRunner};
use storage_crypto::key_file::{self, About};
use storage_crypto::keyring::Keyring;
use storage_crypto::manifest::{self, MANIFEST_LEN, Sum};
use storage_crypto::{
    CryptoError, EncryptionKeys, Kind, Padding, SecretContext, StoreId, parse_header, seal,
    seal_anonymous, unseal, verify,
};

use crate::TestResult;
use crate::hashes;
use crate::samples::{PLACE, STORE, full, public, record, writer};

fn holds<S: Strategy>(
    cases: u32,
    values: S,
    check: impl Fn(S::Value) -> TestCaseResult,
) -> TestResult
where
    S::Value: Debug,
{
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&values, check);
    Ok(result.map_err(|failed| failed.to_string())?)
}

type Place = ([u8; 16], String, Vec<u8>);

fn place() -> impl Strategy<Value = Place> {
    (any::<[u8; 16]>(), "\\PC{0,20}", vec(any::<u8>(), 0..40))
}

fn context((store, tree, key): &Place) -> SecretContext<'_> {
    let store = StoreId(*store);
    SecretContext { store, tree, key }
}

fn padding() -> impl Strategy<Value = Padding> {
    select(vec![Padding::None, Padding::Block64, Padding::Padme])
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..200), vec(any::<u8>(), 200..4096)]
}

#[test]
fn what_is_sealed_opens_in_its_place() -> TestResult {
    let sealed = (any::<[u8; 32]>(), place(), 1_u64.., padding(), data());
    holds(200, sealed, |(secret, place, version, padding, data)| {
        let (keys, context) = (EncryptionKeys::from_secret(&secret)?, context(&place));
        let record = seal(&keys, &context, version, padding, &data)?;
        let header = parse_header(&record)?;
        prop_assert_eq!((header.kind, header.version), (Kind::Tagged, version));
        prop_assert_eq!(header.key_id, keys.key_id());
        prop_assert_eq!(verify(&keys, &context, &record)?, header);
        prop_assert!(*unseal(&keys, &context, &record)? == data);
        Ok(())
    })
}

#[test]
fn what_is_sealed_anonymously_opens_in_its_place() -> TestResult {
    let sealed = (any::<[u8; 32]>(), place(), padding(), data());
    holds(64, sealed, |(secret, place, padding, data)| {
        let (keys, context) = (EncryptionKeys::from_secret(&secret)?, context(&place));
        let sender = EncryptionKeys::public_only(&keys.public_key())?;
        let record = seal_anonymous(&sender, &context, padding, &data)?;
        let header = parse_header(&record)?;
        prop_assert_eq!((header.kind, header.version), (Kind::Anonymous, 0));
        prop_assert!(*unseal(&keys, &context, &record)? == data);
        Ok(())
    })
}

#[test]
fn a_writer_verifies_what_full_keys_seal_and_they_open_what_it_seals() -> TestResult {
    let sealed = (any::<[u8; 32]>(), place(), 1_u64.., data());
    holds(64, sealed, |(secret, place, version, data)| {
        let (keys, context) = (EncryptionKeys::from_secret(&secret)?, context(&place));
        let writer = keys.to_writer()?;
        let of_the_keys = seal(&keys, &context, version, Padding::default(), &data)?;
        prop_assert_eq!(verify(&writer, &context, &of_the_keys)?.version, version);
        let of_the_writer = seal(&writer, &context, version, Padding::default(), &data)?;
        prop_assert!(*unseal(&keys, &context, &of_the_writer)? == data);
        let unread = unseal(&writer, &context, &of_the_writer).map(drop);
        prop_assert_eq!(unread, Err(CryptoError::SecretKeyRequired));
        Ok(())
    })
}

#[test]
fn a_record_does_not_open_in_another_place() -> TestResult {
    let keys = full()?;
    // Near each other: pieces of the same text, cut elsewhere.
    let places = ("[ab]{0,6}", any::<[Index; 2]>(), any::<[bool; 2]>());
    holds(200, places, |(text, cuts, stores)| {
        let mut places = cuts.iter().zip(stores).map(|(cut, store)| {
            let (tree, key) = text.split_at(cut.index(text.len() + 1));
            let store = [u8::from(store); 16];
            (store, tree.to_owned(), key.as_bytes().to_vec())
        });
        let (Some(there), Some(here)) = (places.next(), places.next()) else {
            return Err(TestCaseError::fail("two places"));
        };
        let record = seal(&keys, &context(&there), 1, Padding::None, b"x")?;
        let opened = unseal(&keys, &context(&here), &record).map(drop);
        let is_there = there == here;
        let expected = is_there.then_some(()).ok_or(CryptoError::Unopenable);
        prop_assert_eq!(opened, expected, "{:?}, {:?}", there, here);
        Ok(())
    })
}

/// What the padding is by its definition; for `Padme`, of Nikitin et al., PETS 2019, algorithm 1.
fn padded(padding: Padding, len: usize) -> usize {
    match padding {
        Padding::Block64 => len.div_ceil(64) * 64,
        Padding::Padme if len > 1 => {
            let exponent = usize::BITS - 1 - len.leading_zeros();
            let significant = u32::BITS - exponent.leading_zeros();
            let mask = (1 << (exponent - significant)) - 1;
            (len + mask) & !mask
        }
        _ => len,
    }
}

#[test]
fn a_record_is_as_long_as_its_padded_data_demands() -> TestResult {
    let keys = writer()?;
    let len = prop_oneof![0..300_usize, 300..=65536_usize];
    holds(
        200,
        (len, padding(), any::<u8>()),
        |(len, padding, byte)| {
            let data = vec![byte; len];
            let padded = padded(padding, len);
            prop_assert!(padded >= len && padded <= len + len / 8 + 64, "{}", padded);
            let tagged = seal(&keys, &PLACE, 1, padding, &data)?;
            prop_assert_eq!(tagged.len(), 141 + padded);
            let untagged = seal_anonymous(&keys, &PLACE, padding, &data)?;
            prop_assert_eq!(untagged.len(), 109 + padded);
            Ok(())
        },
    )
}

#[test]
fn what_is_longer_than_any_secret_is_not_sealed() -> TestResult {
    let (len, max) = (65537, 65536);
    let data = vec![0; len];
    for padding in [Padding::None, Padding::Block64, Padding::Padme] {
        let refused = Err(CryptoError::TooLarge { len, max });
        assert_eq!(seal(&full()?, &PLACE, 1, padding, &data), refused);
        assert_eq!(seal_anonymous(&public()?, &PLACE, padding, &data), refused);
        let longest = seal(&full()?, &PLACE, 1, padding, &data[1..])?;
        assert_eq!(
            *unseal(&full()?, &PLACE, &longest)?,
            data[1..],
            "{padding:?}"
        );
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8, vec(any::<u8>(), 0..8)).prop_map(|(key, value)| Step::Put(key, value)),
        1 => (0..6_u8).prop_map(Step::Remove),
    ]
}

/// As a store does it: what was at a place is taken away before another is added.
#[test]
fn a_sum_kept_is_the_sum_computed_anew() -> TestResult {
    let keys = writer()?;
    holds(
        200,
        (vec(step(), 0..40), any::<u64>()),
        |(steps, counter)| {
            let mut model = BTreeMap::<u8, Vec<u8>>::new();
            let mut kept = Sum::default();
            for step in steps {
                let (key, new) = match step {
                    Step::Put(key, value) => (key, Some(value)),
                    Step::Remove(key) => (key, None),
                };
                if let Some(old) = model.remove(&key) {
                    kept.remove(&keys, "secrets", &[key], &old)?;
                }
                if let Some(new) = new {
                    kept.add(&keys, "secrets", &[key], &new)?;
                    model.insert(key, new);
                }
            }
            let mut anew = Sum::default();
            for (key, value) in model.iter().rev() {
                anew.add(&keys, "secrets", &[*key], value)?;
            }
            prop_assert_eq!(kept, anew);
            prop_assert_eq!(kept.count(), u64::try_from(model.len())?);
            let stored = kept.seal(&keys, counter)?;
            prop_assert_eq!(anew.check(&full()?, &stored), Ok(()));
            prop_assert_eq!(manifest::counter(&stored), Ok(counter));
            Ok(())
        },
    )
}

/// Any bytes; and any after a beginning that is right, so that they are read further. Never what is right as a whole.
fn bytes_after(right: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let (cut, whole) = (any::<Index>(), right.clone());
    prop_oneof![
        vec(any::<u8>(), 0..300),
        (cut, vec(any::<u8>(), 0..300)).prop_map(move |(cut, more)| {
            let beginning = &right[..cut.index(right.len() + 1)];
            [beginning, &more].concat()
        }),
    ]
    .prop_filter("what is right", move |bytes| *bytes != whole)
}

#[test]
fn any_bytes_are_a_record_or_refused() -> TestResult {
    let keys = full()?;
    holds(1000, bytes_after(record()?), |bytes| {
        let header = parse_header(&bytes);
        let opened = unseal(&keys, &PLACE, &bytes);
        prop_assert!(opened.is_err(), "{:?}", header);
        Ok(())
    })
}

#[test]
fn any_bytes_are_a_keyring_or_refused() -> TestResult {
    let keys = full()?;
    let ring = Keyring::first(STORE, &keys, 1).rekeying(&keys, i64::MIN);
    holds(2000, bytes_after(ring.encode(&keys)?), |bytes| {
        let parsed = Keyring::parse(&bytes);
        let opened = Keyring::open(&bytes, &keys, STORE);
        prop_assert!(opened.is_err(), "{:?}", parsed);
        Ok(())
    })
}

#[test]
fn any_bytes_are_a_manifest_or_refused() -> TestResult {
    holds(1000, vec(any::<u8>(), 0..2 * MANIFEST_LEN), |bytes| {
        let is_as_long = bytes.len() == MANIFEST_LEN;
        prop_assert_eq!(manifest::counter(&bytes).is_ok(), is_as_long);
        prop_assert!(Sum::default().check(&writer()?, &bytes).is_err());
        Ok(())
    })
}

/// Lines of key files in any order and number, some of them of nothing, under a check that is right.
#[test]
fn any_text_is_a_key_file_or_refused() -> TestResult {
    let mut lines = vec!["protection = argon2id".to_owned()];
    lines.push("kdf = argon2id v=19 m=8 t=1 p=1 salt=cee390fa0a15157245983dbcc7c4a5a3".to_owned());
    for keys in [full()?, writer()?, public()?] {
        let text = key_file::write(&keys, About::new(1, Some(STORE)))?;
        lines.extend(text.lines().map(str::to_owned));
    }
    let line =
        prop_oneof![4 => select(lines), 1 => "\\PC{0,40}", 1 => "[a-z-]{1,10} = [0-9a-f]{0,70}"];
    holds(
        1000,
        (vec(line, 0..12), any::<[bool; 2]>()),
        |(lines, [first, checked])| {
            let mut text = lines.join("\n");
            text.insert_str(0, if first { "nsec-key 1\n" } else { "" });
            text.push('\n');
            if checked {
                text = hashes::key_file(&text);
            }
            let is_protected = key_file::is_protected(&text);
            // By chance, all lines of one may be there.
            if let Ok((keys, about)) = key_file::read(&text, Some("any")) {
                prop_assert_eq!(&*key_file::write(&keys, about)?, &text);
                prop_assert_eq!(is_protected, Ok(false));
            }
            Ok(())
        },
    )
}
