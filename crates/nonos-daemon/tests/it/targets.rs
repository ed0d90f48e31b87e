//! What every target does, whatever it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nonos_daemon::object_target::ObjectTarget;
use nonos_daemon::{Target, TargetError};

use crate::program::TestResult;

/// Holds an empty target to the contract of [`Target`]; `dir` is for files of the test.
pub(crate) fn conforms(target: &dyn Target, dir: &Path) -> TestResult {
    assert_eq!(names(target, "")?, [""; 0]);
    for name in ["a/b-1.nonos", "a/b-2.nonos", "a/c.json", "ab.json"] {
        target.write(name, name.as_bytes())?;
    }
    for (prefix, expected) in [
        (
            "",
            &["a/b-1.nonos", "a/b-2.nonos", "a/c.json", "ab.json"][..],
        ),
        ("a", &["a/b-1.nonos", "a/b-2.nonos", "a/c.json", "ab.json"]),
        ("a/", &["a/b-1.nonos", "a/b-2.nonos", "a/c.json"]),
        ("a/b-", &["a/b-1.nonos", "a/b-2.nonos"]),
        ("a/b-1.nonos", &["a/b-1.nonos"]),
        ("ab", &["ab.json"]),
        ("b", &[]),
        ("x/", &[]),
        ("../", &[]),
    ] {
        assert_eq!(names(target, prefix)?, expected, "{prefix:?}");
    }

    target.write("a/c.json", b"replaced")?;
    assert_eq!(target.read("a/c.json", 100)?, b"replaced");
    assert_eq!(target.read("a/c.json", 3)?, b"rep");
    assert_eq!(target.read("a/c.json", 0)?, b"");
    target.write("empty", b"")?;
    assert_eq!(target.read("empty", 100)?, b"");

    for len in [0, 1, 100_000] {
        let content = content(len);
        upload(target, "a/b-1.nonos", &content, dir)?;
        assert_eq!(
            download(target, "a/b-1.nonos", dir)?,
            content,
            "{len} bytes"
        );
    }
    let there = dir.join("there");
    fs::write(&there, b"kept")?;
    assert!(target.download("a/b-1.nonos", &there).is_err(), "overwrote");
    assert_eq!(fs::read(&there)?, b"kept");

    let to = dir.join("missing");
    let missing = target.read("a/none", 1);
    assert!(
        matches!(missing, Err(TargetError::Missing { .. })),
        "{missing:?}"
    );
    let missing = target.download("a/none", &to);
    assert!(
        matches!(missing, Err(TargetError::Missing { .. })),
        "{missing:?}"
    );
    assert!(!to.exists());

    target.remove("a/none")?;
    target.remove("none/none")?;
    target.remove("a/b-2.nonos")?;
    target.remove("a/b-2.nonos")?;
    assert_eq!(names(target, "a/")?, ["a/b-1.nonos", "a/c.json"]);

    let file = dir.join("file");
    fs::write(&file, b"x")?;
    for name in [
        "", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a b", "a\\b", "a%2Fb", "\u{e9}",
    ] {
        for refused in [
            target.write(name, b"x"),
            target.read(name, 1).map(drop),
            target.remove(name),
            target.upload(name, &file, &hash(b"x")),
            target.download(name, &to),
        ] {
            assert!(
                matches!(refused, Err(TargetError::Name { .. })),
                "{name:?}: {refused:?}"
            );
        }
    }
    assert!(file.exists() && !to.exists());
    assert_eq!(
        names(target, "")?,
        ["a/b-1.nonos", "a/c.json", "ab.json", "empty"]
    );
    Ok(())
}

/// The names in order.
pub(crate) fn names(target: &dyn Target, prefix: &str) -> Result<Vec<String>, TargetError> {
    let mut names = target.list(prefix)?;
    names.sort();
    Ok(names)
}

/// Bytes of which no two stretches are equal.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut word = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    use blake2::{Blake2b, Digest, digest::consts::U32};
    Blake2b::<U32>::digest(bytes).into()
}

/// Uploads bytes from a file that is gone afterwards.
pub(crate) fn upload(
    target: &dyn Target,
    name: &str,
    bytes: &[u8],
    dir: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let file = dir.join("upload");
    fs::write(&file, bytes)?;
    let uploaded = target.upload(name, &file, &hash(bytes));
    if file.exists() {
        fs::remove_file(&file)?;
    }
    Ok(uploaded?)
}

/// What is under a name, by way of a file.
pub(crate) fn download(
    target: &dyn Target,
    name: &str,
    dir: &Path,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let file = dir.join("download");
    target.download(name, &file)?;
    let mode = fs::metadata(&file)?.permissions().mode();
    let bytes = fs::read(&file)?;
    fs::remove_file(&file)?;
    assert_eq!(mode & 0o177, 0, "others may read it: {mode:o}");
    Ok(bytes)
}

#[test]
fn a_directory_conforms() -> TestResult {
    let dir = tempfile::tempdir()?;
    let at = dir.path().join("to/backups");
    let at = at.to_str().ok_or("the path is not text")?;
    for url in [at.to_owned(), format!("file://{at}")] {
        let target = ObjectTarget::open(&url)?;
        conforms(&*target, dir.path())?;
        // What a crash leaves beside the names.
        fs::write(format!("{at}/a/b-3.nonos.part"), b"x")?;
        assert_eq!(names(&*target, "a/b-3")?, [""; 0]);
        fs::remove_dir_all(at)?;
    }
    Ok(())
}
