//! A sealed record (`NSEC`): as it is, with a box that anybody can make, and with changes to an honest one.

use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use storage_crypto::{
    EncryptionKeys, Kind, MAX_SECRET_LEN, Padding, SecretContext, StoreId, open_first_form,
    parse_header, seal, seal_anonymous, unseal, verify,
};

use crate::input::{Input, MENDED, SECOND, output};

/// The keys of all inputs.
pub(crate) fn keys() -> EncryptionKeys {
    EncryptionKeys::from_secret(&[0x11; 32]).expect("32 bytes")
}

const CONTEXT: SecretContext<'_> = SecretContext {
    store: StoreId([7; 16]),
    tree: "secrets",
    key: b"wallet",
};

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let keys = keys();
    match (input.is(MENDED), input.is(SECOND)) {
        (false, false) => as_it_is(&keys, input.bytes),
        (true, false) => in_a_box(&keys, input.bytes),
        (_, true) => changed(&keys, input),
    }
}

fn as_it_is(keys: &EncryptionKeys, record: &[u8]) {
    let header = parse_header(record);
    if let Ok(header) = &header {
        assert_eq!(header.kind == Kind::Anonymous, header.version == 0);
    }
    let opened = unseal(keys, &CONTEXT, record);
    if let Ok(data) = &opened {
        assert!(header.is_ok() && data.len() <= MAX_SECRET_LEN);
    }
    let verified = verify(keys, &CONTEXT, record);
    let writer = keys.to_writer().expect("full keys");
    assert_eq!(verified.is_ok(), verify(&writer, &CONTEXT, record).is_ok());
    let is_tagged = header.is_ok_and(|header| header.kind == Kind::Tagged);
    assert!(opened.is_err() || verified.is_ok() == is_tagged);
    let _any = open_first_form(keys, record);
}

/// An inner part of any bytes: only one of this place, with a right length and zeros behind it, is opened.
fn in_a_box(keys: &EncryptionKeys, inner: &[u8]) {
    let Ok(honest) = seal_anonymous(keys, &CONTEXT, Padding::None, b"") else {
        return;
    };
    let header = honest.get(..24).expect("a header");
    let public = PublicKey::from(keys.public_key());
    let sealed = public.seal(&mut OsRng, inner).expect("a box of any bytes");
    let record = [header, &sealed].concat();
    if let Ok(data) = unseal(keys, &CONTEXT, &record) {
        let (clear, padding) = inner.split_at(37 + data.len());
        assert!(clear.ends_with(&data) && padding.iter().all(|byte| *byte == 0));
        let elsewhere = SecretContext {
            key: b"another",
            ..CONTEXT
        };
        assert!(
            unseal(keys, &elsewhere, &record).is_err(),
            "of another place"
        );
    }
}

/// An honest record with bytes changed where the input says: no other is taken.
fn changed(keys: &EncryptionKeys, mut input: Input<'_>) {
    let padding = [Padding::None, Padding::Block64, Padding::Padme];
    let Some(choice) = input.byte() else {
        return;
    };
    let padding = padding
        .get(usize::from(choice) % 3)
        .copied()
        .unwrap_or(Padding::None);
    let Some(data) = input.short() else {
        return;
    };
    let version = u64::from(choice) + 1;
    let record = seal(keys, &CONTEXT, version, padding, data).expect("a short secret");
    let opened = unseal(keys, &CONTEXT, &record).expect("what was sealed opens");
    assert_eq!(*opened, data);
    let mut changed = record.clone();
    for change in input.bytes.chunks_exact(3) {
        let [low, high, byte] = change else { continue };
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        if let Some(place) = changed.get_mut(at) {
            *place ^= byte;
        } else {
            changed.truncate(changed.len().saturating_sub(usize::from(*byte)));
        }
    }
    if changed != record {
        assert!(
            unseal(keys, &CONTEXT, &changed).is_err(),
            "a changed record opens"
        );
        assert!(
            verify(keys, &CONTEXT, &changed).is_err(),
            "a changed record is vouched for"
        );
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let keys = keys();
    let mut seeds = Vec::new();
    for (padding, data) in [(Padding::None, &b""[..]), (Padding::Padme, b"a secret")] {
        let tagged = seal(&keys, &CONTEXT, 3, padding, data).expect("a short secret");
        let anonymous = seal_anonymous(&keys, &CONTEXT, padding, data).expect("a short secret");
        seeds.push(output(0, &[], &tagged));
        seeds.push(output(0, &[], &anonymous));
        let secret = crypto_box::SecretKey::from([0x11; 32]);
        let inner = secret.unseal(anonymous.get(24..).unwrap_or_default());
        seeds.push(output(MENDED, &[], &inner.expect("a box of these keys")));
        let mut changes = output(SECOND, &[data], &[3, 0, 1, 200, 0, 9]);
        changes.insert(1, 1);
        seeds.push(changes);
    }
    seeds
}
