//! Rewriting records to other keys on a disk that loses power at every point of it: each record opens
//! with one of the two keys, and the manifest is that of the records that are there.

use std::path::PathBuf;
use std::sync::Arc;

use nonos_storage::{EncryptionKeys, StoreId, TreeId};
use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{
    Commit, CoreError, Db, DbOptions, Durability, Encoding, Read, SimulatedHome, View, open_frame,
    seal_frame,
};
use storage_crypto::manifest::Sum;
use storage_crypto::{Padding, SecretContext, parse_header, seal, unseal};
use storage_journal::disk::Crash;
use storage_ops::{ValueRewriter, rewrite_values};
use storage_testkit::{LAYOUT, dump};

use crate::TestResult;
use crate::sealed_disk::{Fallible, MANIFEST, full};

/// Of three commits, the last one short.
const SECRETS: u64 = 140;
const TREE: TreeId = TreeId::Secrets;

type Error = Box<dyn std::error::Error>;

fn open(disk: &SimulatedDisk, home: &SimulatedHome) -> Result<Db, CoreError> {
    let mut options = DbOptions::new(PathBuf::from("data.sled"), 2, || 1_770_000_000_000);
    options.cache_capacity_bytes = 1 << 20;
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Db::open_simulated(disk, home, &options, &|_| Ok(LAYOUT))
}

fn context<'a>(db: &Db, key: &'a [u8]) -> SecretContext<'a> {
    SecretContext {
        store: StoreId(db.store_id()),
        tree: TREE.name(),
        key,
    }
}

fn framed(key: &[u8], record: &[u8]) -> Result<Vec<u8>, CoreError> {
    seal_frame(TREE, key, Encoding::Sealed, 2, record, false)
}

/// The records by key, and what they are sealed for.
fn records(db: &Db) -> Fallible<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    for (tree, key, frame) in dump(db)? {
        if tree == TREE {
            let record = open_frame(tree, &key, &frame)?.body;
            records.push((key, record));
        }
    }
    Ok(records)
}

/// Seals anew, and keeps the manifest.
struct Rewriter<'a> {
    db: &'a Db,
    old: EncryptionKeys,
    new: EncryptionKeys,
    pending: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    sum: Sum,
    counter: u64,
}

impl<'a> Rewriter<'a> {
    fn new(db: &'a Db) -> Fallible<Self> {
        let new = full(2);
        let mut sum = Sum::default();
        for (key, record) in records(db)? {
            sum.add(&new, TREE.name(), &key, &record)?;
        }
        Ok(Self {
            db,
            old: full(1),
            new,
            pending: Vec::new(),
            sum,
            counter: 1000,
        })
    }
}

impl ValueRewriter for Rewriter<'_> {
    type Error = Error;

    fn rewrite(&mut self, tree: TreeId, key: &[u8], frame: &[u8]) -> Fallible<Option<Vec<u8>>> {
        let record = open_frame(tree, key, frame)?.body;
        let header = parse_header(&record)?;
        if header.key_id == self.new.key_id() {
            return Ok(None);
        }
        let context = context(self.db, key);
        let value = unseal(&self.old, &context, &record)?;
        storage_testkit::logs::forbid(&value);
        let sealed = seal(
            &self.new,
            &context,
            header.version,
            Padding::default(),
            &value,
        )?;
        let frame = framed(key, &sealed)?;
        self.pending.push((key.to_vec(), record, sealed));
        Ok(Some(frame))
    }

    fn commit(&mut self, _: &View<'_>, commit: &mut Commit) -> Fallible<()> {
        for (key, old, new) in self.pending.drain(..) {
            self.sum.remove(&self.new, TREE.name(), &key, &old)?;
            self.sum.add(&self.new, TREE.name(), &key, &new)?;
        }
        self.counter += 1;
        let manifest = self.sum.seal(&self.new, self.counter)?;
        let frame = seal_frame(TreeId::Schema, MANIFEST, Encoding::Raw, 2, &manifest, false)?;
        commit.put(TreeId::Schema, MANIFEST.to_vec(), frame);
        Ok(())
    }

    fn committed(&mut self, _: u64) -> Fallible<()> {
        Ok(())
    }
}

fn value(number: u64) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

/// How many are under the new keys. Every one opens with one of both, and is what was stored; the
/// manifest, once there is one, is that of these records.
fn rewritten(db: &Db, case: &str) -> Fallible<u64> {
    let (mut count, mut sum) = (0, Sum::default());
    let found = records(db)?;
    assert_eq!(u64::try_from(found.len())?, SECRETS, "{case}");
    for (number, (key, record)) in (0..).zip(&found) {
        let is_new = parse_header(record)?.key_id == full(2).key_id();
        let keys = if is_new { full(2) } else { full(1) };
        let opened = unseal(&keys, &context(db, key), record)?;
        assert_eq!(opened.to_vec(), value(number), "{case}");
        count += u64::from(is_new);
        sum.add(&full(2), TREE.name(), key, record)?;
    }
    if let Some(frame) = db.view().get(TreeId::Schema, MANIFEST)? {
        let manifest = open_frame(TreeId::Schema, MANIFEST, &frame)?.body;
        let proved = sum.check(&full(2), &manifest);
        assert_eq!(
            proved,
            Ok(()),
            "{case}: the manifest of {count} of {SECRETS}"
        );
    } else {
        assert_eq!(count, 0, "{case}: rewritten without a manifest");
    }
    Ok(count)
}

#[test]
fn rewriting_that_loses_power_at_any_point_leaves_every_record_and_goes_on() -> TestResult {
    let disk = SimulatedDisk::default();
    let home = SimulatedHome::beside(&disk);
    let db = open(&disk, &home)?;
    db.update(Durability::Durable, |_, commit| {
        for number in 0..SECRETS {
            let key = format!("s{number:03}").into_bytes();
            let padding = Padding::default();
            let record = seal(
                &full(1),
                &context(&db, &key),
                number + 1,
                padding,
                &value(number),
            )?;
            commit.put(TREE, key.clone(), framed(&key, &record)?);
        }
        Ok::<_, Error>(())
    })?;
    let before = disk.trace_len();
    rewrite_values(&db, &[TREE], &mut Rewriter::new(&db)?)?;
    assert_eq!(rewritten(&db, "at the end")?, SECRETS);
    let mut counts = Vec::new();
    for prefix in before..=disk.trace_len() {
        for (seed, crash) in (0..).zip([
            Crash::Kill,
            Crash::Drop,
            Crash::Torn(1),
            Crash::Torn(2),
            Crash::Reordered(1),
            Crash::Reordered(2),
        ]) {
            let case = format!("{crash:?} after {prefix}");
            let index = home.at(prefix).crash(|number| (number + seed) % 2 == 0);
            let db = open(&disk.crash(prefix, crash), &index)?;
            let done = rewritten(&db, &case)?;
            counts.push(done);
            if prefix == disk.trace_len() {
                // It returned, so the old key may be destroyed: nothing is left that it opens alone.
                assert_eq!(done, SECRETS, "{case}");
            }
            let again = rewrite_values(&db, &[TREE], &mut Rewriter::new(&db)?)?;
            assert_eq!(again, SECRETS - done, "{case}");
            assert_eq!(rewritten(&db, &case)?, SECRETS, "{case}, gone on");
        }
    }
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts, [0, 64, 128, SECRETS], "whole commits");
    Ok(())
}
