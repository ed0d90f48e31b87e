//! What a verb destroys can be tried first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::cases::{DESTROYS, Does::Destroys, On, VERBS};
use super::{Bases, Fallible};
use crate::program::TestResult;

/// Without a yes it does not, and a dry run changes no byte.
#[test]
fn what_destroys_something_asks_and_can_be_tried() -> TestResult {
    let bases = Bases::new()?;
    // Two backups of two commits, so that there is one to remove.
    let value = bases.node.path("value").display().to_string();
    let put = ["secrets", "put", "new", "--from", &value, "-o", "json"];
    bases.node.json(&put, 0)?;
    bases.node.json(&["backup", "create", "-o", "json"], 0)?;
    let known: BTreeSet<&str> = DESTROYS.iter().map(|(verb, _)| *verb).collect();
    let all: BTreeSet<&str> = VERBS
        .iter()
        .filter(|(_, does)| *does == Destroys)
        .map(|(verb, _)| *verb)
        .collect();
    assert_eq!(known, all);
    for (verb, rest) in DESTROYS {
        let node = bases.copied(On::Node)?;
        let words = |more: &[&str]| {
            let rest = rest.iter().map(|word| bases.word(&node, word));
            // What a dry run is asked with is what it would do.
            let rest = rest.filter(|word| word != "--commit" || !more.contains(&"--dry-run"));
            let words: Vec<String> = verb.split(' ').map(str::to_owned).chain(rest).collect();
            words
                .into_iter()
                .chain(more.iter().map(|word| (*word).to_owned()))
                .collect::<Vec<_>>()
        };
        let json = |more: &[&str], exit| {
            let words = words(more);
            let words: Vec<&str> = words
                .iter()
                .map(String::as_str)
                .chain(["-o", "json"])
                .collect();
            node.json(&words, exit)
                .map_err(|error| format!("{verb}: {error}"))
        };
        let hash = || node.json(&["hash", "-o", "json"], 0);
        let before = (files(&node.path(""))?, hash()?["data"].clone());
        json(&["--dry-run"], 0)?;
        assert_eq!(
            files(&node.path(""))?,
            before.0,
            "{verb} --dry-run changed something"
        );
        let refused = json(&[], 10)?;
        assert_eq!(refused["findings"][0]["code"], "NOT_CONFIRMED", "{verb}");
        assert_eq!(hash()?["data"], before.1, "{verb} did not wait for a yes");
    }
    Ok(())
}

/// Every file below a directory with its contents, but for the lock, whose text says who had it last.
fn files(directory: &Path) -> Fallible<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_none_or(|extension| extension != "lock") {
            found.insert(path.display().to_string(), fs::read(&path)?);
        }
    }
    Ok(found)
}
