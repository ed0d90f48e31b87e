//! `secrets`: bytes by name, sealed by who has the keys or as they are given. Changes are audited by
//! name, never by value.

use std::fmt;

use crate::codec;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::{self, Encoding, FrameError};
use crate::key::{Key, TextKey};
use crate::tree::TreeId;
use crate::trees::audit_log;
use crate::view::{Order, Read};

/// The longest secret, in bytes as the caller gives it: 64 KiB.
pub const MAX_SECRET_LEN: usize = 64 * 1024;

/// Bytes of a sensitive record.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a record is sealed, or it is not")]
pub enum Stored<T> {
    /// As they were given.
    Plain(T),
    /// Sealed.
    Sealed(T),
}

/// Says how it is kept, never what it is.
impl<T> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Sealed(_) => "Sealed(..)",
        })
    }
}

impl<T: AsRef<[u8]>> Stored<T> {
    /// The bytes, sealed or not.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) | Self::Sealed(bytes) => bytes.as_ref(),
        }
    }

    /// The framed value. Never compressed: the length would tell about the content.
    pub(crate) fn frame(&self, tree: TreeId, key: &[u8]) -> Result<Vec<u8>, CoreError> {
        let encoding = match self {
            Self::Plain(_) => Encoding::Raw,
            Self::Sealed(_) => Encoding::Sealed,
        };
        let version = tree.record_version();
        frame::seal(tree, key, encoding, version, self.bytes(), false)
    }
}

/// What a frame of a sensitive record holds.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn open(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<Stored<Vec<u8>>, CoreError> {
    let frame = codec::open_any(tree, key, frame)?;
    match frame.encoding {
        Encoding::Raw => Ok(Stored::Plain(frame.body.into_owned())),
        Encoding::Sealed => Ok(Stored::Sealed(frame.body.into_owned())),
        found => {
            let expected = Encoding::Sealed;
            Err(CoreError::corrupt(
                tree,
                key,
                FrameError::Encoding { found, expected },
            ))
        }
    }
}

/// The key of a secret.
///
/// # Errors
///
/// [`CoreError::Key`] for a bad name.
pub fn key(name: &str) -> Result<Vec<u8>, CoreError> {
    let key = TextKey::encode(name).map_err(|source| CoreError::Key {
        tree: TreeId::Secrets,
        source,
    })?;
    Ok(key.into_owned())
}

/// Puts a secret, in place of an earlier one, and the audit entry of `operation`, which says so if it is
/// not sealed.
///
/// # Errors
///
/// [`CoreError::Key`] for a bad name, [`CoreError::TooLarge`] over 64 KiB.
pub fn store(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    (operation, name): (&str, &str),
    value: Stored<&[u8]>,
) -> Result<(), CoreError> {
    let tree = TreeId::Secrets;
    let key = key(name)?;
    let mut details = name.to_owned();
    if let Stored::Plain(value) = value {
        check_len(value)?;
        details.push_str(" (plaintext)");
    }
    let frame = value.frame(tree, &key)?;
    audit_log::append(view, commit, now_ms, tree, operation, Some(details))?;
    commit.put(tree, key, frame);
    Ok(())
}

/// Whether a secret of the caller's is one that is taken.
///
/// # Errors
///
/// [`CoreError::TooLarge`] over 64 KiB.
pub fn check_len(value: &[u8]) -> Result<(), CoreError> {
    let (tree, size, max) = (TreeId::Secrets, value.len(), MAX_SECRET_LEN);
    if size > max {
        return Err(CoreError::TooLarge { tree, size, max });
    }
    Ok(())
}

/// The secret of this name.
///
/// # Errors
///
/// [`CoreError::Key`], [`CoreError::Corrupt`] and errors of the index.
pub fn get(from: &dyn Read, name: &str) -> Result<Option<Stored<Vec<u8>>>, CoreError> {
    let key = key(name)?;
    let frame = from.get(TreeId::Secrets, &key)?;
    let secret = frame.map(|frame| open(TreeId::Secrets, &key, &frame));
    secret.transpose()
}

/// Removes a secret that is there, with its audit entry.
///
/// # Errors
///
/// [`CoreError::Key`] and errors of the index.
pub fn delete(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    name: &str,
) -> Result<(), CoreError> {
    let key = key(name)?;
    let details = Some(name.to_owned());
    audit_log::append(view, commit, now_ms, TreeId::Secrets, "delete", details)?;
    commit.delete(TreeId::Secrets, key);
    Ok(())
}

/// The names of all secrets, in byte order.
///
/// # Errors
///
/// [`CoreError::Corrupt`] for a stored key that is no name, and errors of the index.
pub fn names(from: &dyn Read) -> Result<Vec<String>, CoreError> {
    names_of(from, TreeId::Secrets)
}

/// The keys of a tree of names, in byte order.
pub(crate) fn names_of(from: &dyn Read, tree: TreeId) -> Result<Vec<String>, CoreError> {
    let mut names = Vec::new();
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    from.scan(tree, &everything, Order::Ascending, &mut |key, _| {
        let name = TextKey::decode(key);
        let TextKey(name) = name.map_err(|source| CoreError::corrupt(tree, key, source))?;
        names.push(name);
        Ok(true)
    })?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_record_or_its_frame_shows_its_bytes() -> Result<(), CoreError> {
        let value = b"correct horse".to_vec();
        let stored = Stored::Plain(value.clone());
        assert_eq!(format!("{stored:?}"), "Plain(..)");
        let framed = stored.frame(TreeId::Secrets, b"a")?;
        let frame = frame::open(TreeId::Secrets, b"a", &framed).ok();
        let text = format!("{frame:?}");
        let (bytes, end) = (format!("{value:?}"), "body: 13 bytes");
        assert!(text.contains(end) && !text.contains(&bytes), "{text}");
        Ok(())
    }
}
