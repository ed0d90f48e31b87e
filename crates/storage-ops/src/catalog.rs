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
use std::path::{Path, PathBuf};

use storage_core::history::{
    After, Checkpoint, JournalError, RealDisk, checkpoint_name, extract_name, hash_of, visit_puts,
};
use storage_core::{CoreError, Db, ErrorCode, TreeId};

use crate::hex::hex;
use crate::origin::{HistoryId, origin};
use crate::redact::is_plain;
use crate::target::{Target, TargetError};

mod note;
mod retention;
mod scratch;

pub use note::{Backup, Kind};
pub use retention::{Keep, prune};
pub(crate) use scratch::Scratch;
pub use scratch::in_scratch;

/// An increment ends behind so many bytes, and the next one begins: each is read whole into memory.
const INCREMENT_SIZE: u64 = 16 * 1024 * 1024;
/// Increments that follow a full backup before there is another one.
const MAX_INCREMENTS: usize = 500;
/// A full backup is also due once its increments are as long as it is, and longer than this, in bytes.
const MIN_INCREMENTS_SIZE: u64 = 8 * 1024 * 1024;
/// Longer notes are none.
const MAX_NOTE_LEN: usize = 4096;

/// Why something with the backups at a target failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The target did not do what was asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The database cannot be read.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// No backup is what was asked for.
    #[error("there is no such backup: {sought}")]
    NoSuch {
        /// What was sought.
        sought: String,
    },
    /// There are backups of several databases.
    #[error("there are backups of several databases: {}", stores.join(", "))]
    Several {
        /// Their ids.
        stores: Vec<String>,
    },
    /// Secrets in it are not sealed, and the target takes none that are not.
    #[error("{count} secrets are not sealed: a backup would hold them as they are")]
    Plain {
        /// How many.
        count: u64,
    },
    /// A backup is not what its note says, or one that it goes on from is missing.
    #[error("the backup {name} is not valid: {what}")]
    Invalid {
        /// The backup's name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

impl CatalogError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Target(error) => error.code(),
            Self::Core(error) => error.code(),
            Self::NoSuch { .. } => ErrorCode::NotFound,
            Self::Several { .. } | Self::Plain { .. } => ErrorCode::InvalidArgument,
            Self::Invalid { .. } => ErrorCode::BackupInvalid,
        }
    }

    /// What to do about it, where there is something.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Core(error) => error.remedy(),
            Self::NoSuch { .. } => Some("`nonos backup list` shows what there is"),
            Self::Several { .. } => Some("name one with --store"),
            Self::Plain { .. } => Some(
                "give the node its keys, which seals them; or encrypt the backup with --recipient; or leave \
                 them out of a backup file with --redact secrets",
            ),
            Self::Invalid { .. } => Some("use another backup, and make a full one now"),
            Self::Target(error) => error.remedy(),
        }
    }

    fn invalid(backup: &Backup, what: impl Into<String>) -> Self {
        let (name, what) = (backup.name(), what.into());
        Self::Invalid { name, what }
    }
}

/// What to back up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Create {
    /// Where files are made before they are uploaded, if the target has no better place.
    pub scratch: PathBuf,
    /// Only what came since the last backup, if that can be; otherwise everything.
    pub is_incremental: bool,
    /// Now, in Unix seconds.
    pub now: i64,
}

impl Create {
    /// A full backup, made in this directory.
    pub fn new(scratch: PathBuf, now: i64) -> Self {
        Self {
            scratch,
            is_incremental: false,
            now,
        }
    }
}

/// Where the backups of a database end, as who backs it up often knows without listing them.
#[derive(Clone, Debug, Default)]
pub struct Shipped(Option<(HistoryId, Head)>);

/// Backs a database up, beside its writers, and returns what was made: a full backup, or increments, or
/// nothing if there is nothing new. Each was read back before it counts.
///
/// # Errors
///
/// [`CatalogError::Core`], [`CatalogError::Target`]: what is returned by [`list`] is whole.
pub fn create(db: &Db, target: &dyn Target, how: &Create) -> Result<Vec<Backup>, CatalogError> {
    ship(db, target, how, &mut Shipped::default())
}

/// [`create`], with what is known of the backups before; what is known afterwards is noted. Whoever else
/// backs the same database up to the same place makes backups of its own.
///
/// # Errors
///
/// As there; what is known is forgotten then.
pub fn ship(
    db: &Db,
    target: &dyn Target,
    how: &Create,
    shipped: &mut Shipped,
) -> Result<Vec<Backup>, CatalogError> {
    let known = std::mem::take(shipped);
    let history = origin(&db.view())?.map_or([0; 16], |origin| origin.history);
    let scratch = Scratch::new(target, &how.scratch)?;
    let mut head = None;
    if how.is_incremental {
        head = match known.0 {
            // It may have been pruned by somebody else: what would go on from it would be lost.
            Some((of, head))
                if of == history
                    && is_there(target, &head.end)?
                    && is_there(target, &head.full)? =>
            {
                Some(head)
            }
            _ => self::head(target, db.store_id(), history)?,
        };
        // Of which past a backup is without a journal cannot be told; and who reads the increments has to read what
        // they go on from.
        let readers = target.readers();
        head = head.filter(|head| {
            head.end.content.is_some()
                && head.end.commit <= db.last_commit()
                && head.full.readers == readers
        });
    }
    if let Some(head) = head.take_if(|head| !head.is_full_due()) {
        match increments(db, target, &scratch, &head.end, how.now) {
            Err(error) if is_removed(&error) => {
                let (after, reason) = (head.end.commit, error.to_string());
                tracing::warn!(
                    after,
                    reason,
                    "nothing goes on from the last backup: commits between it and this one cannot be gone \
                     back to"
                );
            }
            // What is gone, or sealed since, is not in a full one.
            Err(CatalogError::Plain { .. }) => {}
            made => {
                let made = made?;
                shipped.0 = Some((history, made.iter().fold(head, Head::with)));
                return Ok(made);
            }
        }
    }
    let file = scratch.path.join("full.nonos");
    let exported = db.export(&file)?;
    let about = Checkpoint::open(&RealDisk, &file).map_err(CoreError::from)?;
    if !target.takes_plain_secrets() {
        refuse_plain(&about)?;
    }
    let backup = Backup {
        kind: Kind::Full,
        store_id: db.store_id(),
        history,
        commit: exported.commit,
        after: After::default(),
        checksum: exported.content.unwrap_or(0),
        content: exported.content.or((exported.commit == 0).then_some(0)),
        // Before its first commit there was no database.
        last_at_ms: match exported.last_at {
            0 => how.now.saturating_mul(1000),
            last_at => last_at,
        },
        created_at: how.now,
        bytes: exported.bytes,
        entries: about.digests().total(),
        schema_version: about.about().schema_version,
        hash: hash_of(&RealDisk, &file).map_err(CoreError::from)?,
        program: about.about().program.clone(),
        readers: target.readers(),
        verified_at: None,
    };
    publish(target, &backup, &file)?;
    shipped.0 = Some((history, Head::of(&backup)));
    let mut made = vec![backup];
    if let Some(head) = head {
        // What came between the last increment and this can be gone back to as well.
        match increments(db, target, &scratch, &head.end, how.now) {
            Err(error) if is_removed(&error) => {}
            Err(CatalogError::Plain { .. }) => {}
            more => made.extend(more?),
        }
    }
    Ok(made)
}

fn is_there(target: &dyn Target, backup: &Backup) -> Result<bool, CatalogError> {
    match target.read(&backup.note_name(), MAX_NOTE_LEN) {
        Err(TargetError::Missing { .. }) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(true),
    }
}

fn is_removed(error: &CatalogError) -> bool {
    let CatalogError::Core(CoreError::Journal(error)) = error else {
        return false;
    };
    // What cannot be read on from the last backup may be in a checkpoint.
    matches!(
        error,
        JournalError::Removed { .. } | JournalError::Another { .. } | JournalError::Damaged { .. }
    )
}

fn increments(
    db: &Db,
    target: &dyn Target,
    scratch: &Scratch,
    head: &Backup,
    now: i64,
) -> Result<Vec<Backup>, CatalogError> {
    let mut made: Vec<Backup> = Vec::new();
    let mut after = head.end();
    // What is committed while this is shipped is for the next time: writers would have it go on for ever.
    let through = db.last_commit();
    while after.commit < through {
        let first = after.commit + 1;
        let file = scratch.path.join(extract_name(first));
        let Some(extract) = db.extract(after, &file, INCREMENT_SIZE)? else {
            return Ok(made);
        };
        if !target.takes_plain_secrets() {
            let mut count = 0;
            let visit = |tree, key: &[u8], frame: &[u8]| {
                let tree = TreeId::from_number(tree);
                count += u64::from(tree.is_some_and(|tree| is_plain(tree, key, frame)));
            };
            visit_puts(&RealDisk, &scratch.path, first, visit).map_err(CoreError::from)?;
            if count > 0 {
                return Err(CatalogError::Plain { count });
            }
        }
        let backup = Backup {
            kind: Kind::Increment,
            commit: extract.last.commit,
            after,
            checksum: extract.last.checksum,
            content: Some(extract.last.content),
            last_at_ms: extract.time_ms,
            created_at: now,
            bytes: extract.bytes,
            entries: 0,
            schema_version: db.schema_version(),
            hash: extract.hash,
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
            verified_at: None,
            ..head.clone()
        };
        publish(target, &backup, &file)?;
        after = backup.end();
        made.push(backup);
    }
    Ok(made)
}

/// Whoever reads the file reads the secrets in it that are not sealed.
fn refuse_plain(full: &Checkpoint) -> Result<(), CatalogError> {
    let mut count = 0;
    for tree in [TreeId::Identity, TreeId::Secrets] {
        for record in full.records_of(tree.number()) {
            let (key, frame) = record.map_err(CoreError::from)?;
            count += u64::from(is_plain(tree, &key, &frame));
        }
    }
    match count {
        0 => Ok(()),
        count => Err(CatalogError::Plain { count }),
    }
}

/// The file first: without its note it is no backup.
fn publish(target: &dyn Target, backup: &Backup, file: &Path) -> Result<(), CatalogError> {
    target.upload(&backup.name(), file, &backup.hash)?;
    target.write(&backup.note_name(), backup.encode().as_bytes())?;
    let (name, bytes) = (backup.name(), backup.bytes);
    tracing::info!(name, bytes, "made a backup");
    Ok(())
}

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
    let found = list_in(target, &format!("{}/{}/", hex(&store_id), hex(&history)))?;
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
            let stores: BTreeSet<_> = self.backups.iter().map(|b| hex(&b.store_id)).collect();
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

/// Which state is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// The newest there is.
    Newest,
    /// That of the last commit at this time or before, in Unix milliseconds.
    At(i64),
    /// That of the backup of this name.
    Named(String),
}

/// The backups that a wanted state is in: a full one, and increments in order.
pub(crate) fn find<'a>(
    listing: &'a Listing,
    wanted: &Wanted,
) -> Result<Vec<&'a Backup>, CatalogError> {
    let fulls = listing.backups.iter().filter(|b| b.kind == Kind::Full);
    let found = match wanted {
        Wanted::Newest => {
            let chains = fulls.map(|full| chain(&listing.backups, full, None));
            chains.max_by_key(|chain| chain.last().map(|b| (b.last_at_ms, b.created_at)))
        }
        Wanted::At(time_ms) => {
            let enough = |b: &Backup| b.last_at_ms > *time_ms;
            let early = fulls.filter(|b| b.last_at_ms <= *time_ms);
            let chains = early.map(|full| chain(&listing.backups, full, Some(&enough)));
            // An older full backup may lead closer to the time than a newer one does.
            chains.max_by_key(|chain| {
                let ends = chain.last().map(|b| b.last_at_ms.min(*time_ms));
                (ends, chain.first().map(|full| full.last_at_ms))
            })
        }
        Wanted::Named(name) => {
            let named = listing.backups.iter().find(|b| b.name() == *name);
            let chain = named.map(|named| (named, chain_to(&listing.backups, named)));
            if let Some((named, None)) = chain {
                let what = "one that it goes on from is missing";
                return Err(CatalogError::invalid(named, what));
            }
            chain.and_then(|(_, chain)| chain)
        }
    };
    if let (Some(chain), Wanted::Newest | Wanted::At(_)) = (&found, wanted)
        && let Some(last) = chain.last()
    {
        // What it speaks of may be what is wanted: an older state is not given in its place.
        let of_this = |name: &&String| {
            let file = name.strip_suffix(note::ENDING).unwrap_or(name);
            note::is_of_backup(file) && same_place(file, last)
        };
        if let Some(name) = listing.unreadable.iter().find(of_this) {
            let (name, what) = (name.clone(), "its note cannot be read".to_owned());
            return Err(CatalogError::Invalid { name, what });
        }
    }
    found.ok_or_else(|| CatalogError::NoSuch {
        sought: match wanted {
            Wanted::Newest => "none is whole".to_owned(),
            Wanted::At(_) => "none is as old as that".to_owned(),
            Wanted::Named(name) => name.clone(),
        },
    })
}

/// Whether a file lies where the backups of this one's history do.
fn same_place(file: &str, backup: &Backup) -> bool {
    let directory = |name: &str| name.rsplit_once('/').map(|(of, _)| of.to_owned());
    directory(file) == directory(&backup.name())
}

/// The newest backup that can be restored.
///
/// # Errors
///
/// [`CatalogError::NoSuch`].
pub fn newest(listing: &Listing) -> Result<Backup, CatalogError> {
    let chain = find(listing, &Wanted::Newest)?;
    let last = chain.last().copied().cloned();
    last.ok_or_else(|| CatalogError::NoSuch {
        sought: "none is whole".to_owned(),
    })
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
