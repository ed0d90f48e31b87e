//! A sync that fails beside others of the same file.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use storage_journal::Journal;
use storage_journal::disk::{Disk, DiskFile, SimulatedDisk, Space};

use crate::frames::put;
use crate::workload::{STORE, TestResult, directory};

const EIO: i32 = 5;
/// How long a sync that failed is held back, so that others come before it if they can. They cannot,
/// so it is always waited for; nothing depends on how long it is.
const HELD_BACK: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Syncs {
    begun: u32,
    /// Whether everybody came who could come.
    is_over: bool,
}

/// What happened to the files of a disk so far.
#[derive(Debug, Default)]
struct Course {
    syncs: Mutex<Syncs>,
    changed: Condvar,
}

impl Course {
    fn change(&self, change: impl FnOnce(&mut Syncs)) -> MutexGuard<'_, Syncs> {
        let mut syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut syncs);
        self.changed.notify_all();
        syncs
    }

    fn wait_for_the_first(&self) {
        let syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.changed.wait_while(syncs, |syncs| syncs.begun == 0);
        drop(begun);
    }

    fn hold_back(&self, syncs: MutexGuard<'_, Syncs>) {
        let held = self
            .changed
            .wait_timeout_while(syncs, HELD_BACK, |syncs| !syncs.is_over);
        drop(held);
    }
}

/// A disk that lost a write: the first sync says so, and those after it no more, as of Linux.
#[derive(Debug)]
struct LossyDisk {
    disk: SimulatedDisk,
    course: Arc<Course>,
}

#[derive(Debug)]
struct LossyFile {
    file: Arc<dyn DiskFile>,
    course: Arc<Course>,
}

impl Disk for LossyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open_for_writing(path)?;
        let course = Arc::clone(&self.course);
        Ok(Arc::new(LossyFile { file, course }))
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
        self.disk.list(directory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

impl DiskFile for LossyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn sync(&self) -> io::Result<()> {
        let syncs = self.course.change(|syncs| syncs.begun += 1);
        if syncs.begun > 1 {
            return Ok(());
        }
        // From here the system has told its error, and this thread only knows it.
        self.course.hold_back(syncs);
        Err(io::Error::from_raw_os_error(EIO))
    }
}

/// A commit that rolls the segment syncs the same file.
#[test]
fn a_failed_sync_is_known_to_all_before_anybody_syncs_again() -> TestResult {
    let course = Arc::new(Course::default());
    let lossy = LossyDisk {
        disk: SimulatedDisk::default(),
        course: Arc::clone(&course),
    };
    let journal = Journal::create(Arc::new(lossy), directory(), STORE, 7, 2)?;
    let journal = journal.with_segment_size(600);
    let first = put(&journal, "k1", &[7; 600])?;
    let (failed, rolled, waited) = thread::scope(|scope| {
        let syncing = scope.spawn(|| journal.sync_through(first));
        course.wait_for_the_first();
        let rolled = journal.append(0, b"");
        let waiting = scope.spawn(|| journal.sync_through(first));
        let waited = waiting.join().expect("the second thread ends");
        drop(course.change(|syncs| syncs.is_over = true));
        let failed = syncing.join().expect("the first thread ends");
        (failed, rolled, waited)
    });
    assert!(failed.is_err(), "Ok where the sync failed");
    assert!(rolled.is_err(), "a commit after a failed sync");
    assert!(waited.is_err(), "Ok for a commit whose sync failed");
    assert!(journal.synced() < first, "durable, though its sync failed");
    Ok(())
}
