//! `epochs`: what this node did in each epoch.

use serde::{Deserialize, Serialize};

use crate::commit::Commit;
use crate::db::Db;
use crate::error::{CoreError, RecordError};
use crate::key::EpochNumber;
use crate::tree::{Tree, TreeId};
use crate::view::{Order, Read};

const EPOCHS: Tree<EpochNumber, StoredEpochSummary> = Tree::new(TreeId::Epochs);

/// An epoch in which the node could take part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredEpochSummary {
    /// The epoch's number, the same as the key.
    pub epoch: u64,
    /// When it began, in Unix seconds.
    pub start_time: i64,
    /// When it ended, in Unix seconds.
    pub end_time: i64,
    /// What the network paid, in the smallest unit.
    pub total_emission: u128,
    /// What this node was paid, in the smallest unit.
    pub our_reward: u128,
    /// The node's quality, from 0 to 1.
    pub quality_score: f64,
    /// Whether the node took part.
    pub participated: bool,
    /// Epochs in a row up to this one.
    pub streak: u32,
}

/// Puts the summary of an epoch, in place of an earlier one.
///
/// # Errors
///
/// [`CoreError::Record`] for another epoch in the record, or a score that is NaN or infinite.
pub fn store(
    commit: &mut Commit,
    epoch: EpochNumber,
    summary: &StoredEpochSummary,
) -> Result<(), CoreError> {
    let source = if summary.epoch != epoch.0 {
        RecordError::EpochDiffers {
            found: summary.epoch,
        }
    } else if !summary.quality_score.is_finite() {
        RecordError::NotFinite {
            field: "quality_score",
        }
    } else {
        return EPOCHS.insert(commit, &epoch, summary);
    };
    Err(CoreError::Record {
        tree: TreeId::Epochs,
        key: epoch.to_string(),
        source,
    })
}

/// The summary of an epoch.
///
/// # Errors
///
/// As [`Tree::load`].
pub fn load(db: &Db, epoch: EpochNumber) -> Result<Option<StoredEpochSummary>, CoreError> {
    EPOCHS.load(db, &epoch)
}

/// The summary of an epoch, as `from` sees it.
///
/// # Errors
///
/// As [`Tree::get`].
pub fn get(from: &dyn Read, epoch: EpochNumber) -> Result<Option<StoredEpochSummary>, CoreError> {
    EPOCHS.get(from, &epoch)
}

/// The newest epoch that has a summary.
///
/// # Errors
///
/// As [`Tree::edge`].
pub fn latest(from: &dyn Read) -> Result<Option<EpochNumber>, CoreError> {
    EPOCHS.edge(from, Order::Descending)
}

/// The summaries from `start` to `end`, both included, in order.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn range(
    from: &dyn Read,
    start: EpochNumber,
    end: EpochNumber,
) -> Result<Vec<StoredEpochSummary>, CoreError> {
    let mut summaries = Vec::new();
    let order = Order::Ascending;
    EPOCHS.scan(from, Some(&start), Some(&end), order, |_, summary| {
        summaries.push(summary);
        true
    })?;
    Ok(summaries)
}
