//! A disk in memory that forgets at a crash what a real one may forget.
//!
//! It keeps a trace of every change. [`SimulatedDisk::crash`] makes the disk that a machine finds
//! which lost power after any prefix of it: what was synced is there; of the rest nothing, all, a
//! torn beginning, or any subset, as the test asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::{Disk, DiskFile, Space, directory_of};
use crate::sync::{Mutex, MutexGuard};

mod image;

use image::{Change, FileId, Image, survivors};

/// A write is kept or lost by the sector.
const SECTOR: usize = 512;

/// What of the unsynced changes a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// All of them: the process was killed, the machine went on.
    Kill,
    /// None of them.
    Drop,
    /// A beginning of them, cut at any byte. The number chooses.
    Torn(u64),
    /// Any subset of them, by the sector. The number chooses.
    Reordered(u64),
}

/// An error to be returned once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call to fail, counted from 0 over every call of the disk and its files.
    pub at_call: u64,
    /// What it returns.
    pub kind: io::ErrorKind,
}

#[derive(Debug, Default)]
struct State {
    /// What the disk held when it was made.
    base: Image,
    live: Image,
    trace: Vec<Change>,
    next_id: FileId,
    calls: u64,
    fault: Option<Fault>,
    space: Option<Space>,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// How many changes were made so far: the prefixes to crash after are `0..=len`.
    pub fn trace_len(&self) -> usize {
        self.lock().trace.len()
    }

    /// Notes a change of something beside this disk: one more point to crash after.
    pub fn tick(&self) {
        self.lock().trace.push(Change::Elsewhere);
    }

    /// How many calls were made so far, for [`fail`](Self::fail).
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets one call fail.
    pub fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Sets what [`Disk::space`] returns; `None` is plenty.
    pub fn set_space(&self, space: Option<Space>) {
        self.lock().space = space;
    }

    /// The disk after a crash that followed the first `prefix` changes.
    #[must_use]
    pub fn crash(&self, prefix: usize, crash: Crash) -> Self {
        let state = self.lock();
        let mut durable = state.base.clone();
        let mut pending: Vec<&Change> = Vec::new();
        for change in state.trace.iter().take(prefix) {
            let settles: Box<dyn Fn(&Change) -> bool> = match change {
                Change::SyncFile(synced) => {
                    Box::new(move |c| matches!(c, Change::Write(id, ..) if id == synced))
                }
                Change::SyncDirectory(synced) => Box::new(move |c| match c {
                    Change::Create(path, _)
                    | Change::CreateDirectory(path)
                    | Change::Remove(path)
                    | Change::Rename(_, path, _) => directory_of(path) == synced,
                    _ => false,
                }),
                Change::Elsewhere => continue,
                _ => {
                    pending.push(change);
                    continue;
                }
            };
            pending.retain(|c| {
                let settled = settles(c);
                if settled {
                    durable.apply(c);
                }
                !settled
            });
        }
        for change in survivors(&pending, crash) {
            durable.apply(&change);
        }
        // What is in a directory is lost with its name.
        let is_lost = |directory: &Path| {
            state.live.directories.contains(directory) && !durable.directories.contains(directory)
        };
        durable.names.retain(|path, _| !is_lost(directory_of(path)));
        Self {
            state: Arc::new(Mutex::new(State {
                live: durable.clone(),
                base: durable,
                next_id: state.next_id,
                space: state.space,
                ..State::default()
            })),
        }
    }

    /// The content of a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let id = state.live.names.get(path)?;
        Some(state.live.contents.get(id).cloned().unwrap_or_default())
    }

    /// Changes the bytes of a file behind everybody's back, as damage does. It is durable.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let Some(id) = state.live.names.get(path).copied() else {
            return;
        };
        let mut content = state.live.contents.get(&id).cloned().unwrap_or_default();
        change(&mut content);
        state.live.contents.insert(id, content);
        state.base = state.live.clone();
        state.trace.clear();
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().live.names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and fails it if that was asked for.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let call = state.calls;
        state.calls += 1;
        match state.fault {
            Some(fault) if fault.at_call == call => Err(fault.kind.into()),
            _ => Ok(state),
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.call()?;
        state.live.apply(&change);
        state.trace.push(change);
        Ok(())
    }

    fn file(&self, id: FileId) -> Arc<dyn DiskFile> {
        let disk = self.clone();
        Arc::new(SimulatedFile { disk, id })
    }
}

impl Disk for SimulatedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if self.lock().live.directories.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(Change::CreateDirectory(path.to_owned()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = {
            let mut state = self.lock();
            if state.live.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.next_id += 1;
            state.next_id
        };
        self.change(Change::Create(path.to_owned(), id))?;
        Ok(self.file(id))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.call()?;
        let id = state.live.names.get(path).copied();
        drop(state);
        id.map(|id| self.file(id))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.lock().live.names.get(from).copied();
        let id = id.ok_or(io::ErrorKind::NotFound)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), id))
    }

    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.open(path).map(|_file| true)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.lock().live.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Remove(path.to_owned()))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.call()?;
        if !state.live.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state
            .live
            .names
            .keys()
            .filter(|path| directory_of(path) == directory);
        let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        Ok(inside.filter_map(name).collect())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(Change::SyncDirectory(path.to_owned()))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let plenty = Space {
            free: u64::MAX,
            total: u64::MAX,
        };
        Ok(self.call()?.space.unwrap_or(plenty))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: FileId,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.call()?;
        let Some(content) = state.live.contents.get(&self.id) else {
            return Ok(0);
        };
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| content.get(at..));
        let rest = rest.unwrap_or_default();
        let read = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..read), rest.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.disk
            .change(Change::Write(self.id, offset, bytes.to_vec()))
    }

    /// A sync that fails makes nothing durable, and what was pending stays so.
    fn sync(&self) -> io::Result<()> {
        self.disk.change(Change::SyncFile(self.id))
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.call()?;
        let len = state.live.contents.get(&self.id).map_or(0, Vec::len);
        Ok(u64::try_from(len).unwrap_or(u64::MAX))
    }
}
