//! Exchanging a database for one that was made beside it, whole: what restoring over one and repairing
//! end with.
//!
//! Four names change, so an intent is written first: a file beside the database that names both. Whatever
//! is interrupted, the next opening finishes. The order tells how far it came: the journal of the new one
//! is moved third, and before that the old files are in place or kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use storage_journal::JournalError;

use crate::error::CoreError;
use crate::lock::{Lock, lock_path};
use crate::options::DbOptions;
use crate::paths::{directory_of, journal_path, resolve};

const TITLE: &str = "nonos-exchange 1";
const ENDING: &str = ".intent";
const MAX_LEN: usize = 4096;

/// Puts the database at `staged` in the place of that at `options.path`, which is kept at `kept`. All three
/// are in one directory; neither database is open, and nothing is at `kept`. There may be no database at
/// `options.path`.
///
/// # Errors
///
/// [`CoreError::Locked`], [`CoreError::Exists`] if something is at `kept`, [`CoreError::Journal`] if no
/// database is at `staged`, [`CoreError::Elsewhere`], [`CoreError::Name`]: nothing changed. [`CoreError::Io`]: the next
/// opening finishes.
pub fn exchange(options: &DbOptions, staged: &Path, kept: &Path) -> Result<(), CoreError> {
    let path = resolve(&options.path.components().collect::<PathBuf>())?;
    let (staged, kept) = (resolve(staged)?, resolve(kept)?);
    let is_beside = |other: &Path| directory_of(other) == directory_of(&path) && *other != path;
    if let Some(other) = [&staged, &kept].into_iter().find(|other| !is_beside(other)) {
        let path = other.clone();
        return Err(CoreError::Elsewhere { path });
    }
    let is_line = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| !name.contains('\n'))
    };
    if let Some(other) = [&staged, &kept].into_iter().find(|other| !is_line(other)) {
        let path = other.clone();
        return Err(CoreError::Name { path });
    }
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    let _of_staged = Lock::take(&staged, options.lock_timeout, options.now())?;
    if !journal_path(&staged).is_dir() {
        let directory = journal_path(&staged);
        return Err(JournalError::Missing { directory }.into());
    }
    if let Some(path) = [kept.clone(), journal_path(&kept)]
        .into_iter()
        .find(|kept| kept.exists())
    {
        return Err(CoreError::Exists { path });
    }
    finish(&path)?;
    let intent = Intent { staged, kept, path };
    intent.write()?;
    intent.finish()
}

/// Finishes an exchange of the database at `options.path` that was interrupted, if there is one.
///
/// # Errors
///
/// [`CoreError::Locked`], [`CoreError::Io`], [`CoreError::Sibling`] if the intent cannot be read.
pub fn finish_exchange(options: &DbOptions) -> Result<(), CoreError> {
    let path = resolve(&options.path.components().collect::<PathBuf>())?;
    if pending(&path).is_none() {
        return Ok(());
    }
    let _lock = Lock::take(&path, options.lock_timeout, options.now())?;
    finish(&path)
}

/// Finishes an exchange that was interrupted, if there is one. The database's lock is held.
pub(crate) fn finish(path: &Path) -> Result<(), CoreError> {
    match Intent::read(path)? {
        Some(intent) => intent.finish(),
        None => Ok(()),
    }
}

/// The file that says that the database at `path` is being exchanged, if it is.
pub(crate) fn pending(path: &Path) -> Option<PathBuf> {
    Some(intent_path(path)).filter(|path| path.exists())
}

struct Intent {
    staged: PathBuf,
    kept: PathBuf,
    path: PathBuf,
}

impl Intent {
    fn text(&self) -> String {
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let said = format!(
            "{TITLE}\nstaged = {}\nkept = {}\n",
            name(&self.staged),
            name(&self.kept)
        );
        format!(
            "{said}checksum = {:08x}\n",
            crc32fast::hash(said.as_bytes())
        )
    }

    fn write(&self) -> Result<(), CoreError> {
        let path = intent_path(&self.path);
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let io = |e| CoreError::io("write", &path, e);
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(io)?;
        let written = file.write_all(self.text().as_bytes());
        written.and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&new, &path).map_err(io)?;
        sync_directory_of(&path)
    }

    fn read(path: &Path) -> Result<Option<Self>, CoreError> {
        let file = intent_path(path);
        let text = match fs::read(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| CoreError::io("read", &file, e))?,
        };
        let intent = Self::parse(path, text.get(..MAX_LEN).unwrap_or(&text));
        match intent {
            Some(intent) => Ok(Some(intent)),
            // Which names changed is not known: a person has to look.
            None => Err(CoreError::Sibling { path: file }),
        }
    }

    fn parse(path: &Path, text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let beside = |name: &str| (!name.contains('/')).then(|| directory_of(path).join(name));
        let intent = Self {
            path: path.to_owned(),
            staged: beside(field("staged = ")?)?,
            kept: beside(field("kept = ")?)?,
        };
        (intent.text() == text).then_some(intent)
    }

    fn finish(&self) -> Result<(), CoreError> {
        let Self { path, staged, kept } = self;
        if journal_path(staged).exists() {
            rename_if_there(path, kept)?;
            rename_if_there(&journal_path(path), &journal_path(kept))?;
            let from = journal_path(staged);
            let moved = fs::rename(&from, journal_path(path));
            moved.map_err(|e| CoreError::io("rename", &from, e))?;
            sync_directory_of(path)?;
        }
        if !journal_path(path).exists() {
            // Somebody removed the new one: which of them is wanted now, a person has to say.
            let path = intent_path(path);
            return Err(CoreError::Sibling { path });
        }
        // The index is made anew where there is none.
        rename_if_there(staged, path)?;
        sync_directory_of(path)?;
        remove_if_there(&lock_path(staged))?;
        remove_if_there(&intent_path(path))?;
        sync_directory_of(path)
    }
}

fn intent_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

fn rename_if_there(from: &Path, to: &Path) -> Result<(), CoreError> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CoreError::io("rename", from, e)),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), CoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CoreError::io("remove", path, e)),
        _ => Ok(()),
    }
}

fn sync_directory_of(path: &Path) -> Result<(), CoreError> {
    let parent = directory_of(path);
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|e| CoreError::io("sync", parent, e))
}
