//! Which commits and which blocks of a journal no damage touched, read from the files as docs/FORMAT.md
//! describes them, by other code than that of the journal.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use storage_core::TreeId;
use storage_core::history::{Checkpoint, RealDisk};

use crate::TestResult;

/// Which bytes of a file were changed.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) changed: Vec<Range<usize>>,
}

impl Damage {
    fn bytes_in(&self, piece: &Range<usize>) -> usize {
        let within = |changed: &Range<usize>| {
            let from = changed.start.max(piece.start);
            changed.end.min(piece.end).saturating_sub(from)
        };
        self.changed.iter().map(within).sum()
    }
}

type Record = (u8, Vec<u8>, Vec<u8>);

/// A block of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) commit: u64,
    pub(super) records: Vec<Record>,
    file: String,
    place: Range<usize>,
}

/// What is as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Intact {
    /// Commits, and where they lie.
    pub(super) commits: BTreeMap<u64, (String, Range<usize>)>,
    pub(super) blocks: Vec<Block>,
    /// Checkpoints of which no block was changed.
    pub(super) whole: BTreeMap<String, u64>,
    /// Commits that are damaged.
    pub(super) damaged: Vec<u64>,
    /// Commits of which one byte is damaged: a flipped bit is corrected.
    pub(super) doubtful: Vec<u64>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(field)).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Intact {
    /// Of a sound journal.
    pub(super) fn of(database: &Path) -> TestResult<Self> {
        let mut name = database.as_os_str().to_owned();
        name.push(".journal");
        let mut found = Self::default();
        for file in super::names(Path::new(&name))? {
            let path = Path::new(&name).join(&file);
            let bytes = fs::read(&path)?;
            if path.extension().is_some_and(|ending| ending == "log") {
                found.segment(&file, &bytes).ok_or("a segment")?;
            } else if file.starts_with("checkpoint-") {
                let checkpoint = Checkpoint::open(&RealDisk, &path)?;
                let commit = checkpoint.about().commit;
                let records = checkpoint.records().collect::<Result<Vec<_>, _>>()?;
                found.whole.insert(file.clone(), commit);
                found
                    .checkpoint(&file, &bytes, commit, records)
                    .ok_or("a checkpoint")?;
            }
        }
        Ok(found)
    }

    fn segment(&mut self, file: &str, bytes: &[u8]) -> Option<()> {
        let mut at = 4148;
        while at < bytes.len() {
            let len = 41 + u32_at(bytes, at)?;
            if bytes.get(at + 40) == Some(&1) {
                let number = u64_at(bytes, at + 16)?;
                self.commits.insert(number, (file.to_owned(), at..at + len));
            }
            at += len;
        }
        Some(())
    }

    fn checkpoint(
        &mut self,
        file: &str,
        bytes: &[u8],
        commit: u64,
        records: Vec<Record>,
    ) -> Option<()> {
        let mut at = 60 + u32_at(bytes, 56)? + 4;
        let end = usize::try_from(u64_at(bytes, bytes.len() - 56)?).ok()?;
        let mut records = records.into_iter();
        while at < end {
            let (count, len) = (u32_at(bytes, at + 2)?, 18 + u32_at(bytes, at + 10)?);
            self.blocks.push(Block {
                commit,
                records: records.by_ref().take(count).collect(),
                file: file.to_owned(),
                place: at..at + len,
            });
            at += len;
        }
        records.next().is_none().then_some(())
    }

    /// Takes out what was damaged in a file.
    pub(super) fn take_out(&mut self, name: &str, damage: &Damage) {
        if damage.changed.is_empty() {
            return;
        }
        let of_this = |block: &&Block| block.file == name;
        let hits = |block: &Block| damage.bytes_in(&block.place) > 0;
        if self.blocks.iter().filter(of_this).any(hits) {
            self.whole.remove(name);
        }
        self.blocks
            .retain(|block| block.file != name || damage.bytes_in(&block.place) == 0);
        let headers = [0..52, 4096..4148];
        let is_headless = headers.iter().all(|header| damage.bytes_in(header) > 0);
        let (damaged, doubtful) = (&mut self.damaged, &mut self.doubtful);
        self.commits.retain(|number, (file, place)| {
            let bytes = damage.bytes_in(place);
            let is_here = file == name;
            if is_here && (is_headless || bytes > 1) {
                damaged.push(*number);
            } else if is_here && bytes == 1 {
                doubtful.push(*number);
            }
            !(is_here && (is_headless || bytes > 0))
        });
    }

    /// The newest version of a record that is intact, in a commit or in a checkpoint.
    pub(super) fn best<'a>(
        &'a self,
        tree: TreeId,
        key: &[u8],
        versions: &[(u64, Option<&'a [u8]>)],
    ) -> Option<(u64, Option<&'a [u8]>)> {
        let mut committed = versions.iter().rev();
        let committed = committed.find(|(at, _)| self.commits.contains_key(at));
        let in_blocks = self.blocks.iter().filter_map(|block| {
            let has = |(of, at, _): &&Record| *of == tree.number() && at.as_slice() == key;
            let record = block.records.iter().find(has)?;
            Some((block.commit, Some(record.2.as_slice())))
        });
        in_blocks
            .chain(committed.copied())
            .max_by_key(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.blocks.is_empty()
    }

    /// The newest state that is known whole.
    pub(super) fn base(&self) -> u64 {
        self.whole.values().copied().max().unwrap_or(0)
    }
}
