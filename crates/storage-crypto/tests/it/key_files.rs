//! Key files: written and read, protected, changed, and forged with a check that is right.

use std::fs;

use storage_crypto::key_file::{self, About, MAX_FILE_LEN, Strength};
use storage_crypto::{CryptoError, EncryptionKeys, StoreId};

use crate::TestResult;
use crate::hashes;
use crate::samples::{STORE, cut_and_continued, flipped, full, public, writer};
use crate::vectors::path;

const ABOUT: About = About::new(1_760_000_000, Some(STORE));
const MALFORMED: CryptoError = CryptoError::Malformed {
    what: "the key file",
};
/// Protected with next to nothing, so that it is quick.
const SMALL: [(&str, &str); 2] = [
    ("full-argon-small.key", "correct horse battery staple"),
    ("writer-argon-small.key", "x"),
];

fn fixture(name: &str) -> TestResult<String> {
    Ok(fs::read_to_string(path("keyfiles").join(name))?)
}

fn read(text: &str, passphrase: Option<&str>) -> Result<EncryptionKeys, CryptoError> {
    key_file::read(text, passphrase).map(|(keys, _about)| keys)
}

fn refusal(text: &str, passphrase: Option<&str>) -> Option<CryptoError> {
    read(text, passphrase).err()
}

/// The lines above the check.
fn lines(text: &str) -> TestResult<&str> {
    let (lines, _check) = text.split_once("check = ").ok_or("no check")?;
    Ok(lines)
}

/// The file with something else in it, and the check that it has then.
fn edited(text: &str, from: &str, to: &str) -> TestResult<String> {
    let lines = lines(text)?;
    assert_eq!(lines.matches(from).count(), 1, "{from} in {lines}");
    Ok(hashes::key_file(&lines.replace(from, to)))
}

#[test]
fn a_key_file_with_a_bit_changed_is_refused() -> TestResult {
    let [full, writer, public] = [full()?, writer()?, public()?];
    for keys in [full, writer, public] {
        let text = key_file::write(&keys, ABOUT)?;
        for (at, changed) in flipped(text.as_bytes()) {
            // What is no text does not come as far.
            if let Ok(changed) = str::from_utf8(&changed) {
                assert!(read(changed, None).is_err(), "byte {at} of {}", *text);
            }
        }
    }
    Ok(())
}

#[test]
fn a_protected_key_file_with_a_bit_changed_is_refused() -> TestResult {
    for (name, passphrase) in SMALL {
        let text = fixture(name)?;
        for (at, changed) in flipped(text.as_bytes()) {
            if let Ok(changed) = str::from_utf8(&changed) {
                assert!(
                    read(changed, Some(passphrase)).is_err(),
                    "byte {at} of {text}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_key_file_cut_or_continued_is_refused() -> TestResult {
    let unprotected = ["full-none.key", "writer-none.key", "public-none.key"];
    let unprotected = unprotected.map(|name| (name, ""));
    for (name, passphrase) in unprotected.into_iter().chain(SMALL) {
        let text = fixture(name)?;
        for changed in cut_and_continued(text.as_bytes()) {
            let Ok(changed) = str::from_utf8(&changed) else {
                continue;
            };
            let refused = refusal(changed, Some(passphrase));
            assert_eq!(refused, Some(MALFORMED), "{changed}");
        }
        let spaced = text.replace('\n', "\r\n");
        assert_eq!(
            refusal(&spaced, Some(passphrase)),
            Some(MALFORMED),
            "{name}"
        );
    }
    let long = format!("{}{}", fixture(SMALL[0].0)?, "\n".repeat(MAX_FILE_LEN));
    assert_eq!(refusal(&long, None), Some(MALFORMED));
    Ok(())
}

/// The check is nobody's secret: what it is for is the disk. The header of a protected file is in the
/// key of what it protects.
#[test]
fn a_protected_header_that_was_edited_does_not_open() -> TestResult {
    let (name, passphrase) = SMALL[0];
    let text = fixture(name)?;
    assert_eq!(hashes::key_file(lines(&text)?), text, "the check is that");
    for (from, to) in [
        ("type = full", "type = writer"),
        ("key-id = 1c", "key-id = 1d"),
        ("created = 1760000007", "created = 1760000008"),
        ("store-id = 7195", "store-id = 7194"),
        (
            "store-id = 719585f0606fabc2108485c90607ce41",
            "store-id = none",
        ),
        ("public = ca", "public = cb"),
        ("m=1024", "m=1032"),
        ("t=1", "t=2"),
        ("p=1", "p=2"),
        ("salt=ce", "salt=cf"),
        ("nonce = 4d", "nonce = 4e"),
        ("sealed = f7", "sealed = f6"),
        ("778d0569792", "778d0569793"),
    ] {
        let refused = refusal(&edited(&text, from, to)?, Some(passphrase));
        assert_eq!(refused, Some(CryptoError::BadPassphrase), "{to}");
    }
    Ok(())
}

#[test]
fn what_a_protected_file_costs_is_bounded_before_it_is_spent() -> TestResult {
    let text = fixture(SMALL[0].0)?;
    for (from, to) in [
        ("m=1024", "m=1048577"),
        ("m=1024", "m=0"),
        ("m=1024", "m=4294967296"),
        ("m=1024", "m=-1"),
        ("m=1024", "m=+1024"),
        ("m=1024", "m=01024"),
        ("m=1024", "m="),
        ("t=1", "t=17"),
        ("t=1", "t=0"),
        ("p=1", "p=17"),
        ("p=1", "p=0"),
        (" t=1 p=1", " p=1 t=1"),
        ("v=19", "v=16"),
        ("argon2id v", "argon2i v"),
        ("salt=ce", "salt="),
        ("salt=ce", "salt=cece"),
        ("salt=ce", "salt=CE"),
        ("c4a5a3", "c4a5a3 x=1"),
    ] {
        // With the passphrase it would be spent, were it taken.
        let refused = refusal(&edited(&text, from, to)?, None);
        assert_eq!(refused, Some(MALFORMED), "{to}");
    }
    // Taken as they are, were there a passphrase.
    for (from, to) in [("m=1024", "m=1048576"), ("t=1", "t=16"), ("p=1", "p=16")] {
        let refused = refusal(&edited(&text, from, to)?, None);
        assert_eq!(refused, Some(CryptoError::PassphraseRequired), "{to}");
    }
    // Eight blocks for each lane are what argon2id needs.
    let too_few = edited(&edited(&text, "m=1024", "m=15")?, "p=1", "p=2")?;
    assert_eq!(refusal(&too_few, Some("any")), Some(MALFORMED));
    Ok(())
}

/// With a check that is right: by hand, or by another program.
#[test]
fn an_unprotected_key_file_says_nothing_that_is_not_so() -> TestResult {
    let text = key_file::write(&full()?, ABOUT)?;
    let weak = format!("public = {}", "0".repeat(64));
    let public_line = text
        .lines()
        .find(|line| line.starts_with("public"))
        .ok_or("no public key")?;
    let created = "created = 1760000000";
    for (from, to, refused) in [
        (
            "nsec-key 1",
            "nsec-key 2",
            CryptoError::UnsupportedVersion(2),
        ),
        ("nsec-key 1", "nsec-key 01", MALFORMED),
        ("nsec-key 1", "nsec-key +1", MALFORMED),
        ("nsec-key 1", "nsec-key 256", MALFORMED),
        ("type = full", "type = public", MALFORMED),
        ("type = full", "type = none", MALFORMED),
        ("type = full", "Type = full", MALFORMED),
        ("type = full", "type =full", MALFORMED),
        ("key-id = 8a", "key-id = 8b", MALFORMED),
        ("key-id = 8a", "key-id = 8A", MALFORMED),
        (created, "created = +1760000000", MALFORMED),
        (created, "created = 01760000000", MALFORMED),
        (created, "created = -0", MALFORMED),
        (created, "created = 9223372036854775808", MALFORMED),
        (created, "created = ", MALFORMED),
        ("store-id = 00", "store-id = ", MALFORMED),
        ("0e0f\n", "0e0f0\n", MALFORMED),
        ("store-id = 00", "store-id = 0000", MALFORMED),
        ("public = 7b", "public = 7c", CryptoError::KeyMismatch),
        ("secret = 11", "secret = 19", CryptoError::KeyMismatch),
        ("secret = 11", "secret = ", MALFORMED),
        ("secret = ", "sealed = ", MALFORMED),
        ("protection = none", "protection = scrypt", MALFORMED),
        ("protection = none", "protection = argon2id", MALFORMED),
        (
            "protection = none\n",
            "protection = none\nfor = ever\n",
            MALFORMED,
        ),
        ("protection = none\n", "", MALFORMED),
    ] {
        let found = refusal(&edited(&text, from, to)?, None);
        assert_eq!(found, Some(refused), "{to}");
    }
    // Clamping takes these bits away: another spelling of the same key.
    let respelled = edited(&text, "secret = 11", "secret = 12")?;
    assert_eq!(read(&respelled, None)?.key_id(), full()?.key_id());

    let text = key_file::write(&public()?, ABOUT)?;
    let weak = edited(&text, public_line, &weak)?;
    assert_eq!(refusal(&weak, None), Some(CryptoError::WeakPublicKey));
    let with_secret = edited(
        &text,
        "protection = none\n",
        "protection = none\nsecret = 11\n",
    )?;
    assert_eq!(refusal(&with_secret, None), Some(MALFORMED));
    let protected = edited(&text, "protection = none", "protection = argon2id")?;
    assert_eq!(refusal(&protected, Some("any")), Some(MALFORMED));
    Ok(())
}

#[test]
fn whether_a_key_file_is_protected_is_not_guessed() -> TestResult {
    for (name, is_protected) in [("full-none.key", false), (SMALL[0].0, true)] {
        assert_eq!(key_file::is_protected(&fixture(name)?), Ok(is_protected));
    }
    let text = fixture("full-none.key")?;
    let other = edited(&text, "protection = none", "protection = rot13")?;
    assert_eq!(key_file::is_protected(&other), Err(MALFORMED));
    let newer = edited(&text, "nsec-key 1", "nsec-key 2")?;
    let refused = Err(CryptoError::UnsupportedVersion(2));
    assert_eq!(key_file::is_protected(&newer), refused);
    assert_eq!(key_file::is_protected(""), Err(MALFORMED));
    let long = format!("{}{}", lines(&text)?, "for = ever\n".repeat(400));
    let refused = key_file::is_protected(&hashes::key_file(&long));
    assert_eq!(refused, Err(MALFORMED), "longer than any");
    Ok(())
}

#[test]
fn another_passphrase_does_not_open() -> TestResult {
    let (name, passphrase) = SMALL[0];
    let text = fixture(name)?;
    for other in [
        "",
        "Correct horse battery staple",
        "correct horse battery staple ",
    ] {
        let refused = refusal(&text, Some(other));
        assert_eq!(refused, Some(CryptoError::BadPassphrase), "{other:?}");
    }
    assert!(refusal(&text, Some(passphrase)).is_none());
    Ok(())
}

/// The one that has to be slow.
#[test]
fn a_key_protected_here_opens_here() -> TestResult {
    let keys = writer()?;
    let about = About::new(-1, None);
    let text = key_file::protect(&keys, about, "orbit-lantern", Strength::Normal)?;
    assert!(
        text.contains("kdf = argon2id v=19 m=65536 t=3 p=4 salt="),
        "{}",
        *text
    );
    assert!(text.len() <= MAX_FILE_LEN);
    assert_eq!(key_file::is_protected(&text), Ok(true));
    let (read, read_about) = key_file::read(&text, Some("orbit-lantern"))?;
    assert_eq!(read_about, about);
    // A key of the tags is shown by what it is written to only.
    assert_eq!(
        *key_file::write(&read, about)?,
        *key_file::write(&keys, about)?
    );
    Ok(())
}

#[test]
fn what_cannot_be_protected_is_not_written() -> TestResult {
    let empty = key_file::protect(&full()?, ABOUT, "", Strength::Normal);
    assert_eq!(empty.map(drop), Err(CryptoError::BadPassphrase));
    let public = key_file::protect(&public()?, ABOUT, "any", Strength::Strong);
    assert_eq!(public.map(drop), Err(CryptoError::SecretKeyRequired));
    Ok(())
}

#[test]
fn what_a_key_file_says_of_its_key_is_kept() -> TestResult {
    for created_at in [0, 1, -1, i64::MIN, i64::MAX] {
        for store_id in [None, Some(StoreId([0xff; 16]))] {
            let about = About::new(created_at, store_id);
            for keys in [full()?, writer()?, public()?] {
                let text = key_file::write(&keys, about)?;
                let (read, read_about) = key_file::read(&text, None)?;
                assert_eq!(read_about, about);
                assert_eq!(read.access(), keys.access());
                assert_eq!(*key_file::write(&read, about)?, *text);
            }
        }
    }
    Ok(())
}
