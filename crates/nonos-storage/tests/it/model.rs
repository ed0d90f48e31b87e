//! Any sequence of operations does to a database what it does to a few maps, with reopenings in
//! between.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use nonos_storage::{
    ConfigError, EpochNumber, ErrorCode, NodeId, NodeStorage, NonosError, NonosResult, StoredClaim,
    StoredEpochSummary, StoredMetrics, StoredPeerInfo, TreeSizes, Update,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

mod operations;

use operations::{EPOCHS, End, LAST_TIME, NAMES, Operation, Setting, Write, operation};

/// What an operation returned.
#[derive(Debug, PartialEq)]
enum Returned {
    Nothing,
    Existed(bool),
    Count(usize),
    Refused,
}

#[derive(Clone, Debug, Default)]
struct Model {
    identity: Option<(NodeId, Vec<u8>)>,
    peers: BTreeMap<String, StoredPeerInfo>,
    metrics: BTreeMap<i64, StoredMetrics>,
    epochs: BTreeMap<u64, StoredEpochSummary>,
    claims: BTreeMap<u64, StoredClaim>,
    config: BTreeMap<String, Setting>,
    secrets: BTreeMap<String, Vec<u8>>,
    /// Tree and operation, oldest first.
    audit: Vec<(&'static str, &'static str)>,
}

fn keyed(peers: &[StoredPeerInfo]) -> Vec<(String, StoredPeerInfo)> {
    let keyed = peers
        .iter()
        .map(|info| (info.peer_id.clone(), info.clone()));
    keyed.collect()
}

fn bad_batch(peers: &[StoredPeerInfo]) -> Vec<(String, StoredPeerInfo)> {
    let mut batch = keyed(peers);
    batch.push(("a".to_owned(), StoredPeerInfo::default()));
    batch
}

fn refused<T: std::fmt::Debug>(result: NonosResult<T>) -> NonosResult<Returned> {
    match result {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::InvalidArgument => {
            Ok(Returned::Refused)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(Returned::Nothing),
    }
}

/// `Update` has the methods of `NodeStorage`: one text for both.
macro_rules! carry_out {
    ($on:expr, $write:expr) => {
        match $write {
            Write::Peer(info) => $on.store_peer(&info.peer_id, info)?,
            Write::RemovePeer(id) => return Ok(Returned::Existed($on.remove_peer(id)?)),
            Write::Peers(peers) => {
                return Ok(Returned::Count($on.store_peers_batch(&keyed(peers))?));
            }
            Write::Sample(time, metrics) => $on.store_metrics(*time, metrics)?,
            Write::Samples(samples) => {
                return Ok(Returned::Count($on.store_metrics_batch(samples)?));
            }
            Write::Epoch(summary) => $on.store_epoch(EpochNumber(summary.epoch), summary)?,
            Write::Claim(claim) => $on.store_claim(EpochNumber(claim.epoch), claim)?,
            Write::Config(name, value) => $on.store_config(name, value)?,
            Write::DeleteConfig(name) => return Ok(Returned::Existed($on.delete_config(name)?)),
            Write::Identity(id, key) => $on.store_identity(id, key)?,
            Write::BadBatch(peers) => return refused($on.store_peers_batch(&bad_batch(peers))),
        }
    };
}

fn write_to(storage: &NodeStorage, write: &Write) -> NonosResult<Returned> {
    carry_out!(storage, write);
    Ok(Returned::Nothing)
}

fn write_in(update: &mut Update<'_>, write: &Write) -> NonosResult<Returned> {
    carry_out!(update, write);
    Ok(Returned::Nothing)
}

impl Model {
    fn write(&mut self, write: &Write) -> Returned {
        match write {
            Write::Peer(info) => {
                self.peers.insert(info.peer_id.clone(), info.clone());
            }
            Write::RemovePeer(id) => return Returned::Existed(self.peers.remove(id).is_some()),
            Write::Peers(peers) => {
                self.peers.extend(keyed(peers));
                return Returned::Count(peers.len());
            }
            Write::Sample(time, metrics) => {
                self.metrics.insert(*time, metrics.clone());
            }
            Write::Samples(samples) => {
                self.metrics.extend(samples.iter().cloned());
                return Returned::Count(samples.len());
            }
            Write::Epoch(summary) => {
                self.epochs.insert(summary.epoch, summary.clone());
            }
            Write::Claim(claim) => {
                self.claims.insert(claim.epoch, claim.clone());
                self.audit.push(("claims", "store"));
            }
            Write::Config(name, value) => {
                self.config.insert(name.clone(), value.clone());
            }
            Write::DeleteConfig(name) => {
                return Returned::Existed(self.config.remove(name).is_some());
            }
            Write::Identity(id, key) => {
                self.identity = Some((*id, key.clone()));
                self.audit.push(("identity", "store"));
            }
            Write::BadBatch(_) => return Returned::Refused,
        }
        Returned::Nothing
    }

    fn samples(&self) -> Vec<(i64, StoredMetrics)> {
        let samples = self.metrics.iter();
        samples
            .map(|(time, metrics)| (*time, metrics.clone()))
            .collect()
    }

    fn newest_samples(&self, count: usize) -> Vec<(i64, StoredMetrics)> {
        let mut samples = self.samples();
        samples.split_off(samples.len().saturating_sub(count))
    }

    fn summaries(&self) -> Vec<StoredEpochSummary> {
        self.epochs.values().cloned().collect()
    }

    fn claims(&self) -> Vec<(EpochNumber, StoredClaim)> {
        let claims = self.claims.iter();
        claims
            .map(|(epoch, claim)| (EpochNumber(*epoch), claim.clone()))
            .collect()
    }

    fn sizes(&self) -> TreeSizes {
        TreeSizes {
            identity: if self.identity.is_some() { 2 } else { 0 },
            peers: self.peers.len(),
            metrics: self.metrics.len(),
            epochs: self.epochs.len(),
            config: self.config.len(),
            claims: self.claims.len(),
            secrets: self.secrets.len(),
            audit_log: self.audit.len(),
        }
    }

    fn audited(&self, entries: &[nonos_storage::AuditLogEntry]) -> TestCaseResult {
        let found: Vec<(&str, &str)> = entries
            .iter()
            .map(|entry| (entry.tree.as_str(), entry.operation.as_str()))
            .collect();
        let expected: Vec<(&str, &str)> = self.audit.iter().rev().copied().collect();
        prop_assert_eq!(found, expected);
        let ordered = entries.is_sorted_by(|newer, older| newer.timestamp > older.timestamp);
        prop_assert!(ordered, "{entries:?}");
        Ok(())
    }

    /// Compares with everything that the database shows.
    fn check(&self, storage: &NodeStorage) -> TestCaseResult {
        prop_assert_eq!(storage.tree_sizes()?, self.sizes());
        let identity = storage.load_node_id()?.zip(storage.load_encrypted_key()?);
        prop_assert_eq!(&identity, &self.identity);

        let peers: Vec<_> = self.peers.clone().into_iter().collect();
        prop_assert_eq!(&storage.list_peers()?, &peers);
        let iterated: NonosResult<Vec<_>> = storage.iter_peers().collect();
        prop_assert_eq!(iterated?, peers);
        prop_assert_eq!(storage.count_peers()?, self.peers.len());
        for name in NAMES {
            let stored = self.peers.get(name);
            prop_assert_eq!(storage.load_peer(name)?, stored.cloned());
            prop_assert_eq!(storage.load_peer(name)?, stored.cloned(), "cached");
        }

        prop_assert_eq!(storage.load_metrics_range(0, LAST_TIME)?, self.samples());
        for count in [0, 1, 3, usize::MAX] {
            prop_assert_eq!(
                storage.load_latest_metrics(count)?,
                self.newest_samples(count)
            );
        }
        let (start, end) = (LAST_TIME / 4, LAST_TIME / 2);
        let iterated: NonosResult<Vec<_>> = storage.iter_metrics(start, end).collect();
        let mut middle = self.samples();
        middle.retain(|(time, _)| (start..=end).contains(time));
        prop_assert_eq!(iterated?, middle);

        let all = (EpochNumber(0), EpochNumber(u64::MAX));
        prop_assert_eq!(storage.load_epoch_range(all.0, all.1)?, self.summaries());
        let latest = self.epochs.keys().next_back();
        prop_assert_eq!(storage.latest_epoch()?, latest.copied().map(EpochNumber));
        prop_assert_eq!(storage.load_claims()?, self.claims());
        for epoch in EPOCHS {
            let key = EpochNumber(epoch);
            prop_assert_eq!(storage.load_epoch(key)?, self.epochs.get(&epoch).cloned());
            prop_assert_eq!(storage.load_claim(key)?, self.claims.get(&epoch).cloned());
        }

        prop_assert_eq!(
            storage.list_config_keys()?,
            Vec::from_iter(self.config.keys().cloned())
        );
        prop_assert_eq!(
            storage.list_secrets()?,
            Vec::from_iter(self.secrets.keys().cloned())
        );
        for name in NAMES {
            prop_assert_eq!(storage.load_config(name)?, self.config.get(name).cloned());
            prop_assert_eq!(storage.load_secret(name)?, self.secrets.get(name).cloned());
        }
        self.audited(&storage.load_audit_log(usize::MAX)?)
    }

    /// Compares with what an update sees of its own writes over what was there.
    fn check_within(&self, update: &Update<'_>) -> TestCaseResult {
        let identity = update.load_node_id()?.zip(update.load_encrypted_key()?);
        prop_assert_eq!(&identity, &self.identity);
        prop_assert_eq!(update.load_metrics_range(0, LAST_TIME)?, self.samples());
        for count in [0, 1, 3, usize::MAX] {
            prop_assert_eq!(
                update.load_latest_metrics(count)?,
                self.newest_samples(count)
            );
        }
        let all = (EpochNumber(0), EpochNumber(u64::MAX));
        prop_assert_eq!(update.load_epoch_range(all.0, all.1)?, self.summaries());
        prop_assert_eq!(update.load_claims()?, self.claims());
        for name in NAMES {
            prop_assert_eq!(update.load_peer(name)?, self.peers.get(name).cloned());
            prop_assert_eq!(update.load_config(name)?, self.config.get(name).cloned());
        }
        for epoch in EPOCHS {
            let key = EpochNumber(epoch);
            prop_assert_eq!(update.load_epoch(key)?, self.epochs.get(&epoch).cloned());
            prop_assert_eq!(update.load_claim(key)?, self.claims.get(&epoch).cloned());
        }
        self.audited(&update.load_audit_log(usize::MAX)?)
    }
}

/// Makes an update whose closure ends as `end` says.
fn update(
    storage: &NodeStorage,
    model: &mut Model,
    durable: bool,
    writes: &[Write],
    end: End,
) -> TestCaseResult {
    let mut after = model.clone();
    let mut checked = Ok(());
    let result = catch_unwind(AssertUnwindSafe(|| {
        storage.update(durable, |update| {
            for write in writes {
                let returned = write_in(update, write)?;
                let expected = after.write(write);
                checked = checked.clone().and_then(|()| {
                    prop_assert_eq!(returned, expected, "{:?}", write);
                    after.check_within(update)
                });
            }
            match end {
                End::Ok => Ok(()),
                End::Err => Err(NonosError::Config(ConfigError::EmptyPath)),
                End::Panic => panic::resume_unwind(Box::new("in the closure")),
            }
        })
    }));
    checked?;
    match (end, result) {
        (End::Ok, Ok(result)) => {
            result?;
            *model = after;
        }
        (End::Err, Ok(Err(NonosError::Config(ConfigError::EmptyPath)))) | (End::Panic, Err(_)) => {}
        (_, result) => prop_assert!(false, "{end:?} gave {result:?}"),
    }
    Ok(())
}

/// Carries operations out on a database and on the model.
fn run(
    operations: &[Operation],
    mut storage: NodeStorage,
    reopen: impl Fn(NodeStorage) -> NonosResult<NodeStorage>,
) -> TestCaseResult {
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Write(write) => {
                prop_assert_eq!(
                    write_to(&storage, write)?,
                    model.write(write),
                    "{:?}",
                    write
                );
            }
            Operation::Update(durable, writes, end) => {
                update(&storage, &mut model, *durable, writes, *end)?;
            }
            Operation::Prune(cutoff) => {
                let kept = model.metrics.split_off(cutoff);
                let removed = std::mem::replace(&mut model.metrics, kept).len();
                prop_assert_eq!(storage.prune_metrics(*cutoff)?, removed);
            }
            Operation::Secret(name, value) => {
                storage.keep_secret(name, value)?;
                model.secrets.insert(name.clone(), value.clone());
                model.audit.push(("secrets", "store"));
            }
            Operation::DeleteSecret(name) => {
                let existed = model.secrets.remove(name).is_some();
                prop_assert_eq!(storage.delete_secret(name)?, existed);
                if existed {
                    model.audit.push(("secrets", "delete"));
                }
            }
            Operation::Flush => storage.flush()?,
            Operation::Reopen => storage = reopen(storage)?,
        }
        model.check(&storage)?;
    }
    model.check(&reopen(storage)?)
}

fn for_any_operations(
    cases: u32,
    count: usize,
    test: impl Fn(&[Operation]) -> TestCaseResult,
) -> TestResult {
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&vec(operation(), 1..count), |operations| test(&operations));
    Ok(result.map_err(|failed| failed.to_string())?)
}

#[test]
fn any_operations_in_memory_equal_the_model() -> TestResult {
    for_any_operations(256, 40, |operations| {
        run(operations, NodeStorage::in_memory()?, Ok)
    })
}

#[test]
fn any_operations_on_disk_equal_the_model_with_reopenings_in_between() -> TestResult {
    for_any_operations(48, 40, |operations| {
        let disk = OnDisk::new()?;
        run(operations, disk.open()?, |storage| disk.reopen(storage))
    })
}
