//! Setting keys: they are compared with the keyring, or begin one.

use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use storage_core::trees::audit_log::{self, ChainReport, Head, HeadSealer, SealedHead};
use storage_core::{CoreError, Db, Durability, Read};
use storage_crypto::keyring::{Keyring, State};
use storage_crypto::{
    Access, CryptoError, EncryptionKeys, KeyId, Kind, StoreId, head, manifest, parse_header,
};

use super::anchor::{Anchor, Seen};
use super::held::{Held, Keys, opened};
use super::{KEYRING, MANIFEST, Secrets, audit, note_purge, put_schema_value, schema_value, sums};
use crate::error::{NonosError, NonosResult};

/// No store was changed so often.
const MAX_BELIEVED: u64 = 1 << 48;

impl Secrets {
    /// Keeps an anchor, if there is to be one.
    pub(crate) fn with_anchor(self, anchor: Option<PathBuf>) -> Self {
        Self {
            anchor: anchor.map(Anchor::new),
            ..self
        }
    }

    /// Looks at the anchor before the database is opened for reading only.
    pub(crate) fn looked(self) -> Self {
        if let Some(anchor) = &self.anchor {
            anchor.know(anchor.look());
        }
        self
    }

    /// Goes on to the state that a writer has now, and proves that one as well. What is wrong with it latches.
    pub(crate) fn refresh(&self, db: &Db) -> NonosResult<u64> {
        if !db.is_read_only() {
            return Ok(db.refresh()?);
        }
        let _alone = self.alone();
        let known = self.anchor.as_ref().map(Anchor::look);
        let number = db.refresh()?;
        if let (Some(anchor), Some(known)) = (&self.anchor, known) {
            anchor.know(known);
        }
        let keys = match &*self.held.read().unwrap_or_else(PoisonError::into_inner) {
            Held::Keys(keys) => Arc::clone(keys),
            Held::Nothing | Held::Refused(_) => return Ok(number),
        };
        let view = db.view();
        let proved = schema_value(&view, KEYRING).and_then(|ring| {
            let ring = ring.ok_or(CryptoError::KeyringMissing)?;
            self.check(&view, &ring, &keys)
        });
        match proved {
            Err(error @ NonosError::Encryption(_)) => {
                self.refuse(&error, keys.active.key_id());
                Ok(number)
            }
            // Of a file that cannot be read: the next call may prove it.
            proved => proved.map(|_ring| number),
        }
    }

    /// Lets the keys that are set vouch for the audit log.
    pub(crate) fn vouch_for(mut self, db: &Db) -> Self {
        self.store_id = StoreId(db.store_id());
        let held = Arc::clone(&self.held);
        db.set_head_sealer(HeadSealer::new(move |head| {
            match &*held.read().unwrap_or_else(PoisonError::into_inner) {
                Held::Keys(keys) => tag(head, &keys.active),
                Held::Nothing | Held::Refused(_) => None,
            }
        }));
        self
    }

    /// Compares the keys with the keyring and holds them; without a keyring, begins one and seals what
    /// is there. An error latches: until the right keys are set, every call on secrets returns it.
    pub(crate) fn set(&self, db: &Db, keys: EncryptionKeys, now_ms: i64) -> NonosResult<()> {
        let _alone = self.alone();
        let key_id = keys.key_id();
        let done = self.try_set(db, Arc::new(Keys::new(keys)), now_ms);
        if let Err(error) = &done {
            self.refuse(error, key_id);
            let is_wrong = matches!(error, NonosError::Encryption(CryptoError::WrongKey { .. }));
            if is_wrong && !db.is_read_only() {
                let told = db.update(Durability::Durable, |view, commit| {
                    audit(view, commit, now_ms, "wrong_key", Some(key_id.to_string()))
                });
                if let Err(error) = told {
                    tracing::warn!(%error, "the wrong key is not in the audit log");
                }
            }
        }
        done
    }

    /// Returns this from every call on secrets.
    fn refuse(&self, error: &NonosError, key_id: KeyId) {
        let error = match error {
            NonosError::Encryption(error) => error.clone(),
            // Nobody knows whether they are right.
            _ => CryptoError::KeyRequired {
                key_id: Some(key_id),
            },
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held::Refused(error);
    }

    fn try_set(&self, db: &Db, keys: Arc<Keys>, now_ms: i64) -> NonosResult<()> {
        if db.is_read_only() {
            let view = db.view();
            let ring = schema_value(&view, KEYRING)?;
            let Some(ring) = ring else {
                return Err(missing(&view)?.unwrap_or(CoreError::ReadOnly.into()));
            };
            self.check(&view, &ring, &keys)?;
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held::Keys(keys);
            return Ok(());
        }
        let of_this = Arc::clone(&keys);
        let ((ring, seen, mut guard), _) = db.update(Durability::Durable, |view, commit| {
            let sealer = Arc::clone(&of_this);
            commit.set_head_sealer(HeadSealer::new(move |head| tag(head, &sealer.active)));
            let ring = match schema_value(view, KEYRING)? {
                Some(bytes) => {
                    let ring = self.check(view, &bytes, &of_this)?;
                    let head = audit_log::head(view)?;
                    let is_public = of_this.active.access() == Access::Public;
                    if !is_public && head.is_some_and(|head| !head.is_sealed()) {
                        audit_log::seal_head(view, commit)?;
                    }
                    ring
                }
                None => self.enrol((view, commit), &of_this, now_ms)?,
            };
            let seen = match of_this.active.access() {
                Access::Public => None,
                _ => Seen::of(&commit.over(view), self.store_id)?,
            };
            let guard = self.held.write().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, NonosError>((ring, seen, guard))
        })?;
        *guard = Held::Keys(keys);
        drop(guard);
        self.anchored(seen.as_ref())?;
        if matches!(ring.state, State::Rekeying { from: None, .. }) {
            self.finish_rekey(db, now_ms, &mut |_| std::ops::ControlFlow::Continue(()))?;
        }
        Ok(())
    }

    /// Everything that these keys can prove of the database.
    fn check(&self, from: &dyn Read, ring: &[u8], keys: &Keys) -> NonosResult<Keyring> {
        let ring = opened(ring, &keys.active, self.store_id)?;
        if keys.active.access() != Access::Public {
            keys.sums.proved(from, &keys.active)?;
            let head = audit_log::head(from)?.ok_or(CryptoError::Unauthenticated)?;
            let sealed = head.sealed.ok_or(CryptoError::Unauthenticated)?;
            has_tag(&sealed, &keys.active)?;
            // What came since without keys is vouched for next: it must not be another past.
            let follows = head.is_sealed() || audit_log::follows_its_seal(from, &head)?;
            if head.is_adopting() || !follows {
                return Err(CryptoError::Unauthenticated.into());
            }
        }
        if let Some(anchor) = &self.anchor {
            anchor.warn_if_missing()?;
            anchor.check(from, self.store_id)?;
        }
        Ok(ring)
    }

    /// Checks the tag of the audit log's head, where keys are held that can.
    pub(crate) fn check_head(&self, from: &dyn Read, report: &mut ChainReport) -> NonosResult<()> {
        // Head and keys are exchanged together.
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        if let Held::Keys(keys) = &*held
            && keys.active.access() != Access::Public
        {
            let newest = match audit_log::head(from) {
                Err(CoreError::Corrupt { .. }) => None,
                found => found?,
            };
            let sealed = newest.and_then(|head| head.sealed);
            report.note_tag(sealed.is_some_and(|sealed| has_tag(&sealed, &keys.active).is_ok()));
        }
        Ok(())
    }

    /// Begins a keyring, in the commit.
    fn enrol(
        &self,
        (view, commit): (&dyn Read, &mut storage_core::Commit),
        keys: &Keys,
        now_ms: i64,
    ) -> NonosResult<Keyring> {
        if let Some(error) = missing(view)? {
            return Err(error);
        }
        if let Some(anchor) = &self.anchor {
            anchor.check(view, self.store_id)?;
        }
        let now = now_ms.div_euclid(1000);
        let mut ring = Keyring::first(self.store_id, &keys.active, now);
        if sums::any_plain(view)? {
            // All of them can be sealed, or none is.
            note_purge(view, commit, now_ms)?;
        } else {
            ring = ring.settled();
        }
        put_schema_value(commit, KEYRING, &ring.encode(&keys.active)?)?;
        let sum = sums::sum_of(&commit.over(view), &keys.active)?;
        keys.sums.put(commit, &keys.active, sum, 1)?;
        let details = Some(keys.active.key_id().to_string());
        audit(view, commit, now_ms, "enrol", details)?;
        Ok(ring)
    }

    /// What a commit in the making says to the anchor, if there is one.
    pub(crate) fn seen(&self, from: &dyn Read) -> NonosResult<Option<Seen>> {
        // Only who can prove the manifest believes its counter.
        match (&self.anchor, self.proves()) {
            (Some(_), true) => Seen::of(from, self.store_id),
            _ => Ok(None),
        }
    }

    /// Setting and changing keys take turns.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proves(&self) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*held, Held::Keys(keys) if keys.active.access() != Access::Public)
    }

    /// Writes to the anchor what a commit said, which is durable by now. Later ones may not be.
    pub(crate) fn anchored(&self, seen: Option<&Seen>) -> NonosResult<()> {
        match (&self.anchor, seen) {
            (Some(anchor), Some(seen)) => anchor.advance(seen),
            _ => Ok(()),
        }
    }

    /// Takes the database as it is, although the anchor says that there was a newer state.
    pub(crate) fn accept_rollback(&self, db: &Db, now_ms: i64) -> NonosResult<()> {
        if db.is_read_only() {
            return Err(CoreError::ReadOnly.into());
        }
        let anchor = self.anchor.as_ref().ok_or_else(|| CoreError::NoSuch {
            tree: "setting",
            name: "anchor".to_owned(),
        })?;
        let ((seen, mut held), _) = db.update(Durability::Durable, |view, commit| {
            audit(view, commit, now_ms, "accept_rollback", None)?;
            let seen = Seen::of(&commit.over(view), self.store_id)?;
            // Until the anchor is written nobody changes a secret.
            let held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, NonosError>((seen, held))
        })?;
        anchor.reset(seen.as_ref())?;
        if matches!(*held, Held::Refused(CryptoError::RolledBack { .. })) {
            *held = Held::Nothing;
        }
        Ok(())
    }

    /// The highest counter that anything says was in use. Nothing proves them, so absurd ones are not
    /// believed.
    fn highest_counter(&self, from: &dyn Read) -> NonosResult<u64> {
        let stored = schema_value(from, MANIFEST)?;
        let stored = stored.and_then(|stored| manifest::counter(&stored).ok());
        let anchored = match &self.anchor {
            Some(anchor) => Some(anchor.counter(self.store_id)?),
            None => None,
        };
        let found = [stored, anchored].into_iter().flatten();
        let highest = found.filter(|counter| *counter < MAX_BELIEVED).max();
        Ok(highest.unwrap_or(0))
    }

    /// Makes keyring and manifest anew from the records, all of which these keys must vouch for.
    pub(crate) fn repair(&self, db: &Db, keys: EncryptionKeys, now_ms: i64) -> NonosResult<u64> {
        let _alone = self.alone();
        let keys = Arc::new(Keys::new(keys));
        let store_id = self.store_id;
        let of_this = Arc::clone(&keys);
        let ((counter, seen, mut guard), _) = db.update(Durability::Durable, |view, commit| {
            let sealer = Arc::clone(&of_this);
            commit.set_head_sealer(HeadSealer::new(move |head| tag(head, &sealer.active)));
            if let Some(ring) = schema_value(view, KEYRING)?
                && let Ok(ring) = Keyring::parse(&ring)
                && super::any_sealed(view)?
            {
                ring.expect(&of_this.active)?;
            }
            let mut counter = self.highest_counter(view)?;
            sums::each(view, &mut |tree, key, frame| {
                use storage_core::trees::identity::NODE_ID;
                use storage_core::trees::secrets::{Stored, open};
                match open(tree, key, frame)? {
                    Stored::Plain(_) if key == NODE_ID && tree.name() == "identity" => {}
                    Stored::Plain(_) => return Err(CryptoError::PlaintextRecord.into()),
                    Stored::Sealed(record) => {
                        let context = storage_crypto::SecretContext {
                            store: store_id,
                            tree: tree.name(),
                            key,
                        };
                        let header = parse_header(&record)?;
                        let is_ours = header.key_id == of_this.active.key_id();
                        if header.kind == Kind::Anonymous && is_ours {
                            // Nobody vouched for it before, and nobody does now.
                            return Ok(());
                        }
                        storage_crypto::verify(&of_this.active, &context, &record)?;
                        counter = counter.max(header.version);
                    }
                }
                Ok(())
            })?;
            // One more than anything that was written or anchored before.
            counter = counter.saturating_add(1);
            let now = now_ms.div_euclid(1000);
            let ring = Keyring::first(store_id, &of_this.active, now).settled();
            put_schema_value(commit, KEYRING, &ring.encode(&of_this.active)?)?;
            let sum = sums::sum_of(&commit.over(view), &of_this.active)?;
            of_this.sums.put(commit, &of_this.active, sum, counter)?;
            let details = Some(of_this.active.key_id().to_string());
            audit(view, commit, now_ms, "repair_keyring", details)?;
            let seen = Seen::of(&commit.over(view), store_id)?;
            let guard = self.held.write().unwrap_or_else(PoisonError::into_inner);
            Ok::<_, NonosError>((counter, seen, guard))
        })?;
        *guard = Held::Keys(keys);
        // Until the anchor is written nobody changes a secret.
        if let Some(anchor) = &self.anchor {
            anchor.reset(seen.as_ref())?;
        }
        Ok(counter)
    }
}

/// Anything that a store has once it was sealed, but no keyring: nobody knows to which key it was, and none
/// is begun over it.
fn missing(from: &dyn Read) -> NonosResult<Option<NonosError>> {
    let was_sealed = schema_value(from, MANIFEST)?.is_some()
        || audit_log::head(from)?.is_some_and(|head| head.sealed.is_some())
        || super::any_sealed(from)?;
    Ok(was_sealed.then(|| CryptoError::KeyringMissing.into()))
}

/// Whether a head was vouched for with these keys.
fn has_tag(sealed: &SealedHead, keys: &EncryptionKeys) -> Result<(), CryptoError> {
    let newest = (sealed.len.saturating_sub(1), &sealed.hash);
    let oldest = (sealed.first_seq, &sealed.before);
    head::check(keys, newest, oldest, &sealed.tag)
}

/// The tag of a head under these keys.
pub(super) fn tag(head: &Head, keys: &EncryptionKeys) -> Option<[u8; 32]> {
    let newest = (head.len.checked_sub(1)?, &head.hash);
    head::tag(keys, newest, (head.first_seq, &head.before)).ok()
}
