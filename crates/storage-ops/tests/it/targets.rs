//! What every target does.

use std::fs::{self, File};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use storage_core::history::{RealDisk, hash_of};
use storage_ops::{Directory, Target, TargetError};

use crate::workload::TestResult;

/// Each is there whole, whoever came last, and nobody fails.
#[test]
fn two_who_write_under_one_name_do_not_write_into_each_other() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(root.path())?;
    let contents = [b'a', b'b'].map(|byte| vec![byte; 100_000]);
    target.write("a/b.json", &contents[0])?;
    thread::scope(|scope| {
        let write = |content| {
            let target = &target;
            scope.spawn(move || (0..100).try_for_each(|_| target.write("a/b.json", content)))
        };
        let writers = contents.each_ref().map(|content| write(content));
        while !writers.iter().all(ScopedJoinHandle::is_finished) {
            let found = target.read("a/b.json", 200_000).expect("it is there");
            assert!(contents.contains(&found), "{} bytes", found.len());
        }
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("it ends"))
    })?;
    assert_eq!(target.list("")?, ["a/b.json"]);
    // No half of a file is left.
    assert_eq!(fs::read_dir(root.path().join("a"))?.count(), 1);
    Ok(())
}

#[test]
fn what_a_killed_program_was_writing_goes_after_a_day() -> TestResult {
    let root = tempfile::tempdir()?;
    let target = Directory::new(root.path())?;
    target.write("a/b.json", b"old")?;
    let (abandoned, fresh) = (
        root.path().join("a/x.json.1-0.part"),
        root.path().join("a/y.part"),
    );
    for path in [&abandoned, &fresh] {
        fs::write(path, "half")?;
    }
    let written = File::open(&fresh)?.metadata()?.modified()?;
    let days_ago = written - Duration::from_hours(25);
    File::options()
        .write(true)
        .open(&abandoned)?
        .set_modified(days_ago)?;
    assert_eq!(target.list("")?, ["a/b.json"]);
    assert!(!abandoned.exists() && fresh.exists());
    Ok(())
}

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
