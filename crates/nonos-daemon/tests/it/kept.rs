//! A node of each schema as a release left it, killed, with commits behind its checkpoint and backups beside: what the
//! present program makes of it is what was in it then.

use std::fs;
use std::path::PathBuf;

use crate::program::Node;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// What `export --as ndjson` wrote when the fixture was made.
const LISTING: &str = "listing.ndjson";
const SECRET: &[u8] = b"of a wallet of the fixture";

/// The node, and where what it had is listed.
fn kept() -> Fallible<(Node, PathBuf)> {
    storage_testkit::logs::forbid(SECRET);
    let node = Node::new()?;
    let directory = node.path("").parent().ok_or("no directory")?.to_owned();
    storage_testkit::unpack("schema-2/node", &directory)?;
    Ok((node, directory.join(LISTING)))
}

/// Without what the database notes of itself.
fn records(listing: &str) -> Vec<String> {
    let lines = listing.lines();
    let of_node = lines.filter(|line| !line.contains("\"tree\":\"schema\""));
    of_node.map(str::to_owned).collect()
}

#[test]
fn a_node_of_schema_2_is_what_it_was() -> Fallible<()> {
    let (node, listing) = kept()?;
    let expected = records(&fs::read_to_string(listing)?);
    let listed = |node: &Node| -> Fallible<Vec<String>> {
        let output = node.output(&["export", "--as", "ndjson", "-"])?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        Ok(records(&String::from_utf8(output.stdout)?))
    };
    assert_eq!(listed(&node)?, expected);

    node.json(&["compact", "-o", "json"], 0)?;
    let verified = node.json(&["verify", "--deep", "-o", "json"], 0)?;
    assert_eq!(verified["data"]["errors"], 0, "{verified}");
    assert_eq!(listed(&node)?, expected, "opened for writing");

    node.json(&["backup", "verify", "-o", "json"], 0)?;
    let other = Node::new()?;
    let from = node.path("backups").display().to_string();
    other.json(&["restore", "--from", &from, "--yes", "-o", "json"], 0)?;
    assert_eq!(listed(&other)?, expected, "of its backups");
    Ok(())
}

#[cfg(feature = "encrypted-storage")]
#[test]
fn secrets_of_a_node_of_schema_2_open_with_its_key() -> Fallible<()> {
    let (node, _listing) = kept()?;
    let secret = node.output(&["secrets", "get", "fixture_wallet"])?;
    assert_eq!(secret.stdout, SECRET, "{:?}", secret.status);
    node.json(&["audit", "verify", "-o", "json"], 0)?;
    Ok(())
}
