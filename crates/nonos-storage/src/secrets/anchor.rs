//! The anchor: the counter of the manifest, outside of the database. A database that was put back, whole,
//! to an older state has a lower one.
//!
//! ```text
//! nsec-anchor 1
//! store-id = 000102…
//! counter = 17
//! manifest = 5c0f…      tag of the manifest
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use storage_core::{CoreError, Read};
use storage_crypto::{CryptoError, StoreId, manifest};

use super::{MANIFEST, schema_value};
use crate::error::{NonosError, NonosResult};

const FIRST_LINE: &str = "nsec-anchor 1";

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    written: Mutex<u64>,
    known: Mutex<Known>,
}

/// What a database is compared with.
#[derive(Debug)]
pub(super) enum Known {
    /// The file as it is then.
    File,
    /// What it said before the database was read, for who reads beside a writer: since then it may have gone on.
    Before(Option<Seen>),
}

/// What a database's manifest says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    store_id: StoreId,
    counter: u64,
    tag: String,
}

impl Anchor {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            written: Mutex::new(0),
            known: Mutex::new(Known::File),
        }
    }

    /// What to compare with that is read after this. A file that cannot be read is told when it is.
    pub(super) fn look(&self) -> Known {
        read(&self.path).map_or(Known::File, Known::Before)
    }

    /// Compares with this from now on.
    pub(super) fn know(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn known(&self) -> NonosResult<Option<Seen>> {
        match &*self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            Known::File => read(&self.path),
            Known::Before(seen) => Ok(seen.clone()),
        }
    }

    /// Says that the file of a store that is sealed already is not there, to who begins it anew.
    pub(super) fn warn_if_missing(&self) -> NonosResult<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*known, Known::File) && read(&self.path)?.is_none() {
            tracing::warn!(
                anchor = %self.path.display(),
                "there is no anchor: whether the database was put back to an older state cannot be told"
            );
        }
        Ok(())
    }

    /// Whether the database is not older than the anchor says.
    pub(super) fn check(&self, from: &dyn Read, store_id: StoreId) -> NonosResult<()> {
        let Some(anchor) = self.known()? else {
            return Ok(());
        };
        let database = Seen::of(from, store_id)?;
        let (found, expected) = (
            database.as_ref().map_or(0, |seen| seen.counter),
            anchor.counter,
        );
        let is_other = anchor.store_id != store_id
            || database.is_some_and(|seen| seen.counter == anchor.counter && seen != anchor);
        if found < expected || is_other {
            let (database, anchor) = (found, expected);
            return Err(CryptoError::RolledBack { database, anchor }.into());
        }
        Ok(())
    }

    /// Writes what a commit said that is durable by now, unless something newer was written.
    pub(super) fn advance(&self, seen: &Seen) -> NonosResult<()> {
        let written = self.written.lock();
        let mut written = written.unwrap_or_else(PoisonError::into_inner);
        if *written == 0 {
            *written = read(&self.path)?.map_or(0, |anchor| anchor.counter);
        }
        if *written < seen.counter {
            self.write(seen)?;
            *written = seen.counter;
        }
        Ok(())
    }

    /// The counter that was written of this store; 0 if there is no anchor, or that of another one.
    pub(super) fn counter(&self, store_id: StoreId) -> NonosResult<u64> {
        let anchor = read(&self.path)?.filter(|anchor| anchor.store_id == store_id);
        Ok(anchor.map_or(0, |anchor| anchor.counter))
    }

    /// Writes what a commit said that is durable by now, although it is older than what was written before.
    pub(super) fn reset(&self, seen: Option<&Seen>) -> NonosResult<()> {
        let written = self.written.lock();
        let mut written = written.unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen {
            *written = seen.counter;
            return self.write(seen);
        }
        *written = 0;
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.io("remove", e)),
            _ => Ok(()),
        }
    }

    fn write(&self, seen: &Seen) -> NonosResult<()> {
        let Seen {
            store_id,
            counter,
            tag,
        } = seen;
        let text =
            format!("{FIRST_LINE}\nstore-id = {store_id}\ncounter = {counter}\nmanifest = {tag}\n");
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(|e| self.io("create", e))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| File::open(directory_of(&self.path))?.sync_all())
            .map_err(|e| self.io("write", e))
    }

    fn io(&self, operation: &'static str, source: io::Error) -> NonosError {
        CoreError::io(operation, &self.path, source).into()
    }
}

impl Seen {
    pub(super) fn of(from: &dyn Read, store_id: StoreId) -> NonosResult<Option<Self>> {
        let Some(stored) = schema_value(from, MANIFEST)? else {
            return Ok(None);
        };
        let counter = manifest::counter(&stored)?;
        let (_, tag) = stored.split_at(16);
        Ok(Some(Self {
            store_id,
            counter,
            tag: HEXLOWER.encode(tag),
        }))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What the file says; `None` if there is none.
fn read(path: &Path) -> NonosResult<Option<Seen>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(CoreError::io("read", path, e).into()),
    };
    let seen = parse(&text).ok_or(CryptoError::Malformed { what: "the anchor" })?;
    Ok(Some(seen))
}

fn parse(text: &str) -> Option<Seen> {
    let mut lines = text.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let store_id = lines.next()?.strip_prefix("store-id = ")?;
    let counter = lines.next()?.strip_prefix("counter = ")?.parse().ok()?;
    let tag = lines.next()?.strip_prefix("manifest = ")?.to_owned();
    let id = HEXLOWER.decode(store_id.as_bytes()).ok()?;
    lines.next().is_none().then_some(Seen {
        store_id: StoreId(id.try_into().ok()?),
        counter,
        tag,
    })
}
