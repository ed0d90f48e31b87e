//! Methods that this release does not have yet: each says so and leaves nothing behind. A test goes
//! when the issue that builds its method comes.

use nonos_storage::{
    CryptoError, EncryptionMode, ErrorCode, NodeStorage, NonosError, StorageConfig,
};

use crate::TestResult;
use crate::contents::{Contents, code, populate};
use crate::on_disk::OnDisk;

const NOT_YET: Result<ErrorCode, String> = Ok(ErrorCode::NotSupported);

#[test]
fn sealed_box_does_not_open() -> TestResult {
    let disk = OnDisk::new()?;
    let config = StorageConfig {
        encryption_mode: EncryptionMode::SealedBox,
        ..disk.config.clone()
    };
    match NodeStorage::open(config) {
        Err(NonosError::Encryption(CryptoError::NotSupported)) => {}
        other => panic!("{other:?}"),
    }
    assert!(disk.directory.files()?.is_empty());
    Ok(())
}

#[test]
fn open_readonly_is_not_supported() -> TestResult {
    let disk = OnDisk::new()?;
    let opened = NodeStorage::open_readonly(disk.config.clone());
    assert_eq!(code(opened), NOT_YET);
    assert!(disk.directory.files()?.is_empty());
    Ok(())
}

#[test]
fn compact_and_verify_integrity_are_not_supported() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let (files, contents) = (disk.directory.files()?, Contents::of(&storage)?);
    assert_eq!(code(storage.compact()), NOT_YET, "compact");
    assert_eq!(code(storage.verify_integrity()), NOT_YET, "verify");
    assert_eq!(disk.directory.files()?, files);
    assert_eq!(Contents::of(&storage)?, contents);
    Ok(())
}

#[test]
fn backups_are_not_supported() -> TestResult {
    let disk = OnDisk::new()?;
    let file = disk.directory.root().join("backup.nonos");
    let restored = NodeStorage::restore_backup(&file, disk.config.clone());
    assert_eq!(code(restored), NOT_YET, "restore");
    assert_eq!(code(NodeStorage::verify_backup(&file)), NOT_YET, "verify");
    assert!(disk.directory.files()?.is_empty());
    let storage = disk.open()?;
    assert_eq!(code(storage.export_backup(&file)), NOT_YET, "export");
    assert!(!file.exists());
    Ok(())
}
