//! The chained audit log: complete under load, the chain of the specification, and that of old entries.

use std::thread;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use nonos_storage::{ChainFault, ChainReport, NodeStorage, Retention, TreeId};
use storage_core::trees::audit_log;
use storage_core::{Commit, CoreError, Db, Encoding};
use storage_testkit::damage::copy;
use storage_testkit::dump;
use storage_testkit::first_implementation::{FIXTURES, FirstImplementation};

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, HEAD, NODE, body, edit, full, outcome, public, put};
use crate::watched::Watched as _;

const LINK_LEN: usize = 40;
pub(crate) const TREE: TreeId = TreeId::AuditLog;

/// An entry as it is stored: its key, the entry itself, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) key: Vec<u8>,
    pub(crate) entry: Vec<u8>,
    pub(crate) link: Vec<u8>,
}

impl Stored {
    pub(crate) fn put(&self, commit: &mut Commit) -> Result<(), CoreError> {
        let body = [self.entry.as_slice(), &self.link].concat();
        put(commit, TREE, &self.key, Encoding::Postcard, &body)
    }
}

pub(crate) fn stored(db: &Db) -> Fallible<Vec<Stored>> {
    let mut found = Vec::new();
    for (tree, key, _) in dump(db)? {
        if tree == TREE {
            let body = body(&db.view(), tree, &key)?;
            let (entry, link) = body.split_at(body.len() - LINK_LEN);
            found.push(Stored {
                key,
                entry: entry.to_vec(),
                link: link.to_vec(),
            });
        }
    }
    Ok(found)
}

/// The chain as section 8 of the specification defines it, over whatever entries.
pub(crate) fn chained(store_id: [u8; 16], entries: &mut [Stored]) -> [u8; 32] {
    let mut before: [u8; 32] = Blake2b::<U32>::new()
        .chain_update(b"nsec1.audit0")
        .chain_update(store_id)
        .finalize()
        .into();
    let length = |part: &[u8]| u64::try_from(part.len()).unwrap_or(0).to_le_bytes();
    for (seq, stored) in (0_u64..).zip(entries) {
        let label = b"nsec1.audit";
        before = Blake2b::<U32>::new()
            .chain_update(length(label))
            .chain_update(label)
            .chain_update(before)
            .chain_update(seq.to_le_bytes())
            .chain_update(length(&stored.key))
            .chain_update(&stored.key)
            .chain_update(length(&stored.entry))
            .chain_update(&stored.entry)
            .finalize()
            .into();
        stored.link = [seq.to_be_bytes().as_slice(), &before].concat();
    }
    before
}

/// A sealed store with some history, closed.
pub(crate) fn history() -> Fallible<OnDisk> {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.keep_secret("early", b"plain")?;
    storage.set_encryption_keys(full(1))?;
    for number in 0..6 {
        storage.keep_secret(&format!("s{number}"), b"value")?;
    }
    storage.delete_secret("s3")?;
    storage.keep_identity(&NODE, b"key")?;
    storage.close()?;
    Ok(disk)
}

#[test]
fn eight_threads_of_a_hundred_secrets_leave_eight_hundred_entries_in_one_chain() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    let first = storage.verify_audit_log(None)?;
    let counter = storage.secrets_status()?.counter;
    thread::scope(|scope| -> TestResult {
        let mut threads = Vec::new();
        for thread in 0..8 {
            let storage = &storage;
            threads.push(scope.spawn(move || {
                (0..100).try_for_each(|number| {
                    storage.keep_secret(
                        &format!("{thread}-{number}"),
                        format!("{thread} {number}").as_bytes(),
                    )
                })
            }));
        }
        for thread in threads {
            thread.join().map_err(|_panic| "a thread panicked")??;
        }
        Ok(())
    })?;
    let report = storage.verify_audit_log(Some((first.len - 1, first.hash)))?;
    assert_eq!((report.faults, report.unsealed), (0, 0), "{report:?}");
    assert_eq!(report.len, first.len + 800);
    assert_eq!(storage.secrets_status()?.counter, counter + 800);
    let log = storage.load_audit_log(usize::MAX)?;
    assert!(
        log.windows(2)
            .all(|pair| pair[0].timestamp > pair[1].timestamp)
    );
    let stores = log
        .iter()
        .filter(|entry| entry.operation == "store")
        .count();
    assert_eq!(stores, 800);
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.set_encryption_keys(full(1))?.counts.sealed, 800);
    for thread in 0..8 {
        for number in (0..100).step_by(9) {
            let found = storage.load_secret(&format!("{thread}-{number}"))?;
            assert_eq!(found, Some(format!("{thread} {number}").into_bytes()));
        }
    }
    Ok(())
}

#[test]
fn the_chain_is_the_one_that_the_specification_defines() -> TestResult {
    let disk = history()?;
    let db = disk.directory.open_core()?;
    let found = stored(&db)?;
    let mut expected = found.clone();
    let newest = chained(db.store_id(), &mut expected);
    assert_eq!(found, expected);
    let head = audit_log::head(&db.view())?.ok_or("no head")?;
    assert_eq!((head.len, head.hash), (u64::try_from(found.len())?, newest));
    assert_eq!(head.first_seq, 0);
    assert!(head.is_sealed());
    Ok(())
}

#[test]
fn entries_that_were_appended_without_keys_are_counted_and_sealed_with_them() -> TestResult {
    let disk = history()?;
    let storage = disk.open()?;
    let before = storage.verify_audit_log(None)?;
    assert_eq!((before.faults, before.unsealed), (0, 0));
    storage.store_claim(nonos_storage::EpochNumber(1), &crate::contents::claim(1))?;
    storage.purge()?;
    assert_eq!(storage.verify_audit_log(None)?.unsealed, 2);
    storage.set_encryption_keys(public(1))?;
    storage.keep_secret("dropped", b"x")?;
    let storage = disk.reopen(storage)?;
    let report = storage.verify_audit_log(Some((before.len - 1, before.hash)))?;
    assert_eq!((report.faults, report.unsealed), (0, 3));
    storage.set_encryption_keys(full(1))?;
    let report = storage.verify_audit_log(None)?;
    assert_eq!((report.faults, report.unsealed), (0, 0));
    Ok(())
}

#[test]
fn a_note_of_the_past_verifies_later_and_tells_another_history() -> TestResult {
    let one = history()?;
    let other = OnDisk::new()?;
    copy(one.directory.root(), other.directory.root())?;
    let noted = |report: &ChainReport| (report.len - 1, report.hash);
    let write = |disk: &OnDisk, name: &str| -> Fallible<NodeStorage> {
        let storage = disk.open()?;
        storage.set_encryption_keys(full(1))?;
        for number in 0..5 {
            storage.keep_secret(&format!("{name}{number}"), b"x")?;
        }
        Ok(storage)
    };
    let shared = noted(&one.open()?.verify_audit_log(None)?);
    let (one, other) = (write(&one, "one")?, write(&other, "other")?);
    let (of_one, of_other) = (
        noted(&one.verify_audit_log(None)?),
        noted(&other.verify_audit_log(None)?),
    );
    for (case, storage, known, is_known) in [
        ("the note of both", &one, shared, true),
        ("the note of both", &other, shared, true),
        ("its own", &one, of_one, true),
        ("the other's", &one, of_other, false),
        ("the other's", &other, of_one, false),
        ("a number that never was", &one, (10_000, of_one.1), false),
        ("another hash", &one, (shared.0, [0; 32]), false),
    ] {
        let report = storage.verify_audit_log(Some(known))?;
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|finding| finding.fault)
            .collect();
        let expected = if is_known {
            vec![]
        } else {
            vec![ChainFault::OtherHistory]
        };
        assert_eq!(found, expected, "{case}");
    }
    one.keep_secret("later", b"x")?;
    assert_eq!(one.verify_audit_log(Some(of_one))?.faults, 0);
    Ok(())
}

#[test]
fn entries_of_the_first_implementation_are_chained_in_their_order() -> TestResult {
    for name in FIXTURES {
        let fixture = FirstImplementation::unpack(name)?;
        let disk = OnDisk::new()?;
        let config = disk.config_at(fixture.database());
        let storage = NodeStorage::open(config.clone())?;
        let log = storage.load_audit_log(usize::MAX)?;
        let report = storage.verify_audit_log(None)?;
        assert_eq!(
            (report.faults, report.entries),
            (0, u64::try_from(log.len())?),
            "{name}"
        );
        assert_eq!(report.unsealed, report.len, "{name}");
        let secrets = storage.list_secrets()?;
        storage.set_encryption_keys(full(1))?;
        let after = storage.verify_audit_log(Some((report.len - 1, report.hash)))?;
        assert_eq!((after.faults, after.unsealed), (0, 0), "{name}");
        storage.close()?;
        let storage = NodeStorage::open(config)?;
        storage.set_encryption_keys(full(1))?;
        for secret in &secrets {
            assert!(storage.load_secret(secret)?.is_some(), "{name}: {secret}");
        }
    }
    Ok(())
}

/// The entries as the migration finds them, and chaining that ended after so many of them.
#[test]
fn chaining_that_was_interrupted_is_finished_at_the_next_opening() -> TestResult {
    let made = history()?;
    for chained_before in [0, 1, 5, 10, 11] {
        let trial = OnDisk::new()?;
        copy(made.directory.root(), trial.directory.root())?;
        let db = trial.directory.open_core()?;
        let mut log = stored(&db)?;
        let store_id = db.store_id();
        db.shutdown()?;
        drop(db);
        edit(&trial, |view, commit| {
            commit.remove(view, TreeId::Schema, HEAD.to_vec())?;
            commit.remove(view, TreeId::Schema, b"__keyring__".to_vec())?;
            log.iter().try_for_each(|one| {
                let link = Vec::new();
                Stored {
                    link,
                    ..one.clone()
                }
                .put(commit)
            })
        })?;
        if chained_before > 0 {
            let more = edit(&trial, |view, commit| {
                audit_log::adopt(view, commit, chained_before)
            })?;
            assert_eq!(more, chained_before < log.len());
        }
        let storage = trial.open()?;
        let report = storage.verify_audit_log(None)?;
        assert_eq!(
            (report.faults, report.entries),
            (0, 11),
            "{chained_before}: {report:?}"
        );
        assert_eq!(report.hash, chained(store_id, &mut log), "{chained_before}");
        storage.repair_keyring(full(1))?;
        storage.keep_secret("after", b"x")?;
        let storage = trial.reopen(storage)?;
        storage.set_encryption_keys(full(1))?;
        let report = storage.verify_audit_log(None)?;
        assert_eq!((report.faults, report.unsealed), (0, 0), "{chained_before}");
    }
    Ok(())
}

/// The sealed head names an entry that pruning would take away: without keys nobody could vouch for what
/// is left, and the right keys would be refused for ever.
#[test]
fn a_sealed_log_is_not_pruned_without_the_keys_that_vouch_for_it() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.set_encryption_keys(full(1))?;
    for number in 0..5 {
        storage.keep_secret(&format!("s{number}"), b"x")?;
    }
    let storage = disk.reopen(storage)?;
    let everything = Retention::default().keep_last(0);
    let pruned = storage.prune(TreeId::AuditLog, &everything, false);
    assert_eq!(outcome(&pruned), "KeyRequired");
    storage.set_encryption_keys(public(1))?;
    let pruned = storage.prune(TreeId::AuditLog, &everything, false);
    assert_eq!(outcome(&pruned), "SecretKeyRequired");
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert!(storage.prune(TreeId::AuditLog, &everything, false)?.records > 0);
    let storage = disk.reopen(storage)?;
    storage.set_encryption_keys(full(1))?;
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    Ok(())
}
