//! Values that no record may have.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nonos_storage::{
    EpochNumber, ErrorCode, NodeId, StoredClaim, StoredEpochSummary, StoredMetrics, StoredPeerInfo,
};
use serde::{Serialize, Serializer};

use super::{Nested, Panicking, Writing, refused, refused_both_ways};
use crate::TestResult;
use crate::contents::{Contents, claim, peer, populate, sample, summary};
use crate::on_disk::in_both_modes;
use crate::watched::Watched as _;

#[test]
fn numbers_that_are_not_finite_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let quality_score = number;
            let bad = StoredEpochSummary {
                quality_score,
                ..summary(1)
            };
            refused_both_ways(
                storage,
                &format!("{number} in a summary, {mode}"),
                |storage| storage.store_epoch(EpochNumber(1), &bad),
                |update| update.store_epoch(EpochNumber(1), &bad),
            )?;
        }
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (field, bad) in [
                (
                    "quality_score",
                    StoredMetrics {
                        quality_score: number.into(),
                        ..sample(1)
                    },
                ),
                (
                    "cpu_usage",
                    StoredMetrics {
                        cpu_usage: Some(number),
                        ..sample(1)
                    },
                ),
                (
                    "memory_usage",
                    StoredMetrics {
                        memory_usage: Some(number),
                        ..sample(1)
                    },
                ),
            ] {
                refused_both_ways(
                    storage,
                    &format!("{field} {number}, {mode}"),
                    |storage| storage.store_metrics(10, &bad),
                    |update| update.store_metrics(10, &bad),
                )?;
                let batch = [(11, sample(1)), (10, bad)];
                refused_both_ways(
                    storage,
                    &format!("{field} {number} in a batch, {mode}"),
                    |storage| storage.store_metrics_batch(&batch),
                    |update| update.store_metrics_batch(&batch),
                )?;
            }
        }
        Ok(())
    })
}

#[test]
fn values_over_the_maximum_are_refused() -> TestResult {
    const MIB: usize = 1024 * 1024;
    // Repeated, so that compression does not bring them below the maximum.
    let text = "t".repeat(MIB);
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let info = StoredPeerInfo {
            addresses: vec![text.clone()],
            ..peer("alpha")
        };
        refused_both_ways(
            storage,
            &format!("peer, {mode}"),
            |storage| storage.store_peer("alpha", &info),
            |update| update.store_peer("alpha", &info),
        )?;
        let bad = StoredClaim {
            claimant: text.clone(),
            ..claim(1)
        };
        refused_both_ways(
            storage,
            &format!("claim, {mode}"),
            |storage| storage.store_claim(EpochNumber(1), &bad),
            |update| update.store_claim(EpochNumber(1), &bad),
        )?;
        refused_both_ways(
            storage,
            &format!("config, {mode}"),
            |storage| storage.store_config("name", &text),
            |update| update.store_config("name", &text),
        )?;
        let key = vec![0; MIB + 1];
        refused_both_ways(
            storage,
            &format!("identity, {mode}"),
            |storage| storage.keep_identity(&NodeId([9; 32]), &key),
            |update| update.store_identity(&NodeId([9; 32]), &key),
        )?;
        for len in [64 * 1024 + 1, MIB] {
            let case = format!("secret of {len}, {mode}");
            refused(storage, &case, ErrorCode::InvalidArgument, |storage| {
                storage.keep_secret("wallet", &vec![0; len])
            })?;
        }
        Ok(())
    })
}

/// A value that serde refuses.
struct Unserializable;

impl Serialize for Unserializable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no form of this can be written"))
    }
}

#[test]
fn config_values_that_cannot_be_encoded_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        let bad = ErrorCode::Serialization;
        refused(storage, &format!("custom, {mode}"), bad, |storage| {
            storage.store_config("name", &Unserializable)
        })?;
        // Could be written, but never read again.
        refused(storage, &format!("nested, {mode}"), bad, |storage| {
            storage.store_config("name", &Nested(1000))
        })?;
        let before = Contents::of(storage)?;
        let stored = catch_unwind(AssertUnwindSafe(|| {
            storage.store_config("name", &Panicking)
        }));
        assert!(stored.is_err(), "the panic is the caller's, {mode}");
        assert_eq!(Contents::of(storage)?, before, "{mode}");
        storage.store_config("writing", &Writing(storage))?;
        assert_eq!(storage.load_config("writing")?, Some(1), "{mode}");
        assert_eq!(storage.load_peer("nested")?, None, "{mode}");
        Ok(())
    })
}

#[test]
fn times_before_1970_are_refused() -> TestResult {
    in_both_modes(|storage, mode| {
        populate(storage)?;
        for time in [-1, i64::MIN] {
            refused_both_ways(
                storage,
                &format!("{time}, {mode}"),
                |storage| storage.store_metrics(time, &sample(1)),
                |update| update.store_metrics(time, &sample(1)),
            )?;
            let batch = [(1, sample(1)), (time, sample(1))];
            refused_both_ways(
                storage,
                &format!("{time} in a batch, {mode}"),
                |storage| storage.store_metrics_batch(&batch),
                |update| update.store_metrics_batch(&batch),
            )?;
            let case = format!("prune {time}, {mode}");
            refused(storage, &case, ErrorCode::InvalidArgument, |storage| {
                storage.prune_metrics(time)
            })?;
        }
        storage.store_metrics(0, &sample(1))?;
        storage.store_metrics(i64::MAX, &sample(1))?;
        Ok(())
    })
}
