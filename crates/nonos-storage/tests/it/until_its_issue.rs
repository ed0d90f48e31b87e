//! Methods that this release does not have yet: each says so and leaves nothing behind. A test goes
//! when the issue that builds its method comes.

use nonos_storage::ErrorCode;

use crate::TestResult;
use crate::contents::{Contents, code, populate};
use crate::on_disk::OnDisk;

const NOT_YET: Result<ErrorCode, String> = Ok(ErrorCode::NotSupported);

#[test]
fn verify_integrity_is_not_supported() -> TestResult {
    let disk = OnDisk::new()?;
    let storage = disk.open()?;
    populate(&storage)?;
    let contents = Contents::of(&storage)?;
    assert_eq!(code(storage.verify_integrity()), NOT_YET);
    assert_eq!(Contents::of(&storage)?, contents);
    Ok(())
}
