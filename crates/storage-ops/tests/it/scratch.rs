//! Directories for files on their way: those that somebody uses stay, those that somebody left go.

use std::fs;
use std::sync::Barrier;

use storage_ops::in_scratch;

use crate::workload::TestResult;

#[test]
fn what_was_left_goes_and_what_is_used_stays() -> TestResult {
    let root = tempfile::tempdir()?;
    let left = root
        .path()
        .join(".scratch-00000000000000000000000000000000");
    fs::create_dir_all(left.join("deep"))?;
    fs::write(left.join("deep/file"), b"left by one that was killed")?;
    in_scratch(root.path(), |used| -> TestResult {
        assert!(!left.exists());
        fs::write(used.join("file"), b"used")?;
        in_scratch(root.path(), |other| assert_ne!(used, other))?;
        assert_eq!(fs::read(used.join("file"))?, b"used");
        Ok(())
    })??;
    assert_eq!(fs::read_dir(root.path())?.count(), 0);
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
