//! What every target does.

use std::fs;

use storage_core::history::{RealDisk, hash_of};
use storage_ops::{Directory, Target, TargetError};

use crate::workload::TestResult;

#[test]
fn a_directory_is_a_target() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(&root.path().join("a/b"))?;
    let file = root.path().join("file");
    fs::write(&file, "content")?;
    let hash = hash_of(&RealDisk, &file)?;
    target.upload("x/1.nonos", &file, &hash)?;
    assert!(!file.exists(), "it is moved where that is enough");
    target.write("x/1.nonos.json", b"note")?;
    target.write("y.json", b"another")?;
    let mut names = target.list("x/")?;
    names.sort();
    assert_eq!(names, ["x/1.nonos", "x/1.nonos.json"]);
    assert_eq!(target.list("")?.len(), 3);
    assert_eq!(target.list("z")?, Vec::<String>::new());
    assert_eq!(target.read("y.json", 4)?, b"anot");
    target.download("x/1.nonos", &file)?;
    assert_eq!(fs::read(&file)?, b"content");
    target.write("y.json", b"new")?;
    assert_eq!(target.read("y.json", 100)?, b"new");
    target.remove("y.json")?;
    target.remove("y.json")?;
    target.remove("nowhere/y.json")?;
    for missing in [
        target.read("y.json", 9).err(),
        target.download("y.json", &root.path().join("n")).err(),
    ] {
        assert!(
            matches!(missing, Some(TargetError::Missing { .. })),
            "{missing:?}"
        );
    }
    for name in [
        "", "..", "../x", "a//b", "/a", "a/", ".hidden", "a b", "a/.b", "ä",
    ] {
        let refused = target.write(name, b"x");
        assert!(matches!(refused, Err(TargetError::Name { .. })), "{name:?}");
    }
    // What was interrupted does not list.
    fs::write(root.path().join("a/b/x/2.nonos.part"), "half")?;
    assert_eq!(target.list("")?.len(), 2);
    Ok(())
}
