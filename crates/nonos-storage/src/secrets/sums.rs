//! The manifest of a database: kept as a sum in memory, proved against what is stored.

use std::sync::{Mutex, PoisonError};

use storage_core::trees::secrets::{Stored, open};
use storage_core::trees::{identity, secrets};
use storage_core::{Commit, KeyRange, Order, Read, TreeId};
use storage_crypto::manifest::{self, Sum};
use storage_crypto::{CryptoError, EncryptionKeys, Kind, MAX_SECRET_LEN, parse_header};

use crate::error::NonosResult;
use crate::secrets::{KEYRING, MANIFEST, put_schema_value, schema_value};

pub(super) const EVERYTHING: KeyRange = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);

/// The sum of the manifest that was seen last: it is only believed of a manifest of the same bytes.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<Option<(Vec<u8>, Sum)>>);

/// A tree, a key, and what was there before.
pub(super) type Changed = (TreeId, Vec<u8>, Option<Vec<u8>>);

impl Sums {
    /// The sum that the stored manifest proves, and its counter.
    pub(super) fn proved(&self, from: &dyn Read, keys: &EncryptionKeys) -> NonosResult<(Sum, u64)> {
        let stored = schema_value(from, MANIFEST)?.ok_or(CryptoError::ManifestMismatch)?;
        let counter = manifest::counter(&stored)?;
        let seen = self.0.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, sum)) = &*seen
            && *bytes == stored
        {
            return Ok((*sum, counter));
        }
        let sum = sum_of(from, keys)?;
        sum.check(keys, &stored)?;
        *seen = Some((stored, sum));
        Ok((sum, counter))
    }

    /// Puts the manifest of `sum` after `counter` writes.
    pub(super) fn put(
        &self,
        commit: &mut Commit,
        keys: &EncryptionKeys,
        sum: Sum,
        counter: u64,
    ) -> NonosResult<()> {
        let sealed = sum.seal(keys, counter)?;
        put_schema_value(commit, MANIFEST, &sealed)?;
        let seen = self.0.lock();
        *seen.unwrap_or_else(PoisonError::into_inner) = Some((sealed.to_vec(), sum));
        Ok(())
    }

    /// Puts the manifest that follows from changes that the commit has.
    pub(super) fn changed(
        &self,
        (view, commit): (&dyn Read, &mut Commit),
        keys: &EncryptionKeys,
        changes: &[Changed],
    ) -> NonosResult<()> {
        let (mut sum, counter) = self.proved_before(view, commit, keys, changes)?;
        for (tree, key, old) in changes {
            if let Some(old) = counted(*tree, key, old.as_deref())? {
                sum.remove(keys, tree.name(), key, &old)?;
            }
            let new = commit.over(view).get(*tree, key)?;
            if let Some(new) = counted(*tree, key, new.as_deref())? {
                sum.add(keys, tree.name(), key, &new)?;
            }
        }
        self.put(commit, keys, sum, counter.saturating_add(1))
    }

    /// The sum before the changes, which the commit already has: the one in memory, or that of what is
    /// stored with what was there before in their place.
    fn proved_before(
        &self,
        view: &dyn Read,
        commit: &Commit,
        keys: &EncryptionKeys,
        changes: &[Changed],
    ) -> NonosResult<(Sum, u64)> {
        let over = commit.over(view);
        let stored = schema_value(&over, MANIFEST)?.ok_or(CryptoError::ManifestMismatch)?;
        let counter = manifest::counter(&stored)?;
        {
            let seen = self.0.lock();
            if let Some((bytes, sum)) = &*seen.unwrap_or_else(PoisonError::into_inner)
                && *bytes == stored
            {
                return Ok((*sum, counter));
            }
        }
        let mut sum = sum_of(&over, keys)?;
        for (tree, key, old) in changes {
            let new = over.get(*tree, key)?;
            if let Some(new) = counted(*tree, key, new.as_deref())? {
                sum.remove(keys, tree.name(), key, &new)?;
            }
            if let Some(old) = counted(*tree, key, old.as_deref())? {
                sum.add(keys, tree.name(), key, &old)?;
            }
        }
        sum.check(keys, &stored)?;
        Ok((sum, counter))
    }
}

/// The sum of all records that count.
pub(super) fn sum_of(from: &dyn Read, keys: &EncryptionKeys) -> NonosResult<Sum> {
    let mut sum = Sum::default();
    let mut add = |tree: TreeId, key: &[u8], frame: &[u8]| {
        if let Some(value) = counted(tree, key, Some(frame))? {
            sum.add(keys, tree.name(), key, &value)?;
        }
        Ok(())
    };
    each(from, &mut add)?;
    if let Some(ring) = from.get(TreeId::Schema, KEYRING)? {
        add(TreeId::Schema, KEYRING, &ring)?;
    }
    Ok(sum)
}

/// Shown a tree, a key and a framed value.
pub(super) type Visit<'a> = &'a mut dyn FnMut(TreeId, &[u8], &[u8]) -> NonosResult<()>;

/// Visits every record of `secrets` and `identity`.
pub(super) fn each(from: &dyn Read, visit: Visit<'_>) -> NonosResult<()> {
    for tree in [TreeId::Secrets, TreeId::Identity] {
        let mut failed = Ok(());
        from.scan(tree, &EVERYTHING, Order::Ascending, &mut |key, frame| {
            failed = visit(tree, key, frame);
            Ok(failed.is_ok())
        })?;
        failed?;
    }
    Ok(())
}

/// What a record counts with: a tagged one, the node's id, and the keyring, so that an older one, of the
/// time when plain secrets were sealed, cannot be put back.
fn counted(tree: TreeId, key: &[u8], frame: Option<&[u8]>) -> NonosResult<Option<Vec<u8>>> {
    let Some(frame) = frame else {
        return Ok(None);
    };
    match secrets::open(tree, key, frame)? {
        Stored::Sealed(record) => {
            let is_tagged = parse_header(&record)?.kind == Kind::Tagged;
            Ok(is_tagged.then_some(record))
        }
        Stored::Plain(id) if (tree, key) == (TreeId::Identity, identity::NODE_ID) => Ok(Some(id)),
        Stored::Plain(ring) if (tree, key) == (TreeId::Schema, KEYRING) => Ok(Some(ring)),
        Stored::Plain(_) => Ok(None),
    }
}

/// Whether any secret, or the node's key, is as it was given; an error if one of them is longer than what is
/// sealed.
pub(super) fn any_plain(from: &dyn Read) -> NonosResult<bool> {
    let mut any = false;
    each(from, &mut |tree, key, frame| {
        let is_id = (tree, key) == (TreeId::Identity, identity::NODE_ID);
        if let Stored::Plain(value) = open(tree, key, frame)?
            && !is_id
        {
            any = true;
            let (len, max) = (value.len(), MAX_SECRET_LEN);
            if len > max {
                return Err(CryptoError::TooLarge { len, max }.into());
            }
        }
        Ok(())
    })?;
    Ok(any)
}
