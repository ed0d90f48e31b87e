//! Values over 4 KiB, which the index keeps in pieces.

use nonos_storage::{EpochNumber, NodeId, NodeStorage, StoredClaim, StoredPeerInfo};
use storage_core::TreeId;
use storage_testkit::dump;

use crate::TestResult;
use crate::contents::{claim, noise, peer};
use crate::on_disk::OnDisk;
use crate::watched::Watched as _;

const KIB: usize = 1024;
const MIB: usize = KIB * KIB;

/// Around the piece of 4 KiB (a frame adds 6 bytes), then far over it and back.
const SIZES: [usize; 17] = [
    0,
    4089,
    4090,
    4091,
    MIB,
    4096,
    1,
    4097,
    8186,
    8187,
    100 * KIB,
    8192,
    64 * KIB,
    MIB,
    MIB - 1,
    5 * KIB,
    10,
];

#[test]
fn a_value_of_any_size_overwrites_one_of_any_other() -> TestResult {
    let disk = OnDisk::new()?;
    let mut storage = disk.open()?;
    let id = NodeId([1; 32]);
    for len in SIZES {
        storage.keep_identity(&id, &noise(len))?;
        let found = storage.load_encrypted_key()?;
        assert!(found == Some(noise(len)), "{len} before reopening");
        storage = disk.reopen(storage)?;
        let found = storage.load_encrypted_key()?;
        assert!(found == Some(noise(len)), "{len} after reopening");
        assert_eq!(storage.load_node_id()?, Some(id), "{len}");
        assert_eq!(storage.tree_sizes()?.identity, 2, "{len}");
    }
    Ok(())
}

fn large_peer(id: &str, len: usize) -> StoredPeerInfo {
    let bytes = noise(len / 2);
    let address = bytes.iter().map(|byte| format!("{byte:02x}"));
    StoredPeerInfo {
        addresses: vec![address.collect()],
        ..peer(id)
    }
}

#[test]
fn large_records_are_overwritten_listed_and_removed() -> TestResult {
    let disk = OnDisk::new()?;
    let mut storage = disk.open()?;
    // Keys of which one is the beginning of the other: their pieces must not mix.
    let ids = ["a", "a\0\0\0\0\0\0\0\0\0\0\0\u{1}", "aa", "b"];
    for round in 0..4 {
        for (number, id) in ids.iter().enumerate() {
            let len = [3 * KIB, 300 * KIB, 9 * KIB, 0][(number + round) % 4];
            storage.store_peer(id, &large_peer(id, len))?;
        }
        storage = disk.reopen(storage)?;
        let mut listed = storage.list_peers()?.into_iter();
        let mut iterated = storage.iter_peers();
        for (number, id) in ids.iter().enumerate() {
            let len = [3 * KIB, 300 * KIB, 9 * KIB, 0][(number + round) % 4];
            let expected = (String::from(*id), large_peer(id, len));
            assert!(
                storage.load_peer(id)?.as_ref() == Some(&expected.1),
                "{id:?} {len}"
            );
            assert!(listed.next().as_ref() == Some(&expected), "{id:?} {len}");
            assert!(
                iterated.next().transpose()? == Some(expected),
                "{id:?} {len}"
            );
        }
        assert!(listed.next().is_none());
        assert!(iterated.next().is_none());
    }
    for (left, id) in (0..ids.len()).rev().zip(ids) {
        assert!(storage.remove_peer(id)?, "{id:?}");
        storage = disk.reopen(storage)?;
        assert_eq!(storage.load_peer(id)?, None, "{id:?}");
        assert_eq!(storage.count_peers()?, left);
        assert_eq!(storage.list_peers()?.len(), left);
    }
    storage.close()?;
    let entries = dump(&disk.directory.open_core()?)?;
    assert!(entries.iter().all(|(tree, ..)| *tree != TreeId::Peers));
    Ok(())
}

#[test]
fn large_values_of_every_tree_round_trip() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    let text = |len: usize| "a value that repeats, ".repeat(len / 22);
    let large_claim = |len| StoredClaim {
        tx_hash: Some(text(len)),
        ..claim(1)
    };
    let mut storage = storage;
    for len in [5 * KIB, MIB - 100, 20 * KIB, 100] {
        let numbers: Vec<u32> = (0..u32::try_from(len / 5)?).collect();
        storage.store_config("text", &text(len))?;
        storage.store_config("numbers", &numbers)?;
        storage.store_claim(EpochNumber(1), &large_claim(len))?;
        storage.update(false, |update| {
            update.store_config("in an update", &text(len))?;
            assert_eq!(update.load_config("in an update")?, Some(text(len)));
            Ok(())
        })?;
        storage = disk.reopen(storage)?;
        assert!(storage.load_config("text")? == Some(text(len)), "{len}");
        assert!(
            storage.load_config("in an update")? == Some(text(len)),
            "{len}"
        );
        assert!(storage.load_config("numbers")? == Some(numbers), "{len}");
        let found = storage.load_claim(EpochNumber(1))?;
        assert!(found == Some(large_claim(len)), "{len}");
        assert!(storage.load_claims()? == [(EpochNumber(1), large_claim(len))]);
    }
    assert!(storage.delete_config("text")?);
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_config::<String>("text")?, None);
    assert_eq!(storage.list_config_keys()?, ["in an update", "numbers"]);
    Ok(())
}

#[test]
fn secrets_up_to_64_kib_are_kept_to_the_byte() -> TestResult {
    let disk = OnDisk::new()?;
    let mut storage = disk.open()?;
    for len in [0, 1, 32, 4090, 4091, 64 * KIB - 1, 64 * KIB, 33] {
        storage.keep_secret("wallet", &noise(len))?;
        storage = disk.reopen(storage)?;
        let found = storage.load_secret("wallet")?;
        assert!(found == Some(noise(len)), "{len}");
    }
    assert!(storage.keep_secret("wallet", &noise(64 * KIB + 1)).is_err());
    assert!(storage.load_secret("wallet")? == Some(noise(33)));
    assert_eq!(storage.load_audit_log(100)?.len(), 8);
    Ok(())
}

#[test]
fn the_largest_values_are_accepted_in_memory_as_on_disk() -> TestResult {
    let storage = NodeStorage::in_memory()?;
    storage.keep_identity(&NodeId([1; 32]), &noise(MIB))?;
    storage.keep_secret("wallet", &noise(64 * KIB))?;
    assert!(storage.load_encrypted_key()? == Some(noise(MIB)));
    assert!(storage.load_secret("wallet")? == Some(noise(64 * KIB)));
    Ok(())
}
