//! A disk that does what a test asks for at a call.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{CoreError, Db, DbOptions, SimulatedHome};
use storage_journal::disk::{DiskFile, Space};

use crate::workload::LAYOUT;

const EIO: i32 = 5;

/// A simulated disk with a stage. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct StagedDisk {
    disk: SimulatedDisk,
    bad_byte: Option<(PathBuf, u64)>,
    pub(crate) listing: Arc<Pause>,
    pub(crate) filling: Arc<Filling>,
}

impl StagedDisk {
    pub(crate) fn new(disk: &SimulatedDisk) -> Self {
        Self {
            disk: disk.clone(),
            bad_byte: None,
            listing: Arc::new(Pause::new()),
            filling: Arc::default(),
        }
    }

    /// No read of this byte succeeds.
    pub(crate) fn with_bad_byte(mut self, path: &Path, offset: u64) -> Self {
        self.bad_byte = Some((path.to_owned(), offset));
        self
    }

    pub(crate) fn open(&self, home: &SimulatedHome, options: &DbOptions) -> Result<Db, CoreError> {
        let disk: Arc<dyn Disk> = Arc::new(self.clone());
        Db::open_simulated(disk, home, options, &|_| Ok(LAYOUT))
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let bad_byte = self.bad_byte.as_ref().filter(|(bad, _)| bad == path);
        Arc::new(StagedFile {
            file,
            bad_byte: bad_byte.map(|(_, offset)| *offset),
            filling: Arc::clone(&self.filling),
        })
    }
}

/// Holds the next call, once it is armed, until it is let go.
#[derive(Debug)]
pub(crate) struct Pause {
    is_armed: AtomicBool,
    reached: Barrier,
    let_go: Barrier,
}

impl Pause {
    fn new() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            reached: Barrier::new(2),
            let_go: Barrier::new(2),
        }
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn wait_until_reached(&self) {
        self.reached.wait();
    }

    pub(crate) fn let_go(&self) {
        self.let_go.wait();
    }

    fn call(&self) {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.reached.wait();
            self.let_go.wait();
        }
    }
}

/// Whether the disk is full, and how often it was asked for its space since.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    at_next_sync: AtomicBool,
    is_full: AtomicBool,
    asked: AtomicU32,
}

impl Filling {
    /// The disk is full once the next sync of a file ended.
    pub(crate) fn fill_at_next_sync(&self) {
        self.at_next_sync.store(true, Ordering::SeqCst);
    }

    pub(crate) fn make_room(&self) {
        self.is_full.store(false, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct StagedFile {
    file: Arc<dyn DiskFile>,
    bad_byte: Option<u64>,
    filling: Arc<Filling>,
}

impl Disk for StagedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open_for_writing(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn is_own(&self, path: &Path) -> io::Result<bool> {
        self.disk.is_own(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.listing.call();
        self.disk.list(directory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        if self.filling.is_full() {
            self.filling.asked.fetch_add(1, Ordering::SeqCst);
            let (free, total) = (0, 1 << 30);
            return Ok(Space { free, total });
        }
        self.disk.space(path)
    }
}

impl DiskFile for StagedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let len = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        match self.bad_byte.and_then(|bad| bad.checked_sub(offset)) {
            Some(inside) if inside < len => Err(io::Error::from_raw_os_error(EIO)),
            _ => self.file.read_at(offset, buffer),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.filling.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(offset, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        if self.filling.at_next_sync.swap(false, Ordering::SeqCst) {
            self.filling.is_full.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}
