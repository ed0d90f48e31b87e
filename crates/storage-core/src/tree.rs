//! The nine trees, and [`Tree`]: one of them with its key and record types.

use std::marker::PhantomData;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::commit::Commit;
use crate::db::Db;
use crate::error::CoreError;
use crate::key::{Key, KeyError};
use crate::pages::Pages;
use crate::view::{Order, Read};

/// One of the nine trees of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TreeId {
    /// The schema version.
    Schema,
    /// The node's id and its encrypted key.
    Identity,
    /// Known peers.
    Peers,
    /// Samples of this node, by time.
    Metrics,
    /// Epoch summaries.
    Epochs,
    /// Configuration values of any type.
    Config,
    /// Reward claims.
    Claims,
    /// Secrets.
    Secrets,
    /// What was done to sensitive records, and when.
    AuditLog,
}

impl TreeId {
    /// Every tree, in the order of [`number`](Self::number).
    pub const ALL: [Self; 9] = [
        Self::Schema,
        Self::Identity,
        Self::Peers,
        Self::Metrics,
        Self::Epochs,
        Self::Config,
        Self::Claims,
        Self::Secrets,
        Self::AuditLog,
    ];

    /// The tree's name, as the index and the operator's commands spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Identity => "identity",
            Self::Peers => "peers",
            Self::Metrics => "metrics",
            Self::Epochs => "epochs",
            Self::Config => "config",
            Self::Claims => "claims",
            Self::Secrets => "secrets",
            Self::AuditLog => "audit_log",
        }
    }

    /// The tree's number in every format that names a tree by one byte. Never reassigned.
    pub const fn number(self) -> u8 {
        match self {
            Self::Schema => 0,
            Self::Identity => 1,
            Self::Peers => 2,
            Self::Metrics => 3,
            Self::Epochs => 4,
            Self::Config => 5,
            Self::Claims => 6,
            Self::Secrets => 7,
            Self::AuditLog => 8,
        }
    }

    /// The tree of this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Schema),
            1 => Some(Self::Identity),
            2 => Some(Self::Peers),
            3 => Some(Self::Metrics),
            4 => Some(Self::Epochs),
            5 => Some(Self::Config),
            6 => Some(Self::Claims),
            7 => Some(Self::Secrets),
            8 => Some(Self::AuditLog),
            _ => None,
        }
    }

    /// The tree of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.name() == name)
    }

    /// The version of the shape that this program's records of the tree have: the schema that introduced
    /// it. A step to another schema rewrites only the trees whose version it changes.
    pub const fn record_version(self) -> u8 {
        2
    }

    /// The longest record the tree takes, in bytes of its encoded body: 1 MiB; for secrets 64 KiB of the
    /// caller's, and what sealing adds to them.
    pub const fn max_body_size(self) -> usize {
        match self {
            Self::Secrets => 80 * 1024,
            _ => 1024 * 1024,
        }
    }
}

/// One value for each tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerTree<T>([T; 9]);

impl<T> PerTree<T> {
    /// Makes the value of every tree; the first error ends it.
    pub(crate) fn try_new<E>(mut make: impl FnMut(TreeId) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self([
            make(TreeId::Schema)?,
            make(TreeId::Identity)?,
            make(TreeId::Peers)?,
            make(TreeId::Metrics)?,
            make(TreeId::Epochs)?,
            make(TreeId::Config)?,
            make(TreeId::Claims)?,
            make(TreeId::Secrets)?,
            make(TreeId::AuditLog)?,
        ]))
    }

    pub(crate) fn of(&self, tree: TreeId) -> &T {
        let [
            schema,
            identity,
            peers,
            metrics,
            epochs,
            config,
            claims,
            secrets,
            audit_log,
        ] = &self.0;
        match tree {
            TreeId::Schema => schema,
            TreeId::Identity => identity,
            TreeId::Peers => peers,
            TreeId::Metrics => metrics,
            TreeId::Epochs => epochs,
            TreeId::Config => config,
            TreeId::Claims => claims,
            TreeId::Secrets => secrets,
            TreeId::AuditLog => audit_log,
        }
    }
}

impl<T> PerTree<T> {
    pub(crate) fn of_mut(&mut self, tree: TreeId) -> &mut T {
        let [
            schema,
            identity,
            peers,
            metrics,
            epochs,
            config,
            claims,
            secrets,
            audit_log,
        ] = &mut self.0;
        match tree {
            TreeId::Schema => schema,
            TreeId::Identity => identity,
            TreeId::Peers => peers,
            TreeId::Metrics => metrics,
            TreeId::Epochs => epochs,
            TreeId::Config => config,
            TreeId::Claims => claims,
            TreeId::Secrets => secrets,
            TreeId::AuditLog => audit_log,
        }
    }
}

/// A tree with its key and record types: records of `V` under keys of `K`, encoded with postcard.
#[derive(Debug)]
pub struct Tree<K, V> {
    id: TreeId,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Key, V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Tree<K, V> {
    /// The tree `id`, holding records of `V` under keys of `K`.
    pub const fn new(id: TreeId) -> Self {
        Self {
            id,
            types: PhantomData,
        }
    }

    /// The record under `key`, from the cache of records where it is there.
    ///
    /// # Errors
    ///
    /// [`CoreError::Key`] for a key the tree cannot hold, [`CoreError::Corrupt`] for stored bytes
    /// that do not decode, and errors of the index.
    pub fn load(&self, db: &Db, key: &K::Borrowed) -> Result<Option<V>, CoreError> {
        let key = K::encode(key).map_err(|source| self.key_error(source))?;
        db.load_cached(self.id, &key, |body| {
            codec::decode_body(self.id, &key, body)
        })
    }

    /// The record under `key` as `from` sees it, for reading inside a commit.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn get(&self, from: &dyn Read, key: &K::Borrowed) -> Result<Option<V>, CoreError> {
        let key = K::encode(key).map_err(|source| self.key_error(source))?;
        from.get(self.id, &key)?
            .map(|frame| codec::decode(self.id, &key, &frame))
            .transpose()
    }

    /// Puts `record` under `key` into the commit, in place of what was there.
    ///
    /// # Errors
    ///
    /// [`CoreError::Key`] for a key the tree cannot hold, [`CoreError::TooLarge`] for a record over
    /// the tree's maximum.
    pub fn insert(
        &self,
        commit: &mut Commit,
        key: &K::Borrowed,
        record: &V,
    ) -> Result<(), CoreError> {
        let (key, frame) = self.entry(key, record, commit.compression())?;
        commit.put(self.id, key, frame);
        Ok(())
    }

    /// The bytes of an entry: its key and its framed record.
    pub(crate) fn entry(
        &self,
        key: &K::Borrowed,
        record: &V,
        compress: bool,
    ) -> Result<(Vec<u8>, Vec<u8>), CoreError> {
        let key = K::encode(key).map_err(|source| self.key_error(source))?;
        let frame = codec::encode(self.id, &key, record, compress)?;
        Ok((key.into_owned(), frame))
    }

    /// Removes `key` in the commit; returns whether there was a record.
    ///
    /// # Errors
    ///
    /// [`CoreError::Key`] for a key the tree cannot hold, and errors of the index.
    pub fn remove(
        &self,
        view: &dyn Read,
        commit: &mut Commit,
        key: &K::Borrowed,
    ) -> Result<bool, CoreError> {
        let key = K::encode(key).map_err(|source| self.key_error(source))?;
        commit.remove(view, self.id, key.into_owned())
    }

    /// Reads the entries of a range, both ends included, in key order or against it, until
    /// `visit` returns `false`. `None` leaves an end open.
    ///
    /// # Errors
    ///
    /// [`CoreError::Key`] and [`CoreError::Corrupt`] as for [`load`](Self::load).
    pub fn scan(
        &self,
        from: &dyn Read,
        start: Option<&K::Borrowed>,
        end: Option<&K::Borrowed>,
        order: Order,
        mut visit: impl FnMut(K, V) -> bool,
    ) -> Result<(), CoreError> {
        let range = (self.bound(start)?, self.bound(end)?);
        from.scan(self.id, &range, order, &mut |key, frame| {
            let record = codec::decode(self.id, key, frame)?;
            Ok(visit(self.key(key)?, record))
        })
    }

    /// What `make` makes of all entries, in key order. Two threads share the work where they are many.
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan).
    pub(crate) fn list<T: Send>(
        &self,
        db: &Db,
        make: impl Fn(K, V) -> T + Sync,
    ) -> Result<Vec<T>, CoreError> {
        db.list(self.id, |key, frame| {
            let record = codec::decode(self.id, key, frame)?;
            Ok(make(self.key(key)?, record))
        })
    }

    /// Iterates over a range, both ends included, in key order, a page of whole commits at a time.
    ///
    /// No lock is held between pages, so writing inside the loop is fine; a page read later shows
    /// the commits made meanwhile. After the first error, also of a bad range, the iterator ends.
    pub fn iter<'db>(
        &self,
        db: &'db Db,
        start: Option<&K::Borrowed>,
        end: Option<&K::Borrowed>,
    ) -> impl Iterator<Item = Result<(K, V), CoreError>> + use<'db, K, V> {
        let tree = Self::new(self.id);
        let range = self
            .bound(start)
            .and_then(|start| Ok((start, self.bound(end)?)));
        let mut failed = false;
        let entries = Pages::new(db.view(), self.id, range).map(move |entry| {
            let (key, frame) = entry?;
            let record = codec::decode(tree.id, &key, &frame)?;
            Ok((tree.key(&key)?, record))
        });
        entries.take_while(move |entry| {
            let after = failed;
            failed = entry.is_err();
            !after
        })
    }

    /// The first or the last key, by `order`.
    ///
    /// # Errors
    ///
    /// [`CoreError::Corrupt`] for a stored key of another shape, and errors of the index.
    pub fn edge(&self, from: &dyn Read, order: Order) -> Result<Option<K>, CoreError> {
        let mut found = None;
        let range = (Bound::Unbounded, Bound::Unbounded);
        from.scan(self.id, &range, order, &mut |key, _| {
            found = Some(self.key(key)?);
            Ok(false)
        })?;
        Ok(found)
    }

    fn bound(&self, end: Option<&K::Borrowed>) -> Result<Bound<Vec<u8>>, CoreError> {
        let Some(end) = end else {
            return Ok(Bound::Unbounded);
        };
        let key = K::encode(end).map_err(|source| self.key_error(source))?;
        Ok(Bound::Included(key.into_owned()))
    }

    fn key(&self, bytes: &[u8]) -> Result<K, CoreError> {
        K::decode(bytes).map_err(|source| CoreError::corrupt(self.id, bytes, source))
    }

    fn key_error(&self, source: KeyError) -> CoreError {
        CoreError::Key {
            tree: self.id,
            source,
        }
    }
}
