//! Secrets between the layers: which mode applies, what is sealed before it is stored, what proves that
//! the sealed records are those that were stored.
//!
//! # Invariants
//!
//! - Once there is a keyring, nothing is stored as it is given: without the right keys, nothing at all.
//! - A key is never taken from the database to seal to: it comes from the handle.
//! - Record, manifest, audit entry and its head are in one commit.
//! - After keys were refused, every call on secrets fails until the right ones are set.

use std::sync::{Once, OnceLock};

use storage_core::trees::audit_log;
use storage_core::trees::secrets::{self, Stored};
use storage_core::{Commit, Db, Durability, Encoding, Order, Read, TreeId, open_frame};
use storage_crypto::{CryptoError, EncryptionMode};

use crate::error::{NonosError, NonosResult};

#[cfg(feature = "encrypted-storage")]
mod anchor;
#[cfg(feature = "encrypted-storage")]
mod envelope;
#[cfg(feature = "encrypted-storage")]
mod held;
mod node_identity;
#[cfg(feature = "encrypted-storage")]
mod rekey;
#[cfg(feature = "encrypted-storage")]
mod set;
mod status;
#[cfg(feature = "encrypted-storage")]
mod sums;

#[cfg(feature = "encrypted-storage")]
pub use rekey::{RekeyProgress, RekeyReport};
pub use status::{SecretCounts, SecretsStatus};

/// The keyring's key in the tree `schema`.
pub(crate) const KEYRING: &[u8] = b"__keyring__";
/// The manifest's key, there.
pub(crate) const MANIFEST: &[u8] = b"__secrets_manifest__";
/// The key, there, of what says that files still hold what was sealed since.
pub(crate) const PURGE_NEEDED: &[u8] = b"__purge_needed__";

/// How this handle keeps secrets.
#[derive(Debug)]
pub(crate) struct Secrets {
    #[cfg(feature = "encrypted-storage")]
    mode: EncryptionMode,
    /// Held while keys are set or changed.
    #[cfg(feature = "encrypted-storage")]
    changing: std::sync::Mutex<()>,
    /// Whether a secret that cannot be sealed is refused.
    must_seal: bool,
    warned: Once,
    /// Whether something is sealed where there is no keyring. Looked at once: this handle, the only one
    /// that writes, seals nothing without one.
    is_orphaned: OnceLock<bool>,
    #[cfg(feature = "encrypted-storage")]
    store_id: storage_crypto::StoreId,
    #[cfg(feature = "encrypted-storage")]
    held: std::sync::Arc<std::sync::RwLock<held::Held>>,
    #[cfg(feature = "encrypted-storage")]
    anchor: Option<anchor::Anchor>,
}

/// What is wrong with a record, and in words.
pub(crate) type Fault = (storage_ops::FindingCode, String);

/// Tells what is wrong with a record: shown a tree, a key and a framed value.
pub(crate) type EnvelopeCheck<'a> = Box<dyn Fn(TreeId, &[u8], &[u8]) -> Option<Fault> + Sync + 'a>;

/// Opens a sealed record: shown a tree, a key and the sealed bytes.
pub(crate) type Opener<'a> = Box<dyn Fn(TreeId, &[u8], &[u8]) -> NonosResult<Vec<u8>> + 'a>;

/// What applies to a secret now.
enum Way {
    Plain,
    #[cfg(feature = "encrypted-storage")]
    Sealed(held::Sealing),
}

impl Secrets {
    #[cfg_attr(
        not(feature = "encrypted-storage"),
        expect(unused_variables, reason = "another mode is refused before")
    )]
    pub(crate) fn new(mode: EncryptionMode, must_seal: bool) -> Self {
        Self {
            #[cfg(feature = "encrypted-storage")]
            mode,
            #[cfg(feature = "encrypted-storage")]
            changing: std::sync::Mutex::default(),
            must_seal,
            warned: Once::new(),
            is_orphaned: OnceLock::new(),
            #[cfg(feature = "encrypted-storage")]
            store_id: storage_crypto::StoreId([0; 16]),
            #[cfg(feature = "encrypted-storage")]
            held: std::sync::Arc::default(),
            #[cfg(feature = "encrypted-storage")]
            anchor: None,
        }
    }

    /// Puts a secret into the commit.
    pub(crate) fn store(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        now_ms: i64,
        name: &str,
        value: &[u8],
    ) -> NonosResult<()> {
        secrets::check_len(value)?;
        secrets::key(name)?;
        match self.way(&commit.over(view))? {
            Way::Plain => {
                self.may_be_plain()?;
                let value = Stored::Plain(value);
                Ok(secrets::store(
                    view,
                    commit,
                    now_ms,
                    ("store", name),
                    value,
                )?)
            }
            #[cfg(feature = "encrypted-storage")]
            Way::Sealed(sealing) => {
                let key = secrets::key(name)?;
                let old = commit.over(view).get(TreeId::Secrets, &key)?;
                let sealed = sealing.seal(&commit.over(view), TreeId::Secrets, &key, value)?;
                let sealed = Stored::Sealed(sealed.as_slice());
                secrets::store(view, commit, now_ms, ("store", name), sealed)?;
                sealing.changed(view, commit, &[(TreeId::Secrets, key, old)])
            }
        }
    }

    /// The secret of this name, opened.
    #[cfg(not(feature = "encrypted-storage"))]
    pub(crate) fn load(&self, view: &dyn Read, name: &str) -> NonosResult<Option<Vec<u8>>> {
        secrets::key(name)?;
        let Way::Plain = self.way(view)?;
        match secrets::get(view, name)? {
            Some(Stored::Sealed(_)) => Err(CryptoError::FeatureDisabled.into()),
            Some(Stored::Plain(value)) => Ok(Some(value)),
            None => Ok(None),
        }
    }

    /// The secret of this name, opened.
    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn load(
        &self,
        view: &dyn Read,
        name: &str,
    ) -> NonosResult<Option<storage_crypto::Zeroizing<Vec<u8>>>> {
        let key = secrets::key(name)?;
        let Some((way, stored)) = self.read(view, || secrets::get(view, name))? else {
            return Ok(None);
        };
        held::open(&way, TreeId::Secrets, &key, stored).map(Some)
    }

    /// Removes a secret; whether it was there.
    pub(crate) fn delete(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        now_ms: i64,
        name: &str,
    ) -> NonosResult<bool> {
        let key = secrets::key(name)?;
        let way = self.way(&commit.over(view))?;
        if commit.over(view).get(TreeId::Secrets, &key)?.is_none() {
            return Ok(false);
        }
        match way {
            Way::Plain => secrets::delete(view, commit, now_ms, name)?,
            #[cfg(feature = "encrypted-storage")]
            Way::Sealed(sealing) => {
                let old = commit.over(view).get(TreeId::Secrets, &key)?;
                secrets::delete(view, commit, now_ms, name)?;
                sealing.changed(view, commit, &[(TreeId::Secrets, key, old)])?;
            }
        }
        Ok(true)
    }

    /// Takes every secret out; returns how many.
    pub(crate) fn delete_all(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        now_ms: i64,
    ) -> NonosResult<u64> {
        let mut gone = 0;
        for name in secrets::names(view)? {
            gone += u64::from(self.delete(view, commit, now_ms, &name)?);
        }
        Ok(gone)
    }

    /// Whether the head of the audit log can be vouched for, where it has to be.
    pub(crate) fn vouches(&self, from: &dyn Read) -> NonosResult<()> {
        match self.way(from)? {
            Way::Plain => Ok(()),
            #[cfg(feature = "encrypted-storage")]
            Way::Sealed(sealing) => match sealing.keys.active.access() {
                storage_crypto::Access::Public => Err(CryptoError::SecretKeyRequired.into()),
                _ => Ok(()),
            },
        }
    }

    /// Who opens sealed records. While it lives no keys are set or changed, so that it takes no lock: whoever
    /// changes keys may wait for the scan that calls it.
    pub(crate) fn opener(&self, view: &dyn Read) -> NonosResult<Opener<'_>> {
        #[cfg(feature = "encrypted-storage")]
        let alone = self.alone();
        let way = match self.way(view) {
            // Nothing may be sealed.
            Err(NonosError::Encryption(error)) => Err(error),
            way => Ok(way?),
        };
        Ok(Box::new(move |tree, key, record| {
            let way = way.as_ref().map_err(Clone::clone)?;
            let stored = Stored::Sealed(record.to_vec());
            #[cfg(feature = "encrypted-storage")]
            {
                let _alone = &alone;
                let opened = held::open(way, tree, key, stored)?;
                Ok(Vec::clone(&opened))
            }
            #[cfg(not(feature = "encrypted-storage"))]
            match (way, stored, tree, key) {
                (Way::Plain, ..) => Err(CryptoError::FeatureDisabled.into()),
            }
        }))
    }

    /// Nobody looks at sealed records without the feature.
    #[cfg(not(feature = "encrypted-storage"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the one of the feature looks at the keys"
    )]
    pub(crate) fn envelope(&self, _db: &Db, _deep: bool) -> NonosResult<EnvelopeCheck<'_>> {
        Ok(Box::new(|_, _, _| None))
    }

    /// Notes that no file holds anything of the past, if nothing is `needed` that was not before.
    pub(crate) fn purged(db: &Db, now_ms: i64, needed: Option<&[u8]>) -> NonosResult<()> {
        db.update(Durability::Durable, |view, commit| {
            // What was sealed meanwhile is in the files again, and more of it comes while keys are changed.
            let is_same = schema_value(view, PURGE_NEEDED)?.as_deref() == needed;
            if is_same && !Self::is_rekeying(view)? {
                commit.remove(view, TreeId::Schema, PURGE_NEEDED.to_vec())?;
            }
            audit(view, commit, now_ms, "purge", None)
        })?;
        Ok(())
    }

    /// Whether records are being sealed to other keys.
    #[cfg(feature = "encrypted-storage")]
    fn is_rekeying(from: &dyn Read) -> NonosResult<bool> {
        use storage_crypto::keyring::{Keyring, State};
        let ring = schema_value(from, KEYRING)?;
        let ring = ring.map(|ring| Keyring::parse(&ring)).transpose()?;
        Ok(ring.is_some_and(|ring| ring.state != State::Active))
    }

    #[cfg(not(feature = "encrypted-storage"))]
    #[expect(clippy::unnecessary_wraps, reason = "the one of the feature reads")]
    fn is_rekeying(_from: &dyn Read) -> NonosResult<bool> {
        Ok(false)
    }

    #[cfg(not(feature = "encrypted-storage"))]
    fn way(&self, from: &dyn Read) -> NonosResult<Way> {
        match schema_value(from, KEYRING)? {
            None if !self.is_orphaned(from)? => Ok(Way::Plain),
            _ => Err(CryptoError::FeatureDisabled.into()),
        }
    }

    /// Whether somebody removed the keyring of sealed records: then nothing is stored plainly either.
    fn is_orphaned(&self, from: &dyn Read) -> NonosResult<bool> {
        if let Some(known) = self.is_orphaned.get() {
            return Ok(*known);
        }
        let found = schema_value(from, MANIFEST)?.is_some() || any_sealed(from)?;
        Ok(*self.is_orphaned.get_or_init(|| found))
    }

    fn may_be_plain(&self) -> Result<(), CryptoError> {
        if self.must_seal {
            return Err(CryptoError::KeyRequired { key_id: None });
        }
        self.warned.call_once(|| {
            tracing::warn!("secrets are stored as they are given: no keys are set");
        });
        Ok(())
    }
}

/// Whether any record is sealed.
fn any_sealed(from: &dyn Read) -> NonosResult<bool> {
    let mut any = false;
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    for tree in [TreeId::Secrets, TreeId::Identity] {
        from.scan(tree, &everything, Order::Ascending, &mut |key, frame| {
            any |= matches!(secrets::open(tree, key, frame), Ok(Stored::Sealed(_)));
            Ok(!any)
        })?;
    }
    Ok(any)
}

/// A value of this module's in the tree `schema`.
pub(crate) fn schema_value(from: &dyn Read, key: &[u8]) -> NonosResult<Option<Vec<u8>>> {
    let Some(frame) = from.get(TreeId::Schema, key)? else {
        return Ok(None);
    };
    match open_frame(TreeId::Schema, key, &frame) {
        Ok(frame) if frame.encoding == Encoding::Raw => Ok(Some(frame.body)),
        Ok(_) => Err(CryptoError::Malformed {
            what: "a record of the keys",
        }
        .into()),
        Err(source) => Err(NonosError::from(storage_core::CoreError::corrupt(
            TreeId::Schema,
            key,
            source,
        ))),
    }
}

/// Puts a value of this module's into the tree `schema`.
#[cfg(feature = "encrypted-storage")]
pub(crate) fn put_schema_value(commit: &mut Commit, key: &[u8], body: &[u8]) -> NonosResult<()> {
    let tree = TreeId::Schema;
    let version = tree.record_version();
    let frame = storage_core::seal_frame(tree, key, Encoding::Raw, version, body, false)?;
    commit.put(tree, key.to_vec(), frame);
    Ok(())
}

/// Notes that files hold what is sealed, or sealed anew, since. Always later than what was noted before: a purge
/// that is under way takes back only what it found.
#[cfg(feature = "encrypted-storage")]
pub(crate) fn note_purge(view: &dyn Read, commit: &mut Commit, now_ms: i64) -> NonosResult<()> {
    let old = schema_value(&commit.over(view), PURGE_NEEDED)?;
    let old = old.and_then(|old| Some(i64::from_be_bytes(old.try_into().ok()?)));
    let since = old.map_or(now_ms, |old| now_ms.max(old.saturating_add(1)));
    put_schema_value(commit, PURGE_NEEDED, &since.to_be_bytes())
}

/// An audit entry of this module's.
pub(crate) fn audit(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    operation: &str,
    details: Option<String>,
) -> NonosResult<()> {
    let tree = TreeId::Secrets;
    Ok(audit_log::append(
        view, commit, now_ms, tree, operation, details,
    )?)
}
