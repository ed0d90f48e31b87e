//! The journal under many schedules: syncs that fail, and checkpoints beside writers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread;

use super::Journal;
use crate::commit::{Change, encode};
use crate::disk::{Crash, Disk, DiskFile, SimulatedDisk, Space};
use crate::error::JournalError;
use crate::merged::Merged;
use crate::scan::{Names, Scan};
use crate::schedules::check;

const STORE: [u8; 16] = *b"a store of tests";
const TREE: u8 = 1;
/// A segment is full after two commits or three.
const SEGMENT: u64 = 300;

fn directory() -> &'static Path {
    Path::new("data.sled.journal")
}

/// A new journal with short segments.
fn journal_on(disk: &Arc<dyn Disk>) -> Journal {
    let journal = Journal::create(Arc::clone(disk), directory(), STORE, 7, 2);
    journal
        .expect("the journal is created")
        .with_segment_size(SEGMENT)
}

/// A commit that sets `key` to `value`.
fn put(journal: &Journal, key: u8, value: u8) -> Result<u64, JournalError> {
    let (key, value) = ([key], [value; 90]);
    let put = Change {
        tree: TREE,
        key: &key,
        value: Some(&value),
    };
    journal.append(1, &encode([put].into_iter()))
}

/// What a power cut at this moment leaves.
fn survives(disk: &SimulatedDisk) -> u64 {
    let cut = disk.crash(disk.trace_len(), Crash::Drop);
    let scan = Scan::read(&cut, directory(), u64::MAX).expect("the journal is read");
    assert_eq!(scan.damage(), [""; 0]);
    scan.last()
}

/// The state at the last commit, beside checkpoints that may overtake the reading.
fn latest(journal: &Journal) -> Merged {
    loop {
        let last = journal.last();
        match journal.merged(last) {
            Ok(read) => {
                assert_eq!(read.through(), last);
                return read;
            }
            Err(JournalError::Damaged { .. }) if journal.last() > last => {}
            Err(error) => panic!("at {last}: {error}"),
        }
    }
}

/// A disk one of whose syncs loses what it was to keep, and says so once, as Linux does.
#[derive(Debug)]
struct LossyDisk {
    disk: SimulatedDisk,
    course: Arc<Course>,
}

#[derive(Debug, Default)]
struct Course {
    /// Syncs before the one that fails.
    left: AtomicU64,
    is_armed: AtomicBool,
    has_failed: AtomicBool,
}

#[derive(Debug)]
struct LossyFile {
    file: Arc<dyn DiskFile>,
    course: Arc<Course>,
}

impl LossyDisk {
    fn over(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let course = Arc::clone(&self.course);
        Arc::new(LossyFile { file, course })
    }
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
        self.disk.open_for_writing(path).map(|file| self.over(file))
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
        let course = &self.course;
        let has_failed = course.has_failed.load(Ordering::SeqCst);
        assert!(!has_failed, "a sync after one that failed");
        if course.is_armed.load(Ordering::SeqCst) && course.left.fetch_sub(1, Ordering::SeqCst) == 0
        {
            course.has_failed.store(true, Ordering::SeqCst);
            // From here on the system has told its error, and this thread only knows it.
            thread::yield_now();
            return Err(io::ErrorKind::Other.into());
        }
        self.file.sync()
    }
}

/// The sync that fails is the first, the second or the third: of those who wait, or of a writer that rolls a segment.
#[test]
fn a_failed_sync_reaches_all_who_wait_and_nobody_syncs_again() {
    for fails in 0..3 {
        check(move || {
            let (disk, course) = (SimulatedDisk::default(), Arc::new(Course::default()));
            let lossy = LossyDisk {
                disk: disk.clone(),
                course: Arc::clone(&course),
            };
            let lossy: Arc<dyn Disk> = Arc::new(lossy);
            let journal = Arc::new(journal_on(&lossy));
            course.left.store(fails, Ordering::SeqCst);
            course.is_armed.store(true, Ordering::SeqCst);
            let write = |key| {
                let (journal, disk) = (Arc::clone(&journal), disk.clone());
                thread::spawn(move || {
                    for value in 0..2 {
                        let Ok(number) = put(&journal, key, value) else {
                            return;
                        };
                        match journal.sync_through(number) {
                            Ok(()) => assert!(survives(&disk) >= number, "Ok, and not durable"),
                            Err(_) => assert!(journal.failure().is_some(), "an error of nothing"),
                        }
                    }
                })
            };
            for writer in [0, 1, 2].map(write) {
                writer.join().expect("a writer ends");
            }
            if course.has_failed.load(Ordering::SeqCst) {
                assert!(put(&journal, 9, 9).is_err(), "a commit after a failed sync");
                let last = journal.last();
                let synced = journal.sync_through(last);
                assert_eq!(
                    synced.is_ok(),
                    journal.synced() >= last,
                    "Ok where the sync failed"
                );
                assert!(survives(&disk) >= journal.synced());
            }
        });
    }
}

/// One key per writer, whose values go up, so that each state of the journal tells what it must hold.
#[test]
fn checkpoints_beside_writers_lose_nothing_and_disturb_no_reader() {
    check(|| {
        const WRITERS: u8 = 2;
        const COMMITS: u8 = 4;
        let disk = SimulatedDisk::default();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = Arc::new(journal_on(&shared));
        let write = |key: u8| {
            let (journal, disk) = (Arc::clone(&journal), disk.clone());
            thread::spawn(move || {
                let mut before = 0;
                for value in 1..=COMMITS {
                    let number = put(&journal, key, value).expect("a commit");
                    assert!(number > before, "a number twice");
                    before = number;
                    if value % 2 == 0 {
                        journal.sync_through(number).expect("a sync");
                        assert!(survives(&disk) >= number, "synced, and not durable");
                    }
                    let found = latest(&journal).get(TREE, &[key]).expect("a value is read");
                    assert_eq!(found, Some(vec![value; 90]), "of commit {number}");
                }
            })
        };
        let keeper = Arc::clone(&journal);
        let keeper = thread::spawn(move || {
            for _ in 0..3 {
                let never = |_| Ok::<_, JournalError>(());
                keeper.checkpoint(2, 0, never).expect("a checkpoint");
            }
        });
        for writer in (0..WRITERS).map(write).collect::<Vec<_>>() {
            writer.join().expect("a writer ends");
        }
        keeper.join().expect("checkpoints are written");
        let last = u64::from(WRITERS) * u64::from(COMMITS);
        assert_eq!(journal.last(), last, "numbers in order, none twice");
        journal.sync().expect("a sync");
        assert_eq!(survives(&disk), last);
        let names = Names::list(&disk, directory()).expect("the directory is listed");
        assert!(names.checkpoints.len() <= 2, "needless checkpoints stay");
        let read = latest(&journal);
        for key in 0..WRITERS {
            let found = read.get(TREE, &[key]).expect("a value is read");
            assert_eq!(found, Some(vec![COMMITS; 90]));
        }
    });
}
