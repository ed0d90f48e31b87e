//! Verbs that read say the same beside the daemon and without it.

use serde_json::Value;

use crate::program::{Node, TestResult};
use crate::run::Daemon;

const READS: [&[&str]; 22] = [
    &["verify"],
    &["verify", "--quick"],
    &["status"],
    &["ls"],
    &["ls", "metrics"],
    &["ls", "audit_log"],
    &["ls", "identity"],
    &["ls", "secrets"],
    &["peers"],
    &["metrics"],
    &["metrics", "plot", "--since", "1h"],
    &["epochs"],
    &["claims"],
    &["config"],
    &["hash"],
    &["audit", "tail"],
    &["audit", "verify"],
    &["schema", "show"],
    &["schema", "history"],
    &["schema", "plan"],
    &[
        "prune",
        "--tree",
        "metrics",
        "--keep-last",
        "1",
        "--dry-run",
    ],
    &["backup", "list"],
];

/// Without what is of the moment: who has it, how long ago something was, what the files take.
fn steady(mut of: Value) -> Value {
    const OF_THE_MOMENT: [&str; 9] = [
        "started_at",
        "duration_ms",
        "held_by",
        "unsynced_commits",
        "age_secs",
        "size_on_disk_bytes",
        "disk",
        "from",
        "to",
    ];
    match &mut of {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
            for value in fields.values_mut() {
                *value = steady(value.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = steady(value.take());
            }
        }
        _ => {}
    }
    of
}

#[test]
fn a_read_says_the_same_beside_the_daemon_and_without_it() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("interval_secs = 60", "interval_secs = 86400"))?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    let read = || {
        let read = READS.iter().map(|args| {
            let args = [*args, &["-o", "json"]].concat();
            Ok(steady(node.json(&args, 0)?))
        });
        read.collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()
    };
    // The index is the daemon's, which compares it; without one it is said that nobody did.
    let deep = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(deep["data"]["index_compared"], true, "{deep}");
    // The daemon noted that everything was read, which is a record.
    let beside = read()?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    for ((args, beside), without) in READS.iter().zip(&beside).zip(&read()?) {
        assert_eq!(beside, without, "{args:?}");
    }
    let deep = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(deep["data"]["errors"], 0, "{deep}");
    assert_eq!(deep["data"]["index_compared"], false, "{deep}");
    Ok(())
}
