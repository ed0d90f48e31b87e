//! What the journal has: its checkpoints and commits.

use std::sync::Arc;

use storage_journal::disk::RealDisk;
use storage_journal::salvage::{Commits, Remains, RestOf, Stretch};

use super::index::tells;
use super::known::{Known, Source};
use super::report::Damaged;
use super::{EVERYTHING, State, Work};
use crate::error::CoreError;
use crate::index::IndexReader;
use crate::pages::Pages;
use crate::tree::TreeId;

impl Work<'_> {
    /// Puts together what the journal tells; returns its commits, and the checkpoints that were taken.
    pub(super) fn journal(
        &mut self,
        remains: &Remains,
    ) -> Result<(Commits, Vec<State>), CoreError> {
        // The newest that is whole, and every newer one as far as it goes.
        let mut taken: Vec<&RestOf> = Vec::new();
        let mut base = 0;
        for rest in remains.checkpoints.iter().rev() {
            let meter = &mut self.meter;
            let unknown = rest.records::<CoreError>(&mut |_, _| meter.step(), &mut |_| Ok(()))?;
            taken.push(rest);
            if unknown.is_empty() && rest.commit() > 0 {
                base = rest.commit();
                break;
            }
            self.note(format!("{} is damaged", rest.path().display()));
        }
        taken.reverse();
        let mut states: Vec<State> = Vec::new();
        if remains.has_the_beginning() {
            // Before the first commit there is nothing.
            states.push((0, Vec::new()));
        }
        let (pieces, tell) = (&mut self.damaged_pieces, &mut *self.tell);
        let commits = Commits::read::<CoreError>(&RealDisk, remains, base, &mut |damaged| {
            *pieces += 1;
            tell(&piece(damaged))
        })?;
        let mut applied = base;
        for rest in taken {
            let commit = rest.commit();
            self.replay(&commits, applied, commit)?;
            applied = applied.max(commit);
            let unknown = self.checkpoint(rest, commit)?;
            self.remove_absent(commit, &unknown)?;
            states.push((commit, unknown));
        }
        self.replay(&commits, applied, u64::MAX)?;
        Ok((commits, states))
    }

    fn replay(&mut self, commits: &Commits, after: u64, through: u64) -> Result<(), CoreError> {
        let Self {
            scratch,
            counts,
            meter,
            ..
        } = self;
        commits.replay(&RealDisk, after, through, &mut |number, change| {
            meter.step()?;
            let Some(tree) = TreeId::from_number(change.tree) else {
                return Ok(());
            };
            let known = match change.value {
                Some(value) => {
                    counts.of_mut(tree).sources.commits.found += 1;
                    Known::put(Source::Commit, number, value)
                }
                None => Known::deleted(number),
            };
            scratch.apply(tree, change.key, Some(&known.encode()), &mut |_| {})
        })
    }

    /// Takes what can be read of a checkpoint; returns what it tells nothing of.
    pub(super) fn checkpoint(
        &mut self,
        rest: &RestOf,
        commit: u64,
    ) -> Result<Vec<Stretch>, CoreError> {
        let Self {
            scratch,
            counts,
            meter,
            damaged_pieces,
            tell,
            ..
        } = self;
        rest.records::<CoreError>(
            &mut |tree, entries| {
                let Some(tree) = TreeId::from_number(tree) else {
                    return Ok(());
                };
                for (key, value) in entries {
                    meter.step()?;
                    counts.of_mut(tree).sources.checkpoints.found += 1;
                    let known = Known::put(Source::Checkpoint, commit, &value);
                    scratch.apply(tree, &key, Some(&known.encode()), &mut |_| {})?;
                }
                Ok(())
            },
            &mut |damaged| {
                *damaged_pieces += 1;
                tell(&piece(damaged))
            },
        )
    }

    /// What is older than a checkpoint, lies where it can be read, and is not in it, had been deleted.
    fn remove_absent(&mut self, commit: u64, unknown: &[Stretch]) -> Result<(), CoreError> {
        let scratch = Arc::clone(&self.scratch);
        for tree in TreeId::ALL {
            for entry in Pages::new(IndexReader(&*scratch), tree, Ok(EVERYTHING)) {
                let (key, stored) = entry?;
                self.meter.step()?;
                let Some(known) = Known::decode(&stored) else {
                    continue;
                };
                if known.number < commit && tells(unknown, tree, &key) {
                    let deleted = Known::deleted(commit).encode();
                    scratch.apply(tree, &key, Some(&deleted), &mut |_| {})?;
                }
            }
        }
        Ok(())
    }
}

fn piece(damaged: storage_journal::salvage::Damaged<'_>) -> Damaged<'_> {
    Damaged {
        tree: None,
        key: &[],
        reason: format!("{} is damaged", damaged.what),
        bytes: damaged.bytes,
        found_in: format!("{}, byte {}", damaged.path.display(), damaged.offset),
    }
}
