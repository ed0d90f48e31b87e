//! A disk that takes no more of the journal: nothing is acknowledged any more, who watches is told, the daemon ends with
//! 14, and its restart has everything.

use std::fs;
use std::process::{Command, Stdio};

use crate::http::get;
use crate::program::{Node, TestResult};
use crate::run::Daemon;

/// The daemon, none of whose files may grow beyond so many times 512 bytes: the kernel answers its writes with EFBIG.
fn limited<'n>(node: &'n Node, blocks: &str) -> std::io::Result<Daemon<'n>> {
    // Its log is read at the end only, and has to fit into the pipe.
    let run = node.command(&["run", "--log-format", "json"]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
            "sh",
            blocks,
        ])
        .arg(run.get_program())
        .args(run.get_args())
        .env_remove("NONOS_DATA_DIR")
        .stdin(Stdio::null());
    Daemon::of(node, command)
}

#[test]
fn a_poisoned_daemon_says_so_ends_with_14_and_recovers() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let config = fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("interval_secs = 60", "interval_secs = 86400"))?;
    let value = node.path("value");
    // Does not compress.
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(60_000)
    .collect();
    fs::write(&value, &bytes)?;
    let value = value.display().to_string();

    let mut daemon = limited(&node, "8192")?;
    let served = daemon.last_of("the status page", 1)?;
    let address = served["address"].as_str().ok_or("no address")?.parse()?;
    daemon.wait_for("the database is open", 1)?;
    assert_eq!(get(address, "/readyz")?.0, 200);
    let (mut stored, mut tried) = (0, 0);
    let failed = loop {
        let put = [
            "secrets", "put", "big", "--yes", "--from", &value, "-o", "ndjson",
        ];
        let output = node.command(&put).output()?;
        tried += 1;
        assert!(tried < 5_000, "4 MiB hold no thousands of 60,000 bytes");
        if output.status.success() {
            stored += 1;
            continue;
        }
        // The index may be the first that does not fit: it is made anew, and writes go on.
        let told = String::from_utf8(output.stdout)?;
        if !told.contains("the index takes no writes") {
            break told;
        }
    };
    assert!(stored > 20, "{stored}: {failed}");
    // It is looked at once a second; until the daemon ends, it answers.
    if let Ok((status, _, body)) = get(address, "/readyz") {
        assert_eq!(status, 503, "{body}");
        assert!(
            body.contains("takes no writes") || body.contains("closed"),
            "{body}"
        );
    }
    assert_eq!(daemon.ended()?, Some(14));

    // What was acknowledged is there; of what failed it is open.
    let beside = node.json(&["audit", "tail", "-n", "1000", "-o", "json"], 0)?;
    let entries = beside["data"]["entries"].as_array().ok_or("no entries")?;
    let puts = entries
        .iter()
        .filter(|entry| entry["operation"] == "store" && entry["tree"] == "secrets");
    let puts = puts.count();
    assert!(
        (stored..=tried).contains(&puts),
        "{stored} of {tried}: {puts}"
    );
    let mut daemon = Daemon::start(&node)?;
    daemon.wait_for("sample", 1)?;
    let copy = node.path("copy").display().to_string();
    node.json(&["secrets", "get", "big", "--to", &copy, "-o", "json"], 0)?;
    assert_eq!(fs::read(&copy)?, bytes);
    node.json(
        &[
            "secrets", "put", "big", "--yes", "--from", &value, "-o", "json",
        ],
        0,
    )?;
    assert_eq!(daemon.end("-TERM")?, Some(0));
    node.json(&["verify", "--deep", "-o", "json"], 0)?;
    Ok(())
}
