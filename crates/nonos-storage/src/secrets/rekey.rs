//! Sealing what was stored before there were keys, and sealing everything anew to other keys: the same
//! work, from plain records or from those of the keys before.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use storage_core::trees::audit_log::HeadSealer;
use storage_core::trees::identity;
use storage_core::trees::secrets::{Stored, open};
use storage_core::{Commit, CoreError, Db, Durability, Encoding, Read, TreeId, View, seal_frame};
use storage_crypto::keyring::State;
use storage_crypto::{
    Access, CryptoError, EncryptionKeys, KeyId, Kind, Padding, parse_header, seal, seal_anonymous,
    unseal, verify,
};
use storage_ops::ValueRewriter;

use super::anchor::Seen;
use super::held::{Held, Keys, Sealing};
use super::set::tag;
use super::sums::{self, Changed};
use super::{KEYRING, Secrets, Way, audit, note_purge, put_schema_value};
use crate::error::{NonosError, NonosResult};

/// How far changing the keys is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RekeyProgress {
    /// Records that are sealed anew.
    pub done: u64,
    /// How many there were to be.
    pub total: u64,
}

/// What changing the keys did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RekeyReport {
    /// Records that were sealed anew, this time.
    pub records: u64,
    /// The key before; `None` if they were not sealed.
    pub from: Option<KeyId>,
    /// The key after.
    pub to: KeyId,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Told how far it is; ends the work by `Break`.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(RekeyProgress) -> ControlFlow<()>;

impl Secrets {
    /// The keys that are set, if they are the whole ones.
    fn full(&self, from: &dyn Read) -> NonosResult<Sealing> {
        match self.way(from)? {
            Way::Sealed(sealing) if sealing.keys.active.access() == Access::Full => Ok(sealing),
            Way::Sealed(_) => Err(CryptoError::SecretKeyRequired.into()),
            Way::Plain => Err(CryptoError::KeyRequired { key_id: None }.into()),
        }
    }

    /// Seals everything anew to `new`, which is in use from the first commit on.
    pub(crate) fn rekey(
        &self,
        db: &Db,
        new: EncryptionKeys,
        now_ms: i64,
        watch: Watch<'_>,
    ) -> NonosResult<RekeyReport> {
        if new.access() != Access::Full {
            return Err(CryptoError::SecretKeyRequired.into());
        }
        let _alone = self.alone();
        let new = Arc::new(Keys::new(new));
        let of_this = Arc::clone(&new);
        // Looked at and begun in one turn: nobody else begins in between.
        let ((old, seen, mut guard), _) = db.update(Durability::Durable, |view, commit| {
            let old = self.full(view)?;
            if old.ring.state != State::Active {
                let (from, to) = (old.ring.from(), old.ring.active.id());
                return Err(NonosError::from(CryptoError::RekeyInProgress { from, to }));
            }
            if of_this.active.key_id() == old.keys.active.key_id() {
                return Err(CryptoError::SameKey(of_this.active.key_id()).into());
            }
            old.check_records(view)?;
            let (_, counter) = old.keys.sums.proved(view, &old.keys.active)?;
            let keys = &of_this.active;
            let ring = old.ring.rekeying(keys, now_ms.div_euclid(1000));
            put_schema_value(commit, KEYRING, &ring.encode(keys)?)?;
            let sum = sums::sum_of(&commit.over(view), keys)?;
            of_this
                .sums
                .put(commit, keys, sum, counter.saturating_add(1))?;
            note_purge(view, commit, now_ms)?;
            let sealer = Arc::clone(&of_this);
            commit.set_head_sealer(HeadSealer::new(move |head| tag(head, &sealer.active)));
            let details = format!("{} to {}", old.keys.active.key_id(), keys.key_id());
            audit(view, commit, now_ms, "rekey", Some(details))?;
            // Whoever reads meanwhile sees old keys with the old ring, or new with new.
            let seen = self.seen(&commit.over(view))?;
            let guard = self.held.write().unwrap_or_else(PoisonError::into_inner);
            Ok((old, seen, guard))
        })?;
        new.set_previous(Some(old.keys));
        *guard = Held::Keys(new);
        drop(guard);
        self.anchored(seen.as_ref())?;
        self.finish_rekey(db, now_ms, watch)
    }

    /// The keys before, while they are being changed: what is not sealed anew yet can be read.
    pub(crate) fn set_previous(&self, db: &Db, old: EncryptionKeys) -> NonosResult<()> {
        let sealing = self.full(&db.view())?;
        let got = old.key_id();
        match sealing.ring.from() {
            Some(from) if from == got => {}
            Some(expected) => return Err(CryptoError::WrongKey { expected, got }.into()),
            None => {
                let expected = sealing.ring.active.id();
                return Err(CryptoError::WrongKey { expected, got }.into());
            }
        }
        if old.access() != Access::Full {
            return Err(CryptoError::SecretKeyRequired.into());
        }
        let old = Arc::new(Keys::new(old));
        sealing.keys.set_previous(Some(old));
        Ok(())
    }

    /// Goes on with changing keys after an interruption.
    pub(crate) fn resume_rekey(
        &self,
        db: &Db,
        old: EncryptionKeys,
        now_ms: i64,
        watch: Watch<'_>,
    ) -> NonosResult<RekeyReport> {
        let _alone = self.alone();
        self.set_previous(db, old)?;
        self.finish_rekey(db, now_ms, watch)
    }

    /// Seals what is not under the active keys, and says when nothing is left.
    pub(super) fn finish_rekey(
        &self,
        db: &Db,
        now_ms: i64,
        watch: Watch<'_>,
    ) -> NonosResult<RekeyReport> {
        let started = Instant::now();
        let Way::Sealed(sealing) = self.way(&db.view())? else {
            return Err(CryptoError::KeyringMissing.into());
        };
        let (from, to) = (sealing.ring.from(), sealing.ring.active.id());
        let total = sealing.remaining(&db.view())?;
        let mut rewriter = Rewriter {
            secrets: self,
            sealing: &sealing,
            seen: None,
            pending: Vec::new(),
            counter: still(db, |view| {
                let (_, counter) = sealing.keys.sums.proved(view, &sealing.keys.active)?;
                Ok(counter)
            })?,
            total,
            watch,
        };
        let trees = [TreeId::Secrets, TreeId::Identity];
        let records = storage_ops::rewrite_values(db, &trees, &mut rewriter)?;
        let (seen, _) = db.update(Durability::Durable, |view, commit| {
            if sealing.remaining(view)? > 0 {
                // Somebody planted one since: the next call finds it.
                return Err(NonosError::from(CryptoError::PlaintextRecord));
            }
            let keys = &sealing.keys.active;
            let old = view.get(TreeId::Schema, KEYRING)?;
            put_schema_value(commit, KEYRING, &sealing.ring.settled().encode(keys)?)?;
            sealing.changed(view, commit, &[(TreeId::Schema, KEYRING.to_vec(), old)])?;
            if records > 0 {
                // Also if somebody purged in between, and never what was noted at the beginning.
                note_purge(view, commit, now_ms.saturating_add(1))?;
            }
            let operation = if from.is_some() {
                "rekey_finished"
            } else {
                "enrol_finished"
            };
            audit(
                view,
                commit,
                now_ms,
                operation,
                Some(format!("{records} records")),
            )?;
            self.seen(&commit.over(view))
        })?;
        // They are wiped with the last read that needs them.
        sealing.keys.set_previous(None);
        self.anchored(seen.as_ref())?;
        Ok(RekeyReport {
            records,
            from,
            to,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Vouches for a secret that somebody with the public key stored.
    pub(crate) fn adopt(
        &self,
        (view, commit): (&View<'_>, &mut Commit),
        now_ms: i64,
        name: &str,
    ) -> NonosResult<()> {
        use storage_core::trees::secrets;
        let key = secrets::key(name)?;
        let Way::Sealed(sealing) = self.way(view)? else {
            return Err(CryptoError::KeyRequired { key_id: None }.into());
        };
        let tree = TreeId::Secrets;
        let Some(old) = view.get(tree, &key)? else {
            return Err(CoreError::NoSuch {
                tree: "secret",
                name: name.to_owned(),
            }
            .into());
        };
        let Stored::Sealed(record) = open(tree, &key, &old)? else {
            return Err(CryptoError::PlaintextRecord.into());
        };
        let header = parse_header(&record)?;
        if header.kind == Kind::Tagged {
            return Ok(());
        }
        let context = sealing.context(tree, &key);
        let data = unseal(sealing.keys_of(header.key_id)?, &context, &record)?;
        let sealed = sealing.seal_tagged(view, tree, &key, &data)?;
        let sealed = Stored::Sealed(sealed.as_slice());
        secrets::store(view, commit, now_ms, ("adopt", name), sealed)?;
        sealing.changed(view, commit, &[(tree, key, Some(old))])
    }
}

impl Sealing {
    /// Whether every record is one that these keys open, and the manifest says so.
    fn check_records(&self, from: &dyn Read) -> NonosResult<()> {
        let keys = &self.keys.active;
        self.keys.sums.proved(from, keys)?;
        sums::each(from, &mut |tree, key, frame| {
            if is_id(tree, key) {
                return Ok(());
            }
            let Stored::Sealed(record) = open(tree, key, frame)? else {
                return Err(CryptoError::PlaintextRecord.into());
            };
            let context = self.context(tree, key);
            let checked = match parse_header(&record)?.kind {
                Kind::Tagged => verify(keys, &context, &record).map(drop),
                _ => unseal(keys, &context, &record).map(drop),
            };
            if let Err(error) = &checked {
                let key = String::from_utf8_lossy(key);
                tracing::error!(tree = tree.name(), %key, %error, "the keys are not changed");
            }
            Ok(checked?)
        })
    }

    /// How many records are not under the active keys.
    fn remaining(&self, from: &dyn Read) -> NonosResult<u64> {
        let mut remaining = 0;
        sums::each(from, &mut |tree, key, frame| {
            let is_left = match open(tree, key, frame)? {
                Stored::Plain(_) => !is_id(tree, key),
                Stored::Sealed(record) => {
                    parse_header(&record)?.key_id != self.keys.active.key_id()
                }
            };
            remaining += u64::from(is_left);
            Ok(())
        })?;
        Ok(remaining)
    }
}

/// Looks at records and manifest while nobody writes: between two reads of a view somebody may.
fn still<R>(db: &Db, look: impl FnOnce(&View<'_>) -> NonosResult<R>) -> NonosResult<R> {
    db.update(Durability::Buffered, |view, _nothing| look(view))
        .map(|(found, _)| found)
}

fn is_id(tree: TreeId, key: &[u8]) -> bool {
    (tree, key) == (TreeId::Identity, identity::NODE_ID)
}

struct Rewriter<'a> {
    secrets: &'a Secrets,
    sealing: &'a Sealing,
    /// What the last commit says to the anchor.
    seen: Option<Seen>,
    /// Of the next commit.
    pending: Vec<(TreeId, Vec<u8>)>,
    counter: u64,
    total: u64,
    watch: Watch<'a>,
}

impl ValueRewriter for Rewriter<'_> {
    type Error = NonosError;

    fn rewrite(&mut self, tree: TreeId, key: &[u8], frame: &[u8]) -> NonosResult<Option<Vec<u8>>> {
        if is_id(tree, key) {
            return Ok(None);
        }
        let active = &self.sealing.keys.active;
        let context = self.sealing.context(tree, key);
        let padding = Padding::default();
        let sealed = match open(tree, key, frame)? {
            Stored::Plain(value) if self.sealing.is_enrolling() => {
                let value = storage_crypto::Zeroizing::new(value);
                seal(
                    active,
                    &context,
                    self.counter.saturating_add(1),
                    padding,
                    &value,
                )?
            }
            Stored::Plain(_) => return Err(CryptoError::PlaintextRecord.into()),
            Stored::Sealed(record) => {
                let header = parse_header(&record)?;
                if header.key_id == active.key_id() {
                    return Ok(None);
                }
                let old = self.sealing.keys_of(header.key_id)?;
                let value = unseal(old, &context, &record)?;
                match header.kind {
                    Kind::Anonymous => seal_anonymous(active, &context, padding, &value)?,
                    _ => seal(active, &context, header.version, padding, &value)?,
                }
            }
        };
        self.pending.push((tree, key.to_vec()));
        let version = tree.record_version();
        Ok(Some(seal_frame(
            tree,
            key,
            Encoding::Sealed,
            version,
            &sealed,
            false,
        )?))
    }

    fn commit(&mut self, view: &View<'_>, commit: &mut Commit) -> NonosResult<()> {
        let mut changes: Vec<Changed> = Vec::new();
        for (tree, key) in self.pending.drain(..) {
            let old = view.get(tree, &key)?;
            if commit.over(view).get(tree, &key)? != old {
                changes.push((tree, key, old));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.sealing.changed(view, commit, &changes)?;
        self.seen = self.secrets.seen(&commit.over(view))?;
        Ok(())
    }

    fn committed(&mut self, done: u64) -> NonosResult<()> {
        self.secrets.anchored(self.seen.as_ref())?;
        let total = self.total;
        match (self.watch)(RekeyProgress { done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CoreError::Cancelled.into()),
        }
    }
}
