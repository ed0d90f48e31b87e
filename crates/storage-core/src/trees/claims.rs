//! `claims`: rewards that were claimed, by epoch. Every store is audited.

use serde::{Deserialize, Serialize};

use crate::commit::Commit;
use crate::db::Db;
use crate::error::{CoreError, RecordError};
use crate::key::EpochNumber;
use crate::tree::{Tree, TreeId};
use crate::trees::audit_log;
use crate::view::{Order, Read};

const CLAIMS: Tree<EpochNumber, StoredClaim> = Tree::new(TreeId::Claims);

/// A claimed reward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredClaim {
    /// The epoch's number, the same as the key.
    pub epoch: u64,
    /// How much, in the smallest unit.
    pub amount: u128,
    /// When, in Unix seconds.
    pub claimed_at: i64,
    /// The transaction that paid it, once known.
    pub tx_hash: Option<String>,
    /// Who claimed it.
    pub claimant: String,
}

/// Puts the claim of an epoch, in place of an earlier one, and its audit entry.
///
/// # Errors
///
/// [`CoreError::Record`] for another epoch in the record, [`CoreError::TooLarge`].
pub fn store(
    view: &dyn Read,
    commit: &mut Commit,
    now_ms: i64,
    epoch: EpochNumber,
    claim: &StoredClaim,
) -> Result<(), CoreError> {
    if claim.epoch != epoch.0 {
        return Err(CoreError::Record {
            tree: TreeId::Claims,
            key: epoch.to_string(),
            source: RecordError::EpochDiffers { found: claim.epoch },
        });
    }
    let (key, frame) = CLAIMS.entry(&epoch, claim, commit.compression())?;
    let details = Some(epoch.to_string());
    audit_log::append(view, commit, now_ms, TreeId::Claims, "store", details)?;
    commit.put(TreeId::Claims, key, frame);
    Ok(())
}

/// The claim of an epoch.
///
/// # Errors
///
/// As [`Tree::load`].
pub fn load(db: &Db, epoch: EpochNumber) -> Result<Option<StoredClaim>, CoreError> {
    CLAIMS.load(db, &epoch)
}

/// The claim of an epoch, as `from` sees it.
///
/// # Errors
///
/// As [`Tree::get`].
pub fn get(from: &dyn Read, epoch: EpochNumber) -> Result<Option<StoredClaim>, CoreError> {
    CLAIMS.get(from, &epoch)
}

/// All claims, in the order of their epochs.
///
/// # Errors
///
/// As [`Tree::scan`].
pub fn list(from: &dyn Read) -> Result<Vec<(EpochNumber, StoredClaim)>, CoreError> {
    let mut claims = Vec::new();
    CLAIMS.scan(from, None, None, Order::Ascending, |epoch, claim| {
        claims.push((epoch, claim));
        true
    })?;
    Ok(claims)
}
