//! `config`: values of any serializable type, by name.

use std::any;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bincode;
use crate::codec;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::{self, Encoding, FrameError};
use crate::key::{Key, TextKey};
use crate::tree::TreeId;
use crate::trees::secrets::names_of;
use crate::value::{self, ValueError};
use crate::view::Read;

const TREE: TreeId = TreeId::Config;

fn encode_key(name: &str) -> Result<Vec<u8>, CoreError> {
    let key = TextKey::encode(name).map_err(|source| CoreError::Key { tree: TREE, source })?;
    Ok(key.into_owned())
}

/// Puts a value, in place of an earlier one.
///
/// # Errors
///
/// [`CoreError::Key`] for a bad name, [`CoreError::Serialization`] where serde refuses the value or
/// it is nested too deeply to be read again, [`CoreError::TooLarge`] over 1 MiB.
pub fn store<T: Serialize + ?Sized>(
    commit: &mut Commit,
    name: &str,
    value: &T,
) -> Result<(), CoreError> {
    let key = encode_key(name)?;
    let body =
        value::encode(value).map_err(|source| CoreError::Serialization { tree: TREE, source })?;
    let compress = commit.compression();
    let frame = frame::seal(
        TREE,
        &key,
        Encoding::Cbor,
        TREE.record_version(),
        &body,
        compress,
    )?;
    commit.put(TREE, key, frame);
    Ok(())
}

/// The value of this name, as a `T`.
///
/// # Errors
///
/// [`CoreError::WrongType`] if the stored value is not a `T`: another kind, a number that does not
/// fit, a missing field. [`CoreError::Key`], [`CoreError::Corrupt`], errors of the index.
pub fn get<T: DeserializeOwned>(from: &dyn Read, name: &str) -> Result<Option<T>, CoreError> {
    let key = encode_key(name)?;
    match from.get(TREE, &key)? {
        Some(frame) => read(&key, &frame).map(Some),
        None => Ok(None),
    }
}

/// The value in a frame, as a `T`.
///
/// # Errors
///
/// As [`get`].
pub fn read<T: DeserializeOwned>(key: &[u8], frame: &[u8]) -> Result<T, CoreError> {
    let frame = codec::open_any(TREE, key, frame)?;
    let wrong_type = |stored, source: ValueError| CoreError::WrongType {
        key: String::from_utf8_lossy(key).into_owned(),
        stored,
        requested: any::type_name::<T>(),
        source,
    };
    match frame.encoding {
        Encoding::Cbor => {
            let stored = value::parse(&frame.body);
            let stored = stored.map_err(|source| CoreError::corrupt(TREE, key, source))?;
            let value = value::read(&stored);
            value.map_err(|e| wrong_type(value::kind(&stored), e))
        }
        // Only the type asked for says what the bytes are; they must be all of one.
        Encoding::Bincode => bincode::decode(&frame.body).map_err(|e| {
            let source = serde::de::Error::custom(e);
            wrong_type("a value of the first implementation", source)
        }),
        found => {
            let expected = Encoding::Cbor;
            let source = FrameError::Encoding { found, expected };
            Err(CoreError::corrupt(TREE, key, source))
        }
    }
}

/// Whether a stored value is one whole item, of whatever type.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn check(key: &[u8], frame: &[u8]) -> Result<(), CoreError> {
    let frame = codec::open_any(TREE, key, frame)?;
    match frame.encoding {
        Encoding::Cbor => {
            let parsed = value::parse(&frame.body).map(drop);
            parsed.map_err(|source| CoreError::corrupt(TREE, key, source))
        }
        Encoding::Bincode => Ok(()),
        found => {
            let expected = Encoding::Cbor;
            let source = FrameError::Encoding { found, expected };
            Err(CoreError::corrupt(TREE, key, source))
        }
    }
}

/// Removes a value; returns whether it was there.
///
/// # Errors
///
/// [`CoreError::Key`] and errors of the index.
pub fn delete(view: &dyn Read, commit: &mut Commit, name: &str) -> Result<bool, CoreError> {
    commit.remove(view, TREE, encode_key(name)?)
}

/// The names of all values, in byte order.
///
/// # Errors
///
/// [`CoreError::Corrupt`] for a stored key that is no name, and errors of the index.
pub fn names(from: &dyn Read) -> Result<Vec<String>, CoreError> {
    names_of(from, TREE)
}
