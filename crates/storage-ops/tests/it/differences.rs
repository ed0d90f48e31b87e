//! An index that differs from its journal while the database is open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::config;
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::{Commit, CoreError, Db, Durability, SimulatedHome, TreeId};
use storage_ops::{FindingCode as Code, VerifyOptions, compare_index, verify};
use storage_testkit::LAYOUT;

use crate::workload::{TestResult, options};

const PEERS: u64 = 500;

fn store(commit: &mut Commit, id: &str) -> Result<(), CoreError> {
    let peer = StoredPeerInfo {
        peer_id: id.to_owned(),
        ..StoredPeerInfo::default()
    };
    peers::store(commit, id, &peer)
}

fn database() -> Result<(SimulatedHome, Db), CoreError> {
    let home = SimulatedHome::default();
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
    let db = Db::open_simulated(disk, &home, &options(Path::new("simulated")), &|_| {
        Ok(LAYOUT)
    })?;
    db.update(Durability::Buffered, |_, commit| {
        for number in 0..PEERS {
            store(commit, &format!("peer-{number:03}"))?;
        }
        config::store(commit, "mode", &"full")
    })?;
    // The index has them.
    db.flush()?;
    Ok((home, db))
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
/// Damages one record and says which.
type Damage = fn(&mut Entries) -> Option<Vec<u8>>;

#[test]
fn each_difference_is_found_where_it_is_and_nothing_else() -> TestResult {
    let kinds: [(Code, Damage); 3] = [
        (Code::IndexMissing, |entries| {
            entries.pop_first().map(|(key, _)| key)
        }),
        (Code::IndexExtra, |entries| {
            entries.insert(b"never stored".to_vec(), b"value".to_vec());
            Some(b"never stored".to_vec())
        }),
        (Code::IndexChanged, |entries| {
            let mut last = entries.last_entry()?;
            *last.get_mut().last_mut()? ^= 1;
            Some(last.key().clone())
        }),
    ];
    for tree in [TreeId::Peers, TreeId::Config] {
        for (code, damage) in &kinds {
            let (home, db) = database()?;
            assert!(compare_index(&db)?.is_empty());
            let mut key = None;
            home.damage_open(tree, |entries| key = damage(entries));
            let key = key.ok_or("nothing to damage")?;
            let hex = key
                .iter()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));

            let found = compare_index(&db)?;
            let told: Vec<_> = found
                .iter()
                .map(|of| (of.code, of.tree, of.key_hex.as_str()))
                .collect();
            assert_eq!(told, [(*code, Some(tree), hex.as_str())], "{tree:?}");
            // Deep verifying of the open database has it among its own.
            let mut deep = VerifyOptions::default();
            deep.is_deep = true;
            let verified = verify(&db, &deep)?;
            assert!(
                verified.findings.iter().any(|of| of.code == *code),
                "{tree:?} {code:?}"
            );
            let counted = verified.trees.iter().find(|of| of.tree == tree);
            let counted = counted.ok_or("the tree")?;
            assert_eq!(counted.corrupted, 1, "{tree:?} {code:?}");
            assert!(counted.entries >= 1, "{tree:?} {code:?}");
        }
    }
    Ok(())
}

#[test]
fn every_one_of_many_differences_is_counted_and_writers_make_none() -> TestResult {
    let (home, db) = database()?;
    let mut gone = BTreeSet::new();
    home.damage_open(TreeId::Peers, |entries| {
        let mut number = 0;
        entries.retain(|key, _| {
            number += 1;
            let is_kept = number % 3 > 0;
            if !is_kept {
                gone.insert(key.clone());
            }
            is_kept
        });
    });
    // What is written anew is what it should be again.
    let written = gone.pop_first().ok_or("nothing is gone")?;
    let id = String::from_utf8(written.clone())?;
    db.update(Durability::Buffered, |_, commit| store(commit, &id))?;
    let found = compare_index(&db)?;
    assert_eq!(found.len(), gone.len());
    assert!(found.iter().all(|of| of.code == Code::IndexMissing));
    Ok(())
}
