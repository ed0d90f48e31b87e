//! `secrets`: bytes by name, as they are given. Stores and deletes are audited by name, never by
//! value.

use crate::codec;
use crate::commit::Commit;
use crate::error::CoreError;
use crate::frame::{self, Encoding};
use crate::key::{Key, TextKey};
use crate::tree::TreeId;
use crate::trees::audit_log;
use crate::view::{Order, Read};

fn encode_key(name: &str) -> Result<Vec<u8>, CoreError> {
    TextKey::encode(name).map_err(|source| CoreError::Key {
        tree: TreeId::Secrets,
        source,
    })
}

/// Puts a secret, in place of an earlier one, and its audit entry. Never compressed: the length
/// would tell about the content.
///
/// # Errors
///
/// [`CoreError::Key`] for a bad name, [`CoreError::TooLarge`] over 64 KiB.
pub fn store(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    name: &str,
    value: &[u8],
) -> Result<(), CoreError> {
    let tree = TreeId::Secrets;
    let key = encode_key(name)?;
    let frame = frame::seal(
        tree,
        &key,
        Encoding::Raw,
        tree.record_version(),
        value,
        false,
    )?;
    audit_log::append(view, commit, now_ms, tree, "store", Some(name.to_owned()))?;
    commit.put(tree, key, frame);
    Ok(())
}

/// The secret of this name.
///
/// # Errors
///
/// [`CoreError::Key`], [`CoreError::Corrupt`] and errors of the index.
pub fn get(from: &dyn Read, name: &str) -> Result<Option<Vec<u8>>, CoreError> {
    let key = encode_key(name)?;
    let open = |frame: Vec<u8>| codec::open(TreeId::Secrets, &key, &frame, Encoding::Raw);
    from.get(TreeId::Secrets, &key)?.map(open).transpose()
}

/// Removes a secret; returns whether it was there. Only a removal is audited.
///
/// # Errors
///
/// [`CoreError::Key`] and errors of the index.
pub fn delete(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    name: &str,
) -> Result<bool, CoreError> {
    let key = encode_key(name)?;
    let existed = commit.over(view).get(TreeId::Secrets, &key)?.is_some();
    if existed {
        let details = Some(name.to_owned());
        audit_log::append(view, commit, now_ms, TreeId::Secrets, "delete", details)?;
        commit.delete(TreeId::Secrets, key);
    }
    Ok(existed)
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
