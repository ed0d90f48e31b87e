//! What a durable commit costs: medians and ratios within one run, as machines are shared.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nonos_storage::{NodeStorage, StorageConfig};
use storage_journal::Journal;
use storage_journal::commit::{Change, encode};
use storage_journal::disk::{Disk, DiskFile, RealDisk, Space};

use crate::Error;

mod beside;
mod crypto;
mod operations;

const ROUNDS: usize = 1000;
const REPEATS: usize = 7;

pub(crate) fn run() -> Result<bool, Error> {
    let directory = tempfile::tempdir().map_err(|source| Error::Process {
        what: "a temporary directory",
        source,
    })?;
    crypto::run()?;
    one_thread(directory.path())?;
    eight_threads(directory.path())?;
    operations::run(directory.path())?;
    beside::run(directory.path())?;
    Ok(true)
}

/// A durable commit beside a bare append of as many bytes, turn about.
fn one_thread(directory: &Path) -> Result<(), Error> {
    let io = |source| Error::Process {
        what: "the bare file",
        source,
    };
    let config = StorageConfig {
        path: directory.join("data.sled"),
        ..Default::default()
    };
    let storage = NodeStorage::open(config)?;
    let path = directory.join("bare");
    let bare = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path);
    let bare = bare.map_err(io)?;
    let (mut offset, bytes) = (0, [7; 100]);
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        bare.write_all_at(&bytes, offset)
            .and_then(|()| bare.sync_data())
            .map_err(io)?;
        bares.push(started.elapsed());
        offset += 100;
        let started = Instant::now();
        storage.store_config("costs", &round)?;
        ours.push(started.elapsed());
    }
    let (ours, bare) = (median(ours), median(bares));
    println!("durable commit, one thread, median of {ROUNDS}: {ours:?}");
    println!("bare append and fdatasync, same run:           {bare:?}");
    println!("ratio {:.2}", ours.as_secs_f64() / bare.as_secs_f64());
    Ok(())
}

/// Commits a second of one thread and of eight, with a sync that takes 2 ms more.
fn eight_threads(directory: &Path) -> Result<(), Error> {
    let disk: Arc<dyn Disk> = Arc::new(SlowDisk);
    let journal = Journal::create(disk, &directory.join("slow.journal"), [1; 16], 1, 2)?;
    let mut ratios = Vec::new();
    for _ in 0..REPEATS {
        let one = rate(&journal, 1)?;
        let eight = rate(&journal, 8)?;
        println!("2 ms sync: {one:.0} commits/s with 1 thread, {eight:.0} with 8");
        ratios.push(eight / one);
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get(REPEATS / 2).copied().unwrap_or_default();
    println!("8 threads reach {middle:.2} x one thread (median of {REPEATS})");
    Ok(())
}

fn rate(journal: &Journal, threads: u32) -> Result<f64, Error> {
    const COMMITS: u32 = 100;
    let started = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<(), storage_journal::JournalError> {
            for _ in 0..COMMITS {
                let put = Change {
                    tree: 0,
                    key: b"key",
                    value: Some(b"value"),
                };
                let number = journal.append(0, &encode([put].into_iter()))?;
                journal.sync_through(number)?;
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(done) => done.map_err(Error::from),
                Err(_panic) => Err(Error::Failed("a thread panicked".into())),
            })
    })?;
    Ok(f64::from(threads * COMMITS) / started.elapsed().as_secs_f64())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The machine's disk, with 2 ms added to each sync of a file.
#[derive(Debug)]
struct SlowDisk;

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>);

impl Disk for SlowDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.open_for_writing(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn is_own(&self, path: &Path) -> io::Result<bool> {
        RealDisk.is_own(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(directory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_directory(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(2));
        self.0.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}
