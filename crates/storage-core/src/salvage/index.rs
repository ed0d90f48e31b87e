//! What the index has, against what the journal had.

use std::sync::Arc;

use storage_journal::disk::RealDisk;
use storage_journal::salvage::{Commits, Remains, Stretch};

use super::known::{Known, Source};
use super::report::Damaged;
use super::{EVERYTHING, IndexSource, State, Work, is_damage, source};
use crate::error::CoreError;
use crate::frame;
use crate::index::IndexReader;
use crate::pages::Pages;
use crate::tree::TreeId;
use crate::view::Read;

impl Work<'_> {
    /// Takes from an index what the journal cannot know.
    pub(super) fn index(
        &mut self,
        from: &IndexSource<'_>,
        commits: &mut Commits,
        states: &[State],
    ) -> Result<(), CoreError> {
        let shown = from.path.display();
        let witness = match from.index.witness() {
            Err(error) if is_damage(&error) => None,
            witness => witness?,
        };
        if let (Some(witness), Some(store_id)) = (witness, self.store_id)
            && witness.store_id != store_id
        {
            self.note(format!("{shown} belongs to another store"));
            return Ok(());
        }
        let said = witness.map(|witness| witness.store_id);
        self.store_id = self.store_id.or(said);
        let through = witness.map_or(0, |witness| witness.durable_through);
        commits.reached(through);
        if self.is_framed.is_none() {
            self.is_framed = (self.ask)(&IndexReader(from.index));
        }
        for tree in TreeId::ALL {
            let ended = source::read(from.index, tree, &mut |key, value| {
                self.meter.step()?;
                self.record(from, through, commits, states, (tree, key, value))
            });
            if let Some(why) = ended? {
                let tree = tree.name();
                self.note(format!("{shown}: {tree} cannot be read whole: {why}"));
            }
        }
        Ok(())
    }

    pub(super) fn record(
        &mut self,
        from: &IndexSource<'_>,
        through: u64,
        commits: &Commits,
        states: &[State],
        (tree, key, value): (TreeId, &[u8], &[u8]),
    ) -> Result<(), CoreError> {
        let count = self.counts.of_mut(tree);
        match from.source {
            Source::MovedAside => count.sources.moved_aside.found += 1,
            _ => count.sources.index.found += 1,
        }
        if self.is_framed.unwrap_or(true)
            && let Err(error) = frame::open_borrowed(tree, key, value)
        {
            count.quarantined += 1;
            return (self.tell)(&Damaged {
                tree: Some(tree),
                key,
                reason: error.to_string(),
                bytes: value,
                found_in: from.path.display().to_string(),
            });
        }
        let stored = self.scratch.get(tree, key)?;
        let known = stored.as_deref().and_then(Known::decode);
        if let Some(known) = &known
            && known.value == Some(value)
        {
            if self.is_one_of_many && !known.source.is_index() && !known.is_confirmed {
                let mut known = *known;
                known.is_confirmed = true;
                return self
                    .scratch
                    .apply(tree, key, Some(&known.encode()), &mut |_| {});
            }
            return Ok(());
        }
        let is_aside = from.source == Source::MovedAside;
        let lost = commits.lost();
        // What the journal says as of a commit, against an index that was durable through another one.
        let against = |number| match (lost.any_after(number), through >= number) {
            (true, true) => Wins::Yes,
            (_, false) if is_aside => Wins::No,
            (true, false) => Wins::IfNew,
            (false, is_behind) if is_behind && lost.is_unknown => Wins::IfNew,
            (false, _) => Wins::No,
        };
        let wins = match &known {
            // A better index has it.
            Some(known) if known.source.is_index() || known.is_confirmed => Wins::No,
            Some(known) => match known.value {
                Some(damaged) if !self.is_sound(tree, key, damaged) => Wins::Yes,
                _ => against(known.number),
            },
            None => {
                let absent = states
                    .iter()
                    .filter(|(_, unknown)| tells(unknown, tree, key));
                match absent.map(|(commit, _)| *commit).max() {
                    None => Wins::Yes,
                    // It holds what the checkpoint holds, and this on top.
                    Some(commit) if through >= commit && against(commit) == Wins::No => Wins::IfNew,
                    Some(commit) => against(commit),
                }
            }
        };
        let count = self.counts.of_mut(tree);
        count.conflicts += u64::from(known.is_some() || wins != Wins::Yes);
        let number = known.as_ref().map_or(0, |known| known.number);
        let taken = Known::put(from.source, number, value).encode();
        match wins {
            Wins::No => Ok(()),
            Wins::Yes => {
                count.index_won += u64::from(known.is_some());
                self.scratch.apply(tree, key, Some(&taken), &mut |_| {})
            }
            Wins::IfNew if self.doubts.get(tree, key)?.is_some() => Ok(()),
            Wins::IfNew => {
                self.has_doubts = true;
                self.doubts.apply(tree, key, Some(&taken), &mut |_| {})
            }
        }
    }

    fn is_sound(&self, tree: TreeId, key: &[u8], value: &[u8]) -> bool {
        !self.is_framed.unwrap_or(true) || frame::open_borrowed(tree, key, value).is_ok()
    }

    /// Of the records in doubt, takes those whose value the journal does not know as an older one.
    pub(super) fn resolve_doubts(
        &mut self,
        remains: &Remains,
        commits: &Commits,
    ) -> Result<(), CoreError> {
        let doubts = Arc::clone(&self.doubts);
        let meter = &mut self.meter;
        let mut dispel = |tree: u8, key: &[u8], value: &[u8]| {
            meter.step()?;
            let Some(tree) = TreeId::from_number(tree) else {
                return Ok(());
            };
            let stored = doubts.get(tree, key)?;
            let doubt = stored.as_deref().and_then(Known::decode);
            if doubt.is_some_and(|doubt| doubt.value == Some(value)) {
                doubts.apply(tree, key, None, &mut |_| {})?;
            }
            Ok::<_, CoreError>(())
        };
        for rest in &remains.checkpoints {
            rest.records::<CoreError>(
                &mut |tree, entries| {
                    let mut entries = entries.iter();
                    entries.try_for_each(|(key, value)| dispel(tree, key, value))
                },
                &mut |_| Ok(()),
            )?;
        }
        commits.replay(
            &RealDisk,
            0,
            u64::MAX,
            &mut |_, change| match change.value {
                Some(value) => dispel(change.tree, change.key, value),
                None => Ok(()),
            },
        )?;
        for tree in TreeId::ALL {
            for entry in Pages::new(IndexReader(&*doubts), tree, Ok(EVERYTHING)) {
                let (key, stored) = entry?;
                self.counts.of_mut(tree).index_won += 1;
                self.scratch.apply(tree, &key, Some(&stored), &mut |_| {})?;
            }
        }
        Ok(())
    }
}

/// Says of the records of a state whether they have frames, or that it cannot tell.
pub type IsFramed<'a> = &'a dyn Fn(&dyn Read) -> Option<bool>;

/// Whether a record of an index counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wins {
    Yes,
    No,
    /// If the journal does not know its value as an older one.
    IfNew,
}

/// Whether a checkpoint tells of a place.
pub(super) fn tells(unknown: &[Stretch], tree: TreeId, key: &[u8]) -> bool {
    !unknown
        .iter()
        .any(|stretch| stretch.contains(tree.number(), key))
}
