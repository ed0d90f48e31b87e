//! The value frame: six bytes before the body of every stored record.
//!
//! ```text
//! 0  1  tag             frame version (3 bits) | body encoding (4 bits) | LZ4 (1 bit)
//! 1  1  record version  of the shape that the body has
//! 2  4  crc32, LE       over tree number, key length u32 LE, key, tag, record version, body
//! 6  -  body            with LZ4: the length of the plain body as u32 LE, then one LZ4 block
//! ```
//!
//! The checksum is bound to tree and key, so that a value in the wrong place is an error and not
//! another record.

use std::borrow::Cow;
use std::fmt;

use crate::error::CoreError;
use crate::tree::TreeId;

const FRAME_VERSION: u8 = 1;
const HEADER_LEN: usize = 6;
/// Up to so many bytes are summed in one piece.
const SHORT: usize = 512;
/// Below this, LZ4 does not pay for its time: trying it was a tenth of what storing a sample of 76 bytes took its writer.
const MIN_COMPRESSED_LEN: usize = 256;

/// How the body of a frame is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The caller's bytes.
    Raw,
    /// postcard, for records of a known shape.
    Postcard,
    /// CBOR, for `config`: it describes itself.
    Cbor,
    /// bincode of the first implementation, for values of `config` whose type only the reader knows.
    Bincode,
    /// A sealed record of `secrets` or `identity`.
    Sealed,
}

impl Encoding {
    const fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Postcard => 1,
            Self::Cbor => 2,
            Self::Bincode => 3,
            Self::Sealed => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Postcard),
            2 => Some(Self::Cbor),
            3 => Some(Self::Bincode),
            4 => Some(Self::Sealed),
            _ => None,
        }
    }
}

/// Why stored bytes are not the frame of this tree and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than a frame has.
    #[error("the frame ends after {len} bytes")]
    Truncated {
        /// How many there are.
        len: usize,
    },
    /// A frame version or an encoding that this program does not know.
    #[error("unknown frame tag {tag:#04x}")]
    UnknownTag {
        /// The tag as stored.
        tag: u8,
    },
    /// The bytes were changed, or belong to another tree or key.
    #[error("the checksum does not match")]
    Checksum,
    /// A compressed body that does not expand to its stated length.
    #[error("the compressed body does not expand to its stated length")]
    Compression,
    /// The body has another encoding than this tree uses.
    #[error("the body is encoded as {found:?}, expected {expected:?}")]
    Encoding {
        /// What the tag says.
        found: Encoding,
        /// What the tree uses.
        expected: Encoding,
    },
}

/// What a frame says about its body.
pub struct Frame<B = Vec<u8>> {
    /// The body's encoding.
    pub encoding: Encoding,
    /// The version of the record's shape.
    pub record_version: u8,
    /// The body, expanded.
    pub body: B,
}

/// Says how long the body is, not what it is: it may be a secret.
impl<B: AsRef<[u8]>> fmt::Debug for Frame<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("encoding", &self.encoding)
            .field("record_version", &self.record_version)
            .field("body", &format_args!("{} bytes", self.body.as_ref().len()))
            .finish()
    }
}

/// Frames `body`; compresses it where `compress` is set and that saves at least an eighth.
///
/// # Errors
///
/// [`CoreError::TooLarge`] for a body over the tree's maximum.
pub fn seal(
    tree: TreeId,
    key: &[u8],
    encoding: Encoding,
    record_version: u8,
    body: &[u8],
    compress: bool,
) -> Result<Vec<u8>, CoreError> {
    let mut frame = begin(body.len());
    frame.extend_from_slice(body);
    finish(tree, key, encoding, record_version, frame, compress)
}

/// A frame without a body yet, with room for one of so many bytes.
pub(crate) fn begin(body_len: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LEN + body_len);
    frame.extend([0; HEADER_LEN]);
    frame
}

/// [`seal`] of the body that was put behind what [`begin`] made.
pub(crate) fn finish(
    tree: TreeId,
    key: &[u8],
    encoding: Encoding,
    record_version: u8,
    mut frame: Vec<u8>,
    compress: bool,
) -> Result<Vec<u8>, CoreError> {
    let body = frame.get(HEADER_LEN..).unwrap_or_default();
    let (size, max) = (body.len(), tree.max_body_size());
    if size > max {
        return Err(CoreError::TooLarge { tree, size, max });
    }
    let packed = if compress && size >= MIN_COMPRESSED_LEN {
        Some(lz4_flex::compress_prepend_size(body)).filter(|packed| packed.len() <= size - size / 8)
    } else {
        None
    };
    let tag = tag_of(encoding, packed.is_some());
    if let Some(packed) = packed {
        frame.truncate(HEADER_LEN);
        frame.extend(packed);
    }
    if let Some((header, stored)) = frame.split_first_chunk_mut::<HEADER_LEN>() {
        let [a, b, c, d] = checksum(tree, key, tag, record_version, stored).to_le_bytes();
        *header = [tag, record_version, a, b, c, d];
    }
    Ok(frame)
}

/// The body of a frame that is known to be sound, if it has this encoding and version and is not compressed.
pub(crate) fn plain_body(frame: &[u8], encoding: Encoding, record_version: u8) -> Option<&[u8]> {
    let (&[tag, version, ..], body) = frame.split_first_chunk::<HEADER_LEN>()?;
    let is_plain = (tag, version) == (tag_of(encoding, false), record_version);
    is_plain.then_some(body)
}

const fn tag_of(encoding: Encoding, is_packed: bool) -> u8 {
    let packed = if is_packed { 1 } else { 0 };
    FRAME_VERSION << 5 | encoding.number() << 1 | packed
}

/// Checks a frame against its tree and key and returns what it holds.
///
/// # Errors
///
/// [`FrameError`], one variant per way in which the bytes are not such a frame.
pub fn open(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<Frame, FrameError> {
    let frame = open_borrowed(tree, key, frame)?;
    Ok(Frame {
        encoding: frame.encoding,
        record_version: frame.record_version,
        body: frame.body.into_owned(),
    })
}

/// [`open`], with the body as it lies there where it is not compressed.
pub(crate) fn open_borrowed<'a>(
    tree: TreeId,
    key: &[u8],
    frame: &'a [u8],
) -> Result<Frame<Cow<'a, [u8]>>, FrameError> {
    let len = frame.len();
    let (&[tag, record_version, c0, c1, c2, c3], stored) = frame
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::Truncated { len })?;
    if checksum(tree, key, tag, record_version, stored) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(FrameError::Checksum);
    }
    let encoding = Encoding::from_number(tag >> 1 & 0xf)
        .filter(|_| tag >> 5 == FRAME_VERSION)
        .ok_or(FrameError::UnknownTag { tag })?;
    let body = if tag & 1 == 1 {
        Cow::Owned(expand(tree, stored).ok_or(FrameError::Compression)?)
    } else {
        Cow::Borrowed(stored)
    };
    Ok(Frame {
        encoding,
        record_version,
        body,
    })
}

/// The stated length bounds the allocation before anything is expanded.
fn expand(tree: TreeId, stored: &[u8]) -> Option<Vec<u8>> {
    let (len, block) = stored.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if len > tree.max_body_size() {
        return None;
    }
    let body = lz4_flex::decompress(block, len).ok()?;
    (body.len() == len).then_some(body)
}

fn checksum(tree: TreeId, key: &[u8], tag: u8, record_version: u8, body: &[u8]) -> u32 {
    let [a, b, c, d] = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
    let parts = [
        &[tree.number(), a, b, c, d],
        key,
        &[tag, record_version],
        body,
    ];
    // Of a few bytes each takes longer than of all of them together.
    let mut short = [0; SHORT];
    if let Some(whole) = short.get_mut(..parts.iter().map(|part| part.len()).sum()) {
        let mut rest = &mut *whole;
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        return crc32fast::hash(whole);
    }
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() -> Result<(), CoreError> {
        for compress in [false, true] {
            let body =
                b"an address an address an address an address an address an address ".repeat(4);
            let frame = seal(TreeId::Peers, b"key", Encoding::Raw, 2, &body, compress)?;
            assert_eq!(frame.len() < body.len(), compress);
            for bit in 0..frame.len() * 8 {
                let mut flipped = frame.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(TreeId::Peers, b"key", &flipped).is_err(), "bit {bit}");
            }
            for len in 0..frame.len() {
                assert!(
                    open(TreeId::Peers, b"key", &frame[..len]).is_err(),
                    "cut to {len}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn a_value_of_another_tree_or_key_is_refused() -> Result<(), CoreError> {
        let frame = seal(TreeId::Peers, b"key", Encoding::Raw, 2, b"body", true)?;
        assert!(open(TreeId::Peers, b"key", &frame).is_ok());
        for (tree, key) in [
            (TreeId::Config, "key"),
            (TreeId::Peers, "kez"),
            (TreeId::Peers, "ke"),
        ] {
            let found = open(tree, key.as_bytes(), &frame).map(|frame| frame.body);
            assert_eq!(found, Err(FrameError::Checksum), "{tree:?} {key}");
        }
        Ok(())
    }

    #[test]
    fn a_checksum_is_the_same_in_one_piece_and_in_parts() {
        for len in (0..600).chain([4096]) {
            let body = vec![0x5a; len];
            let mut parts = crc32fast::Hasher::new();
            parts.update(&[TreeId::Peers.number(), 3, 0, 0, 0]);
            parts.update(b"key");
            parts.update(&[7, 2]);
            parts.update(&body);
            let sum = checksum(TreeId::Peers, b"key", 7, 2, &body);
            assert_eq!(sum, parts.finalize(), "{len} bytes");
        }
    }

    #[test]
    fn a_stated_length_over_the_maximum_allocates_nothing() {
        let mut stored = u32::MAX.to_le_bytes().to_vec();
        stored.extend(lz4_flex::compress(b"short"));
        assert_eq!(expand(TreeId::Peers, &stored), None);
    }
}
