//! What a node does, and what that does to a state.

use std::ops::ControlFlow;

use nonos_storage::{
    EpochNumber, NodeId, NodeStorage, NonosResult, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo, TreeId, Update,
};
use storage_testkit::Random;

use super::state::{State, audit, epoch_key};
use crate::sealed_disk::full;

/// A record that is put or removed, in a commit of its own or in one with others.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Peer(StoredPeerInfo),
    RemovePeer(String),
    Peers(Vec<StoredPeerInfo>),
    Sample(i64, StoredMetrics),
    Samples(Vec<(i64, StoredMetrics)>),
    Epoch(StoredEpochSummary),
    Claim(StoredClaim),
    Config(String, Vec<String>),
    DeleteConfig(String),
    Identity(NodeId, Vec<u8>),
    Secret(String, Vec<u8>),
    DeleteSecret(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write(Write),
    /// Several in one commit, durable or not; or refused by the last of them.
    Update(bool, Vec<Write>, bool),
    Prune(i64),
    Wipe(TreeId),
    Flush,
    Checkpoint,
    Compact,
    Purge,
    /// Seals what is there to the first keys, or everything to the next ones; cancelled after so many commits.
    Seal(usize),
    Verify,
}

/// What is known of an operation's end before it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its writes are durable.
    Durable,
    /// Both copies are whole.
    Marked,
    Buffered,
    Refused,
}

fn bytes(random: &mut Random) -> Vec<u8> {
    let len = random.one_of([3, 40, 5000]);
    let value = (0..len)
        .map(|_| random.below(256).to_le_bytes()[0])
        .collect::<Vec<u8>>();
    if value.len() >= 8 {
        storage_testkit::logs::forbid(&value);
    }
    value
}

fn peer(random: &mut Random) -> StoredPeerInfo {
    StoredPeerInfo {
        peer_id: format!("peer-{:03}", random.below(9)),
        last_seen: i64::try_from(random.below(1 << 40)).unwrap_or(0),
        addresses: vec!["192.0.2.1:9000".to_owned(); random.index(3)],
        ..Default::default()
    }
}

fn sample(random: &mut Random) -> (i64, StoredMetrics) {
    let metrics = StoredMetrics {
        total_requests: random.below(1 << 50),
        quality_score: 0.5,
        ..Default::default()
    };
    (i64::try_from(random.below(40)).unwrap_or(0), metrics)
}

impl Write {
    pub(crate) fn any(random: &mut Random) -> Self {
        Self::of(random.below(16), random)
    }

    /// One that may be among others: secrets are stored alone.
    fn among_others(random: &mut Random) -> Self {
        Self::of(random.below(13), random)
    }

    fn of(kind: u64, random: &mut Random) -> Self {
        let name = |random: &mut Random| format!("name-{}", random.below(6));
        match kind {
            0 | 1 => Self::Peer(peer(random)),
            2 => Self::RemovePeer(peer(random).peer_id),
            3 => Self::Peers((0..3).map(|_| peer(random)).collect()),
            4 | 5 => {
                let (time, metrics) = sample(random);
                Self::Sample(time, metrics)
            }
            6 => Self::Samples((0..5).map(|_| sample(random)).collect()),
            7 => Self::Epoch(StoredEpochSummary {
                epoch: random.below(6),
                total_emission: random.below(u64::MAX).into(),
                quality_score: 1.0,
                ..Default::default()
            }),
            8 | 9 => Self::Claim(StoredClaim {
                epoch: random.below(6),
                amount: random.below(u64::MAX).into(),
                ..Default::default()
            }),
            10 => Self::Config(name(random), vec![random.below(1 << 40).to_string()]),
            11 => Self::DeleteConfig(name(random)),
            12 => Self::Identity(
                NodeId([random.below(256).to_le_bytes()[0]; 32]),
                bytes(random),
            ),
            13 | 14 => Self::Secret(name(random), bytes(random)),
            _ => Self::DeleteSecret(name(random)),
        }
    }

    fn change(&self, state: &mut State) {
        let mut put = |tree, key: String, value: String| {
            state.insert((tree, key), value);
        };
        match self {
            Self::Peer(info) => put("peers", info.peer_id.clone(), format!("{info:?}")),
            Self::RemovePeer(id) => drop(state.remove(&("peers", id.clone()))),
            Self::Peers(peers) => peers
                .iter()
                .for_each(|info| put("peers", info.peer_id.clone(), format!("{info:?}"))),
            Self::Sample(time, metrics) => {
                put("metrics", format!("{time:020}"), format!("{metrics:?}"));
            }
            Self::Samples(samples) => samples.iter().for_each(|(time, metrics)| {
                put("metrics", format!("{time:020}"), format!("{metrics:?}"));
            }),
            Self::Epoch(of) => put("epochs", epoch_key(of.epoch), format!("{of:?}")),
            Self::Claim(claim) => {
                put("claims", epoch_key(claim.epoch), format!("{claim:?}"));
                audit(state, "claims store");
            }
            Self::Config(name, value) => put("config", name.clone(), format!("{value:?}")),
            Self::DeleteConfig(name) => drop(state.remove(&("config", name.clone()))),
            Self::Identity(id, key) => {
                put("identity", "id".to_owned(), format!("{id:?}"));
                put("identity", "key".to_owned(), format!("{key:?}"));
                audit(state, "identity store");
            }
            Self::Secret(name, value) => {
                put("secrets", name.clone(), format!("{value:?}"));
                audit(state, "secrets store");
            }
            Self::DeleteSecret(name) => {
                if state.remove(&("secrets", name.clone())).is_some() {
                    audit(state, "secrets delete");
                }
            }
        }
    }

    fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::Peer(_)
                | Self::RemovePeer(_)
                | Self::Peers(_)
                | Self::Sample(..)
                | Self::Samples(_)
                | Self::Epoch(_)
        )
    }
}

fn keyed(peers: &[StoredPeerInfo]) -> Vec<(String, StoredPeerInfo)> {
    let keyed = peers
        .iter()
        .map(|info| (info.peer_id.clone(), info.clone()));
    keyed.collect()
}

/// `Update` has the methods of `NodeStorage`: one text for both.
macro_rules! put {
    ($on:expr, $write:expr) => {
        match $write {
            Write::Peer(info) => $on.store_peer(&info.peer_id, info),
            Write::RemovePeer(id) => $on.remove_peer(id).map(drop),
            Write::Peers(peers) => $on.store_peers_batch(&keyed(peers)).map(drop),
            Write::Sample(time, metrics) => $on.store_metrics(*time, metrics),
            Write::Samples(samples) => $on.store_metrics_batch(samples).map(drop),
            Write::Epoch(of) => $on.store_epoch(EpochNumber(of.epoch), of),
            Write::Claim(claim) => $on.store_claim(EpochNumber(claim.epoch), claim),
            Write::Config(name, value) => $on.store_config(name, value),
            Write::DeleteConfig(name) => $on.delete_config(name).map(drop),
            Write::Identity(id, key) => $on.store_identity(id, key),
            Write::Secret(..) | Write::DeleteSecret(_) => Ok(()),
        }
    };
}

fn put(storage: &NodeStorage, write: &Write) -> NonosResult<()> {
    match write {
        Write::Secret(name, value) => storage.store_secret(name, value),
        Write::DeleteSecret(name) => storage.delete_secret(name).map(drop),
        write => put!(storage, write),
    }
}

fn put_in(update: &mut Update<'_>, write: &Write) -> NonosResult<()> {
    put!(update, write)
}

impl Operation {
    pub(crate) fn any(random: &mut Random) -> Self {
        const WIPED: [TreeId; 3] = [TreeId::Peers, TreeId::Metrics, TreeId::Config];
        match random.below(40) {
            0..=21 => Self::Write(Write::any(random)),
            22..=27 => {
                let writes = (0..random.below(6))
                    .map(|_| Write::among_others(random))
                    .collect();
                Self::Update(random.one_in(2), writes, random.one_in(4))
            }
            28 => Self::Prune(i64::try_from(random.below(40)).unwrap_or(0)),
            29 => Self::Wipe(random.one_of(WIPED)),
            30 | 31 => Self::Flush,
            32 | 33 => Self::Checkpoint,
            34 => Self::Compact,
            35 => Self::Purge,
            36 | 37 => Self::Seal(random.index(3)),
            _ => Self::Verify,
        }
    }

    /// Whether it is one commit, or none.
    pub(crate) fn is_atomic(&self) -> bool {
        !matches!(self, Self::Seal(_) | Self::Purge)
    }

    /// Whether what it audits is read from the log instead of foreseen.
    pub(crate) fn audits_more(&self) -> bool {
        !self.is_atomic()
    }

    pub(crate) fn end(&self) -> End {
        match self {
            Self::Update(_, _, true) => End::Refused,
            // That a purge was done is audited behind its mark.
            Self::Update(true, ..) | Self::Purge => End::Durable,
            Self::Write(write) if write.is_durable() => End::Durable,
            Self::Flush | Self::Compact | Self::Wipe(_) => End::Marked,
            _ => End::Buffered,
        }
    }

    /// The state after it.
    pub(crate) fn foreseen(&self, before: &State) -> State {
        let mut state = before.clone();
        match self {
            Self::Write(write) => write.change(&mut state),
            Self::Update(_, writes, false) => {
                for write in writes {
                    write.change(&mut state);
                }
            }
            Self::Prune(time) => {
                let first = format!("{time:020}");
                state.retain(|(tree, key), _| *tree != "metrics" || *key >= first);
            }
            Self::Wipe(of) => {
                let name = of.name();
                state.retain(|(tree, _), _| *tree != name);
                if state.len() < before.len() {
                    audit(&mut state, &format!("{name} wipe"));
                }
            }
            _ => {}
        }
        state
    }

    pub(crate) fn carry_out(&self, storage: &NodeStorage) -> NonosResult<()> {
        match self {
            Self::Write(write) => put(storage, write),
            Self::Update(durable, writes, is_refused) => storage
                .update(*durable, |update| {
                    writes.iter().try_for_each(|write| put_in(update, write))?;
                    if *is_refused {
                        update.store_peer("other", &StoredPeerInfo::default())?;
                    }
                    Ok(())
                })
                .map(drop),
            Self::Prune(time) => storage.prune_metrics(*time).map(drop),
            Self::Wipe(tree) => storage.wipe(&[*tree]).map(drop),
            Self::Flush => storage.flush(),
            Self::Checkpoint => Ok(storage.core().checkpoint()?),
            Self::Compact => storage.compact().map(drop),
            Self::Purge => storage.purge().map(drop),
            Self::Seal(commits) => seal(storage, *commits),
            Self::Verify => storage.verify_integrity().map(drop),
        }
    }
}

/// The number of the keys that the store is sealed to; 0 if it is not.
pub(crate) fn sealed_to(storage: &NodeStorage) -> NonosResult<u8> {
    let active = storage.secrets_status()?.active;
    let number = (1..=u8::MAX).find(|number| Some(full(*number).key_id()) == active);
    Ok(number.unwrap_or(0))
}

fn seal(storage: &NodeStorage, commits: usize) -> NonosResult<()> {
    let mut left = commits;
    let mut watch = |_| {
        let go_on = left > 0;
        left = left.saturating_sub(1);
        if go_on {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let keys = sealed_to(storage)?;
    let is_rekeying = storage.secrets_status()?.is_rekeying;
    match (keys, is_rekeying) {
        // The first keys are sealed to as they are set.
        (0, _) | (1, true) => storage.set_encryption_keys(full(1)).map(drop),
        (_, true) => storage.resume_rekey(full(keys - 1), &mut watch).map(drop),
        (_, false) => storage.rekey(full(keys + 1), &mut watch).map(drop),
    }
}

/// Sets the right keys.
pub(crate) fn unlock(storage: &NodeStorage) -> NonosResult<()> {
    let keys = sealed_to(storage)?;
    if keys == 0 {
        return Ok(());
    }
    storage.set_encryption_keys(full(keys))?;
    if keys > 1 && storage.secrets_status()?.is_rekeying {
        storage.set_previous_keys(full(keys - 1))?;
    }
    Ok(())
}

/// After keys could not be set or changed: as whoever held them would, sets them again.
pub(crate) fn set_again(storage: &NodeStorage) -> NonosResult<()> {
    match sealed_to(storage)? {
        0 => storage.set_encryption_keys(full(1)).map(drop),
        _ => unlock(storage),
    }
}
