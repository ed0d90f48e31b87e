//! A database with a history that is known commit by commit, and what of it a repaired one must hold.

use std::collections::BTreeMap;
use std::path::Path;

use nonos_storage::{EpochNumber, RepairReport};
use storage_core::trees::{claims, config, metrics, peers};
use storage_core::{Db, DbOptions, Durability, TreeId};
use storage_journal::Scan;
use storage_journal::disk::RealDisk;
use storage_testkit::damage::copy;
use storage_testkit::{Directory, dump};

use super::intact::Intact;
use super::{Index, Random};
use crate::TestResult;
use crate::contents::{claim, noise, peer, sample};

/// Records by tree and key.
pub(super) type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

/// How the database was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Cleanly,
    Flushed,
    Ahead,
}

impl Ended {
    pub(super) const ALL: [Self; 3] = [Self::Cleanly, Self::Flushed, Self::Ahead];
}

type Changes = Vec<(TreeId, Vec<u8>, Option<Vec<u8>>)>;

/// What every commit changed.
#[derive(Clone, Debug, Default)]
pub(super) struct History(BTreeMap<u64, Changes>);

fn options(path: &Path) -> DbOptions {
    let mut options = DbOptions::new(path.to_owned(), 2, || 1_770_000_000_000);
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    options
}

/// Commits between two things that are done to the whole database.
const COMMITS: usize = 70;

/// Makes some commits: new records, others in the place of old ones, deletions; small and large.
fn write(db: &Db, seed: u64, count: usize) -> TestResult {
    let mut random = Random(seed);
    for _ in 0..count {
        let durability = match random.below(5) {
            0 => Durability::Durable,
            _ => Durability::Buffered,
        };
        db.update(durability, |view, commit| {
            for _ in 0..=random.below(3) {
                let number = random.below(60);
                let id = format!("peer-{number}");
                match random.below(8) {
                    0 => {
                        peers::remove(view, commit, &id)?;
                    }
                    1 => {
                        let epoch = u64::try_from(number).unwrap_or(0);
                        let claim = claim(epoch);
                        claims::store(view, commit, 1_770_000_000_000, EpochNumber(epoch), &claim)?;
                    }
                    2 => {
                        let time = i64::try_from(random.below(500)).unwrap_or(0);
                        metrics::store(commit, time, &sample(random.next() >> 8))?;
                    }
                    3 => {
                        let mut value = noise(200 + random.below(9000));
                        value.extend(random.next().to_le_bytes());
                        config::store(commit, &format!("large-{}", number % 12), &value)?;
                    }
                    _ => {
                        let mut peer = peer(&id);
                        peer.connection_count = u32::try_from(random.next() >> 40).unwrap_or(0);
                        peers::store(commit, &id, &peer)?;
                    }
                }
            }
            Ok::<_, storage_core::CoreError>(())
        })?;
    }
    Ok(())
}

impl History {
    /// Makes the database `data.sled` below `root`.
    pub(super) fn make(root: &Path, ended: Ended) -> TestResult<Self> {
        let made = Directory::new()?;
        let path = made.database();
        let mut history = Self::default();
        for part in 0..4 {
            let db = storage_schema::open(&options(&path), None)?.db;
            write(&db, part, COMMITS)?;
            history.learn(&made)?;
            if part == 1 || part == 2 {
                db.checkpoint()?;
            }
            write(&db, part + 100, COMMITS)?;
            history.learn(&made)?;
            if part < 3 {
                db.shutdown()?;
                continue;
            }
            match ended {
                Ended::Cleanly => db.shutdown()?,
                Ended::Flushed => db.flush()?,
                Ended::Ahead => {
                    db.flush()?;
                    write(&db, 200, 30)?;
                }
            }
            history.learn(&made)?;
            copy(made.root(), root)?;
            let state = dump(&db);
            if ended != Ended::Cleanly {
                let state: State = state?.into_iter().map(|(t, k, v)| ((t, k), v)).collect();
                assert!(state == history.last(), "the model is wrong");
            }
        }
        Ok(history)
    }

    /// Reads the commits that the journal holds now.
    fn learn(&mut self, made: &Directory) -> TestResult {
        let directory = made.root().join("data.sled.journal");
        let scan = Scan::read(&RealDisk, &directory, u64::MAX)?;
        scan.replay(&RealDisk, 0, |number, changes| {
            let changes = changes.filter_map(|change| {
                let tree = TreeId::from_number(change.tree)?;
                Some((tree, change.key.to_vec(), change.value.map(<[u8]>::to_vec)))
            });
            self.0.insert(number, changes.collect());
            Ok::<_, storage_journal::JournalError>(())
        })?;
        Ok(())
    }

    /// The state at the end.
    pub(super) fn last(&self) -> State {
        let mut state = State::new();
        for (tree, key, value) in self.0.values().flatten() {
            let place = (*tree, key.clone());
            match value {
                Some(value) => state.insert(place, value.clone()),
                None => state.remove(&place),
            };
        }
        state
    }

    /// Every version that a record had, oldest first; `None` is a deletion.
    fn versions(&self) -> BTreeMap<(TreeId, &[u8]), Vec<(u64, Option<&[u8]>)>> {
        let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, changes) in &self.0 {
            for (tree, key, value) in changes {
                let of: &mut Vec<_> = versions.entry((*tree, key.as_slice())).or_default();
                of.retain(|(at, _)| at != number);
                of.push((*number, value.as_deref()));
            }
        }
        versions
    }

    /// Whether a repaired database holds what it must, and nothing else.
    pub(super) fn judge(
        &self,
        intact: &Intact,
        state: &State,
        report: &RepairReport,
        index: Index,
    ) -> Result<(), String> {
        self.judge_losses(intact, report)?;
        let versions = self.versions();
        let last = self.last();
        for place in state.keys() {
            let known = versions.contains_key(&(place.0, place.1.as_slice()));
            if !known && !(report.schema_record_made && place.0 == TreeId::Schema) {
                return Err(format!("never written: {place:?}"));
            }
        }
        for ((tree, key), versions) in &versions {
            let found = state.get(&(*tree, key.to_vec())).map(Vec::as_slice);
            if report.schema_record_made && *tree == TreeId::Schema {
                continue;
            }
            // The newest version that is intact in the journal.
            let of_commits = versions
                .iter()
                .rev()
                .find(|(at, _)| intact.commits.contains_key(at));
            let in_block = intact.blocks.iter().filter_map(|block| {
                let has = |(of, at, _): &&(u8, Vec<u8>, Vec<u8>)| {
                    *of == tree.number() && at.as_slice() == *key
                };
                let record = block.records.iter().find(has)?;
                Some((block.commit, Some(record.2.as_slice())))
            });
            let best = in_block
                .chain(of_commits.copied())
                .max_by_key(|(at, _)| *at);
            let after = best.map_or(0, |(at, _)| at);
            let gone = intact.damaged.iter().chain(&intact.doubtful);
            let is_lost_after = gone.into_iter().any(|number| *number > after);
            let is_known = |value: &[u8]| versions.iter().any(|(_, at)| *at == Some(value));
            let is_newer = |value: &[u8]| {
                let behind = |(at, of): &(u64, Option<&[u8]>)| *at > after && *of == Some(value);
                versions.iter().any(behind)
            };
            let right = last.get(&(*tree, key.to_vec())).map(Vec::as_slice);
            let fault = match (best, found) {
                (_, Some(value)) if !is_known(value) => "a value that was never written",
                // No commit behind it is damaged, so it is the newest there is.
                (Some(_), found) if !is_lost_after && found != right => "not the newest version",
                (Some((_, Some(best))), Some(value))
                    if value != best && !is_newer(value) && index == Index::Gone =>
                {
                    "an older version than one that is intact"
                }
                (Some((_, Some(_))), None) => {
                    let is_deleted = |(at, of): &(u64, Option<&[u8]>)| *at > after && of.is_none();
                    if versions.iter().any(is_deleted) {
                        continue;
                    }
                    "lost, but it is intact"
                }
                (Some((_, None)), Some(value)) if !is_newer(value) && index == Index::Gone => {
                    "deleted by a commit that is intact"
                }
                // The index has everything.
                (_, found) if index == Index::Sound && right.is_some() && found != right => {
                    "not as in the index, which is sound"
                }
                _ => continue,
            };
            return Err(format!(
                "{fault}: {tree:?} {:?}: best {after}, versions {:?}, found {}, lost after: {is_lost_after}",
                String::from_utf8_lossy(key),
                versions
                    .iter()
                    .map(|(at, of)| (at, of.is_some(), *of == found))
                    .collect::<Vec<_>>(),
                found.is_some(),
            ));
        }
        Ok(())
    }

    /// Whether every commit that is lost is listed.
    fn judge_losses(&self, intact: &Intact, report: &RepairReport) -> Result<(), String> {
        let lost = &report.salvaged.lost;
        for number in intact
            .damaged
            .iter()
            .filter(|number| **number > intact.base())
        {
            let listed = lost.ranges.iter().any(|range| range.contains(number));
            let is_last = intact
                .commits
                .keys()
                .next_back()
                .is_none_or(|last| last < number);
            let is_open = lost.is_open || lost.is_unknown;
            if !listed && !(is_open && is_last) {
                return Err(format!("commit {number} is lost, and not listed"));
            }
        }
        Ok(())
    }
}
