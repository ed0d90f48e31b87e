//! Whatever somebody without the keys does to the audit log is found.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends at what it did not expect"
)]

use std::ops::Bound;

use nonos_storage::{ChainFault, TreeId};
use storage_core::{Commit, CoreError, Durability, Encoding, Order, Read, View};
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{HEAD, body, edit, full, outcome, public, put, writer};
use crate::secrets_audit::{Stored, TREE, chained, history, stored};
use crate::watched::Watched as _;

/// What is done to the log, and the fault that is found; none where only setting keys finds it.
type Mutation = (
    &'static str,
    Option<ChainFault>,
    fn(&View<'_>, &mut Commit, &[Stored]) -> Result<(), CoreError>,
);

const GAP: ChainFault = ChainFault::Gap {
    expected: 4,
    found: 5,
};

fn changes() -> Vec<Mutation> {
    vec![
        ("one removed", Some(GAP), |_, commit, log| {
            commit.delete(TREE, log[4].key.clone());
            Ok(())
        }),
        (
            "the oldest removed",
            Some(ChainFault::Gap {
                expected: 0,
                found: 1,
            }),
            |_, commit, log| {
                commit.delete(TREE, log[0].key.clone());
                Ok(())
            },
        ),
        (
            "one changed",
            Some(ChainFault::Changed),
            |_, commit, log| {
                let mut one = log[4].clone();
                *one.entry.last_mut().expect("an entry") ^= 1;
                one.put(commit)
            },
        ),
        (
            "the newest changed",
            Some(ChainFault::Changed),
            |_, commit, log| {
                let mut one = log.last().expect("an entry").clone();
                *one.entry.last_mut().expect("an entry") ^= 1;
                one.put(commit)
            },
        ),
        ("two exchanged", Some(ChainFault::Time), |_, commit, log| {
            for (key, of) in [(4, 6), (6, 4)] {
                let key = log[key].key.clone();
                Stored {
                    key,
                    ..log[of].clone()
                }
                .put(commit)?;
            }
            Ok(())
        }),
    ]
}

fn cuts_and_plants() -> Vec<Mutation> {
    vec![
        (
            "the newest cut off",
            Some(ChainFault::Truncated {
                expected: 11,
                found: 9,
            }),
            |_, commit, log| {
                commit.delete(TREE, log[10].key.clone());
                Ok(())
            },
        ),
        (
            "all removed",
            Some(ChainFault::Truncated {
                expected: 11,
                found: 0,
            }),
            |_, commit, log| {
                for one in log {
                    commit.delete(TREE, one.key.clone());
                }
                Ok(())
            },
        ),
        (
            "one without a place",
            Some(ChainFault::Unchained),
            |_, commit, log| {
                let link = Vec::new();
                Stored {
                    link,
                    ..log[4].clone()
                }
                .put(commit)
            },
        ),
        (
            "one unreadable",
            Some(ChainFault::Unreadable),
            |_, commit, log| put(commit, TREE, &log[4].key, Encoding::Postcard, &[0xff; 60]),
        ),
        (
            "one planted",
            Some(ChainFault::Gap {
                expected: 5,
                found: 4,
            }),
            |_, commit, log| {
                let mut key = log[4].key.clone();
                *key.last_mut().expect("a key") += 1;
                Stored {
                    key,
                    ..log[4].clone()
                }
                .put(commit)
            },
        ),
    ]
}

#[test]
fn every_mutation_of_the_log_is_found() -> TestResult {
    let made = history()?;
    for (case, expected, mutate) in changes().into_iter().chain(cuts_and_plants()) {
        let trial = OnDisk::new()?;
        copy(made.directory.root(), trial.directory.root())?;
        let db = trial.directory.open_core()?;
        let log = stored(&db)?;
        assert_eq!(
            log.len(),
            11,
            "the numbers in the table are of this history"
        );
        db.shutdown()?;
        drop(db);
        edit(&trial, |view, commit| mutate(view, commit, &log))?;
        let storage = trial.open()?;
        let report = storage.verify_audit_log(None)?;
        assert!(report.faults > 0, "{case}: {report:?}");
        let faults: Vec<_> = report
            .findings
            .iter()
            .map(|finding| finding.fault)
            .collect();
        assert!(
            expected.is_none_or(|fault| faults.contains(&fault)),
            "{case}: {faults:?}"
        );
        // It stays found after the keys were set and more was written.
        if storage.set_encryption_keys(full(1)).is_ok() {
            storage.keep_secret("after", b"x")?;
        }
        assert!(
            storage.verify_audit_log(None)?.faults > 0,
            "{case}: covered up"
        );
    }
    Ok(())
}

/// Whoever has no keys writes another past, whole and chained right, under the last sealed head, under
/// none, and under no head at all.
#[test]
fn a_log_that_was_chained_anew_without_keys_is_found() -> TestResult {
    let made = history()?;
    for (case, keep_seal, keep_head) in [
        ("with the old seal", true, true),
        ("without a seal", false, true),
        ("without a head", false, false),
    ] {
        for drop_last in [0, 2] {
            let trial = OnDisk::new()?;
            copy(made.directory.root(), trial.directory.root())?;
            let db = trial.directory.open_core()?;
            let mut log = stored(&db)?;
            let (store_id, head) = (db.store_id(), body(&db.view(), TreeId::Schema, HEAD)?);
            db.shutdown()?;
            drop(db);
            let dropped = log.split_off(log.len() - drop_last);
            // "s2" was never stored: somebody else was.
            let at = log.iter().position(|one| one.entry.ends_with(b"s2"));
            let forged = &mut log[at.ok_or("no such entry")?].entry;
            *forged.last_mut().ok_or("no entry")? = b'9';
            let newest = chained(store_id, &mut log);
            let mut unsealed = vec![if keep_seal { 2 } else { 0 }];
            unsealed.extend(u64::try_from(log.len())?.to_be_bytes());
            unsealed.extend(newest);
            unsealed.extend(&head[41..81]);
            if keep_seal {
                unsealed.extend(&head[81..]);
            }
            edit(&trial, |view, commit| {
                log.iter().try_for_each(|one| one.put(commit))?;
                for one in &dropped {
                    commit.remove(view, TREE, one.key.clone())?;
                }
                if keep_head {
                    return put(commit, TreeId::Schema, HEAD, Encoding::Raw, &unsealed);
                }
                commit.remove(view, TreeId::Schema, HEAD.to_vec()).map(drop)
            })?;
            let storage = trial.open()?;
            let set = outcome(&storage.set_encryption_keys(full(1)));
            let case = format!("{case}, {drop_last} cut off");
            assert_eq!(set, "Unauthenticated", "{case}");
            assert_eq!(
                outcome(&storage.load_secret("s1")),
                "Unauthenticated",
                "{case}"
            );
            if keep_seal {
                let report = storage.verify_audit_log(None)?;
                assert!(report.faults > 0, "{case}: {report:?}");
            }
            // Whoever looks into it, and takes it as it is, says so with the keys.
            storage.repair_keyring(full(1))?;
            assert_eq!(
                storage.load_secret("s1")?.as_deref(),
                Some(&b"value"[..]),
                "{case}"
            );
            let storage = trial.reopen(storage)?;
            storage.set_encryption_keys(full(1))?;
        }
    }
    Ok(())
}

/// The tail cut off, and the head of then put back, which somebody with the keys did vouch for: only a
/// note from outside tells.
#[test]
fn a_tail_that_was_cut_off_with_its_head_is_told_by_a_note() -> TestResult {
    let made = history()?;
    let then = {
        let db = made.directory.open_core()?;
        let head = body(&db.view(), TreeId::Schema, HEAD)?;
        db.shutdown()?;
        head
    };
    let storage = made.open()?;
    storage.set_encryption_keys(full(1))?;
    // Nothing that the manifest counts.
    storage.store_claim(nonos_storage::EpochNumber(1), &crate::contents::claim(1))?;
    let report = storage.verify_audit_log(None)?;
    let noted = (report.len - 1, report.hash);
    storage.close()?;
    edit(&made, |view, commit| {
        let mut newest = Vec::new();
        view.scan(
            TREE,
            &(Bound::Unbounded, Bound::Unbounded),
            Order::Descending,
            &mut |key, _| {
                newest = key.to_vec();
                Ok(false)
            },
        )?;
        commit.remove(view, TREE, newest)?;
        put(commit, TreeId::Schema, HEAD, Encoding::Raw, &then)
    })?;
    let storage = made.open()?;
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    let report = storage.verify_audit_log(Some(noted))?;
    let faults: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.fault)
        .collect();
    assert_eq!(faults, [ChainFault::OtherHistory]);
    Ok(())
}

/// A head that nobody vouched for, put there while the keys are held: the chain alone does not tell.
#[test]
fn a_forged_tag_of_the_head_is_a_fault_where_keys_are_held() -> TestResult {
    let disk = history()?;
    let storage = disk.open()?;
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    for (keys, expected) in [
        (full(1), vec![ChainFault::Tag]),
        (writer(1), vec![ChainFault::Tag]),
        (public(1), vec![]),
    ] {
        let is_told = !expected.is_empty();
        storage.set_encryption_keys(keys)?;
        let report = storage.verify_audit_log(None)?;
        assert_eq!((report.faults, report.tag_checked), (0, is_told));
        let mut head = body(&storage.core().view(), TreeId::Schema, HEAD)?;
        let sealed = head.clone();
        *head.last_mut().ok_or("no head")? ^= 1;
        let put_head = |head: &[u8]| {
            storage.core().update(Durability::Durable, |_, commit| {
                put(commit, TreeId::Schema, HEAD, Encoding::Raw, head)
            })
        };
        put_head(&head)?;
        let report = storage.verify_audit_log(None)?;
        let faults: Vec<_> = report.findings.iter().map(|of| of.fault).collect();
        assert_eq!((faults, report.tag_checked), (expected, is_told));
        put_head(&sealed)?;
    }
    Ok(())
}
