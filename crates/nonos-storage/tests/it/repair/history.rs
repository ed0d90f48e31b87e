//! A database with a history that is known commit by commit, and what of it a repaired one must hold.

use std::collections::BTreeMap;
use std::path::Path;

use nonos_storage::{EpochNumber, RepairReport};
use storage_core::trees::{claims, config, metrics, peers};
use storage_core::{Db, DbOptions, Durability, TreeId};
use storage_journal::Scan;
use storage_journal::disk::RealDisk;
use storage_testkit::damage::copy;
use storage_testkit::{Directory, Random, dump};

use super::Index;
use super::intact::Intact;
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

/// Numbers of commits with what they put, or that they deleted.
type Versions<'a> = Vec<(u64, Option<&'a [u8]>)>;

/// What every commit changed.
#[derive(Debug)]
pub(super) struct History {
    commits: BTreeMap<u64, Changes>,
    /// The index as it was at an earlier close.
    pub(super) old_index: Directory,
}

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
        let durability = match random.index(5) {
            0 => Durability::Durable,
            _ => Durability::Buffered,
        };
        db.update(durability, |view, commit| {
            for _ in 0..=random.index(3) {
                let number = random.index(60);
                let id = format!("peer-{number}");
                match random.index(8) {
                    0 => {
                        peers::remove(view, commit, &id)?;
                    }
                    1 => {
                        let epoch = u64::try_from(number).unwrap_or(0);
                        let claim = claim(epoch);
                        claims::store(view, commit, 1_770_000_000_000, EpochNumber(epoch), &claim)?;
                    }
                    2 => {
                        let time = i64::try_from(random.index(500)).unwrap_or(0);
                        metrics::store(commit, time, &sample(random.below(u64::MAX) >> 8))?;
                    }
                    3 => {
                        let mut value = noise(200 + random.index(9000));
                        value.extend(random.below(u64::MAX).to_le_bytes());
                        config::store(commit, &format!("large-{}", number % 12), &value)?;
                    }
                    _ => {
                        let mut peer = peer(&id);
                        peer.connection_count =
                            u32::try_from(random.below(u64::MAX) >> 40).unwrap_or(0);
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
        let mut history = Self {
            commits: BTreeMap::new(),
            old_index: Directory::new()?,
        };
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
                drop(db);
                if part == 1 {
                    copy(&path, history.old_index.root())?;
                }
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
            self.commits.insert(number, changes.collect());
            Ok::<_, storage_journal::JournalError>(())
        })?;
        Ok(())
    }

    /// The state at the end.
    pub(super) fn last(&self) -> State {
        let mut state = State::new();
        for (tree, key, value) in self.commits.values().flatten() {
            let place = (*tree, key.clone());
            match value {
                Some(value) => state.insert(place, value.clone()),
                None => state.remove(&place),
            };
        }
        state
    }

    /// Every version that a record had, oldest first; `None` is a deletion.
    fn versions(&self) -> BTreeMap<(TreeId, &[u8]), Versions<'_>> {
        let mut versions: BTreeMap<_, Versions<'_>> = BTreeMap::new();
        for (number, changes) in &self.commits {
            for (tree, key, value) in changes {
                let of = versions.entry((*tree, key.as_slice())).or_default();
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
        judge_losses(intact, report)?;
        let versions = self.versions();
        let last = self.last();
        for place in state.keys() {
            let known = versions.contains_key(&(place.0, place.1.as_slice()));
            let is_made = report.schema_record_made && place.0 == TreeId::Schema;
            if !known && !is_made {
                return Err(format!("never written: {place:?}"));
            }
        }
        for ((tree, key), versions) in &versions {
            let found = state.get(&(*tree, key.to_vec())).map(Vec::as_slice);
            if report.schema_record_made && *tree == TreeId::Schema {
                continue;
            }
            let best = intact.best(*tree, key, versions);
            let after = best.map_or(0, |(at, _)| at);
            let right = last.get(&(*tree, key.to_vec())).map(Vec::as_slice);
            let Some(fault) = fault(best, found, right, versions, (intact, index)) else {
                continue;
            };
            return Err(format!(
                "{fault}: {tree:?} {:?}: best {after}, versions {:?}, found {}",
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
}

/// What is wrong with what was `found` of a record whose newest version that is intact in the journal is
/// `best`, and whose newest one of all is `right`.
fn fault(
    best: Option<(u64, Option<&[u8]>)>,
    found: Option<&[u8]>,
    right: Option<&[u8]>,
    versions: &Versions<'_>,
    (intact, index): (&Intact, Index),
) -> Option<&'static str> {
    let after = best.map_or(0, |(at, _)| at);
    let gone = intact.damaged.iter().chain(&intact.doubtful);
    let is_lost_after = gone.into_iter().any(|number| *number > after);
    let was = |value: &[u8]| versions.iter().any(|(_, of)| *of == Some(value));
    let behind = |value: Option<&[u8]>| versions.iter().any(|(at, of)| *at > after && *of == value);
    match (best, found) {
        (_, Some(value)) if !was(value) => Some("a value that was never written"),
        // No commit behind it is damaged, so it is the newest there is.
        (Some(_), found) if !is_lost_after && found != right => Some("not the newest version"),
        (Some((_, Some(best))), Some(value))
            if value != best && !behind(found) && index == Index::Gone =>
        {
            Some("an older version than one that is intact")
        }
        (Some((_, Some(_))), None) if !behind(None) => Some("lost, but it is intact"),
        (Some((_, None)), Some(_)) if !behind(found) && index == Index::Gone => {
            Some("deleted by a commit that is intact")
        }
        // The index has everything.
        (_, found) if index == Index::Sound && right.is_some() && found != right => {
            Some("not as in the index, which is sound")
        }
        _ => None,
    }
}

/// Whether every commit that is lost is listed.
fn judge_losses(intact: &Intact, report: &RepairReport) -> Result<(), String> {
    let lost = &report.salvaged.lost;
    for number in intact
        .damaged
        .iter()
        .filter(|number| **number > intact.base())
    {
        let is_listed = lost.ranges.iter().any(|range| range.contains(number));
        let mut read = intact.commits.keys().rev();
        let is_behind = read.next().is_none_or(|last| last < number);
        let is_said = is_listed || (is_behind && (lost.is_open || lost.is_unknown));
        if !is_said {
            return Err(format!("commit {number} is lost, and not listed"));
        }
    }
    Ok(())
}
