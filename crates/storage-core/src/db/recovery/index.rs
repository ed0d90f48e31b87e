//! The index brought up to the journal, or built anew from it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use storage_journal::digest::Digests;
use storage_journal::{Journal, Merged, Scan};

use super::super::compare;
use super::super::inner::let_go;
use super::{Layout, Opened, Place, records};
use crate::error::CoreError;
use crate::index::overlay::Overlay;
use crate::index::{Index, Witness};
use crate::progress::{Meter, during};
use crate::report::OpeningReport;
use crate::tree::TreeId;

impl Place<'_> {
    /// Makes an index of what the journal holds through commit `last`, beside, and puts it in place
    /// once it is whole: what an interruption leaves is not taken for an index.
    pub(super) fn build(
        &self,
        journal: &Journal,
        merged: Option<&Merged>,
        last: u64,
    ) -> Result<(Arc<dyn Index>, Digests), CoreError> {
        let new = self.home.open_beside()?;
        let mut digests = Digests::empty(TreeId::ALL.len());
        if let Some(merged) = merged {
            let mut meter = Meter::start("rebuild the index", merged.at_most(), self.observer);
            (digests, _) = compare::heal(&*new, merged, &mut meter)?;
        }
        let witness = Witness {
            store_id: journal.store_id(),
            term: journal.term(),
            durable_through: last,
        };
        new.set_witness(witness)?;
        let index = during("open the index", self.observer, || {
            new.sync()?;
            let_go(new).map_err(|_used| CoreError::Busy)?;
            self.home.swap()?;
            self.home.remove_old()?;
            self.home.open()
        })?;
        self.mark(&*index, journal, &digests, last)?;
        Ok((index, digests))
    }

    /// Opens the index, if it is this store's; returns also through which commit it is durable.
    pub(super) fn open_own(&self, scan: &Scan, adopted: bool) -> Result<Option<Opened>, CoreError> {
        let index = during("open the index", self.observer, || self.home.open())?;
        let witness = index.witness()?;
        let is_own = match witness {
            Some(witness) => adopted || witness.store_id == scan.store_id(),
            // A crash in the making of an index.
            None => adopted || records(&*index).next().transpose()?.is_none(),
        };
        let durable_through = witness.map_or(0, |witness| witness.durable_through);
        Ok(is_own.then_some((index, durable_through)))
    }

    /// Replays what the index may lack after commit `after`, then compares everything. With the layout
    /// comes whether the index was closed cleanly.
    pub(super) fn bring_up(
        &self,
        index: &Arc<dyn Index>,
        scan: &Scan,
        after: u64,
        (was_clean, layout): (bool, Layout),
        report: &mut OpeningReport,
    ) -> Result<Digests, CoreError> {
        let merged = &Merged::of(scan);
        // What cannot be read of older segments is in the checkpoint, and compared below.
        self.replay(index, scan, after, |_, _| report.replayed_commits += 1)?;
        let mut meter = Meter::start("compare the index", merged.at_most(), self.observer);
        let (digests, healed) = compare::heal(&**index, merged, &mut meter)?;
        let damaged = if layout.is_framed { healed.damaged } else { 0 };
        if !report.adopted {
            report.healed_records = healed.records;
        }
        if healed.records > 0 {
            let records = healed.records;
            tracing::warn!(
                records,
                damaged,
                "mended records of the index from the journal"
            );
        }
        // After a power cut the index may be ahead of the journal, so a difference alone is none.
        if damaged > 0 || (healed.records > 0 && was_clean) {
            let records = damaged.max(1);
            report
                .damage
                .push(format!("{records} records of the index were damaged"));
        }
        Ok(digests)
    }

    /// Applies the commits after `after` to an index and shows each to `visit`; returns those that
    /// cannot be read.
    pub(super) fn replay(
        &self,
        index: &Arc<dyn Index>,
        scan: &Scan,
        after: u64,
        mut visit: impl FnMut(u64, &[(TreeId, Vec<u8>)]),
    ) -> Result<Vec<RangeInclusive<u64>>, CoreError> {
        let mut meter = Meter::start("replay the journal", 0, self.observer);
        let over = Overlay::new(Arc::clone(index), REPLAYED_BYTES);
        let unread = scan.replay(&**self.disk, after, |number, changes| {
            meter.step()?;
            let mut touched = Vec::new();
            for change in changes {
                if let Some(tree) = TreeId::from_number(change.tree) {
                    over.apply(tree, change.key, change.value, &mut |_| {})?;
                    over.make_room_for(change.key, change.value)?;
                    touched.push((tree, change.key.to_vec()));
                }
            }
            visit(number, &touched);
            Ok::<_, CoreError>(())
        })?;
        over.settle()?;
        Ok(unread)
    }

    pub(super) fn set_aside(
        &self,
        reason: &str,
        report: &mut OpeningReport,
    ) -> Result<(), CoreError> {
        let aside: PathBuf = self.home.move_aside(self.now_ms.div_euclid(1000))?;
        tracing::warn!(reason, to = %aside.display(), "the index cannot be used and is moved aside");
        report
            .damage
            .push(format!("the index cannot be used: {reason}"));
        report.moved_aside.push(aside);
        Ok(())
    }
}

/// What a replay holds back, to write it to the index in key order.
const REPLAYED_BYTES: u64 = 8 * 1024 * 1024;
