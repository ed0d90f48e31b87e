//! Directories for files on their way: those that somebody uses stay, those that somebody left go.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::time::SystemTime;

use storage_ops::in_scratch;

use crate::workload::TestResult;

#[test]
fn what_was_left_goes_and_what_is_used_stays() -> TestResult {
    let root = tempfile::tempdir()?;
    // One that somebody killed was using: it has the name, and no lock.
    let left = in_scratch(root.path(), Path::to_owned)?;
    fs::create_dir_all(left.join("deep"))?;
    fs::write(left.join("deep/file"), b"left by one that was killed")?;
    // One of another machine, whose locks are not seen here, and one of the user's.
    let name = format!(".scratch-{:016}-{:032}", 0, 0);
    let (other, own) = (root.path().join(name), root.path().join(".scratch-notes"));
    for directory in [&other, &own] {
        fs::create_dir(directory)?;
    }
    in_scratch(root.path(), |used| -> TestResult {
        assert!(!left.exists());
        fs::write(used.join("file"), b"used")?;
        in_scratch(root.path(), |other| assert_ne!(used, other))?;
        assert_eq!(fs::read(used.join("file"))?, b"used");
        Ok(())
    })??;
    assert!(other.exists() && own.exists());
    // Until it is old.
    fs::File::open(&other)?.set_modified(SystemTime::UNIX_EPOCH)?;
    in_scratch(root.path(), |_| ())?;
    assert!(!other.exists() && own.exists());
    Ok(())
}

/// Each removes what is left while the others make theirs.
#[test]
fn many_at_once_keep_their_own() -> TestResult {
    let root = tempfile::tempdir()?;
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        let work = || {
            start.wait();
            for _ in 0..200 {
                let kept = in_scratch(root.path(), |used| {
                    let file = used.join("file");
                    fs::write(&file, b"used").and_then(|()| fs::read(&file))
                });
                assert_eq!(kept.expect("a directory").expect("its file"), b"used");
            }
        };
        let running: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        for thread in running {
            thread.join().expect("it kept its own");
        }
    });
    assert_eq!(fs::read_dir(root.path())?.count(), 0);
    Ok(())
}
