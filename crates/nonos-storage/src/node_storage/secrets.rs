//! Secrets, their keys, and the log of what was done to them.

use storage_core::trees::{audit_log, secrets};
use storage_core::{Commit, Durability, View};

use super::NodeStorage;
use crate::error::NonosResult;
use crate::{ChainReport, clock};

/// # Secrets
impl NodeStorage {
    /// Stores a secret by name, in place of an earlier one, with an audit entry. Durable on return.
    ///
    /// Once keys were set, it is sealed. In [`EncryptionMode::None`](crate::EncryptionMode::None) and
    /// before, it is stored as it is given; a warning in the log says so, and the audit entry.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a name that is empty or over 1 KiB and for a value over 64 KiB;
    /// [`NonosError::Encryption`](crate::NonosError::Encryption): no keys or not the right ones, or the
    /// secrets are not those that were stored last. Nothing was written. `POISONED`. After `IO` and `DISK_FULL` it
    /// is open whether it was stored; where there is an anchor, `IO` may mean that only that was not written.
    pub fn store_secret(&self, key: &str, value: &[u8]) -> NonosResult<()> {
        let now_ms = clock::now_ms();
        self.write_secret(|view, commit| self.secrets.store(view, commit, now_ms, key, value))
    }

    /// The secret of this name; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a bad name, `CORRUPT`, `POISONED` after closing, `IO`;
    /// [`NonosError::Encryption`](crate::NonosError::Encryption): no keys or not the right ones, or the
    /// record is not one that was sealed for this place.
    pub fn load_secret(&self, key: &str) -> NonosResult<Option<Vec<u8>>> {
        let secret = self.done(self.secrets.load(&self.db.view(), key))?;
        Ok(secret.map(|secret| Vec::clone(&secret)))
    }

    /// Removes a secret; returns whether there was one. A removal is audited. Durable on return.
    ///
    /// Its bytes stay in the files of the database until [`purge`](Self::purge).
    ///
    /// # Errors
    ///
    /// As [`store_secret`](Self::store_secret), for the name.
    pub fn delete_secret(&self, key: &str) -> NonosResult<bool> {
        let now_ms = clock::now_ms();
        self.write_secret(|view, commit| self.secrets.delete(view, commit, now_ms, key))
    }

    /// The names of all secrets, in byte order.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED` after closing, `IO`.
    pub fn list_secrets(&self) -> NonosResult<Vec<String>> {
        self.done(secrets::names(&self.db.view()))
    }

    /// Checks that the audit log is the one that was written: no entry changed, removed or moved, none
    /// of the newest cut off. `known` is the number and hash of an entry that were noted before, as
    /// [`ChainReport`] has them. Where keys are set, also that somebody with them vouched for its head.
    ///
    /// # Errors
    ///
    /// `POISONED` after closing, `IO`. What is wrong with the log is in the report.
    pub fn verify_audit_log(&self, known: Option<(u64, [u8; 32])>) -> NonosResult<ChainReport> {
        let (store_id, view) = (self.db.store_id(), self.db.view());
        #[cfg_attr(
            not(feature = "encrypted-storage"),
            expect(unused_mut, reason = "who has no keys adds nothing")
        )]
        let mut report = self.done(audit_log::verify(&view, &store_id, known))?;
        #[cfg(feature = "encrypted-storage")]
        self.done(self.secrets.check_head(&view, &mut report))?;
        Ok(report)
    }

    /// One durable commit of an operation on secrets, and the anchor after it.
    pub(super) fn write_secret<R>(
        &self,
        f: impl FnOnce(&View<'_>, &mut Commit) -> NonosResult<R>,
    ) -> NonosResult<R> {
        self.anchored(Durability::Durable, f)
            .map(|(result, _)| result)
    }

    /// One commit, and the anchor after it if it is durable.
    pub(super) fn anchored<R>(
        &self,
        durability: Durability,
        f: impl FnOnce(&View<'_>, &mut Commit) -> NonosResult<R>,
    ) -> NonosResult<(R, u64)> {
        #[cfg(not(feature = "encrypted-storage"))]
        return self.done(self.db.update(durability, f));
        #[cfg(feature = "encrypted-storage")]
        {
            let written: NonosResult<_> = self.db.update(durability, |view, commit| {
                let result = f(view, commit)?;
                Ok((result, self.secrets.seen(&commit.over(view))?))
            });
            let ((result, seen), number) = self.done(written)?;
            if durability == Durability::Durable {
                self.done(self.secrets.anchored(seen.as_ref()))?;
            }
            Ok((result, number))
        }
    }
}

/// # Keys
#[cfg(feature = "encrypted-storage")]
mod keys {
    use std::ops::ControlFlow;

    use storage_crypto::{CryptoError, EncryptionKeys, Zeroizing};

    use crate::error::NonosResult;
    use crate::secrets::{RekeyProgress, RekeyReport, SecretsStatus};
    use crate::{NodeStorage, clock};

    /// # Keys
    impl NodeStorage {
        /// Uses these keys for secrets and the node's key from now on. They are compared with those
        /// that the store is sealed to; a store that is not sealed yet becomes so, and what was stored
        /// plainly is sealed before this returns.
        ///
        /// ```
        /// # use nonos_storage::{EncryptionKeys, NodeStorage, NonosResult};
        /// # fn main() -> NonosResult<()> {
        /// let storage = NodeStorage::in_memory()?;
        /// storage.set_encryption_keys(EncryptionKeys::generate())?;
        /// storage.store_secret("wallet_key", b"correct horse")?;
        /// assert_eq!(storage.load_secret("wallet_key")?.as_deref(), Some(&b"correct horse"[..]));
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// # Errors
        ///
        /// [`NonosError::Encryption`](crate::NonosError::Encryption): `WrongKey`, `RekeyInProgress`,
        /// `KeyringMissing`, `ManifestMismatch`, `RolledBack`, `Unauthenticated`, `SecretKeyRequired` of
        /// public keys where nothing is sealed yet. Until the right keys are set, every call on secrets
        /// then fails: ignoring the error never stores under a wrong key, or plainly. `READ_ONLY` where
        /// nothing is sealed yet, `POISONED`, `IO`, `DISK_FULL`.
        pub fn set_encryption_keys(&self, keys: EncryptionKeys) -> NonosResult<SecretsStatus> {
            self.done(self.secrets.set(&self.db, keys, clock::now_ms()))?;
            self.secrets_status()
        }

        /// Holds the keys before as well, while keys are being changed, so that what is not sealed anew
        /// yet can be read.
        ///
        /// # Errors
        ///
        /// `WrongKey`, `SecretKeyRequired`, and those of missing keys.
        pub fn set_previous_keys(&self, old: EncryptionKeys) -> NonosResult<()> {
            self.done(self.secrets.set_previous(&self.db, old))
        }

        /// [`load_secret`](Self::load_secret) into memory that is wiped when dropped.
        ///
        /// # Errors
        ///
        /// As there.
        pub fn load_secret_zeroizing(&self, key: &str) -> NonosResult<Option<Zeroizing<Vec<u8>>>> {
            self.done(self.secrets.load(&self.db.view(), key))
        }

        /// [`load_encrypted_key`](Self::load_encrypted_key) into memory that is wiped when dropped.
        ///
        /// # Errors
        ///
        /// As there.
        pub fn load_encrypted_key_zeroizing(&self) -> NonosResult<Option<Zeroizing<Vec<u8>>>> {
            self.done(self.secrets.load_identity(&self.db.view()))
        }

        /// Seals every secret anew to `new`, in commits of 64, beside readers and writers. The new keys
        /// are in use from the first commit on. Files still hold what was sealed to the old keys until
        /// [`purge`](Self::purge).
        ///
        /// # Errors
        ///
        /// Before the first commit: `SameKey`, `SecretKeyRequired` unless both have the secret key,
        /// whatever does not open with the old keys: nothing was written. Later, also by
        /// `CANCELLED`: some records are sealed to the old keys; [`resume_rekey`](Self::resume_rekey)
        /// goes on.
        pub fn rekey(
            &self,
            new: EncryptionKeys,
            progress: &mut dyn FnMut(RekeyProgress) -> ControlFlow<()>,
        ) -> NonosResult<RekeyReport> {
            self.done(self.secrets.rekey(&self.db, new, clock::now_ms(), progress))
        }

        /// Goes on with changing keys after an interruption: the new ones are set, `old` are those
        /// before.
        ///
        /// # Errors
        ///
        /// As [`set_previous_keys`](Self::set_previous_keys) and [`rekey`](Self::rekey).
        pub fn resume_rekey(
            &self,
            old: EncryptionKeys,
            progress: &mut dyn FnMut(RekeyProgress) -> ControlFlow<()>,
        ) -> NonosResult<RekeyReport> {
            let now_ms = clock::now_ms();
            self.done(self.secrets.resume_rekey(&self.db, old, now_ms, progress))
        }

        /// Vouches for a secret that somebody with only the public key stored: until then it is not
        /// loaded. Audited; durable on return.
        ///
        /// # Errors
        ///
        /// `NOT_FOUND`, `SecretKeyRequired`, `Unopenable`, as [`store_secret`](Self::store_secret).
        pub fn adopt_secret(&self, key: &str) -> NonosResult<()> {
            let now_ms = clock::now_ms();
            self.write_secret(|view, commit| self.secrets.adopt((view, commit), now_ms, key))
        }

        /// Secrets in the oldest form of the first implementation, sealed to `old` by `crypto_box` to oneself:
        /// opened, and sealed as any other. Returns the names of those that were, and of those that `old`
        /// does not open, which stay as they are: nobody can tell a plain secret from one of another key.
        ///
        /// # Errors
        ///
        /// As [`load_secret`](Self::load_secret) and [`store_secret`](Self::store_secret): some may be done,
        /// and are among the latter in another call.
        pub fn convert_first_form_secrets(
            &self,
            old: &EncryptionKeys,
        ) -> NonosResult<(Vec<String>, Vec<String>)> {
            let (mut opened, mut others) = (Vec::new(), Vec::new());
            for name in self.list_secrets()? {
                let Some(value) = self.load_secret_zeroizing(&name)? else {
                    continue;
                };
                match storage_crypto::open_first_form(old, &value) {
                    Ok(secret) => {
                        self.store_secret(&name, &secret)?;
                        opened.push(name);
                    }
                    Err(CryptoError::Unopenable) => others.push(name),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((opened, others))
        }

        /// How secrets are kept. Needs no keys.
        ///
        /// # Errors
        ///
        /// `CORRUPT`, `POISONED` after closing, `IO`, and a keyring that is malformed.
        pub fn secrets_status(&self) -> NonosResult<SecretsStatus> {
            self.done(self.secrets.status(&self.db.view()))
        }

        /// Takes the database as it is, although the anchor says that there was a newer state. Audited.
        /// Keys that were refused for it are to be set again.
        ///
        /// # Errors
        ///
        /// `NOT_FOUND` without an anchor, `READ_ONLY`: nothing was written. `POISONED`, `IO`, `DISK_FULL`.
        pub fn accept_rollback(&self) -> NonosResult<()> {
            self.done(self.secrets.accept_rollback(&self.db, clock::now_ms()))
        }

        /// Makes the records of the keys anew from the secrets, if these keys vouch for every one of
        /// them, and uses them. Whether one was removed or put back to an older one cannot be told.
        /// Audited.
        ///
        /// # Errors
        ///
        /// `WrongKey`, `Unopenable`, `Unauthenticated`, `PlaintextRecord`: nothing was written.
        pub fn repair_keyring(&self, keys: EncryptionKeys) -> NonosResult<SecretsStatus> {
            self.done(self.secrets.repair(&self.db, keys, clock::now_ms()))?;
            self.secrets_status()
        }
    }
}
