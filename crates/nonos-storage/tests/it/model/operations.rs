//! Any operations, drawn.

use nonos_storage::{
    EpochNumber, NodeId, StoredClaim, StoredEpochSummary, StoredMetrics, StoredPeerInfo,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde::{Deserialize, Serialize};
use storage_testkit::strategy::{claim_of, epoch_summary_of, metrics, node_id, peer_of, text};

/// Few names, so that operations meet; one begins another, and the bytes order them.
pub(super) const NAMES: [&str; 6] = ["a", "aa", "a\0", "b", "ß", "\u{10ffff}"];

pub(super) const EPOCHS: [u64; 6] = [0, 1, 2, 255, 256, u64::MAX];

pub(super) const LAST_TIME: i64 = 20;

/// A config value: of different kinds, short and long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Setting {
    Text(String),
    Numbers(Vec<i64>),
    Flag(bool),
}

/// What both `NodeStorage` and `Update` do.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Peer(StoredPeerInfo),
    RemovePeer(String),
    Peers(Vec<StoredPeerInfo>),
    Sample(i64, StoredMetrics),
    Samples(Vec<(i64, StoredMetrics)>),
    Epoch(StoredEpochSummary),
    Claim(StoredClaim),
    Config(String, Setting),
    DeleteConfig(String),
    Identity(NodeId, Vec<u8>),
    /// A batch whose last record is bad.
    BadBatch(Vec<StoredPeerInfo>),
}

/// How the closure of an update ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Ok,
    Err,
    Panic,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Write(Write),
    Update(bool, Vec<Write>, End),
    Prune(i64),
    Secret(String, Vec<u8>),
    DeleteSecret(String),
    Flush,
    Reopen,
}

pub(super) fn name() -> impl Strategy<Value = String> {
    select(&NAMES[..]).prop_map(str::to_owned)
}

fn peer() -> impl Strategy<Value = StoredPeerInfo> {
    name().prop_flat_map(peer_of)
}

pub(super) fn epoch() -> impl Strategy<Value = EpochNumber> {
    select(&EPOCHS[..]).prop_map(EpochNumber)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 4000..9000)]
}

fn setting() -> impl Strategy<Value = Setting> {
    prop_oneof![
        text().prop_map(Setting::Text),
        vec(any::<i64>(), 0..8).prop_map(Setting::Numbers),
        any::<bool>().prop_map(Setting::Flag),
    ]
}

pub(super) fn write() -> impl Strategy<Value = Write> {
    let time = 0..=LAST_TIME;
    prop_oneof![
        3 => peer().prop_map(Write::Peer),
        2 => name().prop_map(Write::RemovePeer),
        1 => vec(peer(), 0..8).prop_map(Write::Peers),
        2 => (time.clone(), metrics()).prop_map(|(time, metrics)| Write::Sample(time, metrics)),
        1 => vec((time, metrics()), 0..8).prop_map(Write::Samples),
        2 => epoch().prop_flat_map(epoch_summary_of).prop_map(Write::Epoch),
        2 => epoch().prop_flat_map(claim_of).prop_map(Write::Claim),
        3 => (name(), setting()).prop_map(|(name, value)| Write::Config(name, value)),
        2 => name().prop_map(Write::DeleteConfig),
        1 => (node_id(), bytes()).prop_map(|(id, key)| Write::Identity(id, key)),
        1 => vec(peer(), 0..3).prop_map(Write::BadBatch),
    ]
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let end = prop_oneof![3 => Just(End::Ok), 1 => Just(End::Err), 1 => Just(End::Panic)];
    prop_oneof![
        8 => write().prop_map(Operation::Write),
        4 => (any::<bool>(), vec(write(), 0..8), end)
            .prop_map(|(durable, writes, end)| Operation::Update(durable, writes, end)),
        1 => (0..=LAST_TIME + 1).prop_map(Operation::Prune),
        2 => (name(), bytes()).prop_map(|(name, value)| Operation::Secret(name, value)),
        2 => name().prop_map(Operation::DeleteSecret),
        1 => Just(Operation::Flush),
        2 => Just(Operation::Reopen),
    ]
}
