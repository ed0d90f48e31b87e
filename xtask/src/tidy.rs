//! Rules of the tree that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, documents, read_table};

/// Names of files that say nothing about their content.
const EMPTY_NAMES: [&str; 4] = ["util.rs", "utils.rs", "helpers.rs", "common.rs"];

/// Words that mark something left open.
const LEFT_OPEN: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("dbg", "!("),
];

/// Dependencies that are there to choose features of what others depend on.
const FOR_FEATURES: [&str; 1] = ["reqwest"];

/// Past so many lines a file answers a second question.
const MAX_LINES: usize = 400;

/// Longer files, each with the reason.
const LONGER: [(&str, &str); 1] = [(
    "crates/nonos-storage/tests/it/spec.rs",
    "every example of the storage document, in its order",
)];

pub(crate) fn check(root: &Path) -> Result<Vec<String>, Error> {
    let mut findings = Vec::new();
    let files = files(root)?;
    for path in &files {
        let shown = path
            .strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string();
        // Inputs of any bytes.
        if shown.starts_with("fuzz/corpus/") {
            continue;
        }
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|e| e == "rs") {
            let mut finding = |what: &str| findings.push(format!("{shown}: {what}"));
            if EMPTY_NAMES.iter().any(|empty| name == *empty) {
                finding("the name says nothing");
            }
            if !text.starts_with("//!") {
                finding("no module header");
            }
            if is_too_long(&shown, &text) {
                finding(&format!(
                    "more than {MAX_LINES} lines, and no reason is given"
                ));
            }
            // What is measured beside us is measured with it.
            let is_measured = shown.starts_with("benches/");
            let is_index = shown == "crates/storage-core/src/index/sled.rs";
            if calls_the_engine(&text) && !is_index && !is_measured {
                finding("calls the engine");
            }
            for (number, line) in (1..).zip(text.lines()) {
                if is_glob_import(line) {
                    finding(&format!("line {number}: glob import"));
                }
                if LEFT_OPEN.iter().any(|mark| line.contains(mark)) {
                    finding(&format!("line {number}: left open"));
                }
            }
        }
        if name == "Cargo.toml" && aborts_on_panic(&text) {
            findings.push(format!("{shown}: a profile aborts on panic"));
        }
        if text.lines().any(|line| line.ends_with([' ', '\t'])) && name != "Cargo.lock" {
            findings.push(format!("{shown}: white space at the end of a line"));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(format!("{shown}: no line feed at the end"));
        }
    }
    findings.extend(dependencies_not_reviewed(root)?);
    findings.extend(unused_dependencies(root, &files)?);
    findings.extend(documents::check(root, &files)?);
    Ok(findings)
}

/// Everything that git tracks or would, below the root.
fn files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root)
        .output()
        .map_err(|source| Error::Io {
            path: root.to_owned(),
            source,
        })?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let paths = names.split('\0').filter(|name| !name.is_empty());
    let paths = paths.map(|name| root.join(name));
    // One that was just removed is listed until that is committed.
    Ok(paths.filter(|path| path.exists()).collect())
}

fn calls_the_engine(text: &str) -> bool {
    text.lines().any(|line| {
        line.contains("sled::") && !line.contains("index::sled::") && !line.contains("index::{")
    })
}

fn is_too_long(shown: &str, text: &str) -> bool {
    text.lines().count() > MAX_LINES && LONGER.iter().all(|(path, _)| shown != *path)
}

fn is_glob_import(line: &str) -> bool {
    let line = line.trim_start();
    let imports = line.starts_with("use ") || line.starts_with("pub use ");
    imports
        && line.ends_with("::*;")
        && !line.contains("proptest::prelude")
        && !line.contains("use super::*")
}

fn aborts_on_panic(text: &str) -> bool {
    text.lines()
        .any(|line| line.replace(' ', "").starts_with("panic=\"abort\""))
}

/// Where the crates of Cargo.lock and the reviewed ones of deny.toml differ.
fn dependencies_not_reviewed(root: &Path) -> Result<Vec<String>, Error> {
    let lock = read_table(&root.join("Cargo.lock"))?;
    let deny = read_table(&root.join("deny.toml"))?;
    let locked = array(lock.get("package"));
    let locked: BTreeSet<&str> = locked.filter_map(|p| p.get("name")?.as_str()).collect();
    let allowed = array(deny.get("bans").and_then(|bans| bans.get("allow")));
    let allowed: BTreeSet<&str> = allowed.filter_map(|a| a.get("crate")?.as_str()).collect();
    let new = locked.difference(&allowed);
    let gone = allowed.difference(&locked);
    Ok(new
        .map(|name| format!("deny.toml: {name} is not in [bans] allow"))
        .chain(gone.map(|name| format!("deny.toml: {name} is not in Cargo.lock")))
        .collect())
}

/// Dependencies of a crate that none of its files names.
fn unused_dependencies(root: &Path, files: &[PathBuf]) -> Result<Vec<String>, Error> {
    let mut findings = Vec::new();
    let is_manifest = |path: &&PathBuf| path.file_name().is_some_and(|name| name == "Cargo.toml");
    for manifest in files.iter().filter(is_manifest) {
        let directory = manifest.parent().unwrap_or(root);
        let is_source = |path: &&PathBuf| {
            path.starts_with(directory) && path.extension().is_some_and(|e| e == "rs")
        };
        let sources = files.iter().filter(is_source);
        let text: String = sources
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect();
        let table = read_table(manifest)?;
        for section in ["dependencies", "dev-dependencies"] {
            let names = table.get(section).and_then(toml::Value::as_table);
            for name in names.into_iter().flat_map(toml::Table::keys) {
                let is_named = text.contains(&name.replace('-', "_"));
                if !is_named && !FOR_FEATURES.contains(&name.as_str()) {
                    let shown = manifest.strip_prefix(root).unwrap_or(manifest);
                    findings.push(format!("{}: {name} is not used", shown.display()));
                }
            }
        }
    }
    Ok(findings)
}

fn array(value: Option<&toml::Value>) -> impl Iterator<Item = &toml::Value> {
    value.and_then(toml::Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() -> Result<(), Error> {
        assert_eq!(check(&crate::root())?, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn what_is_untidy_is_found() {
        assert!(calls_the_engine(concat!("let db = sl", "ed::open(path);")));
        assert!(!calls_the_engine("use crate::index::sled::SledIndex;"));
        assert!(is_glob_import("pub use crate::tree::*;"));
        assert!(!is_glob_import("use proptest::prelude::*;"));
        assert!(is_too_long("src/lib.rs", &"\n".repeat(MAX_LINES + 1)));
        assert!(!is_too_long("src/lib.rs", &"\n".repeat(MAX_LINES)));
        assert!(aborts_on_panic("[profile.release]\npanic = \"abort\""));
    }
}
