//! Verbs that change a database beside the daemon that has it: it carries them out, with the same output.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn node() -> Fallible<Node> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("interval_secs = 60", "interval_secs = 1"))?;
    Ok(node)
}

fn running(node: &Node) -> Fallible<Daemon<'_>> {
    let mut daemon = Daemon::start(node)?;
    daemon.wait_for("sample", 3)?;
    Ok(daemon)
}

#[test]
fn pruning_and_compacting_are_carried_out_by_the_daemon() -> TestResult {
    let node = node()?;
    let mut daemon = running(&node)?;
    let prune = [
        "prune",
        "--tree",
        "metrics",
        "--keep-last",
        "1",
        "-o",
        "json",
    ];
    // Without the socket it is as it is for any other holder.
    node.json(
        &[&prune[..], &["--yes", "--offline", "--lock-timeout", "0s"]].concat(),
        4,
    )?;
    node.json(&prune, 10)?;
    let dry = node.json(&[&prune[..], &["--dry-run"]].concat(), 0)?;
    assert!(dry["data"]["records"].as_u64() >= Some(2), "{dry}");
    let done = node.json(&[&prune[..], &["--yes"]].concat(), 0)?;
    assert!(done["data"]["records"].as_u64() >= Some(2), "{done}");
    let left = node.json(&["ls", "metrics", "-o", "json"], 0)?;
    let left = left["data"]["records"].as_array().map(Vec::len);
    // One, and what was sampled since.
    assert!(left < Some(4), "{left:?}");
    let compacted = node.json(&["compact", "-o", "json"], 0)?;
    assert!(
        compacted["data"]["index_after_bytes"].as_u64() > Some(0),
        "{compacted}"
    );
    node.json(&["compact", "--purge", "-o", "json"], 10)?;
    let purged = node.json(&["compact", "--purge", "--yes", "-o", "json"], 0)?;
    assert_eq!(purged["data"]["purged"], true);
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    // The same verbs without a daemon say the same fields.
    let alone = node.json(&["compact", "-o", "json"], 0)?;
    let fields = |of: &Value| {
        let fields = of["data"].as_object().cloned().unwrap_or_default();
        fields.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(fields(&alone), fields(&compacted));
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn secrets_are_stored_and_removed_by_the_daemon() -> TestResult {
    const VALUE: &[u8] = b"stored beside the daemon";
    storage_testkit::logs::forbid(VALUE);
    let node = node()?;
    let daemon = running(&node)?;
    let from = node.path("value");
    std::fs::write(&from, VALUE)?;
    let from = from.display().to_string();
    node.json(
        &["secrets", "put", "wallet", "--from", &from, "-o", "json"],
        0,
    )?;
    let got = node.output(&["secrets", "get", "wallet"])?;
    assert_eq!(got.stdout, VALUE);
    // What the daemon refuses is refused here, with its code.
    let refused = node.json(&["secrets", "put", "", "--from", &from, "-o", "json"], 2)?;
    assert_eq!(
        refused["findings"][0]["code"], "INVALID_ARGUMENT",
        "{refused}"
    );
    node.json(&["secrets", "rm", "wallet", "-o", "json"], 10)?;
    let removed = node.json(&["secrets", "rm", "wallet", "--yes", "-o", "json"], 0)?;
    assert_eq!(removed["data"]["changed"], true);
    let again = node.json(&["secrets", "rm", "wallet", "--yes", "-o", "json"], 0)?;
    assert_eq!(again["data"]["changed"], false);
    // What only works without it says so.
    node.json(
        &[
            "secrets",
            "rotate",
            "--yes",
            "--lock-timeout",
            "0s",
            "-o",
            "json",
        ],
        4,
    )?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    node.json(&["audit", "verify", "-o", "json"], 0)?;
    Ok(())
}

#[test]
fn the_socket_is_for_the_node_s_user_and_answers_nonsense() -> TestResult {
    let node = node()?;
    // One that a daemon left that was killed.
    let socket = node.path("nonos.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket)?);
    let daemon = running(&node)?;
    let mode = std::fs::metadata(&socket)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for request in [
        &b"\n"[..],
        b"{}\n",
        b"{\"do\":\"wipe\"}\n",
        b"{\"do\":\"prune\",\"tree\":\"nothing\"}\n",
        b"{\"do\":\"prune\",\"tree\":\"secrets\",\"keep_last\":0}\n",
        b"\xff\xfe\n",
    ] {
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer)?;
        assert_eq!(answer["failed"]["exit_code"], 2, "{request:?}: {answer}");
    }
    // Who says nothing, or too much, keeps nobody from asking.
    let _silent = UnixStream::connect(&socket)?;
    let mut endless = UnixStream::connect(&socket)?;
    let _refused = endless.write_all(&vec![b'x'; 1024 * 1024]);
    node.json(&["compact", "-o", "json"], 0)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn wiping_keeps_who_the_node_is_and_says_the_same_beside_the_daemon() -> TestResult {
    let node = node()?;
    let mut daemon = running(&node)?;
    let wipe = ["wipe", "-o", "json"];
    let identity = node.json(&["status", "-o", "json"], 0)?["data"]["trees"][0].clone();
    let dry = node.json(&[&wipe[..], &["--dry-run"]].concat(), 0)?;
    assert_eq!(dry["data"]["trees"][1]["name"], "metrics", "{dry}");
    assert!(
        dry["data"]["trees"][1]["records"].as_u64() >= Some(3),
        "{dry}"
    );
    node.json(&wipe, 10)?;
    node.json(
        &[&wipe[..], &["--yes", "--offline", "--lock-timeout", "0s"]].concat(),
        4,
    )?;
    let done = node.json(&[&wipe[..], &["--yes"]].concat(), 0)?;
    assert!(
        done["data"]["trees"][1]["records"].as_u64() >= Some(3),
        "{done}"
    );
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    let left = node.json(&["status", "-o", "json"], 0)?;
    assert_eq!(left["data"]["trees"][0], identity);

    let alone = node.json(&[&wipe[..], &["--trees", "metrics", "--yes"]].concat(), 0)?;
    assert_eq!(alone["data"]["trees"].as_array().map(Vec::len), Some(1));
    node.json(&["wipe", "--trees", "audit_log", "--yes", "-o", "json"], 2)?;
    let all = node.json(&["wipe", "--including-identity", "--yes", "-o", "json"], 0)?;
    assert_eq!(all["data"]["trees"][0]["name"], "identity", "{all}");
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    Ok(())
}

/// Somebody at the socket who says this to each request, or nothing.
fn answering(node: &Node, answer: &'static str) -> Fallible<std::thread::JoinHandle<()>> {
    let socket = std::os::unix::net::UnixListener::bind(node.path("nonos.sock"))?;
    Ok(std::thread::spawn(move || {
        // A verb first looks whether somebody is there.
        for stream in socket.incoming().take(2).filter_map(Result::ok) {
            let mut line = String::new();
            let mut stream = BufReader::new(stream);
            if stream.read_line(&mut line).is_ok_and(|len| len > 0) {
                let _gone = stream.get_mut().write_all(answer.as_bytes());
            }
        }
    }))
}

/// Somebody who has the database, as a daemon does.
fn holding(node: &Node) -> Fallible<nonos_daemon::NodeStorage> {
    Ok(nonos_daemon::NodeStorage::open(
        nonos_daemon::StorageConfig {
            path: node.path("data.sled"),
            ..nonos_daemon::StorageConfig::default()
        },
    )?)
}

#[test]
fn a_daemon_that_ends_before_it_answers_is_told() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let daemon = answering(&node, "")?;
    let ended = node.json(&["compact", "-o", "json"], 12)?;
    assert_eq!(ended["findings"][0]["code"], "CANCELLED", "{ended}");
    daemon.join().map_err(|_panic| "the socket panicked")?;
    Ok(())
}

/// What the daemon did not compare is not called compared, nor sound without a word.
#[test]
fn an_index_that_was_not_compared_is_a_warning() -> TestResult {
    const POISONED: &str = r#"{"failed":{"code":"POISONED","exit_code":14,"detail":"it takes no writes","fix":null}}
"#;
    for answer in ["", POISONED] {
        let node = Node::new()?;
        node.json(&["init", "-o", "json"], 0)?;
        let daemon = answering(&node, answer)?;
        let _held = holding(&node)?;
        let verified = node.json(&["verify", "--deep", "-o", "json"], 0)?;
        assert_eq!(verified["data"]["index_compared"], false, "{verified}");
        assert_eq!(verified["data"]["warnings"], 1, "{verified}");
        assert_eq!(verified["findings"][0]["code"], "INDEX_NOT_COMPARED");
        assert_eq!(verified["findings"][0]["severity"], "warning");
        daemon.join().map_err(|_panic| "the socket panicked")?;
    }
    Ok(())
}

/// The answer lists the first of many differences; every one is an error.
#[test]
fn every_difference_of_the_index_is_counted() -> TestResult {
    const MANY: &str = r#"{"compared":{"differences":7000,"findings":[{"code":"INDEX_MISSING","tree":"peers","key_hex":"61","detail":"the index lacks it","fix":null}]}}
"#;
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let daemon = answering(&node, MANY)?;
    let _held = holding(&node)?;
    let verified = node.json(&["verify", "--deep", "-o", "json"], 7)?;
    assert_eq!(verified["data"]["index_compared"], true, "{verified}");
    assert_eq!(verified["data"]["errors"], 7000, "{verified}");
    assert_eq!(verified["findings"].as_array().map(Vec::len), Some(1));
    daemon.join().map_err(|_panic| "the socket panicked")?;
    Ok(())
}

/// A daemon that hangs holds up nobody who only reads.
#[test]
fn a_daemon_that_does_not_answer_holds_up_no_reading() -> TestResult {
    let node = node()?;
    let mut daemon = running(&node)?;
    daemon.signal("-STOP")?;
    let status = node.json(&["status", "-o", "json"], 0);
    let verified = node.json(&["verify", "-o", "json"], 0);
    daemon.signal("-CONT")?;
    assert_eq!(status?["data"]["unsynced_commits"], serde_json::Value::Null);
    assert_eq!(verified?["data"]["errors"], 0);
    daemon.wait_for("sample", 1)?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}
