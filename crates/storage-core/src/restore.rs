//! A database begun from a checkpoint: the one file that its journal needs appears in one step.

use std::path::{Path, PathBuf};

use storage_journal::checkpoint::{self, About, Record};
use storage_journal::disk::{Disk, RealDisk, make_directory};
use storage_journal::{Journal, Scan};

use crate::db::Db;
use crate::db::recovery::{Accept, random, records};
use crate::error::CoreError;
use crate::exchange::pending;
use crate::index::home::{OLD, SledHome};
use crate::index::{IndexHome, IndexReader};
use crate::lock::Lock;
use crate::options::DbOptions;
use crate::paths::{create_directory, directory_of, journal_path, resolve};
use crate::progress::Meter;
use crate::view::Read;

/// What there is of a database at this path: the index or the journal.
///
/// # Errors
///
/// [`CoreError::Io`].
pub fn remains(path: &Path) -> Result<Option<PathBuf>, CoreError> {
    let journal = journal_path(path);
    if Scan::is_begun(&RealDisk, &journal)? {
        return Ok(Some(journal));
    }
    let found = std::fs::read_dir(path).map(|mut entries| entries.next().is_some());
    match found {
        Ok(true) => Ok(Some(path.to_owned())),
        // The one that an interrupted compaction was to replace: opening would put it back.
        Ok(false) => Ok(replaced_index(path)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(replaced_index(path)),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Ok(Some(path.to_owned())),
        Err(e) => Err(CoreError::io("look for", path, e)),
    }
}

fn replaced_index(path: &Path) -> Option<PathBuf> {
    let mut old = path.as_os_str().to_owned();
    old.push(OLD);
    Some(PathBuf::from(old)).filter(|old| old.is_dir())
}

/// Makes the journal of a new database at `options.path` that begins with these records, which come in
/// the order of tree and key. The next open builds the index from it. Interrupted, there is no
/// database, opening refuses to make an empty one, and beginning again begins anew.
///
/// # Errors
///
/// [`CoreError::Locked`], [`CoreError::Journal`], [`CoreError::Exists`] where a database is,
/// [`CoreError::Exchanging`] where one is being put, errors of the file system and of `records`, [`CoreError::Cancelled`]: there is no new database.
pub fn begin(
    about: &About,
    records: impl Iterator<Item = Result<Record, CoreError>>,
    options: &DbOptions,
) -> Result<(), CoreError> {
    let path = options.path.components().collect::<PathBuf>();
    create_directory(directory_of(&path))?;
    let path = resolve(&path)?;
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    if let Some(path) = pending(&path) {
        return Err(CoreError::Exchanging { path });
    }
    if let Some(path) = remains(&path)? {
        return Err(CoreError::Exists { path });
    }
    begin_in(&RealDisk, &journal_path(&path), about, records, options)
}

/// [`begin`] on any disk, in a directory without journal: for tests of crashes.
///
/// # Errors
///
/// As there.
pub fn begin_in(
    disk: &dyn Disk,
    directory: &Path,
    about: &About,
    records: impl Iterator<Item = Result<Record, CoreError>>,
    options: &DbOptions,
) -> Result<(), CoreError> {
    let made = make_directory(disk, directory);
    made.map_err(|e| CoreError::io("create", directory, e))?;
    Journal::forget_old(disk, directory)?;
    let mut meter = Meter::start("begin the journal", 0, &options.observer);
    let records = records.map(|record| meter.step().and(record));
    checkpoint::write(
        disk,
        &directory.join(checkpoint::name(about.commit)),
        about,
        records,
    )?;
    Ok(())
}

/// The id of a store that is yet to be made.
///
/// # Errors
///
/// [`CoreError::Random`].
pub fn new_store_id() -> Result<[u8; 16], CoreError> {
    random()
}

/// Shows what the database at `options.path` holds to `look`, and changes nothing of it: the journal,
/// or where there is none a copy of the index.
///
/// # Errors
///
/// [`CoreError::Journal`] if there is no database or its journal is damaged, [`CoreError::Locked`],
/// errors of the index and of `look`.
pub fn inspect<R, E: From<CoreError>>(
    options: &DbOptions,
    look: impl FnOnce(&dyn Read) -> Result<R, E>,
) -> Result<R, E> {
    match Db::open_readonly(options) {
        Err(CoreError::NoJournal { path }) => {
            let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
            let home = SledHome::new(path, options.cache_capacity_bytes);
            let copy = home.open_copy()?;
            let looked = look(&IndexReader(&*copy));
            drop(copy);
            home.remove_leftovers()?;
            looked
        }
        opened => look(&opened?.view()),
    }
}

/// [`begin`] with the records of the index in the directory `source`, which a program without journal
/// wrote and does not have open. `accept` is asked first. Nothing of the source is changed.
///
/// # Errors
///
/// As there; [`CoreError::IndexLocked`] while another program has the source open, and those of
/// `accept`.
pub fn begin_from_index(
    source: &Path,
    accept: Accept<'_>,
    options: &DbOptions,
) -> Result<About, CoreError> {
    let path = options.path.components().collect::<PathBuf>();
    create_directory(directory_of(&path))?;
    let path = resolve(&path)?;
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    if let Some(path) = remains(&path)? {
        return Err(CoreError::Exists { path });
    }
    let home = SledHome::new(path.clone(), options.cache_capacity_bytes);
    let copy = home.open_copy_of(source)?;
    let begun = accept(&IndexReader(&*copy)).and_then(|layout| {
        let about = About {
            store_id: random()?,
            term: 0,
            schema_version: layout.schema_version,
            commit: 1,
            created_at: options.now(),
            program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        begin_in(
            &RealDisk,
            &journal_path(&path),
            &about,
            records(&*copy),
            options,
        )?;
        Ok(about)
    });
    drop(copy);
    home.remove_leftovers()?;
    begun
}
