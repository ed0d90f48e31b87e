//! Updates over several trees, and what they leave.

use storage_core::trees::audit_log;
use storage_core::trees::claims::{self, StoredClaim};
use storage_core::trees::config;
use storage_core::trees::epochs::{self, StoredEpochSummary};
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::trees::secrets;
use storage_core::{Commit, CoreError, Db, Durability, EpochNumber, TreeId, View};

use super::Choices;
use crate::disk::{NOW_MS, State, dump};

/// One update; returns the number of its commit. The same choices make the same one.
pub(super) fn apply(
    db: &Db,
    durability: Durability,
    choices: &mut Choices<'_>,
) -> Result<u64, CoreError> {
    let ((), number) = db.update(durability, |view, commit| {
        for _ in 0..=choices.below(4) {
            operation(view, commit, choices)?;
        }
        Ok::<_, CoreError>(())
    })?;
    Ok(number)
}

fn operation(
    view: &View<'_>,
    commit: &mut Commit,
    choices: &mut Choices<'_>,
) -> Result<(), CoreError> {
    match choices.below(9) {
        0 | 1 => {
            let peer_id = format!("peer-{}", choices.below(6));
            let peer = StoredPeerInfo {
                connection_count: u32::try_from(choices.below(256)).unwrap_or(0),
                peer_id: peer_id.clone(),
                ..Default::default()
            };
            peers::store(commit, &peer_id, &peer)
        }
        2 => {
            let peer_id = format!("peer-{}", choices.below(6));
            peers::remove(view, commit, &peer_id).map(drop)
        }
        3 => {
            let time = i64::try_from(choices.below(8)).unwrap_or(0);
            let sample = StoredMetrics {
                total_requests: choices.seed(),
                ..Default::default()
            };
            metrics::store(commit, time, &sample)
        }
        4 => {
            let epoch = u64::try_from(choices.below(5)).unwrap_or(0);
            let summary = StoredEpochSummary {
                epoch,
                start_time: i64::try_from(choices.below(256)).unwrap_or(0),
                end_time: 1000,
                ..Default::default()
            };
            epochs::store(commit, EpochNumber(epoch), &summary)
        }
        5 => {
            let epoch = u64::try_from(choices.below(5)).unwrap_or(0);
            let claim = StoredClaim {
                epoch,
                amount: u128::from(choices.seed()),
                ..Default::default()
            };
            claims::store(view, commit, NOW_MS, EpochNumber(epoch), &claim)
        }
        6 => {
            // Of some sizes: within a sector, and over several.
            let len = [1, 300, 9_000].get(choices.below(3)).copied().unwrap_or(1);
            let text: String = (0..len)
                .map(|n: u32| char::from(n.wrapping_mul(n).to_le_bytes()[1] & 0x7f))
                .collect();
            config::store(commit, &format!("large-{}", choices.below(2)), &text)
        }
        7 => {
            let name = format!("large-{}", choices.below(2));
            config::delete(view, commit, &name).map(drop)
        }
        _ => {
            let (name, value) = (format!("name-{}", choices.below(3)), choices.seed());
            let value = value.to_le_bytes();
            secrets::store(
                view,
                commit,
                NOW_MS,
                ("store", &name),
                secrets::Stored::Plain(&value[..]),
            )
        }
    }
}

/// What a database holds, but for what is each store's own: the chain of the audit log.
pub(super) fn contents(db: &Db) -> Result<State, CoreError> {
    let mut state = State::new();
    for ((tree, key), value) in dump(db)? {
        let value = match tree {
            TreeId::Schema if key == audit_log::HEAD_KEY => continue,
            TreeId::AuditLog => format!("{:?}", audit_log::open(&key, &value)?).into_bytes(),
            _ => value,
        };
        state.insert((tree, key), value);
    }
    Ok(state)
}
