//! The key file: one key, as text, with a check of every byte, protected by a passphrase or not.
//!
//! ```text
//! nsec-key 1
//! type = full                   or writer, public
//! key-id = 8ad06ac367cf1c7a
//! created = 1764082800          Unix seconds
//! store-id = 000102…            or none
//! public = 7b4e90…
//! protection = none             or argon2id
//! secret = 111111…              not of public keys; the key of the tags of a writer's
//! check = 5c0f…                 BLAKE2b-256 over all lines above
//! ```
//!
//! Protected, three lines stand where `secret` does: `kdf = argon2id v=19 m=65536 t=3 p=4 salt=…`,
//! `nonce = …` and `sealed = …`, a secretbox. Its key is a hash of every line before `nonce` under what
//! argon2id (RFC 9106) makes of the passphrase, so a header that was edited does not open.

mod kdf;

use std::fmt::Write;
use std::str::FromStr;

use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use zeroize::Zeroizing;

use crate::digest;
use crate::error::CryptoError;
use crate::ids::{Access, StoreId};
use crate::keys::EncryptionKeys;
use crate::stack;
use kdf::Kdf;

/// The longest key file, in bytes.
pub const MAX_FILE_LEN: usize = 4096;
const FIRST_LINE: &str = "nsec-key 1";
const MALFORMED: CryptoError = CryptoError::Malformed {
    what: "the key file",
};

/// What a key file says beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// When the key was made, in Unix seconds.
    pub created_at: i64,
    /// Of which store it is, if it says so.
    pub store_id: Option<StoreId>,
}

impl About {
    /// What to say of a key.
    pub const fn new(created_at: i64, store_id: Option<StoreId>) -> Self {
        Self {
            created_at,
            store_id,
        }
    }
}

/// How hard a passphrase is to guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strength {
    /// The second choice of RFC 9106: 64 MiB, three passes; a seventh of a second.
    #[default]
    Normal,
    /// 256 MiB, three passes.
    Strong,
}

impl Strength {
    const fn params(self) -> Kdf {
        let memory_kib = match self {
            Self::Normal => 64 * 1024,
            Self::Strong => 256 * 1024,
        };
        Kdf::new(memory_kib, 3, 4)
    }
}

/// The text of a key file that anybody who can read it can use.
///
/// # Errors
///
/// None at present; [`CryptoError::Malformed`] if the text cannot be made.
pub fn write(keys: &EncryptionKeys, about: About) -> Result<Zeroizing<String>, CryptoError> {
    let mut text = header(keys, about, "none")?;
    if let Some(secret) = secret_of(keys)? {
        push(&mut text, "secret", &hex(secret))?;
    }
    finish(text)
}

/// The text of a key file that needs `passphrase`.
///
/// # Errors
///
/// [`CryptoError::SecretKeyRequired`] of public keys, which need no protection,
/// [`CryptoError::BadPassphrase`] of an empty one, [`CryptoError::Random`].
pub fn protect(
    keys: &EncryptionKeys,
    about: About,
    passphrase: &str,
    strength: Strength,
) -> Result<Zeroizing<String>, CryptoError> {
    let mut kdf = strength.params();
    let mut nonce = [0; 24];
    getrandom::fill(kdf.salt_mut()).map_err(|_none| CryptoError::Random)?;
    getrandom::fill(&mut nonce).map_err(|_none| CryptoError::Random)?;
    if passphrase.is_empty() {
        return Err(CryptoError::BadPassphrase);
    }
    let secret = secret_of(keys)?.ok_or(CryptoError::SecretKeyRequired)?;
    let mut text = header(keys, about, "argon2id")?;
    push(&mut text, "kdf", &kdf.line())?;
    let sealed = stack::wiped(|| {
        let key = kdf.wrap_key(passphrase, &text)?;
        let sealed = cipher(&key).encrypt(&Nonce::from(nonce), secret.as_slice());
        sealed.map_err(|_never| MALFORMED)
    })?;
    push(&mut text, "nonce", &hex(&nonce))?;
    push(&mut text, "sealed", &hex(&sealed))?;
    finish(text)
}

/// The keys in a key file.
///
/// # Errors
///
/// [`CryptoError::Malformed`]: it is not one, or was changed. [`CryptoError::UnsupportedVersion`],
/// [`CryptoError::PassphraseRequired`], [`CryptoError::BadPassphrase`], which also is what a changed
/// header gives; [`CryptoError::KeyMismatch`], [`CryptoError::WeakPublicKey`].
pub fn read(text: &str, passphrase: Option<&str>) -> Result<(EncryptionKeys, About), CryptoError> {
    stack::wiped(|| read_lines(text, passphrase))
}

fn read_lines(
    text: &str,
    passphrase: Option<&str>,
) -> Result<(EncryptionKeys, About), CryptoError> {
    let mut lines = Lines::of(text)?;
    let kind = lines.value("type")?;
    let key_id = lines.value("key-id")?;
    let created_at = number(lines.value("created")?).ok_or(MALFORMED)?;
    let store_id = match lines.value("store-id")? {
        "none" => None,
        id => Some(StoreId(bytes(id)?)),
    };
    let public: [u8; 32] = bytes(lines.value("public")?)?;
    let secret: Option<Zeroizing<[u8; 32]>> = match (lines.value("protection")?, kind) {
        ("none", "public") => None,
        ("none", _) => Some(Zeroizing::new(bytes(lines.value("secret")?)?)),
        ("argon2id", "full" | "writer") => Some(lines.unwrapped(passphrase)?),
        _ => return Err(MALFORMED),
    };
    lines.end()?;
    let keys = match (kind, &secret) {
        ("full", Some(secret)) => EncryptionKeys::from_bytes(&public, &**secret)?,
        ("writer", Some(auth)) => EncryptionKeys::writer(&public, &**auth)?,
        ("public", None) => EncryptionKeys::public_only(&public)?,
        _ => return Err(MALFORMED),
    };
    if keys.key_id().to_string() != key_id {
        return Err(MALFORMED);
    }
    Ok((keys, About::new(created_at, store_id)))
}

/// Whether a key file needs a passphrase.
///
/// # Errors
///
/// [`CryptoError::Malformed`], [`CryptoError::UnsupportedVersion`].
pub fn is_protected(text: &str) -> Result<bool, CryptoError> {
    Ok(protection(text)?.1)
}

/// How hard the passphrase of a key file is to guess; `None` if it needs none.
///
/// # Errors
///
/// As of [`is_protected`].
pub fn strength(text: &str) -> Result<Option<Strength>, CryptoError> {
    let (mut lines, is_protected) = protection(text)?;
    if !is_protected {
        return Ok(None);
    }
    let kdf = Kdf::parse(lines.value("kdf")?)?;
    let is_strong = kdf.is_harder_than(&Strength::Normal.params());
    Ok(Some(if is_strong {
        Strength::Strong
    } else {
        Strength::Normal
    }))
}

/// The lines after the one that says whether a passphrase is needed, and whether.
fn protection(text: &str) -> Result<(Lines<'_>, bool), CryptoError> {
    let mut lines = Lines::of(text)?;
    for name in ["type", "key-id", "created", "store-id", "public"] {
        lines.value(name)?;
    }
    match lines.value("protection")? {
        "none" => Ok((lines, false)),
        "argon2id" => Ok((lines, true)),
        _ => Err(MALFORMED),
    }
}

fn header(
    keys: &EncryptionKeys,
    about: About,
    protection: &str,
) -> Result<Zeroizing<String>, CryptoError> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_LEN));
    text.push_str(FIRST_LINE);
    text.push('\n');
    let store_id = match about.store_id {
        Some(id) => id.to_string(),
        None => "none".to_owned(),
    };
    push(&mut text, "type", keys.access().name())?;
    push(&mut text, "key-id", &keys.key_id().to_string())?;
    push(&mut text, "created", &about.created_at.to_string())?;
    push(&mut text, "store-id", &store_id)?;
    push(&mut text, "public", &hex(&keys.public_key()))?;
    push(&mut text, "protection", protection)?;
    Ok(text)
}

fn finish(mut text: Zeroizing<String>) -> Result<Zeroizing<String>, CryptoError> {
    let check = checksum(&text);
    push(&mut text, "check", &hex(&check))?;
    Ok(text)
}

fn checksum(lines: &str) -> [u8; 32] {
    digest::plain(&[&digest::len(digest::CHECK), digest::CHECK, lines.as_bytes()])
}

fn push(text: &mut String, name: &str, value: &str) -> Result<(), CryptoError> {
    writeln!(text, "{name} = {value}").map_err(|_never| MALFORMED)
}

fn secret_of(keys: &EncryptionKeys) -> Result<Option<&[u8; 32]>, CryptoError> {
    match keys.access() {
        Access::Full => Ok(keys.expose_secret()),
        Access::Writer => keys.auth().map(Some),
        Access::Public => Ok(None),
    }
}

fn cipher(key: &[u8; 32]) -> XSalsa20Poly1305 {
    XSalsa20Poly1305::new(key.into())
}

/// The lines of a file whose check is right, to be read in their order.
struct Lines<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Result<Self, CryptoError> {
        if text.len() > MAX_FILE_LEN {
            return Err(MALFORMED);
        }
        let (first, rest) = text.split_once('\n').ok_or(MALFORMED)?;
        if first != FIRST_LINE {
            let version = first.strip_prefix("nsec-key ");
            let version = version.and_then(number);
            return Err(version.map_or(MALFORMED, CryptoError::UnsupportedVersion));
        }
        let at = rest.rfind("check = ").ok_or(MALFORMED)?;
        let (rest, check) = rest.split_at_checked(at).ok_or(MALFORMED)?;
        let above = text.len() - check.len();
        let above = text.split_at_checked(above).ok_or(MALFORMED)?.0;
        let check = check.strip_prefix("check = ").ok_or(MALFORMED)?;
        let check = check.strip_suffix('\n').ok_or(MALFORMED)?;
        if check != *hex(&checksum(above)) || !rest.ends_with('\n') {
            return Err(MALFORMED);
        }
        Ok(Self { text, rest })
    }

    fn value(&mut self, name: &str) -> Result<&'a str, CryptoError> {
        let (line, rest) = self.rest.split_once('\n').ok_or(MALFORMED)?;
        let (found, value) = line.split_once(" = ").ok_or(MALFORMED)?;
        if found != name {
            return Err(MALFORMED);
        }
        self.rest = rest;
        Ok(value)
    }

    fn end(&self) -> Result<(), CryptoError> {
        self.rest.is_empty().then_some(()).ok_or(MALFORMED)
    }

    fn unwrapped(&mut self, passphrase: Option<&str>) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
        let kdf = Kdf::parse(self.value("kdf")?)?;
        let above = self.text.len() - self.rest.len() - self.check_len()?;
        let above = self.text.split_at_checked(above).ok_or(MALFORMED)?.0;
        let nonce: [u8; 24] = bytes(self.value("nonce")?)?;
        let sealed: [u8; 48] = bytes(self.value("sealed")?)?;
        let passphrase = passphrase.ok_or(CryptoError::PassphraseRequired)?;
        let key = kdf.wrap_key(passphrase, above)?;
        let opened = cipher(&key).decrypt(&Nonce::from(nonce), sealed.as_slice());
        let opened = Zeroizing::new(opened.map_err(|_opaque| CryptoError::BadPassphrase)?);
        let mut secret = Zeroizing::new([0; 32]);
        if opened.len() != 32 {
            return Err(MALFORMED);
        }
        secret.copy_from_slice(&opened);
        Ok(secret)
    }

    /// How long the last line is, which `rest` does not have.
    fn check_len(&self) -> Result<usize, CryptoError> {
        let at = self.text.rfind("check = ").ok_or(MALFORMED)?;
        Ok(self.text.len() - at)
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text
}

/// A number in the one way in which it is written here: others are read as it, such as `+1` and `01`.
fn number<T: FromStr + ToString>(text: &str) -> Option<T> {
    let number: T = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Exactly so many bytes of lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], CryptoError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(MALFORMED),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(MALFORMED);
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(bytes)
}
