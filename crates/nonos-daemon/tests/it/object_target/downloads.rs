//! Downloads that break.

use std::fs;
use std::time::{Duration, Instant};

use nonos_daemon::{Target, TargetError};

use super::NAME;
use crate::program::TestResult;
use crate::s3::{Fault, Server, quick};
use crate::targets::{content, download, upload};

#[test]
fn a_download_goes_on_where_it_broke() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let mut limits = quick();
    limits.request = Duration::from_secs(2);
    let target = server.target_with(&[], limits)?;
    let bytes = content(20 << 20);
    upload(&target, NAME, &bytes, dir.path())?;
    server.calm();
    server.inject(Fault::Status(500), "GET", NAME, 1);
    server.inject(Fault::CutAnswer(1_000_000), "GET", NAME, 12);
    server.inject(Fault::Silence, "GET", NAME, 1);
    assert!(
        download(&target, NAME, dir.path())? == bytes,
        "other content"
    );

    let seen = server.seen("GET", NAME);
    let starts: Vec<u64> = seen
        .iter()
        .filter_map(|seen| {
            let range = seen.range.as_deref()?.strip_prefix("bytes=")?;
            range.split('-').next()?.parse().ok()
        })
        .collect();
    assert_eq!(seen.len(), 15, "{seen:?}");
    // The refused one and the first that was cut ask for all; the others for the rest, of which every
    // cut one brought a million bytes, or what of that arrived before the connection ended.
    assert_eq!(starts.len(), 13, "{seen:?}");
    assert!(starts.is_sorted() && starts[0] > 0, "{starts:?}");
    assert!(starts[12] > 11_000_000, "{starts:?}");
    Ok(())
}

#[test]
fn a_download_that_gives_up_leaves_no_file() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    target.write(NAME, &content(1000))?;
    let file = dir.path().join("file");
    for fault in [Fault::Status(503), Fault::CutAnswer(0), Fault::Status(403)] {
        server.calm();
        server.inject(fault, "GET", NAME, usize::MAX);
        let failed = target.download(NAME, &file).unwrap_err();
        assert!(
            matches!(failed, TargetError::Failed { .. }),
            "{fault:?}: {failed}"
        );
        assert!(!file.exists(), "{fault:?}");
        let failed = target.read(NAME, 10).unwrap_err();
        assert!(
            matches!(failed, TargetError::Failed { .. }),
            "{fault:?}: {failed}"
        );
    }
    Ok(())
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_not_mixed() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    target.write(NAME, &content(100_000))?;
    let before = server.seen("GET", NAME).len();
    server.inject(Fault::CutAnswer(1000), "GET", NAME, 1);
    // Each further attempt is refused until the object is another one.
    server.inject(Fault::Status(503), "GET", NAME, 6);
    let file = dir.path().join("file");
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| target.download(NAME, &file));
        while server.seen("GET", NAME).len() < before + 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let replaced = server.path_of(NAME);
        let written = fs::write(replaced, vec![1; 200_000]);
        assert!(written.is_ok(), "{written:?}");
        let read = reading.join().map_err(|_panic| "the reader panicked")?;
        assert!(read.is_err() && !file.exists(), "{read:?}");
        Ok(())
    })
}

#[test]
fn a_silent_store_is_given_up_in_time() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let mut limits = quick();
    limits.request = Duration::from_millis(300);
    limits.operation = Duration::from_secs(1);
    let target = server.target_with(&[], limits)?;
    for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
        server.inject(Fault::Silence, method, "", usize::MAX);
    }
    let started = Instant::now();
    assert!(target.list("").is_err());
    assert!(target.read(NAME, 1).is_err());
    assert!(target.remove(NAME).is_err());
    assert!(target.write(NAME, b"x").is_err());
    assert!(upload(&target, NAME, b"x", dir.path()).is_err());
    // One each, two for writing, which reads back.
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}
