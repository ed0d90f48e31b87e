//! A program that was built without sealing: it says so, seals nothing, and never stores plainly what
//! somebody else sealed.

use nonos_storage::{
    CryptoError, EncryptionMode, EpochNumber, NodeId, NodeStorage, NonosError, NonosResult,
    OpenOptions, StorageConfig, TreeId,
};
use storage_core::{CoreError, Durability, Encoding, seal_frame};

use crate::TestResult;
use crate::contents::{Contents, claim, peer, populate};
use crate::on_disk::OnDisk;

fn is_disabled<T>(result: &NonosResult<T>) -> bool {
    let disabled = NonosError::Encryption(CryptoError::FeatureDisabled);
    matches!(result, Err(error) if error.to_string() == disabled.to_string())
}

fn sealed_box(disk: &OnDisk) -> StorageConfig {
    StorageConfig {
        encryption_mode: EncryptionMode::SealedBox,
        ..disk.config.clone()
    }
}

/// Puts a value below the facade.
fn put(disk: &OnDisk, tree: TreeId, key: &[u8], encoding: Encoding) -> TestResult {
    let db = disk.directory.open_core()?;
    db.update(Durability::Durable, |_, commit| {
        let frame = seal_frame(tree, key, encoding, 2, b"of the other program", false)?;
        commit.put(tree, key.to_vec(), frame);
        Ok::<_, CoreError>(())
    })?;
    Ok(db.shutdown()?)
}

#[test]
fn asking_for_sealing_is_refused_and_touches_nothing() -> TestResult {
    let disk = OnDisk::new()?;
    let config = sealed_box(&disk);
    assert!(is_disabled(&NodeStorage::open(config.clone())));
    assert!(is_disabled(&OpenOptions::new(config.clone()).open()));
    assert_eq!(disk.directory.files()?.len(), 0);
    assert!(NodeStorage::open_readonly(config.clone()).is_err());
    assert_eq!(disk.directory.files()?.len(), 0);
    let storage = disk.open()?;
    populate(&storage)?;
    let contents = Contents::of(&storage)?;
    storage.close()?;
    let files = disk.directory.files()?;
    assert!(is_disabled(&NodeStorage::open(config.clone())));
    assert!(is_disabled(&NodeStorage::open_readonly(config)));
    assert_eq!(disk.directory.files()?, files);
    assert_eq!(Contents::of(&disk.open()?)?, contents);
    Ok(())
}

#[test]
fn without_sealing_secrets_are_stored_plainly_and_audited_as_such() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    storage.store_secret("a", b"1")?;
    storage.store_identity(&NodeId([7; 32]), b"key")?;
    let log = storage.load_audit_log(2)?;
    assert_eq!(log[1].details.as_deref(), Some("a (plaintext)"));
    let storage = disk.reopen(storage)?;
    assert_eq!(storage.load_secret("a")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(storage.load_encrypted_key()?.as_deref(), Some(&b"key"[..]));
    assert!(storage.delete_secret("a")?);
    assert_eq!(storage.verify_audit_log(None)?.faults, 0);
    storage.purge()?;
    let required = OpenOptions::new(disk.config.clone()).require_sealed_secrets(true);
    storage.close()?;
    let storage = required.open()?;
    let refused = storage.store_secret("a", b"1");
    assert!(
        matches!(refused, Err(NonosError::Encryption(_))),
        "{refused:?}"
    );
    assert_eq!(storage.load_secret("a")?, None);
    Ok(())
}

/// What is sealed by another program: with its keyring, and without, where somebody removed that.
#[test]
fn a_sealed_store_opens_and_gives_everything_but_its_secrets() -> TestResult {
    for sealed in [
        (TreeId::Schema, b"__keyring__".as_slice(), Encoding::Raw),
        (TreeId::Secrets, b"sealed", Encoding::Sealed),
        (TreeId::Identity, b"encrypted_key", Encoding::Sealed),
    ] {
        let disk = OnDisk::new()?;
        let storage = disk.open()?;
        populate(&storage)?;
        storage.close()?;
        let (tree, key, encoding) = sealed;
        put(&disk, tree, key, encoding)?;
        let storage = disk.open()?;
        for (call, refused) in [
            ("store", is_disabled(&storage.store_secret("new", b"x"))),
            (
                "store over",
                is_disabled(&storage.store_secret("wallet", b"x")),
            ),
            ("load", is_disabled(&storage.load_secret("wallet"))),
            ("delete", is_disabled(&storage.delete_secret("wallet"))),
            ("identity", is_disabled(&storage.load_encrypted_key())),
            (
                "store identity",
                is_disabled(&storage.store_identity(&NodeId([1; 32]), b"x")),
            ),
            (
                "update",
                is_disabled(
                    &storage.update(true, |update| update.store_identity(&NodeId([1; 32]), b"x")),
                ),
            ),
        ] {
            assert!(refused, "{call} with {sealed:?}");
        }
        assert_eq!(storage.load_node_id()?, Some(NodeId([7; 32])));
        assert!(storage.list_secrets()?.contains(&"wallet".to_owned()));
        assert_eq!(storage.load_peer("alpha")?, Some(peer("alpha")));
        storage.store_peer("new", &peer("new"))?;
        storage.store_claim(EpochNumber(9), &claim(9))?;
        storage.store_config("name", "another")?;
        storage.compact()?;
        storage.purge()?;
        assert_eq!(storage.verify_audit_log(None)?.faults, 0);
        let file = disk.directory.root().join("backup.nonos");
        storage.export_backup(&file)?;
        let restored = OnDisk::new()?;
        NodeStorage::restore_backup(&file, restored.config.clone())?;
        let restored = restored.open()?;
        assert_eq!(restored.load_peer("new")?, Some(peer("new")));
        assert!(is_disabled(&restored.load_secret("wallet")));
    }
    Ok(())
}
