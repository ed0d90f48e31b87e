//! The directory of the index on disk: opening it without being hurt, copying it, exchanging it.
//!
//! The engine keeps its path, so an index in use is never renamed, but for one that is given up: a
//! suspect one is opened as a copy, a new one is made beside and closed before it is put in place.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{Index, IndexHome};
use crate::error::CoreError;
use crate::index::packed::Packed;
use crate::index::sled::{ENGINE_FLUSH_MS, LOCK_TIMEOUT, MAKING_FLUSH_MS, SledIndex};
use crate::paths::{create_directory, directory_of};

/// How long the engine may take to open; after that it is taken to hang.
const OPEN_TIMEOUT: Duration = Duration::from_mins(5);

/// Endings of directories beside the index.
const DAMAGED: &str = ".damaged-";
const COPY: &str = ".copy";
const NEW: &str = ".new";
pub(crate) const OLD: &str = ".old";

/// The directory of a sled index, and the indexes that are made beside it.
#[derive(Debug)]
pub(crate) struct SledHome {
    path: PathBuf,
    cache_capacity_bytes: u64,
}

impl SledHome {
    pub(crate) fn new(path: PathBuf, cache_capacity_bytes: u64) -> Self {
        Self {
            path,
            cache_capacity_bytes,
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    }

    /// Opens on a thread of its own: the engine may panic on damage, or hang.
    fn open_at(&self, path: PathBuf, flush_every_ms: u64) -> Result<Arc<dyn Index>, CoreError> {
        let (sender, opened) = mpsc::channel();
        let cache = self.cache_capacity_bytes;
        let at = path.clone();
        let opening = std::thread::Builder::new().name("nonos-open-index".into());
        let thread = opening.spawn(move || {
            let open = AssertUnwindSafe(|| SledIndex::open(&at, cache, flush_every_ms));
            let opened = panic::catch_unwind(open);
            // Nobody waits any more where opening took too long.
            let _sent = sender.send(opened);
        });
        thread.map_err(|source| CoreError::Thread { source })?;
        match opened.recv_timeout(OPEN_TIMEOUT) {
            Ok(Ok(opened)) => Ok(Arc::new(Packed::new(Arc::new(opened?)))),
            Ok(Err(_)) => Err(CoreError::IndexDamaged {
                path,
                source: "the engine panicked while opening".into(),
            }),
            Err(_) => Err(CoreError::IndexDamaged {
                path,
                source: "the engine did not open in time".into(),
            }),
        }
    }

    /// Opens a copy, beside this index, of the one in the directory `source`.
    pub(crate) fn open_copy_of(&self, source: &Path) -> Result<Arc<dyn Index>, CoreError> {
        let copy = self.beside(COPY);
        remove_directory(&copy)?;
        let log = source.join("db");
        let held = File::open(&log).map_err(|e| CoreError::io("open", &log, e))?;
        // The engine's own lock: a program that does not know ours must not write meanwhile.
        let deadline = Instant::now() + LOCK_TIMEOUT;
        while let Err(e) = held.try_lock() {
            if Instant::now() > deadline {
                return Err(CoreError::IndexLocked { source: e.into() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        copy_directory(source, &copy)?;
        drop(held);
        self.open_at(copy, ENGINE_FLUSH_MS)
    }

    fn sync_parent(&self) -> Result<(), CoreError> {
        let parent = directory_of(&self.path);
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|e| CoreError::io("sync", parent, e))
    }
}

impl IndexHome for SledHome {
    fn exists(&self) -> Result<bool, CoreError> {
        match fs::read_dir(&self.path) {
            Ok(mut files) => Ok(files.next().is_some()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(CoreError::io("read", &self.path, e)),
        }
    }

    fn open(&self) -> Result<Arc<dyn Index>, CoreError> {
        self.open_at(self.path.clone(), ENGINE_FLUSH_MS)
    }

    /// Names, lengths and times of all files.
    fn fingerprint(&self) -> Result<Vec<u8>, CoreError> {
        let io = |e| CoreError::io("look at", &self.path, e);
        let mut files = Vec::new();
        let mut directories = vec![self.path.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).map_err(io)? {
                let entry = entry.map_err(io)?;
                let found = entry.metadata().map_err(io)?;
                if found.is_dir() {
                    directories.push(entry.path());
                } else {
                    let name = entry.path();
                    files.push((name, found.len(), found.mtime(), found.mtime_nsec()));
                }
            }
        }
        files.sort();
        let mut hasher = crc32fast::Hasher::new();
        let mut total: u64 = 0;
        for (name, len, seconds, nanoseconds) in files {
            hasher.update(
                name.strip_prefix(&self.path)
                    .unwrap_or(&name)
                    .as_os_str()
                    .as_encoded_bytes(),
            );
            hasher.update(&len.to_be_bytes());
            hasher.update(&seconds.to_be_bytes());
            hasher.update(&nanoseconds.to_be_bytes());
            total = total.wrapping_add(len);
        }
        let mut fingerprint = total.to_be_bytes().to_vec();
        fingerprint.extend(hasher.finalize().to_be_bytes());
        Ok(fingerprint)
    }

    fn move_aside(&self, now: i64) -> Result<PathBuf, CoreError> {
        let mut aside = self.beside(&format!("{DAMAGED}{now}"));
        let mut again = 1;
        while aside.exists() {
            aside = self.beside(&format!("{DAMAGED}{now}-{again}"));
            again += 1;
        }
        fs::rename(&self.path, &aside).map_err(|e| CoreError::io("rename", &self.path, e))?;
        self.sync_parent()?;
        Ok(aside)
    }

    fn open_copy(&self) -> Result<Arc<dyn Index>, CoreError> {
        self.open_copy_of(&self.path)
    }

    fn open_beside(&self) -> Result<Arc<dyn Index>, CoreError> {
        let new = self.beside(NEW);
        remove_directory(&new)?;
        self.open_at(new, MAKING_FLUSH_MS)
    }

    fn swap(&self) -> Result<(), CoreError> {
        let (new, old) = (self.beside(NEW), self.beside(OLD));
        remove_directory(&old)?;
        // Between the two renames there is no index: an open then puts the old one back.
        match fs::rename(&self.path, &old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(CoreError::io("rename", &self.path, e));
            }
            _ => {}
        }
        fs::rename(&new, &self.path).map_err(|e| CoreError::io("rename", &new, e))?;
        self.sync_parent()
    }

    fn remove_old(&self) -> Result<(), CoreError> {
        remove_directory(&self.beside(OLD))
    }

    fn wipe_aside(&self) -> Result<(), CoreError> {
        let parent = directory_of(&self.path);
        let io = |e| CoreError::io("read", parent, e);
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        for entry in fs::read_dir(parent).map_err(io)? {
            let found = entry.map_err(io)?;
            let ending = found.file_name().to_string_lossy().into_owned();
            let Some(ending) = ending.strip_prefix(&*name) else {
                continue;
            };
            if [COPY, NEW, OLD].contains(&ending) || ending.starts_with(DAMAGED) {
                wipe(&found.path())?;
            }
        }
        self.sync_parent()
    }

    fn settle(&self) -> Result<(), CoreError> {
        let old = self.beside(OLD);
        if self.exists()? || !old.is_dir() {
            return Ok(());
        }
        // An empty directory may be in the way.
        remove_directory(&self.path)?;
        fs::rename(&old, &self.path).map_err(|e| CoreError::io("rename", &old, e))?;
        self.sync_parent()
    }

    fn remove_leftovers(&self) -> Result<(), CoreError> {
        [COPY, NEW, OLD]
            .iter()
            .try_for_each(|ending| remove_directory(&self.beside(ending)))
    }

    fn sibling(&self) -> Result<Option<PathBuf>, CoreError> {
        let parent = directory_of(&self.path);
        let io = |e| CoreError::io("read", parent, e);
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let lock = format!("{name}.lock");
        let mut siblings = Vec::new();
        for entry in fs::read_dir(parent).map_err(io)? {
            let entry = entry.map_err(io)?;
            let found = entry.file_name().to_string_lossy().into_owned();
            let journal = format!("{name}.journal");
            let says_so = found.starts_with(&format!("{name}.")) && found != lock;
            if says_so && found != journal {
                siblings.push(entry.path());
            }
        }
        siblings.sort();
        Ok(siblings.into_iter().next())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

fn remove_directory(path: &Path) -> Result<(), CoreError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CoreError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Overwrites every file once, and removes it, and the directory. A link, or a file that is linked to
/// elsewhere, is somebody else's as well: it is only removed. What is taken for an index is renamed before.
fn wipe(path: &Path) -> Result<(), CoreError> {
    let io = |e| CoreError::io("overwrite", path, e);
    let found = fs::symlink_metadata(path).map_err(io)?;
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(io)? {
            wipe(&entry.map_err(io)?.path())?;
        }
        return remove_directory(path);
    }
    if found.is_file() && found.nlink() == 1 {
        let file = File::options().write(true).open(path).map_err(io)?;
        io::copy(&mut io::repeat(0).take(found.len()), &mut &file).map_err(io)?;
        file.sync_all().map_err(io)?;
    }
    fs::remove_file(path).map_err(io)
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), CoreError> {
    create_directory(to)?;
    let io = |e| CoreError::io("copy", from, e);
    for entry in fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(io)?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(io)?;
        }
    }
    Ok(())
}
