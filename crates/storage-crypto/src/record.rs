//! The sealed record, `NSEC` version 1.
//!
//! ```text
//!  0  4  "NSEC"     4  1  version = 1     5  1  kind: 1 tagged, 2 anonymous     6  2  zero
//!  8  8  key id    16  8  record version, u64 BE: zero in kind 2, and in no other
//! 24  -  sealed box: 48 bytes, and as many as the inner part has
//! -32 32 tag, kind 1 only
//! inner: 0  1  version = 1    1  32  context    33  4  length, u32 BE    37  -  data, zeros
//! ```
//!
//! The box is libsodium's `crypto_box_seal`. The context is that of store, tree, key and version, so a
//! record moved to another place does not open; in a tagged one it is in the tag as well, which is
//! checked first. The kind is not in the context: a tagged record without its tag would be an anonymous
//! one, were it not for its version.
//!
//! Anybody can make an anonymous box, so its ephemeral key has to be a point that an honest key can have:
//! on others the libraries disagree.

use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use crypto_box::aead::rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::digest;
use crate::error::CryptoError;
use crate::ids::{KeyId, StoreId};
use crate::keys::{self, EncryptionKeys};
use crate::padding::Padding;
use crate::stack;

/// The longest secret, in bytes: 64 KiB.
pub const MAX_SECRET_LEN: usize = 64 * 1024;

const MAGIC: &[u8; 4] = b"NSEC";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 24;
const TAG_LEN: usize = 32;
const INNER_LEN: usize = 37;
const INNER_VERSION: u8 = 1;
const MALFORMED: CryptoError = CryptoError::Malformed { what: "the record" };

/// Where a record is.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the arguments of a place, together"
)]
pub struct SecretContext<'a> {
    /// The store.
    pub store: StoreId,
    /// The tree's name.
    pub tree: &'a str,
    /// The key in it.
    pub key: &'a [u8],
}

impl SecretContext<'_> {
    fn hash(&self, version: u64) -> [u8; 32] {
        let tree = self.tree.as_bytes();
        digest::plain(&[
            &digest::len(digest::CONTEXT),
            digest::CONTEXT,
            &digest::len(&self.store.0),
            &self.store.0,
            &digest::len(tree),
            tree,
            &digest::len(self.key),
            self.key,
            &version.to_le_bytes(),
        ])
    }
}

/// How a record is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// By somebody with the keys, who vouches for it.
    Tagged,
    /// By somebody with the public key.
    Anonymous,
}

/// The clear part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// How it is sealed.
    pub kind: Kind,
    /// To which key.
    pub key_id: KeyId,
    /// The store's counter when it was written, from 1; 0 in an anonymous one, and in no other.
    pub version: u64,
}

/// Seals `data` for its place, as the `version`th write of the store, with a tag.
///
/// # Errors
///
/// [`CryptoError::Malformed`] of the version 0, which is that of records without a tag;
/// [`CryptoError::TooLarge`], [`CryptoError::SecretKeyRequired`] of public keys.
pub fn seal(
    keys: &EncryptionKeys,
    context: &SecretContext<'_>,
    version: u64,
    padding: Padding,
    data: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let header = Header {
        kind: Kind::Tagged,
        key_id: keys.key_id(),
        version,
    };
    seal_with(&mut OsRng, keys, context, header, padding, data)
}

/// Seals `data` for its place without a tag: anybody with the public key can.
///
/// # Errors
///
/// [`CryptoError::TooLarge`].
pub fn seal_anonymous(
    keys: &EncryptionKeys,
    context: &SecretContext<'_>,
    padding: Padding,
    data: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let header = Header {
        kind: Kind::Anonymous,
        key_id: keys.key_id(),
        version: 0,
    };
    seal_with(&mut OsRng, keys, context, header, padding, data)
}

pub(crate) fn seal_with(
    random: &mut impl CryptoRngCore,
    keys: &EncryptionKeys,
    context: &SecretContext<'_>,
    header: Header,
    padding: Padding,
    data: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    if !fits(header.kind, header.version) {
        return Err(MALFORMED);
    }
    let (len, max) = (data.len(), MAX_SECRET_LEN);
    if len > max {
        return Err(CryptoError::TooLarge { len, max });
    }
    let hash = context.hash(header.version);
    // As long as it will be from the start: growing would leave copies.
    let inner_len = INNER_LEN + padding.padded(len)?;
    let mut inner = Zeroizing::new(Vec::with_capacity(inner_len));
    inner.push(INNER_VERSION);
    inner.extend(hash);
    inner.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    inner.extend(data);
    inner.resize(inner_len, 0);
    let public = PublicKey::from(keys.public_key());
    // The ephemeral key is in a type that does not wipe it.
    let sealed = stack::wiped(|| public.seal(random, &inner));
    let sealed = sealed.map_err(|_opaque| CryptoError::Unopenable)?;

    let mut record = Vec::with_capacity(HEADER_LEN + sealed.len() + TAG_LEN);
    record.extend(MAGIC);
    let kind = match header.kind {
        Kind::Tagged => 1,
        Kind::Anonymous => 2,
    };
    record.extend([VERSION, kind, 0, 0]);
    record.extend(header.key_id.0);
    record.extend(header.version.to_be_bytes());
    record.extend(sealed);
    if header.kind == Kind::Tagged {
        record.extend(tag(keys.auth()?, &hash, &record));
    }
    Ok(record)
}

/// Opens a record of this place.
///
/// # Errors
///
/// Those of [`verify`], of an anonymous record those of [`parse_header`];
/// [`CryptoError::SecretKeyRequired`]; [`CryptoError::Unopenable`], which says no more than that.
pub fn unseal(
    keys: &EncryptionKeys,
    context: &SecretContext<'_>,
    record: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let parts = Parts::of(record)?;
    let header = parts.header;
    if header.kind == Kind::Tagged {
        verify(keys, context, record)?;
    } else {
        expect_key(keys, header)?;
        keys::expect_honest(parts.ephemeral()?).map_err(|_weak| CryptoError::Unopenable)?;
    }
    let opened = keys.with_secret_key(|key| key.unseal(parts.sealed))?;
    let inner = Zeroizing::new(opened.map_err(|_opaque| CryptoError::Unopenable)?);
    let hash = context.hash(header.version);
    open_inner(&inner, &hash).ok_or(CryptoError::Unopenable)
}

fn open_inner(inner: &[u8], hash: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = inner.split_first()?;
    let (found, rest) = rest.split_first_chunk::<32>()?;
    if *version != INNER_VERSION || !bool::from(found.ct_eq(hash)) {
        return None;
    }
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (data, padding) = rest.split_at_checked(len)?;
    let is_zero = padding.iter().fold(0, |any, byte| any | byte) == 0;
    (is_zero && len <= MAX_SECRET_LEN).then(|| Zeroizing::new(data.to_vec()))
}

/// Checks the tag of a record of this place, without opening it.
///
/// # Errors
///
/// Those of [`parse_header`]; [`CryptoError::WrongKey`]; [`CryptoError::Unauthenticated`] of an
/// anonymous record; [`CryptoError::Unopenable`] where the tag is another;
/// [`CryptoError::SecretKeyRequired`] of public keys.
pub fn verify(
    keys: &EncryptionKeys,
    context: &SecretContext<'_>,
    record: &[u8],
) -> Result<Header, CryptoError> {
    let parts = Parts::of(record)?;
    let header = parts.header;
    expect_key(keys, header)?;
    let found = parts.tag.ok_or(CryptoError::Unauthenticated)?;
    let expected = tag(keys.auth()?, &context.hash(header.version), parts.tagged);
    digest::check(&expected, found).map_err(|_other| CryptoError::Unopenable)?;
    Ok(header)
}

/// What a record says without a key.
///
/// # Errors
///
/// [`CryptoError::Malformed`], [`CryptoError::UnsupportedVersion`].
pub fn parse_header(record: &[u8]) -> Result<Header, CryptoError> {
    Ok(Parts::of(record)?.header)
}

/// Whether a record of this kind can have this version.
fn fits(kind: Kind, version: u64) -> bool {
    (kind == Kind::Anonymous) == (version == 0)
}

fn expect_key(keys: &EncryptionKeys, header: Header) -> Result<(), CryptoError> {
    let (expected, got) = (header.key_id, keys.key_id());
    if expected == got {
        Ok(())
    } else {
        Err(CryptoError::WrongKey { expected, got })
    }
}

fn tag(auth: &[u8; 32], context: &[u8; 32], tagged: &[u8]) -> [u8; 32] {
    let parts: [&[u8]; 3] = [context, &digest::len(tagged), tagged];
    digest::keyed(auth, digest::TAG, &parts)
}

struct Parts<'a> {
    header: Header,
    tagged: &'a [u8],
    sealed: &'a [u8],
    tag: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(record: &'a [u8]) -> Result<Self, CryptoError> {
        let (start, rest) = record.split_first_chunk::<HEADER_LEN>().ok_or(MALFORMED)?;
        let [
            m0,
            m1,
            m2,
            m3,
            format,
            kind,
            flags,
            reserved,
            rest_of_header @ ..,
        ] = start;
        if [*m0, *m1, *m2, *m3] != *MAGIC {
            return Err(MALFORMED);
        }
        // First: a version to come may have other flags.
        if *format != VERSION {
            return Err(CryptoError::UnsupportedVersion(*format));
        }
        if (*flags, *reserved) != (0, 0) {
            return Err(MALFORMED);
        }
        let (key_id, version) = rest_of_header.split_first_chunk::<8>().ok_or(MALFORMED)?;
        let version = version.first_chunk::<8>().ok_or(MALFORMED)?;
        let (kind, sealed, tag) = match kind {
            1 => {
                let (sealed, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(MALFORMED)?;
                (Kind::Tagged, sealed, Some(tag.as_slice()))
            }
            2 => (Kind::Anonymous, rest, None),
            _ => return Err(MALFORMED),
        };
        let header = Header {
            kind,
            key_id: KeyId(*key_id),
            version: u64::from_be_bytes(*version),
        };
        let is_short = sealed.len() < crypto_box::SEALBYTES + INNER_LEN;
        if is_short || !fits(kind, header.version) {
            return Err(MALFORMED);
        }
        let (tagged, _tag) = record
            .split_at_checked(HEADER_LEN + sealed.len())
            .ok_or(MALFORMED)?;
        Ok(Self {
            header,
            tagged,
            sealed,
            tag,
        })
    }

    /// The public key of which the box begins.
    fn ephemeral(&self) -> Result<&'a [u8; 32], CryptoError> {
        self.sealed.first_chunk().ok_or(MALFORMED)
    }
}

#[cfg(test)]
mod tests;
