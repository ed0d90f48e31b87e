//! The verbs that look at records: what they show is what is stored, and no secret.

use std::fs;

use nonos_daemon::{
    EpochNumber, NodeStorage, StorageConfig, StoredClaim, StoredEpochSummary, StoredMetrics,
    StoredPeerInfo,
};
use serde_json::{Value, json};

use crate::program::{Node, TestResult};

mod compared;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const NOW: i64 = 1_790_000_000;
const SECRET: &[u8] = b"what no list shows of it";

/// A node with records whose contents are known here.
fn node() -> Fallible<Node> {
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    fill(&open(&node)?)?;
    Ok(node)
}

fn open(node: &Node) -> Fallible<NodeStorage> {
    Ok(NodeStorage::open(StorageConfig {
        path: node.path("data.sled"),
        ..StorageConfig::default()
    })?)
}

fn fill(storage: &NodeStorage) -> TestResult {
    storage_testkit::logs::forbid(SECRET);
    for number in 0..250_u32 {
        let peer_id = format!("peer-{number:03}");
        let peer = StoredPeerInfo {
            peer_id: peer_id.clone(),
            addresses: vec![format!("/ip4/10.0.0.{}/tcp/9000", number % 200)],
            last_seen: NOW - i64::from(number) * 60,
            ..StoredPeerInfo::default()
        };
        storage.store_peer(&peer_id, &peer)?;
    }
    for minute in 0..120_u32 {
        let sample = StoredMetrics {
            total_requests: u64::from(minute),
            cpu_usage: Some(f32::from(u16::try_from(minute)?) / 2.0),
            ..StoredMetrics::default()
        };
        storage.store_metrics(NOW + i64::from(minute) * 60, &sample)?;
    }
    for epoch in 1..=3 {
        let summary = StoredEpochSummary {
            epoch,
            total_emission: u128::MAX,
            end_time: NOW,
            start_time: NOW - 10,
            ..StoredEpochSummary::default()
        };
        storage.store_epoch(EpochNumber(epoch), &summary)?;
    }
    let claim = StoredClaim {
        epoch: 2,
        amount: u128::MAX,
        claimed_at: NOW,
        claimant: "a, \"quoted\" name".to_owned(),
        ..StoredClaim::default()
    };
    storage.store_claim(EpochNumber(2), &claim)?;
    storage.store_config("bootstrap", &["one", "two"])?;
    storage.store_config("port", &9000)?;
    storage.store_secret("wallet", SECRET)?;
    Ok(())
}

fn keys(listed: &Value) -> Vec<Value> {
    let records = listed["data"]["records"].as_array().cloned();
    let keys = records.unwrap_or_default().into_iter();
    keys.map(|record| record["key"].clone()).collect()
}

#[test]
fn ls_shows_what_is_selected() -> TestResult {
    let node = node()?;
    let run = |args: &[&str]| node.json(&[args, &["-o", "json"]].concat(), 0);
    let trees = run(&["ls"])?;
    let entries = |name: &str| {
        let trees = trees["data"]["trees"].as_array();
        let found = trees.and_then(|trees| trees.iter().find(|tree| tree["name"] == name));
        found.map(|tree| tree["entries"].clone())
    };
    assert_eq!(entries("peers"), Some(json!(250)));
    assert_eq!(entries("metrics"), Some(json!(120)));

    let first = run(&["ls", "peers"])?;
    assert_eq!(keys(&first).len(), 100);
    assert_eq!(first["data"]["more"], true);
    let all = run(&["ls", "peers", "--limit", "1000"])?;
    assert_eq!(keys(&all).len(), 250);
    assert_eq!(all["data"]["more"], false);
    let exactly = run(&["ls", "peers", "--limit", "250"])?;
    assert_eq!(exactly["data"]["more"], false);
    let empty = run(&["ls", "peers", "--limit", "0"])?;
    assert_eq!(
        (keys(&empty).len(), &empty["data"]["more"]),
        (0, &json!(true))
    );
    let prefix = run(&["ls", "peers", "--prefix", "peer-24", "--reverse"])?;
    assert_eq!(keys(&prefix).first(), Some(&json!("peer-249")));
    assert_eq!(keys(&prefix).len(), 10);
    let range = run(&["ls", "peers", "--from", "peer-010", "--to", "peer-012"])?;
    assert_eq!(keys(&range), ["peer-010", "peer-011", "peer-012"]);
    let reversed = run(&["ls", "peers", "--from", "peer-012", "--to", "peer-010"])?;
    assert_eq!(keys(&reversed), [""; 0]);
    let found = run(&["ls", "peers", "--search", "10.0.0.77/"])?;
    assert_eq!(keys(&found), ["peer-077"]);

    // Times as text and as numbers.
    let at = "2026-09-21T14:13:20Z";
    for from in [at, "1790000000"] {
        let samples = run(&["ls", "metrics", "--from", from, "--to", "1790000120"])?;
        assert_eq!(
            keys(&samples),
            [1_790_000_000, 1_790_000_060, 1_790_000_120]
        );
        let got = run(&["get", "metrics", from])?;
        assert_eq!(got["data"]["value"]["total_requests"], 0);
    }
    let epochs = run(&["ls", "epochs", "--reverse"])?;
    assert_eq!(keys(&epochs), [3, 2, 1]);
    Ok(())
}

#[test]
fn lists_for_people_are_the_newest_first() -> TestResult {
    let node = node()?;
    let run = |args: &[&str]| node.json(&[args, &["-o", "json"]].concat(), 0);
    assert_eq!(keys(&run(&["epochs"])?), [3, 2, 1]);
    assert_eq!(keys(&run(&["claims"])?), [2]);
    assert_eq!(keys(&run(&["config"])?), ["bootstrap", "port"]);
    let newest = run(&["metrics", "--limit", "1"])?;
    assert_eq!(keys(&newest), [NOW + 119 * 60]);
    assert_eq!(keys(&run(&["peers", "--search", "PEER-24"])?).len(), 10);
    let claims = run(&["claims"])?;
    let amount = &claims["data"]["records"][0]["value"]["amount"];
    assert_eq!(*amount, json!(u128::MAX.to_string()));

    // Of the ages there are: those within, and those before.
    let storage = open(&node)?;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    storage.store_metrics(now - 30, &StoredMetrics::default())?;
    let peer = StoredPeerInfo {
        peer_id: "new".to_owned(),
        last_seen: now - 30,
        ..StoredPeerInfo::default()
    };
    storage.store_peer("new", &peer)?;
    storage.close()?;
    assert_eq!(keys(&run(&["peers", "--since", "1h"])?), ["new"]);
    assert_eq!(keys(&run(&["metrics", "--since", "1h"])?), [now - 30]);
    node.json(&["config", "--since", "1h", "-o", "json"], 2)?;
    for verb in ["peers", "metrics", "epochs", "claims", "config"] {
        let table = node.output(&[verb])?;
        assert_eq!(table.status.code(), Some(0), "{verb}");
        assert!(table.stdout.len() > 20, "{verb}: {table:?}");
    }
    Ok(())
}

#[test]
fn no_verb_shows_a_secret() -> TestResult {
    let node = node()?;
    let secret = String::from_utf8(SECRET.to_vec())?;
    let out = node.path("all.ndjson").display().to_string();
    for args in [
        &["ls", "secrets"][..],
        &["get", "secrets", "wallet"],
        &["ls", "identity"],
        &["ls", "audit_log"],
        &["ls", "secrets", "-o", "json"],
        &["ls", "secrets", "--search", "what no list"],
        &["export", "--as", "ndjson", "-"],
        &["export", "--as", "ndjson", &out],
    ] {
        let output = node.output(args)?;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains(&secret), "{args:?}");
    }
    assert!(!fs::read_to_string(&out)?.contains(&secret));
    let got = node.json(&["get", "secrets", "wallet", "-o", "json"], 0)?;
    assert_eq!(
        got["data"]["value"],
        json!({ "sealed": false, "stored_bytes": SECRET.len() })
    );
    for tree in ["secrets", "identity"] {
        for form in ["csv", "ndjson"] {
            node.json(
                &[
                    "export", "--as", form, "--tree", tree, &out, "--yes", "-o", "json",
                ],
                2,
            )?;
        }
    }
    Ok(())
}

#[test]
fn what_is_not_there_or_no_key_is_said() -> TestResult {
    let node = node()?;
    for (args, code) in [
        (&["get", "peers", "nobody"][..], 1),
        (&["get", "nothing", "x"], 2),
        (&["get", "epochs", "one"], 2),
        (&["get", "epochs", "9"], 1),
        (&["get", "metrics", "-5"], 2),
        (&["ls", "nothing"], 2),
        (&["ls", "--prefix", "x"], 2),
        (&["ls", "metrics", "--prefix", "17"], 2),
        (&["ls", "metrics", "--from", "yesterday"], 2),
        (&["hash", "--tree", "nothing"], 2),
        (
            &["metrics", "plot", "--field", "nothing", "--since", "99999d"],
            2,
        ),
        (&["export", "--as", "csv", "-"], 2),
        (&["export", "--as", "first-implementation", "-"], 2),
        (&["diff", "/nonexistent"], 3),
    ] {
        let output = node.output(args)?;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    Ok(())
}

#[test]
fn text_for_other_programs_holds_every_record() -> TestResult {
    let node = node()?;
    let lines = node.output(&["export", "--as", "ndjson", "-"])?;
    let lines = String::from_utf8(lines.stdout)?;
    let records: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of = |tree: &str| {
        records
            .iter()
            .filter(|record| record["tree"] == tree)
            .count()
    };
    assert_eq!(
        (of("peers"), of("metrics"), of("epochs"), of("claims")),
        (250, 120, 3, 1)
    );
    assert_eq!((of("config"), of("secrets"), of("identity")), (2, 0, 0));
    let port = records.iter().find(|record| record["key"] == "port");
    assert_eq!(
        port.map(|record| record["value"].clone()),
        Some(json!(9000))
    );

    let file = node.path("claims.csv").display().to_string();
    let export = [
        "export", "--as", "csv", "--tree", "claims", &file, "-o", "json",
    ];
    let written = node.json(&export, 0)?;
    assert_eq!(written["data"]["entries"], 1);
    let csv = fs::read_to_string(&file)?;
    let header = csv.lines().next().unwrap_or_default();
    for column in [
        "key",
        "amount",
        "claimant",
        "claimed_at",
        "epoch",
        "tx_hash",
    ] {
        assert!(header.split(',').any(|name| name == column), "{header}");
    }
    assert!(csv.contains("\"a, \"\"quoted\"\" name\""), "{csv}");
    assert!(csv.contains(&u128::MAX.to_string()));
    assert_eq!(csv.lines().count(), 2);
    assert_eq!(written["data"]["bytes"], csv.len());
    // One that is there is not replaced unasked.
    node.json(&export, 10)?;
    node.json(&[&export[..], &["--yes"]].concat(), 0)?;
    Ok(())
}

#[test]
fn a_field_is_drawn() -> TestResult {
    let node = node()?;
    let plot = ["metrics", "plot", "--since", "9999d"];
    let drawn = node.output(&plot)?;
    let text = String::from_utf8(drawn.stdout)?;
    assert!(text.starts_with("cpu_usage, 120 samples"), "{text}");
    assert!(text.contains("2026-09-21T14:13:20Z"), "{text}");
    let found = node.json(&[&plot[..], &["-o", "json"]].concat(), 0)?;
    let points = found["data"]["points"].as_array().ok_or("no points")?;
    assert_eq!(points.len(), 120);
    assert_eq!(
        points[119],
        json!({ "time": NOW + 119 * 60, "value": 59.5 })
    );
    Ok(())
}

#[test]
fn completions_and_the_manual_name_every_verb() -> TestResult {
    let node = Node::new()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = node.output(&["completions", shell])?;
        let script = String::from_utf8(script.stdout)?;
        for verb in ["backup", "restore", "diff", "metrics"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    let manual = String::from_utf8(node.output(&["man"])?.stdout)?;
    assert!(
        manual.starts_with(".ie") || manual.contains(".TH nonos"),
        "{manual}"
    );
    let pages = node.path("man1").display().to_string();
    let written = node.output(&["man", "--to", &pages])?;
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    for page in [
        "nonos.1",
        "nonos-backup.1",
        "nonos-backup-create.1",
        "nonos-metrics-plot.1",
    ] {
        assert!(node.path("man1").join(page).is_file(), "{page}");
    }
    Ok(())
}
