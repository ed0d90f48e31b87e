//! All records of a tree, from the journal where that is the shorter way.
//!
//! The journal has them in key order, in blocks of many, which several threads read at once and without holding commits off.
//! The engine clones them one by one. But commits since the last checkpoint are read first: few may have come.

use std::num::NonZero;
use std::ops::Bound;

use storage_journal::Merged;

use super::Db;
use super::inner::Durable;
use super::pieces::pieces;
use super::recovery::chain;
use crate::counters;
use crate::error::CoreError;
use crate::listing;
use crate::sharing::share;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::tree::TreeId;
use crate::view;

/// Fewer records come from the index: what it takes to begin with the journal is not worth it.
const FEW: u64 = 4096;
/// Bytes of commits since the last checkpoint that may be read for each record: as long as the engine takes for half of one.
const READ_FOR_RECORD: u64 = 128;
const THREADS: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(1);

impl Db {
    /// The records of a tree as `decode` makes them, in the order of their keys, at one commit.
    pub(crate) fn list<T: Send>(
        &self,
        tree: TreeId,
        decode: impl Fn(&[u8], &[u8]) -> Result<T, CoreError> + Sync,
    ) -> Result<Vec<T>, CoreError> {
        self.check_open()?;
        match self.list_from_journal(tree, &decode) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            // The index has another copy; where that does not decode either, its error is told.
            Err(error) => {
                tracing::warn!(reason = %chain(&error), tree = tree.name(), "a tree is listed from the index");
            }
        }
        let everything = (Bound::Unbounded, Bound::Unbounded);
        listing::collect(&self.view(), tree, &everything, decode)
    }

    /// `None` where the index is the shorter way.
    fn list_from_journal<T: Send>(
        &self,
        tree: TreeId,
        decode: &(impl Fn(&[u8], &[u8]) -> Result<T, CoreError> + Sync),
    ) -> Result<Option<Vec<T>>, CoreError> {
        let inner = &*self.inner;
        // On a disk of a test every call has its number.
        let durable = inner.durable.as_ref().filter(|_| inner.settles_beside);
        let Some(Durable { journal, .. }) = durable else {
            return Ok(None);
        };
        // Those that blind puts replaced are counted twice until that is known.
        let replaced = inner.index()?.replaced(tree)?.count();
        let count = inner.counts.of(tree).load(Ordering::Acquire);
        let count = u64::try_from(count)
            .unwrap_or(u64::MAX)
            .saturating_sub(replaced);
        if count < FEW || journal.tail_bytes() > count.saturating_mul(READ_FOR_RECORD) {
            return Ok(None);
        }
        // Each has the keys of what came since the checkpoint in memory.
        let Ok(_alone) = inner.listing.try_lock() else {
            return Ok(None);
        };
        // Whoever read a record of a commit that is being applied finds it in the list.
        drop(inner.between_commits());
        let last = inner.last_commit();
        let merged = Merged::open(&**journal.disk(), journal.directory(), last)?;
        if merged.through() < last {
            // Its end is damaged.
            return Ok(None);
        }
        let bytes = AtomicUsize::new(0);
        let pieces = pieces(&[tree], merged.base());
        let found = share("nonos-list", &pieces, THREADS, |(_, range)| {
            let (mut read, mut decoded) = (0, Vec::new());
            merged.visit_range(tree.number(), view::as_slices(range), &mut |key, frame| {
                read += key.len() + frame.len();
                decoded.push(decode(key, frame)?);
                Ok::<_, CoreError>(())
            })?;
            bytes.fetch_add(read, Ordering::Relaxed);
            Ok::<_, CoreError>(decoded)
        })?;
        let mut parts = found.into_iter();
        let mut found = parts.next().unwrap_or_default();
        found.reserve_exact(parts.as_slice().iter().map(Vec::len).sum());
        parts.for_each(|part| found.extend(part));
        let counters = &inner.counters;
        counters::add(&counters.reads, found.len());
        counters::add(&inner.activity.of(tree).reads, found.len());
        counters::add(&counters.read_bytes, bytes.into_inner());
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::db::Durability;
    use crate::db::recovery::Layout;
    use crate::key::TextKey;
    use crate::options::DbOptions;
    use crate::tree::Tree;

    type TestResult = Result<(), Box<dyn std::error::Error>>;
    type Model = BTreeMap<String, String>;

    const TREE: Tree<TextKey, String> = Tree::new(TreeId::Peers);

    fn decode(key: &[u8], frame: &[u8]) -> Result<(String, String), CoreError> {
        let record = crate::codec::decode(TreeId::Peers, key, frame)?;
        Ok((String::from_utf8_lossy(key).into_owned(), record))
    }

    fn put(db: &Db, model: &mut Model, ids: impl Iterator<Item = u64>, value: &str) -> TestResult {
        let ids: Vec<String> = ids
            .map(|id| format!("{:08x}", id * 7919 % 100_000))
            .collect();
        for ids in ids.chunks(500) {
            db.update(Durability::Buffered, |_, commit| {
                ids.iter()
                    .try_for_each(|id| TREE.insert(commit, id, &value.repeat(20)))
            })?;
        }
        model.extend(ids.into_iter().map(|id| (id, value.repeat(20))));
        Ok(())
    }

    /// What the journal has of the tree, and what a caller is given.
    fn assert_lists(db: &Db, model: &Model) -> TestResult {
        let expected: Vec<_> = model.clone().into_iter().collect();
        let found = db.list_from_journal(TreeId::Peers, &decode)?;
        assert!(found.ok_or("from the index")? == expected);
        let before = db.counters().snapshot();
        assert!(db.list(TreeId::Peers, decode)? == expected);
        let after = db.counters().snapshot();
        assert_eq!(after.reads - before.reads, u64::try_from(model.len())?);
        assert!(after.read_bytes > before.read_bytes);
        Ok(())
    }

    #[test]
    fn a_tree_is_listed_from_the_journal_as_commits_left_it_and_from_the_index_where_that_is_damaged()
    -> TestResult {
        let directory = tempfile::tempdir()?;
        let mut options =
            DbOptions::new(directory.path().join("data.sled"), 2, || 1_770_000_000_000);
        options.compression = false;
        let layout = |_: &dyn view::Read| {
            Ok(Layout {
                schema_version: 2,
                is_framed: true,
            })
        };
        let db = Db::open(&options, &layout)?;
        let mut model = Model::new();
        put(&db, &mut model, 0..FEW - 1, "f")?;
        let list = || db.list_from_journal(TreeId::Peers, &decode);
        assert!(list()?.is_none(), "few records");
        assert_eq!(db.list(TreeId::Peers, decode)?.len(), model.len());
        put(&db, &mut model, 0..4 * FEW, "a")?;
        assert_lists(&db, &model)?;

        let (commit, _) = db.inner.checkpoint()?;
        assert_lists(&db, &model)?;
        put(&db, &mut model, (0..4 * FEW).step_by(9), "b")?;
        put(&db, &mut model, 4 * FEW..5 * FEW, "c")?;
        for id in model.keys().step_by(11).cloned().collect::<Vec<_>>() {
            db.update(Durability::Buffered, |view, commit| {
                TREE.remove(view, commit, &id)
            })?;
            model.remove(&id);
        }
        assert_lists(&db, &model)?;

        let expected: Vec<_> = model.clone().into_iter().collect();
        let name = storage_journal::checkpoint::name(commit);
        let checkpoint = directory.path().join("data.sled.journal").join(name);
        let mut bytes = fs::read(&checkpoint)?;
        let restored = bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&checkpoint, &bytes)?;
        assert!(list().is_err());
        assert!(
            db.list(TreeId::Peers, decode)? == expected,
            "from the index"
        );

        // What cannot be read at the end of the journal is not left out.
        fs::write(&checkpoint, &restored)?;
        assert!(list()?.is_some());
        let segment = directory.path().join("data.sled.journal");
        let segment = segment.join(format!("{:020}.log", 1));
        let mut frames = fs::read(&segment)?;
        let end = frames.len();
        frames[end - 30..].fill(0);
        fs::write(&segment, &frames)?;
        assert!(list()?.is_none());
        assert!(
            db.list(TreeId::Peers, decode)? == expected,
            "from the index"
        );

        db.shutdown()?;
        assert!(matches!(
            db.list(TreeId::Peers, decode),
            Err(CoreError::Closed)
        ));
        Ok(())
    }

    #[test]
    fn where_much_came_since_the_last_checkpoint_the_index_is_the_shorter_way() -> TestResult {
        let directory = tempfile::tempdir()?;
        let mut options =
            DbOptions::new(directory.path().join("data.sled"), 2, || 1_770_000_000_000);
        options.compression = false;
        let layout = |_: &dyn view::Read| {
            Ok(Layout {
                schema_version: 2,
                is_framed: true,
            })
        };
        let db = Db::open(&options, &layout)?;
        let mut model = Model::new();
        put(&db, &mut model, 0..FEW, &"long".repeat(10))?;
        let list = |db: &Db| db.list_from_journal(TreeId::Peers, &decode);
        assert!(list(&db)?.is_none());
        db.inner.checkpoint()?;
        assert!(
            list(&db)?.is_none(),
            "its segment is read from its beginning"
        );
        drop(db);

        let db = Db::open(&options, &layout)?;
        assert_lists(&db, &model)?;
        // One at a time, and no record is counted for each time that it was put.
        let alone = db.inner.listing.lock();
        assert!(list(&db)?.is_none());
        assert!(db.list(TreeId::Peers, decode)?.len() == model.len());
        drop(alone);
        for _ in 0..3 {
            db.flush()?;
            put(&db, &mut model, 0..FEW / 2, "short")?;
        }
        db.flush()?;
        let mut few: Vec<_> = model.keys().cloned().collect();
        few.truncate(20);
        for id in &few {
            db.update(Durability::Buffered, |view, commit| {
                TREE.remove(view, commit, id)
            })?;
            model.remove(id);
        }
        assert!(list(&db)?.is_none(), "they are few");
        assert!(db.list(TreeId::Peers, decode)?.len() == model.len());
        Ok(())
    }

    /// Beside a writer and checkpoints, and not behind what was committed or read by its key before.
    #[test]
    fn a_list_is_of_one_commit_whatever_is_written_beside_it() -> TestResult {
        let directory = tempfile::tempdir()?;
        let options = DbOptions::new(directory.path().join("data.sled"), 2, || 1_770_000_000_000);
        let layout = |_: &dyn view::Read| {
            Ok(Layout {
                schema_version: 2,
                is_framed: true,
            })
        };
        let db = Db::open(&options, &layout)?;
        put(&db, &mut Model::new(), 0..2 * FEW, "a")?;
        let ids = ["00000000", "zzzzzzzz"];
        let write = |round: u32| {
            db.update(Durability::Buffered, |_, commit| {
                let mut ids = ids.iter();
                ids.try_for_each(|id| TREE.insert(commit, id, &round.to_string()))
            })
        };
        let of = |list: &[(String, String)], id: &str| -> Option<u32> {
            let found = list.binary_search_by(|(at, _)| at.as_str().cmp(id));
            found.ok().and_then(|at| list.get(at)?.1.parse().ok())
        };
        write(0)?;
        let over = AtomicUsize::new(0);
        let from_journal =
            std::thread::scope(|scope| -> Result<usize, Box<dyn std::error::Error>> {
                let writer = scope.spawn(|| {
                    let written = (1..2000).try_for_each(|round| {
                        if round % 500 == 0 {
                            db.inner.checkpoint()?;
                        }
                        write(round).map(drop)
                    });
                    over.store(1, Ordering::Release);
                    written
                });
                let mut from_journal = 0;
                loop {
                    let is_last = over.load(Ordering::Acquire) != 0;
                    let before = TREE.load(&db, ids[1])?.and_then(|round| round.parse().ok());
                    // Two checkpoints may overtake one list; what is asked for last has nothing beside it.
                    if let Ok(Some(list)) = db.list_from_journal(TreeId::Peers, &decode) {
                        assert_eq!(of(&list, ids[0]), of(&list, ids[1]));
                        assert!(
                            of(&list, ids[1]) >= before,
                            "{:?} {before:?}",
                            of(&list, ids[1])
                        );
                        from_journal += 1;
                    }
                    if is_last {
                        break;
                    }
                }
                writer.join().map_err(|_panic| "the writer panicked")??;
                Ok(from_journal)
            })?;
        assert!(from_journal > 0);
        Ok(())
    }
}
