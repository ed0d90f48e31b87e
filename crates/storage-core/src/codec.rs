//! Records to stored bytes and back: the one caller of postcard.

use std::borrow::Cow;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CoreError;
use crate::frame::{self, Encoding, Frame, FrameError};
use crate::tree::TreeId;

/// There is room for so much before a body is made: for a sample, whose frame is then 128 bytes of memory, of which a batch has
/// many at once. One that is longer grows once or twice.
const USUAL_LEN: usize = 122;

/// Why a stored body is not a record of its tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame around it is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The shape is of a version that this program does not read.
    #[error("the record has version {found}, this program reads {expected}")]
    RecordVersion {
        /// The version as stored.
        found: u8,
        /// The version that this program reads.
        expected: u8,
    },
    /// The body ends early or holds a value that the shape does not allow.
    #[error("the record does not decode")]
    Body {
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
    /// Bytes follow the record.
    #[error("{len} bytes follow the record")]
    TrailingBytes {
        /// How many.
        len: usize,
    },
    /// The self-describing body is not one whole CBOR item.
    #[error("the value is not one whole CBOR item")]
    Cbor {
        /// What the reader says.
        #[source]
        source: ciborium::de::Error<std::io::Error>,
    },
    /// The key itself has another shape.
    #[error(transparent)]
    Key(#[from] crate::key::KeyError),
    /// The head of the audit log in another shape.
    #[error("{len} bytes are not the head of the audit log")]
    AuditHead {
        /// How many there are.
        len: usize,
    },
    /// Raw bytes of another length than the record has.
    #[error("{len} bytes are not a node id")]
    NodeId {
        /// How many there are.
        len: usize,
    },
}

/// Encodes a record and frames it.
///
/// # Errors
///
/// [`CoreError::Serialization`] where serde refuses, [`CoreError::TooLarge`] over the maximum.
pub(crate) fn encode<T: Serialize>(
    tree: TreeId,
    key: &[u8],
    record: &T,
    compress: bool,
) -> Result<Vec<u8>, CoreError> {
    let frame = postcard::serialize_with_flavor(record, Behind(frame::begin(USUAL_LEN)));
    let frame = frame.map_err(|source| CoreError::Serialization {
        tree,
        source: Box::new(source),
    })?;
    let version = tree.record_version();
    frame::finish(tree, key, Encoding::Postcard, version, frame, compress)
}

/// Writes behind what is there, in pieces: postcard's own flavor for that takes byte by byte.
struct Behind(Vec<u8>);

impl Flavor for Behind {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self::Output> {
        Ok(self.0)
    }
}

/// Checks a frame and decodes its record, to the last byte.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn decode<T: DeserializeOwned>(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<T, CoreError> {
    decode_body(tree, key, &open(tree, key, frame, Encoding::Postcard)?)
}

/// Decodes the body of a frame, to the last byte.
pub(crate) fn decode_body<T: DeserializeOwned>(
    tree: TreeId,
    key: &[u8],
    body: &[u8],
) -> Result<T, CoreError> {
    let corrupt = |source: DecodeError| CoreError::corrupt(tree, key, source);
    let (record, rest) =
        postcard::take_from_bytes(body).map_err(|source| corrupt(DecodeError::Body { source }))?;
    match rest.len() {
        0 => Ok(record),
        len => Err(corrupt(DecodeError::TrailingBytes { len })),
    }
}

/// The body of a frame that must have this encoding and the current record version.
pub(crate) fn open<'a>(
    tree: TreeId,
    key: &[u8],
    frame: &'a [u8],
    expected: Encoding,
) -> Result<Cow<'a, [u8]>, CoreError> {
    let corrupt = |source: DecodeError| CoreError::corrupt(tree, key, source);
    let frame = open_any(tree, key, frame)?;
    if frame.encoding != expected {
        let found = frame.encoding;
        return Err(corrupt(FrameError::Encoding { found, expected }.into()));
    }
    Ok(frame.body)
}

/// The body of a frame that was just made, as it lies there: if it is a record of the current version, not compressed.
pub(crate) fn plain_body(tree: TreeId, frame: &[u8]) -> Option<&[u8]> {
    frame::plain_body(frame, Encoding::Postcard, tree.record_version())
}

/// What a frame of the current record version holds, in whatever encoding.
pub(crate) fn open_any<'a>(
    tree: TreeId,
    key: &[u8],
    frame: &'a [u8],
) -> Result<Frame<Cow<'a, [u8]>>, CoreError> {
    let corrupt = |source: DecodeError| CoreError::corrupt(tree, key, source);
    let frame = frame::open_borrowed(tree, key, frame).map_err(|source| corrupt(source.into()))?;
    let (found, expected) = (frame.record_version, tree.record_version());
    if found != expected {
        return Err(corrupt(DecodeError::RecordVersion { found, expected }));
    }
    Ok(frame)
}
