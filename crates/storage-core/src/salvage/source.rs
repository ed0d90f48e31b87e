//! The indexes that a database has, or had, and reading one that may be damaged.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::known::Source;
use super::{DAMAGED, OLD, is_damage};
use crate::db::recovery::chain;
use crate::error::CoreError;
use crate::index::{Index, Remains};
use crate::paths::directory_of;
use crate::tree::TreeId;
use crate::view::Order;

/// The index of the database at `path`, then those that were replaced or moved aside, the newest first.
pub(super) fn indexes_of(path: &Path) -> Result<Vec<(Source, PathBuf)>, CoreError> {
    let parent = directory_of(path);
    let io = |e| CoreError::io("read", parent, e);
    let entries = match fs::read_dir(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        let ending = entry.file_name().to_string_lossy().into_owned();
        let Some(ending) = ending.strip_prefix(&*name) else {
            continue;
        };
        // The live one first, then the one that a compaction replaced.
        let rank = match ending {
            "" => (0, String::new()),
            OLD => (1, String::new()),
            _ if ending.starts_with(DAMAGED) => (2, ending.to_owned()),
            _ => continue,
        };
        let mut files = fs::read_dir(entry.path());
        if files.as_mut().is_ok_and(|files| files.next().is_some()) {
            found.push((rank, entry.path()));
        }
    }
    found.sort_by(|((a, of_a), _), ((b, of_b), _)| a.cmp(b).then_with(|| of_b.cmp(of_a)));
    let source = |rank| match rank {
        0 => Source::Index,
        _ => Source::MovedAside,
    };
    Ok(found
        .into_iter()
        .map(|((rank, _), path)| (source(rank), path))
        .collect())
}

/// Called with each key and stored frame.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), CoreError>;

/// Shows every record of a tree that can be read; returns why not all of them can.
///
/// # Errors
///
/// Those of `visit`, and of the surroundings of the index.
pub(super) fn read(
    index: &dyn Index,
    tree: TreeId,
    visit: Each<'_>,
) -> Result<Option<String>, CoreError> {
    let mut why = None;
    let mut start = Bound::Unbounded;
    loop {
        let mut last = None;
        let range = (start.clone(), Bound::Unbounded);
        let scanned = scan(index, tree, &range, Order::Ascending, &mut last, visit)?;
        let Some((error, key)) = scanned else {
            return Ok(why);
        };
        why.get_or_insert(error);
        if let Some(last) = last {
            start = Bound::Excluded(last);
        }
        // A record whose pieces are missing, or a block that is not whole: behind it, reading goes on.
        match key {
            Some(key) if is_behind(&start, &key) => {
                let remains = match index.remains(tree, &key) {
                    Err(error) if is_damage(&error) => Remains::default(),
                    remains => remains?,
                };
                for (key, value) in remains.entries {
                    visit(&key, &value)?;
                }
                start = remains.next.map_or(Bound::Excluded(key), Bound::Included);
            }
            _ => break,
        }
    }
    // The engine cannot read on: what is left is read from the other end.
    let mut last = None;
    let range = (start, Bound::Unbounded);
    scan(index, tree, &range, Order::Descending, &mut last, visit)?;
    Ok(why)
}

type Failed = (String, Option<Vec<u8>>);

/// Scans until the index fails; then returns why, and the key of the record that it is about.
fn scan(
    index: &dyn Index,
    tree: TreeId,
    range: &crate::view::KeyRange,
    order: Order,
    last: &mut Option<Vec<u8>>,
    visit: Each<'_>,
) -> Result<Option<Failed>, CoreError> {
    let mut failed = None;
    let scanned = index.scan(tree, range, order, &mut |key, value| {
        *last = Some(key.to_vec());
        let visited = visit(key, value);
        let is_fine = visited.is_ok();
        failed = visited.err();
        Ok(is_fine)
    });
    if let Some(error) = failed {
        return Err(error);
    }
    match scanned {
        Ok(()) => Ok(None),
        Err(error) if is_damage(&error) => {
            let key = match &error {
                CoreError::Corrupt { key_hex, .. } => HEXLOWER.decode(key_hex.as_bytes()).ok(),
                _ => None,
            };
            Ok(Some((chain(&error), key)))
        }
        Err(error) => Err(error),
    }
}

fn is_behind(start: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::memory::MemoryIndex;
    use crate::index::packed::Packed;

    const TREE: TreeId = TreeId::Metrics;

    /// Blocks of some samples each, of which some are not whole: everything else is read, and of those every entry but
    /// the one that was changed.
    #[test]
    fn reading_goes_on_behind_each_block_that_is_not_whole() -> Result<(), CoreError> {
        let below = Arc::new(MemoryIndex::default());
        let packed = Packed::new(Arc::<MemoryIndex>::clone(&below));
        for number in 0..200_u16 {
            let (key, value) = (number.to_be_bytes(), [7; 90]);
            packed.apply(TREE, &key, Some(&value), &mut |_| {})?;
        }
        let mut blocks = Vec::new();
        let everything = (Bound::Unbounded, Bound::Unbounded);
        below.scan(TREE, &everything, Order::Ascending, &mut |key, stored| {
            blocks.push((key.to_vec(), stored.to_vec()));
            Ok(true)
        })?;
        assert!(blocks.len() > 6, "{} blocks", blocks.len());
        let damaged = [0, 2, 3, blocks.len() - 1];
        for (number, (key, mut stored)) in blocks.into_iter().enumerate() {
            if damaged.contains(&number) {
                *stored.last_mut().expect("a block is not empty") ^= 1;
                below.apply(TREE, &key, Some(&stored), &mut |_| {})?;
            }
        }
        let (mut whole, mut changed) = (0, 0);
        let why = read(&packed, TREE, &mut |_, value| {
            let count = if value == [7; 90] {
                &mut whole
            } else {
                &mut changed
            };
            *count += 1;
            Ok(())
        })?;
        assert!(why.is_some());
        assert_eq!((whole, changed), (200 - damaged.len(), damaged.len()));
        Ok(())
    }
}
