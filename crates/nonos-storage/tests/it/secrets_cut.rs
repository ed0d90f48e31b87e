//! Sealing and changing keys, cut off at any place of the journal: the states that a crash leaves,
//! one by one.
//!
//! The journal is what happened: cut at a place, and without an index, it is the database of a machine
//! that lost power there.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nonos_storage::NodeStorage;
use storage_testkit::damage::copy;

use crate::TestResult;
use crate::on_disk::OnDisk;
use crate::sealed_disk::{Fallible, NODE, Secrets, all_secrets, full, on, outcome};
use crate::watched::Watched as _;

/// The segment that is written to.
fn newest_segment(disk: &OnDisk) -> Fallible<PathBuf> {
    let journal = disk.directory.root().join("data.sled.journal");
    let mut segments = Vec::new();
    for entry in fs::read_dir(&journal)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    let newest = segments.pop().ok_or("no segment")?;
    Ok(newest.strip_prefix(disk.directory.root())?.to_owned())
}

fn len(disk: &OnDisk, segment: &Path) -> Fallible<u64> {
    Ok(fs::metadata(disk.directory.root().join(segment))?.len())
}

/// A copy of what `work` wrote to the journal of `made`, and the places between its commits.
fn written(
    made: &OnDisk,
    keys: Option<u8>,
    work: impl FnOnce(&NodeStorage, &mut dyn FnMut()) -> TestResult,
) -> Fallible<(OnDisk, PathBuf, Vec<u64>)> {
    let storage = made.open()?;
    if let Some(keys) = keys {
        storage.set_encryption_keys(full(keys))?;
    }
    let segment = newest_segment(made)?;
    let mut places = vec![len(made, &segment)?];
    work(&storage, &mut || places.extend(len(made, &segment).ok()))?;
    places.push(len(made, &segment)?);
    let kept = OnDisk::new()?;
    copy(made.directory.root(), kept.directory.root())?;
    fs::remove_dir_all(kept.directory.database())?;
    storage.close()?;
    // Around each end of a commit, and inside of each.
    let mut cuts = Vec::new();
    for pair in places.windows(2) {
        if let [start, end] = pair {
            let inside = (1..6).map(|part| start + (end - start) * part / 6);
            cuts.extend(
                [*start, start + 1]
                    .into_iter()
                    .chain(inside)
                    .chain([end - 1, *end]),
            );
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    Ok((kept, segment, cuts))
}

fn cut_at(kept: &OnDisk, segment: &Path, at: u64) -> Fallible<OnDisk> {
    let disk = OnDisk::new()?;
    copy(kept.directory.root(), disk.directory.root())?;
    let file = File::options()
        .write(true)
        .open(disk.directory.root().join(segment))?;
    file.set_len(at)?;
    Ok(disk)
}

/// A store of more than one commit of records.
fn plain_store() -> Fallible<(OnDisk, Secrets)> {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    for number in 0..70 {
        storage.keep_secret(
            &format!("s{number:02}"),
            format!("value {number}").as_bytes(),
        )?;
    }
    storage.keep_identity(&NODE, b"the key of the node")?;
    let secrets = all_secrets(&storage)?;
    storage.close()?;
    Ok((disk, secrets))
}

#[test]
fn a_change_of_keys_cut_off_anywhere_is_finished_or_not_begun() -> TestResult {
    let (made, secrets) = plain_store()?;
    made.open()?.set_encryption_keys(full(1))?;
    let (kept, segment, cuts) = written(&made, Some(1), |storage, place| {
        storage.rekey(full(2), &mut |_| {
            place();
            ControlFlow::Continue(())
        })?;
        Ok(())
    })?;
    let (mut not_begun, mut under_way, mut finished) = (0, 0, 0);
    for cut in cuts {
        let disk = cut_at(&kept, &segment, cut)?;
        let storage = disk.open()?;
        assert!(storage.opening_report().damage.is_empty(), "{cut}");
        let status = storage.secrets_status()?;
        if status.active == Some(full(1).key_id()) {
            not_begun += 1;
            assert!(!status.is_rekeying, "{cut}: {status:?}");
            assert_eq!(
                outcome(&storage.set_encryption_keys(full(2))),
                "WrongKey",
                "{cut}"
            );
            storage.set_encryption_keys(full(1))?;
            assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
            storage.rekey(full(2), &mut on)?;
        } else if status.is_rekeying {
            under_way += 1;
            assert!(status.purge_needed, "{cut}: {status:?}");
            assert_eq!(
                outcome(&storage.set_encryption_keys(full(1))),
                "RekeyInProgress",
                "{cut}"
            );
            storage.set_encryption_keys(full(2))?;
            storage.set_previous_keys(full(1))?;
            assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
            let report = storage.resume_rekey(full(1), &mut on)?;
            assert_eq!(report.records, status.counts.rekey_remaining, "{cut}");
        } else {
            finished += 1;
            assert_eq!(status.counts.rekey_remaining, 0, "{cut}: {status:?}");
        }
        let storage = disk.reopen(storage)?;
        let status = storage.set_encryption_keys(full(2))?;
        assert!(
            !status.is_rekeying && status.purge_needed,
            "{cut}: {status:?}"
        );
        assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
        assert_eq!(storage.verify_audit_log(None)?.faults, 0, "{cut}");
    }
    assert!(
        not_begun > 1 && under_way > 10 && finished > 0,
        "{not_begun}, {under_way}, {finished}"
    );
    Ok(())
}

#[test]
fn sealing_that_was_cut_off_anywhere_is_finished_by_the_same_keys() -> TestResult {
    let (made, secrets) = plain_store()?;
    let (kept, segment, cuts) = written(&made, None, |storage, _| {
        storage.set_encryption_keys(full(1))?;
        Ok(())
    })?;
    let (mut plain, mut under_way, mut finished) = (0, 0, 0);
    let cuts: Vec<u64> = match cuts.as_slice() {
        [first, .., last] => (0..=24)
            .map(|part| first + (last - first) * part / 24)
            .collect(),
        _ => return Err("nothing was written".into()),
    };
    for cut in cuts {
        let disk = cut_at(&kept, &segment, cut)?;
        let storage = disk.open()?;
        let status = storage.secrets_status()?;
        if status.active.is_none() {
            plain += 1;
            // Nothing of it happened: other keys may still come.
            assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
            assert_eq!(status.counts.plaintext, 71, "{cut}");
        } else {
            under_way += u32::from(status.is_rekeying);
            finished += u32::from(!status.is_rekeying);
            assert!(status.purge_needed, "{cut}: {status:?}");
            assert_eq!(
                status.counts.plaintext > 0,
                status.is_rekeying && status.counts.sealed < 71
            );
            // Not even what is still plain is read without the keys, or with others.
            assert_eq!(
                outcome(&storage.load_encrypted_key()),
                "KeyRequired",
                "{cut}"
            );
            assert_eq!(
                outcome(&storage.set_encryption_keys(full(2))),
                "WrongKey",
                "{cut}"
            );
            assert_eq!(outcome(&storage.load_encrypted_key()), "WrongKey", "{cut}");
        }
        let status = storage.set_encryption_keys(full(1))?;
        assert!(
            !status.is_rekeying && status.counts.sealed == 71,
            "{cut}: {status:?}"
        );
        assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
        let storage = disk.reopen(storage)?;
        storage.set_encryption_keys(full(1))?;
        assert_eq!(all_secrets(&storage)?, secrets, "{cut}");
        assert_eq!(storage.verify_audit_log(None)?.faults, 0, "{cut}");
    }
    assert!(
        plain > 0 && under_way > 10 && finished > 0,
        "{plain}, {under_way}, {finished}"
    );
    Ok(())
}
