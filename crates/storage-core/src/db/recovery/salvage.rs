//! Opening beside a damaged journal: the index stands in for it, if it holds what the journal lacks.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use storage_journal::digest::Digests;
use storage_journal::{Journal, JournalError, Scan};

use super::{Accept, Place, Recovered, chain, random};
use crate::error::CoreError;
use crate::frame;
use crate::index::{Index, IndexReader, Witness};
use crate::progress::Meter;
use crate::report::OpeningReport;
use crate::tree::{PerTree, TreeId};
use crate::view::{KeyRange, Order};

/// What an index holds that stands in for a damaged journal.
struct Salvaged {
    witness: Witness,
    /// The number of this state.
    number: u64,
    /// Commits of which it may hold a part.
    lost: Vec<RangeInclusive<u64>>,
}

/// Fewer records than this may all have been removed by commits that a power cut took.
const FEW: u64 = 64;

const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

impl Place<'_> {
    /// The journal is damaged: the index is the copy that counts, if it is whole.
    pub(super) fn restart(
        &self,
        scan: &Scan,
        mut report: OpeningReport,
        accept: Accept<'_>,
    ) -> Result<Recovered, CoreError> {
        let refuse = |why: &str| {
            let mut damage = scan.damage().to_vec();
            damage.push(format!("the index cannot stand in for it: {why}"));
            CoreError::from(JournalError::Damaged {
                directory: self.directory.to_owned(),
                damage,
            })
        };
        if !self.home.exists()? {
            return Err(refuse("there is none"));
        }
        let copy = match self.home.open_copy() {
            Ok(copy) => copy,
            Err(error) if error.is_index_damage() => return Err(refuse(&chain(&error))),
            Err(CoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(refuse("its log is missing"));
            }
            Err(error) => return Err(error),
        };
        let salvaged = match self.salvage(&copy, scan) {
            Ok(Ok(salvaged)) => salvaged,
            Ok(Err(why)) => return Err(refuse(why)),
            Err(error) if error.is_index_damage() => return Err(refuse(&chain(&error))),
            Err(error) => return Err(error),
        };
        let Salvaged {
            witness,
            number,
            lost,
        } = salvaged;
        let layout = accept(&IndexReader(&*copy))?;
        if layout.is_framed {
            match self.check_frames(&*copy) {
                Err(error) if error.is_index_damage() => return Err(refuse(&chain(&error))),
                checked => checked?,
            }
        }
        let schema = layout.schema_version;
        report.damage.extend(scan.damage().iter().cloned());
        report.damage.push(match lost.as_slice() {
            [] => "the index holds every commit that is known of".to_owned(),
            lost => format!("lost, but for what the index holds of it: {}", names(lost)),
        });
        // Before the evidence is gone: killed from here on, the next open tells it.
        Journal::note_damage(&**self.disk, self.directory, &report.damage)?;
        // First the bad ones aside: the new one may have the name of one of them.
        scan.set_bad_files_aside(&**self.disk)?;
        let size = self.write_base(&*copy, witness.store_id, schema, number)?;
        drop(copy);
        tracing::warn!(damage = ?report.damage, "the journal is damaged; it was made anew from the index");

        let index = self.home.open()?;
        let term = u64::from_le_bytes(random()?);
        let disk = Arc::clone(self.disk);
        let store_id = witness.store_id;
        let journal = Journal::restart(disk, self.directory, store_id, term, number, size, schema)?;
        let scan = Scan::read(&**self.disk, self.directory, number)?;
        let digests = self.bring_up(&index, &scan, number, (false, layout), &mut report)?;
        self.mark(&*index, &journal, &digests, number)?;
        Ok(Recovered {
            index,
            journal,
            digests,
            report,
            schema_version: schema,
        })
    }

    /// Whether every record is the one that was written in its place.
    fn check_frames(&self, copy: &dyn Index) -> Result<(), CoreError> {
        let mut meter = Meter::start("check the index", 0, self.observer);
        for tree in TreeId::ALL {
            copy.scan(tree, &EVERYTHING, Order::Ascending, &mut |key, value| {
                meter.step()?;
                let sound = frame::open_borrowed(tree, key, value);
                sound.map_err(|source| CoreError::corrupt(tree, key, source))?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Brings a copy of the index up to the last commit, where it holds what the journal lacks;
    /// otherwise says why it does not.
    fn salvage(
        &self,
        copy: &Arc<dyn Index>,
        scan: &Scan,
    ) -> Result<Result<Salvaged, &'static str>, CoreError> {
        let Some(witness) = copy.witness()? else {
            return Ok(Err("it was never completed"));
        };
        let known = scan.store_id();
        if known != [0; 16] && known != witness.store_id {
            return Ok(Err("it belongs to another store"));
        }
        let after = witness.durable_through;
        let mut touched: PerTree<BTreeSet<Vec<u8>>> = PerTree::default();
        let lost = self.replay(copy, scan, after, |_, changes| {
            for (tree, key) in changes {
                touched.of_mut(*tree).insert(key.clone());
            }
        })?;
        let (marked, mark) = match scan.mark() {
            Some((number, mark)) => (*number, Some(mark)),
            None => (0, None),
        };
        if !lost.is_empty() && after < marked {
            return Ok(Err("it is older than the last mark"));
        }
        if let Some(mark) = mark.filter(|_| lost.is_empty() && after == marked)
            && lacks_most(&**copy, &mark.digests, &touched)?
        {
            return Ok(Err("it lacks most of a tree that it held at the last mark"));
        }
        // A number of its own: it may be the state of no commit that ever was.
        let number = scan.highest().max(after) + 1;
        Ok(Ok(Salvaged {
            witness,
            number,
            lost,
        }))
    }
}

/// Whether an index lacks most of what a tree held at a mark, beside what later commits touched: that
/// is how the engine loses records to damage without an error. An exact comparison would refuse an
/// index that is ahead: after a power cut it may hold changes of which the journal kept no trace.
fn lacks_most(
    index: &dyn Index,
    digests: &Digests,
    touched: &PerTree<BTreeSet<Vec<u8>>>,
) -> Result<bool, CoreError> {
    for tree in TreeId::ALL {
        let touched = touched.of(tree);
        let mut held: u64 = 0;
        index.scan(tree, &EVERYTHING, Order::Ascending, &mut |key, _| {
            held += u64::from(!touched.contains(key));
            Ok(true)
        })?;
        let changed = u64::try_from(touched.len()).unwrap_or(u64::MAX);
        let expected = digests.of(tree.number()).count().saturating_sub(changed);
        if expected >= FEW && held < expected / 2 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ranges of commits, readable.
fn names(lost: &[RangeInclusive<u64>]) -> String {
    let name = |range: &RangeInclusive<u64>| match (range.start(), range.end()) {
        (first, end) if first == end => format!("commit {first}"),
        (first, end) => format!("commits {first} to {end}"),
    };
    lost.iter().map(name).collect::<Vec<_>>().join(", ")
}
