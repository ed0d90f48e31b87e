//! An open database under many schedules. Its timer is left out: the model checker knows no time. So is the cache of
//! records, whose locks it does not see: reads are of stored bytes.

use std::num::NonZero;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use shuttle::thread;
use storage_journal::Scan;
use storage_journal::disk::{Crash, Disk, SimulatedDisk};
use storage_journal::schedules::check;

use super::recovery::Layout;
use super::{Db, Durability, Durable, settle};
use crate::error::CoreError;
use crate::index::IndexHome;
use crate::index::simulated::SimulatedHome;
use crate::options::DbOptions;
use crate::paths::journal_path;
use crate::sync::Mutex;
use crate::tree::TreeId;
use crate::view::{KeyRange, Order, Read};

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);
/// The keys that every commit gives the same value. It puts one more into another tree, under a key of its own.
const FIRST: &[u8] = b"a";
const LAST: &[u8] = b"z";

fn options() -> DbOptions {
    let mut options = DbOptions::new(PathBuf::from("data.sled"), 2, || 1_700_000_000_000);
    options.cache_capacity_bytes = 4096;
    // A commit is a full layer.
    options.held_back_bytes = Some(4 * 210);
    options
}

fn open(disk: &SimulatedDisk, home: &SimulatedHome) -> Db {
    let options = options();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let home: Arc<dyn IndexHome> = Arc::new(home.clone());
    let layout = Layout {
        schema_version: 2,
        is_framed: false,
    };
    let journal = journal_path(&options.path);
    let inner = Db::inner_at(disk, home, &journal, None, &options, &|_| Ok(layout));
    let mut inner = inner.expect("the database opens");
    inner.settles_beside = true;
    Db {
        inner: Arc::new(inner),
        background: Mutex::new(None),
    }
}

/// Adds one to the count that both keys hold; returns the count and the commit's number.
fn count_up(db: &Db, durability: Durability) -> (u8, u64) {
    let counted = db.update(durability, |view, commit| {
        let count = view.get(TreeId::Peers, FIRST)?.map_or(0, |found| found[0]) + 1;
        for key in [FIRST, LAST] {
            commit.put(TreeId::Peers, key.to_vec(), vec![count; 20]);
        }
        commit.put(TreeId::Metrics, vec![count], vec![count; 60]);
        Ok::<_, CoreError>(count)
    });
    counted.expect("a commit is made")
}

/// The count that a scan finds, which sees whole commits.
fn scanned(db: &Db, order: Order) -> u8 {
    let mut found = Vec::new();
    let done = db
        .view()
        .scan(TreeId::Peers, &EVERYTHING, order, &mut |_, value| {
            found.push(value[0]);
            Ok(true)
        });
    done.expect("a tree is scanned");
    match found[..] {
        [] => 0,
        [first, last] => {
            assert_eq!(first, last, "a part of a commit");
            first
        }
        _ => panic!("{found:?} of two keys"),
    }
}

/// The last commit that a power cut at this moment leaves.
fn survives(disk: &SimulatedDisk) -> u64 {
    let cut = disk.crash(disk.trace_len(), Crash::Drop);
    let scan = Scan::read(&cut, &journal_path(&options().path), u64::MAX);
    scan.expect("the journal is read").last()
}

#[test]
fn writers_take_turns_and_readers_see_whole_commits() {
    check(|| {
        const COMMITS: u8 = 2;
        let disk = SimulatedDisk::default();
        let db = Arc::new(open(&disk, &SimulatedHome::default()));
        let base = db.last_commit();
        let write = |durability: Durability| {
            let (db, disk) = (Arc::clone(&db), disk.clone());
            thread::spawn(move || {
                for _ in 0..COMMITS {
                    let (count, number) = count_up(&db, durability);
                    assert_eq!(number, base + u64::from(count), "numbers are in order");
                    assert!(
                        db.last_commit() >= number,
                        "a commit that returned is no commit yet"
                    );
                    assert!(
                        scanned(&db, Order::Ascending) >= count,
                        "its writer does not read it"
                    );
                    if durability == Durability::Durable {
                        assert!(survives(&disk) >= number, "durable, and lost");
                    }
                }
            })
        };
        let read = |order: Order| {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                let mut before = 0;
                for _ in 0..3 {
                    let last = db.last_commit();
                    let count = scanned(&db, order);
                    assert!(
                        base + u64::from(count) >= last,
                        "a commit that was made is not read"
                    );
                    assert!(count >= before, "back in time");
                    before = count;
                }
            })
        };
        let threads = [
            write(Durability::Buffered),
            write(Durability::Durable),
            read(Order::Ascending),
            read(Order::Descending),
        ];
        for thread in threads {
            thread.join().expect("a thread ends");
        }
        assert_eq!(
            scanned(&db, Order::Ascending),
            2 * COMMITS,
            "a commit is lost"
        );
        assert_eq!(db.len(TreeId::Peers).expect("it is open"), 2);
    });
}

#[test]
fn marks_and_checkpoints_beside_writers_and_the_settler_leave_what_a_power_cut_keeps() {
    check(|| {
        const COMMITS: u8 = 3;
        let disk = SimulatedDisk::default();
        let home = SimulatedHome::beside(&disk);
        let db = Arc::new(open(&disk, &home));
        let base = db.last_commit();
        let settler = settle::start(Arc::clone(&db.inner)).expect("a thread starts");
        let write = |durability: Durability| {
            let db = Arc::clone(&db);
            thread::spawn(move || {
                for _ in 0..COMMITS {
                    let (count, number) = count_up(&db, durability);
                    assert_eq!(number, base + u64::from(count), "numbers are in order");
                    assert!(
                        scanned(&db, Order::Descending) >= count,
                        "its writer does not read it"
                    );
                }
            })
        };
        let keeper = Arc::clone(&db);
        let keeper = thread::spawn(move || {
            for _ in 0..2 {
                keeper.flush().expect("the index is marked");
                keeper.checkpoint().expect("a checkpoint is written");
            }
        });
        let threads = [
            write(Durability::Buffered),
            write(Durability::Durable),
            keeper,
        ];
        for thread in threads {
            thread.join().expect("a thread ends");
        }
        drop(settler);
        // From here on the journal has all of it, and the index what the last mark says.
        db.inner.sync_through(db.last_commit()).expect("a sync");
        let cut = disk.crash(disk.trace_len(), Crash::Drop);
        let after = open(&cut, &home.crash(|_| false));
        assert_eq!(after.last_commit(), db.last_commit(), "durable, and lost");
        assert_eq!(scanned(&after, Order::Ascending), 2 * COMMITS);
        let report = after.opening_report();
        assert_eq!(report.damage, [""; 0]);
        assert_eq!(
            report.healed_records, 0,
            "the index lacked what a mark said"
        );
        db.shutdown().expect("it closes");
        let again = open(&disk, &home);
        assert_eq!(
            scanned(&again, Order::Ascending),
            2 * COMMITS,
            "a commit is lost"
        );
        assert!(again.opening_report().clean, "it was closed cleanly");
    });
}

#[test]
fn a_reader_of_the_journal_that_checkpoints_overtake_is_not_told_of_damage() {
    check(|| {
        let disk = SimulatedDisk::default();
        let mut db = open(&disk, &SimulatedHome::default());
        let inner = Arc::get_mut(&mut db.inner).expect("nobody else has it");
        let durable = inner.durable.take().expect("it has a journal");
        let journal = durable.journal.with_segment_size(300);
        inner.durable = Some(Durable { journal, ..durable });
        let db = Arc::new(db);
        count_up(&db, Durability::Buffered);
        let writer = Arc::clone(&db);
        let writer = thread::spawn(move || {
            for _ in 0..3 {
                for _ in 0..3 {
                    count_up(&writer, Durability::Buffered);
                }
                writer.checkpoint().expect("a checkpoint is written");
            }
        });
        let state = db.journal_view().expect("the state is read");
        let found = state.get(TreeId::Peers, FIRST).expect("a value is read");
        assert!(found.is_some());
        writer.join().expect("the writer ends");
        let differences = db.differences(NonZero::<usize>::MIN, &|_, _| Ok(()));
        assert_eq!(differences.expect("both copies are read"), []);
    });
}
