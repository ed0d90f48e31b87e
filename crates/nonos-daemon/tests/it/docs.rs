//! What the documents tell an operator to type, and what the unit promises.

use std::collections::BTreeSet;
use std::fs;

use crate::program::{Node, TestResult};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The commands in a document: `nonos`, its verbs and its flags.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    let pieces = text.split(['`', '\n', '#', ',', ';', '(', ')', '|', '"']);
    let commands = pieces.filter_map(|piece| piece.trim().strip_prefix("nonos "));
    commands
        .map(|command| {
            let words = command.split_whitespace();
            words.map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn every_command_in_the_documents_is_one() -> TestResult {
    let node = Node::new()?;
    let mut checked = 0;
    for file in [
        "README.md",
        "docs/INSTALL.md",
        "docs/CONFIGURATION.md",
        "docs/BACKUPS.md",
        "docs/MONITORING.md",
        "docs/OPERATIONS.md",
        "docs/SECRETS.md",
        "docs/SECURITY.md",
        "docs/MIGRATIONS.md",
    ] {
        for command in commands(&fs::read_to_string(format!("{ROOT}/{file}"))?) {
            let is_name = |word: &&String| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let verbs: Vec<&str> = command
                .iter()
                .take_while(|word| is_name(word) && !word.starts_with('-'))
                .map(String::as_str)
                .collect();
            let help = node.output(&[verbs.as_slice(), &["--help"]].concat())?;
            assert!(help.status.success(), "{file}: nonos {command:?}");
            let help = String::from_utf8(help.stdout)?;
            for flag in command.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    help.contains(flag.as_str()),
                    "{file}: nonos {command:?}: {flag}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked}");
    Ok(())
}

/// Every key of the file that `init` writes has a row under its table, with its default.
#[test]
fn every_key_is_in_the_document_of_the_configuration() -> TestResult {
    let document = fs::read_to_string(format!("{ROOT}/docs/CONFIGURATION.md"))?;
    let node = Node::new()?;
    node.json(&["init", "--no-key", "-o", "json"], 0)?;
    let file: toml::Table = fs::read_to_string(node.path("config.toml"))?.parse()?;
    let mut checked = 0;
    for (table, keys) in &file {
        let heading = format!("## `[{table}]`\n");
        let (_, section) = document.split_once(&heading).ok_or(heading)?;
        let section = section.split("\n## ").next().unwrap_or_default();
        for (key, default) in keys.as_table().ok_or("no table")? {
            let row = format!("| `{key}` | `{default}` | ");
            assert!(section.contains(&row), "[{table}] {row}");
            checked += 1;
        }
        let rows = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .count();
        assert_eq!(
            Some(rows),
            keys.as_table().map(toml::Table::len),
            "[{table}]"
        );
    }
    assert!(checked >= 24, "{checked}");
    Ok(())
}

#[test]
fn the_unit_keeps_keys_out_of_dumps_and_swap() -> TestResult {
    let unit = fs::read_to_string(format!("{ROOT}/packaging/nonos.service"))?;
    for line in [
        "LimitCORE=0",
        "MemorySwapMax=0",
        "NoNewPrivileges=yes",
        "UMask=0077",
        "Restart=on-failure",
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    assert!(unit.contains("LoadCredentialEncrypted=nonos-storage-key:"));
    for line in unit.lines().filter(|line| !line.is_empty()) {
        let is_setting = line.split_once('=').is_some_and(|(key, _)| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric())
        });
        assert!(
            is_setting || line.starts_with('#') || line.starts_with('['),
            "{line}"
        );
    }
    Ok(())
}

/// Words in capitals that are something else.
const NO_CODES: [&str; 4] = ["HOME", "TREE", "ENTRIES", "CORRUPTED"];

/// Every code that a program can show, as the sources spell them, has a row, and every exit code.
#[test]
fn the_runbook_knows_every_code() -> TestResult {
    let runbook = fs::read_to_string(format!("{ROOT}/docs/OPERATIONS.md"))?;
    let mut checked = 0;
    for source in [
        "crates/storage-core/src/error.rs",
        "crates/storage-core/src/error/code.rs",
        "crates/storage-ops/src/integrity/report.rs",
        "crates/nonos-daemon/src/error.rs",
        "crates/nonos-daemon/src/cmd/doctor.rs",
        "crates/nonos-daemon/src/cmd/verify.rs",
        "crates/nonos-daemon/src/daemon/server/findings.rs",
    ] {
        let source = fs::read_to_string(format!("{ROOT}/{source}"))?;
        let codes = source.split('"').skip(1).step_by(2).filter(|word| {
            let is_code = |c: char| c.is_ascii_uppercase() || c == '_';
            word.len() > 1 && word.chars().all(is_code)
        });
        for code in codes.filter(|code| !NO_CODES.contains(code)) {
            assert!(runbook.contains(&format!("| `{code}` |")), "{code}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    for code in 0..=14 {
        assert!(runbook.contains(&format!("\n| {code} | ")), "{code}");
    }
    Ok(())
}
