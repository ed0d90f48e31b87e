//! Backups in a bucket, through every fault that a network has.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nonos_daemon::object_target::{Limits, ObjectTarget};
use nonos_daemon::{Target, TargetError};

use crate::program::{Node, TestResult};
use crate::s3::{Fault, KEY, SECRET, Server, URL, quick};
use crate::targets::{conforms, content, download, hash, names, upload};

mod downloads;

const NAME: &str = "a/b-1.nonos";

/// Three parts.
fn large() -> Vec<u8> {
    content(11 << 20)
}

#[test]
fn a_bucket_conforms() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    conforms(&server.target()?, dir.path())
}

#[test]
fn parts_are_sent_again_only_if_they_did_not_arrive() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let mut limits = quick();
    limits.request = Duration::from_secs(2);
    let target = server.target_with(&[], limits)?;
    server.inject(Fault::Status(503), "POST", "uploads", 1);
    server.inject(Fault::Status(500), "PUT", "partNumber=1", 1);
    server.inject(Fault::Status(503), "PUT", "partNumber=2", 4);
    server.inject(Fault::CutRequest(3 << 20), "PUT", "partNumber=3", 2);
    server.inject(Fault::CutRequest(0), "PUT", "partNumber=4", 1);
    server.inject(Fault::Silence, "PUT", "partNumber=5", 1);
    server.inject(Fault::Status(500), "POST", "uploadId=", 1);
    let bytes = content((20 << 20) + 1);
    upload(&target, NAME, &bytes, dir.path())?;

    let parts: Vec<_> = server.parts().into_iter().collect();
    let expected = [
        (1, (1, 1)),
        (2, (1, 4)),
        (3, (1, 2)),
        (4, (1, 1)),
        (5, (1, 1)),
    ];
    assert_eq!(
        parts, expected,
        "part, and how often it arrived and was lost"
    );
    assert!(
        download(&target, NAME, dir.path())? == bytes,
        "other content"
    );
    assert_eq!(names(&target, "")?, [NAME]);
    assert_eq!(server.unfinished()?, [""; 0]);
    Ok(())
}

#[test]
fn an_upload_that_gives_up_leaves_what_was_there() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    let bytes = large();
    for before in [None, Some(b"what was there")] {
        if let Some(before) = before {
            target.write(NAME, before)?;
        }
        for (fault, method, contains) in [
            (Fault::Status(503), "POST", "uploads"),
            (Fault::Status(503), "PUT", "partNumber=2"),
            (Fault::CutRequest(1 << 19), "PUT", "partNumber=3"),
            (Fault::Status(403), "PUT", "partNumber=1"),
            (Fault::Status(500), "POST", "uploadId="),
        ] {
            server.calm();
            server.inject(fault, method, contains, usize::MAX);
            let failed = upload(&target, NAME, &bytes, dir.path());
            let what = format!("{fault:?} at {method} {contains}: {failed:?}");
            assert!(failed.is_err(), "{what}");
            server.calm();
            let there = target.read(NAME, 100).ok();
            assert_eq!(there.as_deref(), before.map(|b| &b[..]), "{what}");
            assert_eq!(
                names(&target, "")?.len(),
                usize::from(before.is_some()),
                "{what}"
            );
            assert_eq!(server.unfinished()?, [""; 0], "{what}");
        }
    }
    Ok(())
}

/// The server does not see that a body changed, as its checksum is not sent.
#[test]
fn a_byte_that_changed_on_the_way_is_found_by_reading_back() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target_with(&[("aws_unsigned_payload", "true")], quick())?;
    let large = large();
    for (bytes, at, contains) in [
        (&large[..], 1 << 20, "partNumber=2"),
        (&large[..], (1 << 20) - 1, "partNumber=3"),
        (&large[..100_000], 77, NAME),
    ] {
        server.calm();
        server.inject(Fault::Flip(at), "PUT", contains, 1);
        let refused = upload(&target, NAME, bytes, dir.path()).unwrap_err();
        let refused = refused.downcast::<TargetError>()?;
        assert!(
            matches!(*refused, TargetError::Differs { .. }),
            "{contains}: {refused}"
        );
        assert_eq!(names(&target, "")?, [""; 0], "{contains}");
        upload(&target, NAME, bytes, dir.path())?;
        assert!(
            download(&target, NAME, dir.path())? == bytes,
            "other content"
        );
        target.remove(NAME)?;
    }
    server.inject(Fault::Flip(3), "PUT", NAME, 2);
    let refused = target.write(NAME, b"a few bytes").unwrap_err();
    assert!(matches!(refused, TargetError::Differs { .. }), "{refused}");
    assert_eq!(names(&target, "")?, [""; 0]);
    // What was there before, or came meanwhile, is not removed for it.
    target.write(NAME, b"a few bytes")?;
    server.calm();
    server.inject(Fault::Flip(3), "PUT", NAME, 2);
    let refused = target.write(NAME, b"other bytes").unwrap_err();
    assert!(matches!(refused, TargetError::Differs { .. }), "{refused}");
    assert_eq!(target.read(NAME, 100)?, b"a few bytes");
    server.calm();
    server.inject(Fault::Flip(3), "PUT", NAME, 1);
    target.write(NAME, b"other bytes")?;
    assert_eq!(target.read(NAME, 100)?, b"other bytes");
    Ok(())
}

#[test]
fn a_byte_that_changed_under_a_signature_never_counts() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    let bytes = large();
    server.inject(Fault::Flip(1 << 20), "PUT", "partNumber=2", usize::MAX);
    assert!(upload(&target, NAME, &bytes, dir.path()).is_err());
    assert_eq!(names(&target, "")?, [""; 0]);
    assert_eq!(server.unfinished()?, [""; 0]);
    Ok(())
}

#[test]
fn an_answer_that_is_lost_is_no_failure() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    let large = large();
    for (bytes, method, contains) in [
        (&large[..], "POST", "uploadId="),
        (&large[..], "PUT", "partNumber=2"),
        (&large[..9], "PUT", NAME),
        (&large[..], "HEAD", NAME),
        (&large[..], "GET", NAME),
    ] {
        server.calm();
        server.inject(Fault::LoseAnswer, method, contains, 1);
        upload(&target, NAME, bytes, dir.path())?;
        assert!(
            download(&target, NAME, dir.path())? == bytes,
            "{method} {contains}"
        );
    }
    for (method, contains) in [
        ("PUT", "c.json"),
        ("DELETE", "c.json"),
        ("GET", "list-type"),
    ] {
        server.inject(Fault::LoseAnswer, method, contains, 1);
        target.write("c.json", b"x")?;
        assert_eq!(names(&target, "c")?, ["c.json"]);
        target.remove("c.json")?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_back_is_removed() -> TestResult {
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target()?;
    for len in [100, 9 << 20] {
        server.calm();
        server.inject(Fault::Status(503), "GET", NAME, usize::MAX);
        assert!(upload(&target, NAME, &content(len), dir.path()).is_err());
        assert_eq!(names(&target, "")?, [""; 0], "{len} bytes");
    }
    Ok(())
}

#[test]
fn all_pages_are_listed() -> TestResult {
    let server = Server::start()?;
    let target = server.target()?;
    fs::create_dir_all(server.path_of("many"))?;
    for number in 0..2100 {
        fs::write(server.path_of("many").join(format!("b-{number:04}")), b"")?;
    }
    server.inject(Fault::Status(503), "GET", "continuation-token", 4);
    let listed = names(&target, "many/b-")?;
    let expected: Vec<_> = (0..2100).map(|n| format!("many/b-{n:04}")).collect();
    assert_eq!(listed, expected);
    assert_eq!(names(&target, "many/b-20")?.len(), 100);
    Ok(())
}

#[test]
fn a_bucket_that_is_not_there_is_a_failure() -> TestResult {
    let server = Server::start()?;
    let target = server.target()?;
    fs::remove_dir_all(server.bucket())?;
    assert!(target.list("").is_err());
    Ok(())
}

#[test]
fn a_thread_of_another_runtime_may_block_on_a_target() -> TestResult {
    let server = Server::start()?;
    let target = server.target()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let wrote = tokio::task::spawn_blocking(move || {
            let wrote = target.write(NAME, b"x");
            (target, wrote)
        });
        let (target, wrote) = wrote.await?;
        wrote?;
        // Dropped on the executor itself.
        drop(target);
        Ok(())
    })
}

/// Runs a test of this program by itself, in a process with this environment.
fn alone(test: &str, environment: &[(&str, &str)]) -> TestResult {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]);
    command.env(ALONE, "1").envs(environment.iter().copied());
    let output = command.output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(printed.contains("1 passed"), "{printed}");
    Ok(())
}

const ALONE: &str = "NONOS_TEST_ALONE";

fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

#[test]
fn the_environment_says_how_to_reach_a_bucket() -> TestResult {
    if is_alone() {
        let target = ObjectTarget::open(URL)?;
        target.write(NAME, b"x")?;
        assert_eq!(names(&*target, "")?, [NAME]);
        return Ok(());
    }
    let server = Server::start()?;
    let environment = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT", &server.endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    alone(
        "object_target::the_environment_says_how_to_reach_a_bucket",
        &environment,
    )?;
    assert!(server.path_of(NAME).exists());
    Ok(())
}

#[test]
fn no_message_has_the_secret() -> TestResult {
    let server = Server::start()?;
    let wrong = [("aws_secret_access_key", "not-what-signs-requests")];
    let target = server.target_with(&wrong, quick())?;
    let failed = target.write(NAME, b"x").unwrap_err();
    let said = format!("{failed:?} {target:?}");
    assert!(!said.contains("what-signs-requests"), "{said}");
    let unset = ObjectTarget::with(URL, &[("aws_allow_http", "perhaps")], Limits::default());
    assert!(unset.is_err());
    let stores = ["gs://bucket/a", "az://bucket/a"];
    for url in stores {
        // Neither has an account here; that is told at once or at the first request, not by a panic.
        drop(ObjectTarget::with(url, &[], quick()));
    }
    Ok(())
}

/// Of this process, in bytes: the most memory that it had at once.
fn most_memory() -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmHWM")?.parse::<u64>()? << 10)
}

/// Forty megabytes go and come with the server in the same process, which has its own buffers.
#[cfg(target_os = "linux")]
#[test]
fn memory_holds_the_parts_in_flight_only() -> TestResult {
    if !is_alone() {
        return alone("object_target::memory_holds_the_parts_in_flight_only", &[]);
    }
    let (server, dir) = (Server::start()?, tempfile::tempdir()?);
    let target = server.target_with(&[], Limits::default())?;
    target.write(NAME, b"x")?;
    let file = dir.path().join("file");
    let hash = sparse(&file, 40_000_000)?;
    let before = most_memory()?;
    target.upload(NAME, &file, &hash)?;
    target.download(NAME, &dir.path().join("back"))?;
    let grown = most_memory()?.saturating_sub(before);
    println!("memory grew by {} KiB", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes");
    assert_eq!(fs::metadata(dir.path().join("back"))?.len(), 40_000_000);
    Ok(())
}

/// A file of zeros, and its hash, without as much memory.
fn sparse(file: &Path, len: u64) -> Result<[u8; 32], Box<dyn std::error::Error>> {
    use blake2::{Blake2b, Digest, digest::consts::U32};
    fs::File::create_new(file)?.set_len(len)?;
    let mut hasher = Blake2b::<U32>::new();
    for _ in 0..len / 1000 {
        hasher.update([0; 1000]);
    }
    assert_eq!(len % 1000, 0);
    assert_eq!(hash(b""), Blake2b::<U32>::digest(b"").as_slice());
    Ok(hasher.finalize().into())
}

/// What waits for a server does not look whether it is to end: a second signal ends it.
#[test]
fn a_verb_that_waits_for_a_server_ends_at_the_second_signal() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", silent.local_addr()?);
    let mut verb = node
        .command(&["backup", "create", "--to", URL])
        .envs([
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ])
        .stderr(Stdio::piped())
        .spawn()?;
    let (_asked, _) = silent.accept()?;
    let pid = verb.id().to_string();
    let interrupt = || Command::new("kill").args(["-INT", &pid]).status();
    assert!(interrupt()?.success());
    let mut told = String::new();
    let stderr = verb.stderr.take().ok_or("no standard error")?;
    let mut stderr = BufReader::new(stderr);
    stderr.read_line(&mut told)?;
    assert_eq!(
        told,
        "SIGINT: ending after the current step; once more ends at once\n"
    );
    assert_eq!(verb.try_wait()?, None);
    assert!(interrupt()?.success());
    assert_eq!(verb.wait()?.code(), Some(12));
    node.json(&["verify", "-o", "json"], 0)?;
    Ok(())
}
