//! Properties of single records: round trip of every type, key order equal to value order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use nonos_storage::{EpochNumber, NodeStorage, NonosResult, StoredMetrics, StoredPeerInfo};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use storage_testkit::strategy::{
    claim_of, epoch, epoch_summary_of, metrics, name, node_id, peer, text, time,
};

use crate::TestResult;
use crate::contents::{claim, peer as some_peer, sample, summary};
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

/// Stores and checks many values in memory; fewer on disk, where it closes and opens the database
/// and checks again.
fn holds<S: Strategy>(
    values: S,
    store: impl Fn(&NodeStorage, &S::Value) -> NonosResult<()>,
    check: impl Fn(&NodeStorage, &S::Value) -> TestCaseResult,
) -> TestResult
where
    S::Value: Debug,
{
    let run = |cases, test: &dyn Fn(&S::Value) -> TestCaseResult| {
        let config = ProptestConfig {
            cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new(config);
        let result = runner.run(&values, |value| test(&value));
        result.map_err(|failed| failed.to_string())
    };
    run(200, &|value| {
        let storage = NodeStorage::in_memory()?;
        store(&storage, value)?;
        check(&storage, value)
    })?;
    run(8, &|value| {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        store(&storage, value)?;
        check(&storage, value)?;
        check(&disk.reopen(storage)?, value)
    })?;
    Ok(())
}

#[test]
fn any_peer_round_trips() -> TestResult {
    holds(
        vec(peer(), 1..8),
        |storage, peers| {
            let mut stored = peers.iter();
            stored.try_for_each(|info| storage.store_peer(&info.peer_id, info))
        },
        |storage, peers| {
            let expected: BTreeMap<String, StoredPeerInfo> = peers
                .iter()
                .map(|info| (info.peer_id.clone(), info.clone()))
                .collect();
            for (id, info) in &expected {
                prop_assert_eq!(storage.load_peer(id)?, Some(info).cloned());
                prop_assert_eq!(storage.load_peer(id)?, Some(info).cloned(), "cached");
            }
            prop_assert_eq!(storage.list_peers()?, Vec::from_iter(expected));
            Ok(())
        },
    )
}

#[test]
fn any_sample_round_trips() -> TestResult {
    holds(
        vec((time(), metrics()), 1..8),
        |storage, samples| {
            let mut stored = samples.iter();
            stored.try_for_each(|(time, metrics)| storage.store_metrics(*time, metrics))
        },
        |storage, samples| {
            let expected: BTreeMap<i64, StoredMetrics> = samples.iter().cloned().collect();
            let expected = Vec::from_iter(expected);
            prop_assert_eq!(&storage.load_metrics_range(0, i64::MAX)?, &expected);
            prop_assert_eq!(&storage.load_latest_metrics(usize::MAX)?, &expected);
            Ok(())
        },
    )
}

#[test]
fn any_epoch_summary_and_claim_round_trip() -> TestResult {
    let records =
        epoch().prop_flat_map(|epoch| (Just(epoch), epoch_summary_of(epoch), claim_of(epoch)));
    holds(
        records,
        |storage, (epoch, summary, claim)| {
            storage.store_epoch(*epoch, summary)?;
            storage.store_claim(*epoch, claim)
        },
        |storage, (epoch, summary, claim)| {
            prop_assert_eq!(storage.load_epoch(*epoch)?, Some(summary).cloned());
            prop_assert_eq!(storage.latest_epoch()?, Some(*epoch));
            prop_assert_eq!(storage.load_claim(*epoch)?, Some(claim).cloned());
            prop_assert_eq!(storage.load_claims()?, [(*epoch, claim.clone())]);
            prop_assert_eq!(storage.load_audit_log(2)?.len(), 1);
            Ok(())
        },
    )
}

#[test]
fn any_identity_and_secret_round_trip() -> TestResult {
    let bytes = vec(any::<u8>(), 0..10_000);
    holds(
        (node_id(), bytes.clone(), name(), bytes),
        |storage, (id, key, name, secret)| {
            storage.keep_identity(id, key)?;
            storage.keep_secret(name, secret)
        },
        |storage, (id, key, name, secret)| {
            prop_assert_eq!(storage.load_node_id()?, Some(*id));
            prop_assert_eq!(storage.load_encrypted_key()?, Some(key).cloned());
            prop_assert_eq!(storage.load_secret(name)?, Some(secret).cloned());
            prop_assert_eq!(storage.list_secrets()?, [name.clone()]);
            let entries = storage.load_audit_log(3)?;
            let trees: Vec<&str> = entries.iter().map(|entry| entry.tree.as_str()).collect();
            prop_assert_eq!(trees, ["secrets", "identity"]);
            Ok(())
        },
    )
}

#[test]
fn any_config_value_round_trips() -> TestResult {
    let value = (
        vec(text(), 0..4),
        any::<Option<(u128, i128)>>(),
        any::<(i64, u64, bool, char)>(),
        any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()),
    );
    holds(
        (name(), value),
        |storage, (name, value)| storage.store_config(name, value),
        |storage, (name, value)| {
            prop_assert_eq!(storage.load_config(name)?, Some(value).cloned());
            prop_assert_eq!(storage.list_config_keys()?, [name.clone()]);
            Ok(())
        },
    )
}

#[test]
fn names_come_in_the_order_of_their_bytes() -> TestResult {
    holds(
        vec(name(), 1..24),
        |storage, names| {
            for name in names {
                storage.store_peer(name, &some_peer(name))?;
                storage.keep_secret(name, b"")?;
                storage.update(false, |update| update.store_config(name, &1))?;
            }
            Ok(())
        },
        |storage, names| {
            let expected: BTreeSet<&[u8]> = names.iter().map(String::as_bytes).collect();
            let expected = Vec::from_iter(expected);
            let peers = storage.list_peers()?;
            let ids: Vec<&[u8]> = peers.iter().map(|(id, _)| id.as_bytes()).collect();
            prop_assert_eq!(&ids, &expected);
            for names in [storage.list_config_keys()?, storage.list_secrets()?] {
                let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
                prop_assert_eq!(&names, &expected);
            }
            Ok(())
        },
    )
}

#[test]
fn times_and_epochs_come_in_their_order() -> TestResult {
    // Small and large numbers, so that they differ in every byte.
    let number = (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift);
    holds(
        btree_set(number, 1..24),
        |storage, numbers| {
            for number in numbers.iter().rev() {
                let time = i64::try_from(number >> 1).unwrap_or_default();
                storage.store_metrics(time, &sample(*number))?;
                let epoch = EpochNumber(*number);
                storage.update(false, |update| {
                    update.store_epoch(epoch, &summary(*number))?;
                    update.store_claim(epoch, &claim(*number))
                })?;
            }
            Ok(())
        },
        |storage, numbers| {
            let all = storage.load_metrics_range(0, i64::MAX)?;
            let times: Vec<i64> = all.into_iter().map(|(time, _)| time).collect();
            prop_assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
            let (first, last) = (EpochNumber(0), EpochNumber(u64::MAX));
            let summaries = storage.load_epoch_range(first, last)?;
            let epochs: Vec<u64> = summaries.iter().map(|summary| summary.epoch).collect();
            let expected: Vec<u64> = numbers.iter().copied().collect();
            prop_assert_eq!(&epochs, &expected);
            let claims = storage.load_claims()?;
            let epochs: Vec<u64> = claims.iter().map(|(epoch, _)| epoch.0).collect();
            prop_assert_eq!(&epochs, &expected);
            let latest = storage.latest_epoch()?.map(|epoch| epoch.0);
            prop_assert_eq!(latest.as_ref(), expected.last());
            Ok(())
        },
    )
}
