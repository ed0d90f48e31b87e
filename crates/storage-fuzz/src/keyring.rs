//! The keyring, the manifest and the head of the audit log, which the keys of a store vouch for.

use storage_crypto::keyring::Keyring;
use storage_crypto::manifest::{self, Sum};
use storage_crypto::{EncryptionKeys, StoreId};

use crate::input::{Input, SECOND, output};
use crate::sealed_record::keys;

const STORE: StoreId = StoreId([7; 16]);
const TAG_LEN: usize = 32;

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let keys = keys();
    if input.is(SECOND) {
        of_manifest(&keys, input.bytes);
    } else {
        of_keyring(&keys, input.bytes);
    }
}

fn of_keyring(keys: &EncryptionKeys, bytes: &[u8]) {
    let parsed = Keyring::parse(bytes);
    let opened = Keyring::open(bytes, keys, STORE);
    let Ok(ring) = parsed else {
        assert!(opened.is_err(), "opened, and no keyring");
        return;
    };
    if let Ok(opened) = opened {
        assert_eq!((opened.store_id, opened), (STORE.0, ring));
    }
    // As if these keys had vouched for it.
    let Ok(encoded) = ring.encode(keys) else {
        assert!(ring.expect(keys).is_err());
        return;
    };
    assert_eq!(Keyring::parse(&encoded).as_ref(), Ok(&ring));
    let is_of_store = ring.store_id == STORE.0;
    assert_eq!(Keyring::open(&encoded, keys, STORE).is_ok(), is_of_store);
    for at in [4, encoded.len() - TAG_LEN, encoded.len() - 1] {
        let mut changed = encoded.clone();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1;
        }
        assert!(
            Keyring::open(&changed, keys, STORE).is_err(),
            "byte {at} changed"
        );
    }
    let settled = ring.settled();
    assert_eq!((settled.active, settled.from()), (ring.active, None));
}

fn of_manifest(keys: &EncryptionKeys, bytes: &[u8]) {
    let mut sum = Sum::default();
    let parts: Vec<_> = bytes.chunks(8).collect();
    for part in &parts {
        sum.add(keys, "secrets", part, b"value").expect("full keys");
    }
    let sealed = sum.seal(keys, 5).expect("full keys");
    assert_eq!(manifest::counter(&sealed), Ok(5));
    assert_eq!(sum.check(keys, &sealed), Ok(()));
    let is_it = bytes == sealed;
    assert_eq!(sum.check(keys, bytes).is_ok(), is_it);
    for part in &parts {
        sum.remove(keys, "secrets", part, b"value")
            .expect("it was added");
    }
    assert!(sum == Sum::default(), "what was added is taken away");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (keys, other) = (
        keys(),
        EncryptionKeys::from_secret(&[0x22; 32]).expect("32 bytes"),
    );
    let first = Keyring::first(STORE, &keys, 1_770_000_000);
    let rings = [
        first.encode(&keys),
        first.settled().encode(&keys),
        first.rekeying(&other, 1_770_000_001).encode(&other),
        Keyring::first(STORE, &other, 1)
            .rekeying(&keys, 2)
            .encode(&keys),
    ];
    let mut seeds: Vec<_> = rings
        .into_iter()
        .flatten()
        .map(|ring| output(0, &[], &ring))
        .collect();
    seeds.push(output(SECOND, &[], &[7; 48]));
    seeds
}
