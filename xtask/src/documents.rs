//! What the documents say of the tree, and whether it is so: the code map is the crates, a named test is one, a link
//! leads somewhere, a named command is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, USAGE};

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
const DECISIONS: &str = "docs/decisions/";
/// What every decision record says.
const PARTS: [&str; 3] = ["## Context", "## Decision", "## Consequences"];
/// Files that every library crate has, and no map needs.
const EVERYWHERE: [&str; 2] = ["lib.rs", "error.rs"];

/// `files` are all of the tree.
pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>, Error> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    };
    let mut documents = Vec::new();
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let shown = path.strip_prefix(root).unwrap_or(path);
        let name = shown.display().to_string();
        if has_extension(&name, "md") {
            documents.push((name, read(path)?));
        } else if let Some(of_crate) = name.strip_prefix("crates/")
            && has_extension(&name, "rs")
        {
            let (of_crate, _) = of_crate.split_once('/').unwrap_or_default();
            let all = sources.entry(of_crate.to_owned()).or_default();
            all.push_str(&read(path)?);
        }
    }
    let mut findings = Vec::new();
    for (name, text) in &documents {
        let mut found: Vec<String> = Vec::new();
        found.extend(dead_links(&root.join(name), text));
        found.extend(unknown_commands(text));
        found.extend(unknown_tests(text, &sources));
        if name == ARCHITECTURE {
            found.extend(map_differs(root, text, files));
        }
        if name.starts_with(DECISIONS) {
            let lacking = PARTS.iter().filter(|part| !text.contains(**part));
            found.extend(lacking.map(|part| format!("no {part}")));
        }
        if name == "docs/DEVIATIONS.md" {
            found.extend(empty_cells(text));
        }
        findings.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    Ok(findings)
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// Text between back quotes, code blocks left out.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```").step_by(2);
    blocks.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// Relative links whose file, or heading, is not there.
fn dead_links(document: &Path, text: &str) -> Vec<String> {
    let directory = document.parent().unwrap_or(document);
    let links = text.split("](").skip(1);
    let links = links.filter_map(|rest| Some(rest.split_once(')')?.0));
    let dead = links.filter(|link| {
        if link.contains("://") || link.starts_with("crate::") {
            return false;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let file = match file {
            "" => document.to_owned(),
            file => directory.join(file),
        };
        !file.exists() || !(heading.is_empty() || has_heading(&file, heading))
    });
    dead.map(|link| format!("a link to nothing: {link}"))
        .collect()
}

fn has_heading(file: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .any(|heading| {
            let kept = heading.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect::<String>() == anchor
        })
}

fn unknown_commands(text: &str) -> Vec<String> {
    let commands = quoted(text).filter_map(|q| q.strip_prefix("cargo xtask "));
    let names = commands.filter_map(|command| command.split_whitespace().next());
    let unknown = names.filter(|name| {
        let known = |line: &str| line.split_whitespace().next() == Some(name);
        !USAGE.lines().any(known)
    });
    unknown
        .filter(|name| *name != "<name>")
        .map(|name| format!("no check of that name: cargo xtask {name}"))
        .collect()
}

/// Names like `storage-core::a_test` of which no function is in that crate.
fn unknown_tests(text: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let names = quoted(text).filter_map(|q| q.split_once("::"));
    let unknown = names.filter(|(of_crate, test)| {
        sources
            .get(*of_crate)
            .is_some_and(|source| !source.contains(&format!("fn {test}(")))
    });
    unknown
        .map(|(of_crate, test)| format!("no test of that name: {of_crate}::{test}"))
        .collect()
}

/// Where the code map and the files at the top of each crate differ.
fn map_differs(root: &Path, text: &str, files: &[PathBuf]) -> Vec<String> {
    let mut mapped: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut of_crate = String::new();
    let map = text.split("## ").find(|part| part.starts_with("Code map"));
    for row in map.unwrap_or_default().lines() {
        let Some(first) = row.split('|').nth(1) else {
            continue;
        };
        if !first.trim().is_empty() {
            first.trim().clone_into(&mut of_crate);
        }
        let names = quoted(row).filter(|q| has_extension(q, "rs") || q.ends_with("/*"));
        mapped.entry(of_crate.clone()).or_default().extend(names);
    }
    let mut findings = Vec::new();
    for (of_crate, names) in &mapped {
        for name in names.iter().filter(|name| **name != "*.rs") {
            let path = format!("crates/{of_crate}/src/{}", name.trim_end_matches("/*"));
            if !root.join(&path).exists() {
                findings.push(format!("the code map has what is not there: {path}"));
            }
        }
    }
    for path in files {
        let shown = path
            .strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string();
        let parts: Vec<&str> = shown.split('/').collect();
        let ["crates", of_crate, "src", name] = parts.as_slice() else {
            continue;
        };
        let is_named = mapped
            .get(*of_crate)
            .is_some_and(|names| names.contains(name) || names.contains("*.rs"));
        if has_extension(name, "rs") && !is_named && !EVERYWHERE.contains(name) {
            findings.push(format!("the code map lacks {shown}"));
        }
    }
    findings
}

/// Rows of a table that leave a cell empty.
fn empty_cells(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let empty = rows.filter(|row| {
        row.trim_matches('|')
            .split(" | ")
            .any(|cell| cell.trim().is_empty())
    });
    empty.map(|row| format!("an empty cell: {row}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_so_is_found() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        assert_eq!(
            dead_links(&here, "[a](docs/ARCHITECTURE.md#code-map)").len(),
            0
        );
        assert_eq!(
            dead_links(&here, "[a](docs/ARCHITECTURE.md#no-such)").len(),
            1
        );
        assert_eq!(dead_links(&here, "[a](docs/NO.md)").len(), 1);
        assert_eq!(
            unknown_commands("`cargo xtask tidy` and `cargo xtask tidi`").len(),
            1
        );
        let sources = BTreeMap::from([("storage-a".to_owned(), "fn it_works() {".to_owned())]);
        let tests = "`storage-a::it_works`, `storage-a::it_does_not`, `Db::update`";
        assert_eq!(unknown_tests(tests, &sources).len(), 1);
        assert_eq!(empty_cells("| a | b | c |\n| a |  | c |").len(), 1);
        let map =
            "## Code map\n\n| crate | start at | what |\n| storage-a | `a.rs`, `b/*` | |\n## Next";
        let files = ["a.rs", "c.rs", "lib.rs"]
            .map(|f| PathBuf::from(format!("/r/crates/storage-a/src/{f}")));
        let found = map_differs(Path::new("/r"), map, &files);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
