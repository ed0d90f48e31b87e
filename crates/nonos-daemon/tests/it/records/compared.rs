//! Hashes and differences.

use nonos_daemon::{NodeStorage, StorageConfig};
use serde_json::json;

use super::{fill, node, open};
use crate::program::{Node, TestResult};

#[test]
fn hashes_are_of_the_content_and_diff_says_where_it_differs() -> TestResult {
    let (one, two) = (node()?, Node::new()?);
    two.json(&["init", "--no-key", "-o", "json"], 0)?;
    // The same records in another order, not compressed, some stored twice.
    let config = StorageConfig {
        path: two.path("data.sled"),
        compression_enabled: false,
        ..StorageConfig::default()
    };
    let storage = NodeStorage::open(config)?;
    storage.store_config("port", &1)?;
    fill(&storage)?;
    storage.compact()?;
    storage.close()?;
    let hash = |node: &Node, tree: &str| {
        let found = node.json(&["hash", "--tree", tree, "-o", "json"], 0)?;
        Ok::<_, Box<dyn std::error::Error>>(found["data"]["blake2b_256"].clone())
    };
    for tree in ["peers", "metrics", "epochs", "claims", "config", "secrets"] {
        assert_eq!(hash(&one, tree)?, hash(&two, tree)?, "{tree}");
    }
    let other = two.path("").display().to_string();
    let diff =
        |more: &[&str], code| one.json(&[&["diff", &other, "-o", "json"], more].concat(), code);
    for tree in ["peers", "metrics", "epochs", "claims", "config", "secrets"] {
        let same = diff(&["--tree", tree, "--exit-code"], 0)?;
        assert_eq!(same["data"]["differences"], json!([]), "{tree}");
    }

    let storage = open(&two)?;
    storage.remove_peer("peer-007")?;
    storage.store_config("port", &9001)?;
    storage.store_config("zeal", &true)?;
    storage.store_secret("wallet", b"another secret, longer")?;
    storage.close()?;
    assert_ne!(hash(&one, "config")?, hash(&two, "config")?);
    let found = diff(&["--tree", "config", "--exit-code"], 13)?;
    let expected = json!([
        { "tree": "config", "key": "port", "kind": "changed", "this": 9000, "other": 9001 },
        { "tree": "config", "key": "zeal", "kind": "added", "this": null, "other": true },
    ]);
    assert_eq!(found["data"]["differences"], expected);
    let found = diff(&["--tree", "peers"], 0)?;
    assert_eq!(found["data"]["removed"], 1);
    assert_eq!(found["data"]["differences"][0]["key"], "peer-007");
    let found = diff(&["--tree", "secrets"], 0)?;
    assert_eq!(found["data"]["changed"], 1);
    let listed = diff(&["--limit", "1"], 0)?;
    assert_eq!(
        listed["data"]["differences"].as_array().map(Vec::len),
        Some(1)
    );

    // With a backup file of what it was.
    let file = one.path("was.nonos").display().to_string();
    let create = [
        "backup", "create", "--to", &file, "--redact", "secrets", "-o", "json",
    ];
    one.json(&create, 0)?;
    for tree in ["peers", "metrics", "config", "audit_log"] {
        one.json(
            &["diff", &file, "--tree", tree, "--exit-code", "-o", "json"],
            0,
        )?;
    }
    let found = one.json(&["diff", &file, "--tree", "secrets", "-o", "json"], 0)?;
    assert_eq!(found["data"]["removed"], 1);
    Ok(())
}
