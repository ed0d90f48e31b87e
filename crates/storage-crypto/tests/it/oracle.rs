//! Against the oracle: what `PyNaCl`, hashlib and argon2-cffi made of the text of the formats.
//!
//! That sealing makes the very bytes of its records is tested in the crate, where the ephemeral key can
//! be chosen.

use std::fs;

use storage_crypto::keyring::{KeyEntry, Keyring, State};
use storage_crypto::manifest::{self, Sum};
use storage_crypto::{
    Access, CryptoError, EncryptionKeys, Kind, NodeIdentity, SecretContext, StoreId, head,
    key_file, parse_header, unseal, verify,
};

use crate::TestResult;
use crate::samples::{full, public, writer};
use crate::vectors::{Vector, array, each, path, unhex};

/// Whether two hold the same key of the tags, which neither shows.
fn vouch_alike(one: &EncryptionKeys, other: &EncryptionKeys) -> Result<bool, CryptoError> {
    let tag = |keys| head::tag(keys, (1, &[2; 32]), (3, &[4; 32]));
    Ok(tag(one)? == tag(other)?)
}

/// Keys that vouch with the `auth` of a vector that has no other key.
fn vouching(vector: &Vector) -> TestResult<EncryptionKeys> {
    let public = full()?.public_key();
    Ok(EncryptionKeys::writer(&public, &vector.bytes("auth")?)?)
}

#[test]
fn a_secret_key_gives_the_public_key_the_key_of_the_tags_and_the_id() -> TestResult {
    let count = each("derived.txt", |vector| {
        let (secret, public) = (vector.bytes("sk")?, vector.bytes("pk")?);
        let keys = EncryptionKeys::from_bytes(&public, &secret)?;
        let expected = EncryptionKeys::writer(&public, &vector.bytes("auth")?)?;
        assert_eq!(keys.public_key().as_slice(), public, "{vector}");
        assert_eq!(keys.key_id().to_string(), vector.text("kid")?, "{vector}");
        assert_eq!(expected.key_id(), keys.key_id(), "{vector}");
        assert!(vouch_alike(&keys, &expected)?, "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 21);
    Ok(())
}

#[test]
fn records_open_verify_and_say_what_they_are() -> TestResult {
    let count = each("records.txt", |vector| {
        if !vector.has("record") {
            return Ok(());
        }
        let keys = EncryptionKeys::from_secret(&vector.bytes("sk")?)?;
        let (record, key) = (vector.bytes("record")?, vector.bytes("key")?);
        let context = SecretContext {
            store: StoreId(vector.array("store")?),
            tree: vector.text("tree")?,
            key: &key,
        };
        let version: u64 = vector.number("version")?;
        let is_tagged = vector.text("kind")? == "1";
        if is_tagged && version == 0 {
            // A format of the oracle's that we do not take: without its tag it would be an anonymous one.
            let refused = CryptoError::Malformed { what: "the record" };
            assert_eq!(parse_header(&record), Err(refused.clone()), "{vector}");
            assert_eq!(unseal(&keys, &context, &record), Err(refused), "{vector}");
            return Ok(());
        }
        let header = parse_header(&record)?;
        let kind = if is_tagged {
            Kind::Tagged
        } else {
            Kind::Anonymous
        };
        let said = (header.kind, header.key_id, header.version);
        assert_eq!(said, (kind, keys.key_id(), version), "{vector}");
        let opened = unseal(&keys, &context, &record)?;
        assert!(*opened == vector.data()?, "{vector}: other data");
        let verified = verify(&keys.to_writer()?, &context, &record);
        let expected = is_tagged.then_some(header);
        assert_eq!(
            verified,
            expected.ok_or(CryptoError::Unauthenticated),
            "{vector}"
        );
        Ok(())
    })?;
    assert_eq!(count, 80);
    Ok(())
}

/// In the order of the vector, and with records that were there for a while.
#[test]
fn a_manifest_is_that_of_its_records() -> TestResult {
    let count = each("manifest.txt", |vector| {
        let keys = vouching(vector)?;
        let (stored, counter) = (vector.bytes("manifest")?, vector.number("counter")?);
        let entries = vector
            .text("entries")?
            .split(',')
            .filter(|entry| *entry != "-");
        let (mut sum, mut count) = (Sum::default(), 0);
        sum.add(&keys, "secrets", b"passing", b"one")?;
        for entry in entries {
            let [tree, key, value] = entry.splitn(3, ':').collect::<Vec<_>>()[..] else {
                return Err("not an entry".into());
            };
            sum.add(&keys, tree, &unhex(key)?, &unhex(value)?)?;
            count += 1;
        }
        assert_eq!(
            sum.check(&keys, &stored),
            Err(CryptoError::ManifestMismatch),
            "{vector}"
        );
        sum.remove(&keys, "secrets", b"passing", b"one")?;
        assert_eq!(sum.seal(&keys, counter)?.as_slice(), stored, "{vector}");
        assert_eq!(sum.check(&keys, &stored), Ok(()), "{vector}");
        assert_eq!(manifest::counter(&stored), Ok(counter), "{vector}");
        assert_eq!(sum.count(), count, "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 8);
    Ok(())
}

#[test]
fn a_keyring_is_written_and_read_alike() -> TestResult {
    let count = each("keyring.txt", |vector| {
        let keys = EncryptionKeys::writer(&vector.bytes("public")?, &vector.bytes("auth")?)?;
        assert_eq!(
            keys.key_id().to_string(),
            vector.text("key_id")?,
            "{vector}"
        );
        let store = StoreId(vector.array("store")?);
        let mut ring = Keyring::first(store, &keys, vector.number("created_at")?);
        ring.generation = vector.number("generation")?;
        ring.state = match vector.text("state")? {
            "active" => State::Active,
            _ => State::Rekeying {
                from: from_of(vector)?,
                started_at: vector.number("started_at")?,
            },
        };
        let bytes = vector.bytes("keyring")?;
        assert_eq!(ring.encode(&keys)?, bytes, "{vector}");
        assert_eq!(Keyring::parse(&bytes)?, ring, "{vector}");
        assert_eq!(Keyring::open(&bytes, &keys, store)?, ring, "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 10);
    Ok(())
}

fn from_of(vector: &Vector) -> TestResult<Option<KeyEntry>> {
    let Some(public) = vector.array_or_none::<32>("from_public")? else {
        return Ok(None);
    };
    let keys = EncryptionKeys::public_only(&public)?;
    assert_eq!(keys.key_id().to_string(), vector.text("from_key_id")?);
    Ok(Some(KeyEntry::new(
        &keys,
        vector.number("from_created_at")?,
    )))
}

#[test]
fn the_head_of_the_audit_log_has_the_tag() -> TestResult {
    let count = each("audit.txt", |vector| {
        if !vector.has("tag") {
            return Ok(());
        }
        let keys = vouching(vector)?;
        let (hash, before) = (vector.array("h")?, vector.array("before")?);
        let newest = (vector.number("seq")?, &hash);
        let oldest = (vector.number("first_seq")?, &before);
        let tag = vector.array("tag")?;
        assert_eq!(head::tag(&keys, newest, oldest)?, tag, "{vector}");
        assert_eq!(head::check(&keys, newest, oldest, &tag), Ok(()), "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 18, "entries and heads");
    Ok(())
}

#[test]
fn key_files_are_read_and_written_alike() -> TestResult {
    let count = each("keyfiles.txt", |vector| {
        let text = fs::read_to_string(path("keyfiles").join(vector.text("file")?))?;
        let passphrase = match vector.text("passphrase")? {
            "-" => None,
            hex => Some(String::from_utf8(unhex(hex)?)?),
        };
        let (keys, about) = key_file::read(&text, passphrase.as_deref())?;
        assert_eq!(keys.public_key(), vector.array("public")?, "{vector}");
        assert_eq!(keys.access().name(), vector.text("type")?, "{vector}");
        assert_eq!(
            keys.expose_secret().copied(),
            vector.array_or_none("sk")?,
            "{vector}"
        );
        match vector.array_or_none::<32>("auth")? {
            Some(auth) => {
                let expected = EncryptionKeys::writer(&keys.public_key(), &auth)?;
                assert!(vouch_alike(&keys, &expected)?, "{vector}");
            }
            None => assert_eq!(keys.access(), Access::Public, "{vector}"),
        }
        assert_eq!(
            about.created_at,
            vector.number::<i64>("created")?,
            "{vector}"
        );
        let store = match vector.text("store")? {
            "none" => None,
            id => Some(StoreId(array(id)?)),
        };
        assert_eq!(about.store_id, store, "{vector}");
        assert_eq!(
            key_file::is_protected(&text)?,
            passphrase.is_some(),
            "{vector}"
        );
        if passphrase.is_some() {
            let without = key_file::read(&text, None).map(drop);
            assert_eq!(without, Err(CryptoError::PassphraseRequired), "{vector}");
        } else {
            assert_eq!(*key_file::write(&keys, about)?, text, "{vector}");
        }
        Ok(())
    })?;
    assert_eq!(count, 12);
    Ok(())
}

#[test]
fn only_points_of_honest_secret_keys_are_public_keys() -> TestResult {
    let count = each("points.txt", |vector| {
        let public = vector.array::<32>("public")?;
        let is_honest = vector.text("verdict")? == "ok";
        let expected = is_honest
            .then_some(public)
            .ok_or(CryptoError::WeakPublicKey);
        for keys in [
            EncryptionKeys::public_only(&public),
            EncryptionKeys::writer(&public, &[1; 32]),
        ] {
            assert_eq!(keys.map(|keys| keys.public_key()), expected, "{vector}");
        }
        Ok(())
    })?;
    assert_eq!(count, 64);
    Ok(())
}

#[test]
fn a_seed_gives_the_identity() -> TestResult {
    let count = each("identity.txt", |vector| {
        let seed = vector.array("seed")?;
        let identity = NodeIdentity::from_seed(&seed)?;
        assert_eq!(identity.public_key, vector.array("public")?, "{vector}");
        assert_eq!(identity.node_id, vector.array("node_id")?, "{vector}");
        assert_eq!(identity.expose_seed(), &seed, "{vector}");
        Ok(())
    })?;
    assert_eq!(count, 10);
    Ok(())
}

/// The vector that the specification prints, through each kind of keys.
#[test]
fn the_vector_of_the_specification_opens() -> TestResult {
    use crate::samples::{DATA, PLACE, record};
    let record = record()?;
    assert_eq!(unseal(&full()?, &PLACE, &record)?.as_slice(), DATA);
    assert_eq!(verify(&writer()?, &PLACE, &record)?.version, 7);
    assert_eq!(parse_header(&record)?.key_id, public()?.key_id());
    Ok(())
}
