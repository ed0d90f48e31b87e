//! Key types and their byte order.
//!
//! # Invariant
//!
//! The order of the encoded bytes is the order of the values: the trees compare unsigned bytes.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name (peer id, config key, secret name), in bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 1024;

/// A key of a tree: to bytes and back.
pub trait Key: Sized {
    /// The form callers hand in, so that looking up a name does not copy it first.
    type Borrowed: ?Sized;

    /// The key's bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for a value that no key of this type may have.
    fn encode(key: &Self::Borrowed) -> Result<Cow<'_, [u8]>, KeyError>;

    /// The key of these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] for bytes that [`encode`](Self::encode) never makes.
    fn decode(bytes: &[u8]) -> Result<Self, KeyError>;
}

/// Why a value cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A name without a character.
    #[error("the name is empty")]
    EmptyName,
    /// A name over [`MAX_NAME_LEN`].
    #[error("the name has {len} bytes, the maximum is {MAX_NAME_LEN}")]
    NameTooLong {
        /// The name's length in bytes.
        len: usize,
    },
    /// A time before 1970: as big-endian bytes it would sort after every later one.
    #[error("the time {time} is before 1970")]
    BeforeEpoch {
        /// The time as it was given.
        time: i64,
    },
    /// Stored bytes that no key of this type encodes to.
    #[error("{len} bytes are not a key of this tree")]
    Malformed {
        /// How many bytes there were.
        len: usize,
    },
}

/// A name: a peer id, a config key, the name of a secret. Ordered by its UTF-8 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextKey(pub String);

impl Key for TextKey {
    type Borrowed = str;

    fn encode(key: &str) -> Result<Cow<'_, [u8]>, KeyError> {
        match key.len() {
            0 => Err(KeyError::EmptyName),
            len if len > MAX_NAME_LEN => Err(KeyError::NameTooLong { len }),
            _ => Ok(key.as_bytes().into()),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed { len: bytes.len() };
        let name = str::from_utf8(bytes).ok().ok_or(malformed)?;
        Self::encode(name).ok().ok_or(malformed)?;
        Ok(Self(name.to_owned()))
    }
}

/// A time since 1970: seconds in `metrics`, milliseconds in `audit_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampKey(pub i64);

impl Key for TimestampKey {
    type Borrowed = i64;

    fn encode(&time: &i64) -> Result<Cow<'_, [u8]>, KeyError> {
        if time < 0 {
            return Err(KeyError::BeforeEpoch { time });
        }
        Ok(time.to_be_bytes().to_vec().into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed { len: bytes.len() };
        let time = i64::from_be_bytes(bytes.try_into().ok().ok_or(malformed)?);
        if time < 0 {
            return Err(malformed);
        }
        Ok(Self(time))
    }
}

/// The number of an epoch, the key of `epochs` and `claims`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EpochNumber(pub u64);

impl EpochNumber {
    /// The epoch after this one; the last one has none and is returned itself.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The epoch before this one; the first one has none and is returned itself.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for EpochNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch#{}", self.0)
    }
}

impl Key for EpochNumber {
    type Borrowed = Self;

    fn encode(key: &Self) -> Result<Cow<'_, [u8]>, KeyError> {
        Ok(key.0.to_be_bytes().to_vec().into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed { len: bytes.len() };
        Ok(Self(u64::from_be_bytes(
            bytes.try_into().ok().ok_or(malformed)?,
        )))
    }
}
