//! That no key and no secret is left in memory once it was used and dropped: not in freed memory, and
//! not in the frames of the stack that were in use.
//!
//! Another process does it, so that it has the memory of nobody else to look through.

use std::hint::black_box;
use std::process::Command;
use std::{env, fs};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use storage_crypto::key_file::{self, About, Strength};
use storage_crypto::keyring::Keyring;
use storage_crypto::manifest::Sum;
use storage_crypto::{
    EncryptionKeys, NodeIdentity, Padding, Zeroizing, head, seal, seal_anonymous, unseal, verify,
};

use crate::TestResult;
use crate::own_memory::{Masked, far_down, left_after, search};
use crate::samples::{PLACE, STORE};
use crate::vectors::{path, unhex};

const IS_CHILD: &str = "STORAGE_CRYPTO_SEARCHES_ITSELF";
const DONE: &str = "@ searched all";
const ABOUT: About = About::new(1, None);
/// Where the key of the protected one begins, in the list of key files.
const SMALL: &str =
    "full-argon-small.key passphrase=636f727265637420686f727365206261747465727920737461706c65 sk=";
const PASSPHRASE: &str = "correct horse battery staple";

/// What is looked for afterwards. Every run has others.
struct Secrets {
    keys: EncryptionKeys,
    /// Keys whose secret is what is sealed: there is no other way to have it without a copy.
    data: EncryptionKeys,
    identity: NodeIdentity,
}

impl Secrets {
    fn new() -> TestResult<Self> {
        Ok(Self {
            keys: keys()?,
            data: keys()?,
            identity: NodeIdentity::generate()?,
        })
    }

    fn masked(&self) -> TestResult<Vec<Masked>> {
        let key = secret_of(&self.keys)?;
        let text = key_file::write(&self.keys.to_writer()?, ABOUT)?;
        let (_, auth) = text.split_once("secret = ").ok_or("no key of the tags")?;
        let digits = || auth.bytes().skip(32).take(30);
        let (high, low) = (digits().step_by(2), digits().skip(1).step_by(2));
        let auth = high
            .zip(low)
            .map(|(high, low)| value(high) << 4 | value(low));
        Ok(vec![
            Masked::of("the key", key),
            Masked::of_digits("the key's digits", key),
            Masked::of_bytes("the key of the tags", auth),
            Masked::of_bytes("the digits of the key of the tags", digits()),
            Masked::of("the data", secret_of(&self.data)?),
            Masked::of("the seed", self.identity.expose_seed()),
        ])
    }
}

/// Keys whose secret as a scalar, which is modulo the order of the group, has the same bytes as the
/// secret where [`Masked`] looks: nothing is borrowed from the second half.
fn keys() -> TestResult<EncryptionKeys> {
    loop {
        let keys = EncryptionKeys::try_generate()?;
        if secret_of(&keys)?[15] >= 0x93 {
            return Ok(keys);
        }
    }
}

fn secret_of(keys: &EncryptionKeys) -> TestResult<&[u8; 32]> {
    Ok(keys.expose_secret().ok_or("no secret key")?)
}

fn bytes_of(
    high: impl Iterator<Item = u8>,
    low: impl Iterator<Item = u8>,
) -> impl Iterator<Item = u8> {
    high.zip(low)
        .map(|(high, low)| value(high) << 4 | value(low))
}

fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

type Work = fn(&Secrets) -> TestResult;

const WORK: [(&str, Work); 14] = [
    ("nothing", |_| Ok(())),
    ("generate", |_| {
        EncryptionKeys::generate();
        NodeIdentity::generate()?;
        Ok(())
    }),
    ("from_secret", |it| {
        EncryptionKeys::from_secret(secret_of(&it.keys)?)?;
        Ok(())
    }),
    ("from_bytes", |it| {
        EncryptionKeys::from_bytes(&it.keys.public_key(), secret_of(&it.keys)?)?;
        Ok(())
    }),
    ("to_writer", |it| {
        it.keys.to_writer()?;
        Ok(())
    }),
    ("seal", |it| {
        seal(&it.keys, &PLACE, 1, Padding::Block64, secret_of(&it.data)?)?;
        Ok(())
    }),
    ("seal as a writer", |it| {
        let writer = it.keys.to_writer()?;
        seal(&writer, &PLACE, 1, Padding::None, secret_of(&it.data)?)?;
        Ok(())
    }),
    ("verify", |it| {
        let record = seal(&it.keys, &PLACE, 1, Padding::Padme, secret_of(&it.data)?)?;
        verify(&it.keys, &PLACE, &record)?;
        Ok(())
    }),
    ("unseal", |it| {
        let record = seal(&it.keys, &PLACE, 1, Padding::Block64, secret_of(&it.data)?)?;
        unseal(&it.keys, &PLACE, &record)?;
        Ok(())
    }),
    ("unseal an anonymous one", |it| {
        let record = seal_anonymous(&it.keys, &PLACE, Padding::None, secret_of(&it.data)?)?;
        unseal(&it.keys, &PLACE, &record)?;
        Ok(())
    }),
    ("keyring, manifest, head", |it| {
        let mut sum = Sum::default();
        sum.add(&it.keys, PLACE.tree, PLACE.key, b"value")?;
        sum.seal(&it.keys, 1)?;
        Keyring::first(STORE, &it.keys, 1).encode(&it.keys)?;
        head::tag(&it.keys, (1, &[1; 32]), (0, &[0; 32]))?;
        Ok(())
    }),
    ("a key file", |it| {
        let text = key_file::write(&it.keys, ABOUT)?;
        key_file::read(&text, None)?;
        let text = key_file::write(&it.keys.to_writer()?, ABOUT)?;
        key_file::read(&text, None)?;
        Ok(())
    }),
    ("a protected key file", |it| {
        key_file::protect(&it.keys, ABOUT, PASSPHRASE, Strength::Normal)?;
        Ok(())
    }),
    ("from_seed", |it| {
        NodeIdentity::from_seed(it.identity.expose_seed())?;
        Ok(())
    }),
];

#[inline(never)]
fn copies_to_the_stack(secret: &[u8; 32]) {
    let mut copy = *secret;
    black_box(&mut copy);
}

/// The controls: a search finds what is there.
fn finds_what_is_there() -> TestResult {
    let live = Secrets::new()?;
    let text = key_file::write(&live.keys, ABOUT)?;
    let masked = live.masked()?;
    let found = search(&masked)?;
    for name in [
        "the key",
        "the key's digits",
        "the key of the tags",
        "the data",
        "the seed",
    ] {
        let is_found = found
            .iter()
            .any(|hit| hit.starts_with(&format!("{name} at")));
        assert!(is_found, "{name} is not found while it is there: {found:?}");
    }
    drop((text, live));

    let secrets = Secrets::new()?;
    let found = left_after(&secrets.masked()?, secrets, |it| {
        copies_to_the_stack(secret_of(&it.keys)?);
        Ok(())
    })?;
    assert!(
        !found.is_empty(),
        "a copy in a frame no longer in use is not found"
    );

    // The library's type does not wipe its bytes (RustCrypto/nacl-compat#191).
    let secrets = Secrets::new()?;
    let found = left_after(&secrets.masked()?, secrets, |it| {
        drop(Box::new(crypto_box::SecretKey::from_bytes(*secret_of(
            &it.keys,
        )?)));
        Ok(())
    })?;
    assert!(!found.is_empty(), "a freed key of the library is not found");
    Ok(())
}

/// The blocks of argon2id, of whose last the key is a hash, its hash, the passphrase, and what it
/// protects.
fn leaves_nothing_of_a_passphrase() -> TestResult {
    let text = fs::read_to_string(path("keyfiles/full-argon-small.key"))?;
    let line = fs::read_to_string(path("keyfiles.txt"))?;
    let (_, secret) = line.split_once(SMALL).ok_or("no such key file")?;
    let digits = || secret.bytes().skip(32).take(30);
    let secret = bytes_of(digits().step_by(2), digits().skip(1).step_by(2));
    let mut masked = masked_of_argon2(&text)?;
    masked.push(Masked::of_bytes("the key", secret));
    let found = left_after(&masked, text, |text| {
        // The allocator gives the first that is so long back to the system, and learns.
        for _ in 0..3 {
            key_file::read(text, Some(PASSPHRASE))?;
        }
        Ok(())
    })?;
    assert_eq!(found, [""; 0], "left after reading a protected key file");
    Ok(())
}

fn masked_of_argon2(text: &str) -> TestResult<Vec<Masked>> {
    let (_, salt) = text.split_once("salt=").ok_or("no salt")?;
    let (salt, _) = salt.split_once('\n').ok_or("no end of the salt")?;
    let salt = unhex(salt)?;
    let params = Params::new(1024, 1, 1, Some(32)).map_err(|error| error.to_string())?;
    let mut blocks = Zeroizing::new(vec![Block::new(); params.block_count()]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Box::new(Zeroizing::new([0; 32]));
    let (passphrase, memory) = (PASSPHRASE.as_bytes(), &mut *blocks);
    let hashed =
        far_down(|| argon2.hash_password_into_with_memory(passphrase, &salt, &mut **key, memory));
    hashed.map_err(|error| error.to_string())?;
    far_down(wipes_frames);
    let last = blocks.last().ok_or("no block")?.as_ref();
    let last = last.iter().skip(64).take(4);
    let masked = vec![
        Masked::of_bytes("the last block", last.flat_map(|word| word.to_le_bytes())),
        Masked::of("what argon2id makes", &key),
        Masked::of_bytes("the passphrase", passphrase.iter().skip(14).copied()),
    ];
    let found = search(&masked)?;
    for name in ["the last block", "what argon2id makes"] {
        let is_found = found
            .iter()
            .any(|hit| hit.starts_with(&format!("{name} at")));
        assert!(is_found, "{name} is not found while it is there: {found:?}");
    }
    Ok(masked)
}

/// As [`far_down`] as the frames that are to be wiped.
#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "it is the stack that it wipes")]
fn wipes_frames() {
    let mut frames = [0_u8; 128 * 1024];
    black_box(&mut frames);
}

#[test]
fn searches_itself_where_it_is_the_other_process() -> TestResult {
    if env::var_os(IS_CHILD).is_none() {
        return Ok(());
    }
    finds_what_is_there()?;
    for (name, work) in WORK {
        let secrets = Secrets::new()?;
        let found = left_after(&secrets.masked()?, secrets, work)?;
        assert_eq!(found, [""; 0], "left after {name}");
    }
    leaves_nothing_of_a_passphrase()?;
    println!("\n{DONE}");
    Ok(())
}

#[test]
fn nothing_secret_is_left_in_memory() -> TestResult {
    let itself = "memory::searches_itself_where_it_is_the_other_process";
    let output = Command::new(env::current_exe()?)
        .args(["--exact", itself, "--nocapture", "--test-threads=1"])
        .env(IS_CHILD, "1")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let is_done = output.status.success() && said.contains(DONE);
    assert!(is_done, "{said}{complained}");
    Ok(())
}
