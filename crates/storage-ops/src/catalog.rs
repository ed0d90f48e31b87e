//! The backups of a database at a target: full ones, and increments that go on from them.
//!
//! A full backup is a checkpoint, an increment an extract: a checkpoint and the extracts behind it are a
//! journal, so restoring one, to whatever commit, is reading a journal. Beside each file lies a note of
//! what it is, as text, which is written last: without it there is no backup.
//!
//! ```text
//! <store id>/<history id>/<commit>-<hash>.nonos           a full backup
//! <store id>/<history id>/<first>-<last>-<hash>.log       an increment
//! <either>.json                                           its note
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use data_encoding::HEXLOWER;
use storage_core::CoreError;
use storage_core::history::{After, Checkpoint, RealDisk, checkpoint_name, extract_name, hash_of};

use crate::origin::HistoryId;
use crate::target::{Target, TargetError};

mod error;
mod find;
mod note;
mod retention;
mod scratch;
mod ship;

pub use error::CatalogError;
pub(crate) use find::find;
pub use find::{Wanted, newest};
pub use note::{Backup, Kind};
pub use retention::{Keep, prune};
pub(crate) use scratch::Scratch;
pub use scratch::in_scratch;
pub use ship::{Create, Shipped, create, ship};
use ship::{MAX_INCREMENTS, MIN_INCREMENTS_SIZE};

/// Longer notes are none.
const MAX_NOTE_LEN: usize = 4096;

/// What the next increment goes on from.
#[derive(Clone, Debug)]
struct Head {
    end: Backup,
    /// The full backup below.
    full: Backup,
    /// Increments since, and their length.
    increments: usize,
    bytes: u64,
}

impl Head {
    fn of(full: &Backup) -> Self {
        Self {
            end: full.clone(),
            full: full.clone(),
            increments: 0,
            bytes: 0,
        }
    }

    fn with(self, increment: &Backup) -> Self {
        Self {
            end: increment.clone(),
            increments: self.increments + 1,
            bytes: self.bytes + increment.bytes,
            ..self
        }
    }

    /// Whether there are increments enough to begin anew.
    fn is_full_due(&self) -> bool {
        let most = self.full.bytes.max(MIN_INCREMENTS_SIZE);
        self.increments >= MAX_INCREMENTS || self.bytes > most
    }
}

/// Where the backups of this history end; `None` if there is no full one.
fn head(
    target: &dyn Target,
    store_id: [u8; 16],
    history: HistoryId,
) -> Result<Option<Head>, CatalogError> {
    let found = list_in(
        target,
        &format!(
            "{}/{}/",
            HEXLOWER.encode(&store_id),
            HEXLOWER.encode(&history)
        ),
    )?;
    let full = found.backups.iter().rfind(|b| b.kind == Kind::Full);
    let Some(full) = full else {
        return Ok(None);
    };
    let chain = chain(&found.backups, full, None);
    let increments = chain.into_iter().skip(1);
    Ok(Some(increments.fold(Head::of(full), Head::with)))
}

/// A full backup and what goes on from it, in order, on the way that leads farthest: where two programs
/// backed up at once there are several. It ends where it is `enough`.
fn chain<'a>(
    backups: &'a [Backup],
    full: &'a Backup,
    enough: Option<&dyn Fn(&Backup) -> bool>,
) -> Vec<&'a Backup> {
    let mut increments: Vec<&Backup> = backups.iter().filter(|b| b.goes_on_in(full)).collect();
    increments.sort_by_key(|b| std::cmp::Reverse((b.after.commit, b.commit)));
    // By where they begin: how far one leads, and which.
    let mut ways: BTreeMap<_, (u64, &Backup)> = BTreeMap::new();
    let place = |after: After| (after.commit, after.checksum);
    for increment in increments {
        let reach = ways.get(&place(increment.end()));
        let reach = reach.map_or(increment.commit, |(reach, _)| *reach);
        let way = ways.entry(place(increment.after)).or_insert((0, increment));
        if reach > way.0 {
            *way = (reach, increment);
        }
    }
    let mut chain = vec![full];
    let mut end = full;
    while !enough.is_some_and(|enough| enough(end))
        && let Some((_, next)) = ways.get(&place(end.end()))
    {
        chain.push(next);
        end = next;
    }
    chain
}

/// A backup and what it goes on from, from a full one on; `None` if something of that is missing.
fn chain_to<'a>(backups: &'a [Backup], end: &'a Backup) -> Option<Vec<&'a Backup>> {
    let mut chain = vec![end];
    let mut first = end;
    while first.kind == Kind::Increment {
        let leads_here = |b: &&Backup| b.end() == first.after && b.is_of_history(first);
        first = backups.iter().find(leads_here)?;
        chain.push(first);
    }
    chain.reverse();
    Some(chain)
}

/// What is at a target.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The backups, oldest first.
    pub backups: Vec<Backup>,
    /// Notes that cannot be read, by name.
    pub unreadable: Vec<String>,
}

impl Listing {
    /// Those of one database: of the one that is named, or of the only one.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Several`].
    pub fn of_store(mut self, store_id: Option<[u8; 16]>) -> Result<Self, CatalogError> {
        let first = self.backups.first().map(|b| b.store_id);
        let is_other = |b: &Backup| Some(b.store_id) != first;
        if store_id.is_none() && self.backups.iter().any(is_other) {
            let stores: BTreeSet<_> = self
                .backups
                .iter()
                .map(|b| HEXLOWER.encode(&b.store_id))
                .collect();
            let stores = stores.into_iter().collect();
            return Err(CatalogError::Several { stores });
        }
        let wanted = store_id.or(first);
        self.backups.retain(|b| Some(b.store_id) == wanted);
        Ok(self)
    }
}

/// The backups at a target, of every database.
///
/// # Errors
///
/// [`CatalogError::Target`].
pub fn list(target: &dyn Target) -> Result<Listing, CatalogError> {
    list_in(target, "")
}

fn list_in(target: &dyn Target, prefix: &str) -> Result<Listing, CatalogError> {
    let mut listing = Listing::default();
    let names: BTreeSet<String> = target.list(prefix)?.into_iter().collect();
    for name in &names {
        let file = name.strip_suffix(note::ENDING);
        // A note without its file speaks of what was pruned meanwhile.
        if file.is_none_or(|file| note::is_of_backup(file) && !names.contains(file)) {
            continue;
        }
        match target.read(name, MAX_NOTE_LEN) {
            // It was pruned meanwhile.
            Err(TargetError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(text) => match Backup::decode(&text).filter(|b| b.note_name() == *name) {
                Some(backup) => listing.backups.push(backup),
                None => listing.unreadable.push(name.clone()),
            },
        }
    }
    let order = |b: &Backup| (b.last_at_ms, b.commit, b.created_at, b.name());
    listing.backups.sort_by_cached_key(order);
    Ok(listing)
}

/// Fetches backups into a directory, as the journal that they are; each is compared with its note.
pub(crate) fn fetch(
    target: &dyn Target,
    backups: &[&Backup],
    directory: &Path,
) -> Result<(), CatalogError> {
    for backup in backups {
        let name = match backup.kind {
            Kind::Full => checkpoint_name(backup.commit),
            Kind::Increment => extract_name(backup.after.commit + 1),
        };
        let file = directory.join(name);
        target.download(&backup.name(), &file)?;
        let hash = hash_of(&RealDisk, &file).map_err(CoreError::from)?;
        if hash != backup.hash {
            return Err(CatalogError::invalid(backup, "its hash is another"));
        }
        if backup.kind == Kind::Full {
            let checkpoint = Checkpoint::open(&RealDisk, &file);
            let verified = checkpoint.and_then(|found| found.verify());
            verified.map_err(|error| CatalogError::invalid(backup, error.to_string()))?;
        }
    }
    Ok(())
}

/// Reads the backup of this name whole, with those that it goes on from, as restoring it would; notes
/// that it was, and returns it.
///
/// # Errors
///
/// [`CatalogError::Invalid`] names what is wrong, [`CatalogError::NoSuch`], [`CatalogError::Target`].
pub fn verify(
    target: &dyn Target,
    name: &str,
    scratch: &Path,
    now: i64,
) -> Result<Backup, CatalogError> {
    let listing = list(target)?;
    let chain = find(&listing, &Wanted::Named(name.to_owned()))?;
    let scratch = Scratch::new(target, scratch)?;
    fetch(target, &chain, &scratch.path)?;
    let Some(backup) = chain.last() else {
        let sought = name.to_owned();
        return Err(CatalogError::NoSuch { sought });
    };
    state(&scratch.path, backup, backup.commit)?;
    note_verified(target, backup, now)
}

/// Notes that a backup was read whole, and found to be what it says.
///
/// # Errors
///
/// [`CatalogError::Target`].
pub fn note_verified(
    target: &dyn Target,
    backup: &Backup,
    now: i64,
) -> Result<Backup, CatalogError> {
    let verified = Backup {
        verified_at: Some(now),
        ..backup.clone()
    };
    target.write(&verified.note_name(), verified.encode().as_bytes())?;
    Ok(verified)
}

/// The state at a commit, of what was fetched to restore `backup`.
pub(crate) fn state(
    directory: &Path,
    backup: &Backup,
    commit: u64,
) -> Result<storage_core::history::Merged, CatalogError> {
    let invalid = |what: String| CatalogError::invalid(backup, what);
    let state = storage_core::history::Merged::open(&RealDisk, directory, commit)
        .map_err(|error| invalid(error.to_string()))?;
    if state.through() != commit {
        return Err(invalid(format!("it ends with commit {}", state.through())));
    }
    Ok(state)
}
