//! Every verb, in every form of output, as it was looked at once: the tables in `snapshots`, the JSON against its
//! committed schema; each exit code of a failure; and what destroys something, which asks and can be tried.
//!
//! The verbs are those that `--help` lists: one that is not here fails.

mod cases;
mod tried;

use self::cases::{CASES, Case, Does::Destroys, Form::*, On, VERBS};
use crate::program::{Node, TestResult};
use nonos_daemon::{
    EncryptionMode, EpochNumber, NodeStorage, StorageConfig, StoredClaim, StoredEpochSummary,
    StoredMetrics, StoredPeerInfo,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use storage_testkit::damage::copy;
use storage_testkit::first_implementation::FirstImplementation;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schemas");
const NOW: i64 = 1_780_000_000;

/// A directory to copy from, with what lines name beside it.
struct Bases {
    nothing: Node,
    node: Node,
    old: Node,
    fixture: FirstImplementation,
    backup: String,
}

impl Bases {
    fn new() -> Fallible<Self> {
        let node = filled()?;
        let fixture = FirstImplementation::unpack("stamped-2")?;
        let old = Node::new()?;
        old.write_config("")?;
        copy(&fixture.database(), &old.path("data.sled"))?;
        let nothing = Node::new()?;
        fs::create_dir_all(nothing.path(""))?;
        let listed = node.json(&["backup", "list", "-o", "json"], 0)?;
        let backup = listed["data"]["backups"][0]["name"]
            .as_str()
            .ok_or("no backup")?;
        Ok(Self {
            nothing,
            backup: backup.to_owned(),
            node,
            old,
            fixture,
        })
    }

    fn of(&self, on: On) -> &Node {
        match on {
            On::Nothing => &self.nothing,
            On::Node => &self.node,
            On::Old => &self.old,
        }
    }

    /// A copy to work on.
    fn copied(&self, on: On) -> Fallible<Node> {
        let node = Node::new()?;
        copy(&self.of(on).path(""), &node.path(""))?;
        Ok(node)
    }

    /// What a word of a line stands for, in a copy.
    fn word(&self, node: &Node, word: &str) -> String {
        let path = |name: &str| node.path(name).display().to_string();
        match word {
            "{new}" => path("new"),
            "{new}.nonos" => path("new.nonos"),
            "{there}" => path(""),
            "{nothing}" => path("nothing"),
            "{value}" => path("value"),
            "{other_key}" => path("other.key"),
            "{backup}" => self.backup.clone(),
            "{backup_file}" => path("whole.nonos"),
            "{damaged}" | "{damaged_file}" => path("damaged.nonos"),
            "{old}" => self.fixture.database().display().to_string(),
            word => word.to_owned(),
        }
    }
}

fn filled() -> Fallible<Node> {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let storage = NodeStorage::open(StorageConfig {
        path: node.path("data.sled"),
        encryption_mode: EncryptionMode::SealedBox,
        ..StorageConfig::default()
    })?;
    for number in 1..=2_u8 {
        let id = format!("peer-{number}");
        let peer = StoredPeerInfo {
            peer_id: id.clone(),
            addresses: vec![format!("/ip4/10.0.0.{number}/tcp/9000")],
            last_seen: NOW,
            ..StoredPeerInfo::default()
        };
        storage.store_peer(&id, &peer)?;
    }
    for minute in 0..3_u8 {
        let sample = StoredMetrics {
            cpu_usage: Some(f32::from(minute) * 10.0),
            ..StoredMetrics::default()
        };
        storage.store_metrics(NOW + i64::from(minute) * 60, &sample)?;
    }
    for epoch in 1..=2 {
        let summary = StoredEpochSummary {
            epoch,
            total_emission: u128::MAX,
            start_time: NOW - 10,
            end_time: NOW,
            ..StoredEpochSummary::default()
        };
        storage.store_epoch(EpochNumber(epoch), &summary)?;
    }
    let claim = StoredClaim {
        epoch: 2,
        amount: 5,
        claimed_at: NOW,
        ..StoredClaim::default()
    };
    storage.store_claim(EpochNumber(2), &claim)?;
    storage.store_config("port", &9000)?;
    storage.close()?;
    storage_testkit::logs::forbid(b"what the wallet holds");
    fs::write(node.path("value"), b"what the wallet holds")?;
    let value = node.path("value").display().to_string();
    node.json(
        &["secrets", "put", "wallet", "--from", &value, "-o", "json"],
        0,
    )?;
    let other = node.path("other.key").display().to_string();
    node.json(&["secrets", "key", "new", &other, "-o", "json"], 0)?;
    node.json(&["backup", "create", "-o", "json"], 0)?;
    let whole = node.path("whole.nonos");
    let to = whole.display().to_string();
    node.json(&["backup", "create", "--to", &to, "-o", "json"], 0)?;
    let mut bytes = fs::read(&whole)?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).ok_or("an empty backup")?;
    *byte ^= 1;
    fs::write(node.path("damaged.nonos"), bytes)?;
    Ok(node)
}

/// What is another one at each run.
fn masks(node: &Node, bases: &Bases) -> Vec<(String, &'static str)> {
    let mut masks = vec![
        (bases.fixture.root().display().to_string(), "[fixture]"),
        (bases.backup.clone(), "[backup]"),
        (
            node.path("")
                .parent()
                .map_or(String::new(), |p| p.display().to_string()),
            "[dir]",
        ),
    ];
    masks.retain(|(text, _)| !text.is_empty());
    let mut masks: Vec<(String, &'static str)> = masks
        .into_iter()
        .map(|(text, name)| (regex::escape(&text), name))
        .collect();
    masks.extend(
        [
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
            (r"\d{8}T\d{6}Z", "[time]"),
            (r"\b[0-9a-f]{16,}\b", "[hex]"),
            (r"nxnd_[0-9a-f]+", "[node]"),
            (r"\d+\.\d MiB", "[size]"),
            (r"\b\d+ ms\b", "[ms]"),
            (r"\b\d+ s ago\b", "[ago]"),
            (r"\.before-\d+", ".before-[time]"),
        ]
        .map(|(pattern, name)| (pattern.to_owned(), name)),
    );
    masks
}

/// The verbs that there are, by what the program says of itself.
fn verbs(node: &Node, above: &[&str]) -> Fallible<BTreeSet<String>> {
    let help = node.output(&[above, &["--help"]].concat())?;
    let help = String::from_utf8(help.stdout)?;
    let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.lines().take_while(|line| line.starts_with("  "));
    let mut found = BTreeSet::new();
    let mut below = 0;
    for line in listed {
        // What goes on from the line above is further right.
        let Some(name) = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '))
        else {
            continue;
        };
        let name = name.split(' ').next().unwrap_or_default();
        if name != "help" {
            below += 1;
            found.extend(verbs(node, &[above, &[name]].concat())?);
        }
    }
    // A verb that does something by itself as well says so by brackets.
    let usage = help
        .lines()
        .find(|line| line.starts_with("Usage:"))
        .unwrap_or_default();
    if !above.is_empty() && (below == 0 || usage.contains("[COMMAND]")) {
        found.insert(above.join(" "));
    }
    Ok(found)
}

#[test]
fn every_verb_is_known_here_and_has_cases() -> TestResult {
    let node = Node::new()?;
    let known: BTreeSet<String> = VERBS.iter().map(|(verb, _)| (*verb).to_owned()).collect();
    assert_eq!(verbs(&node, &[])?, known);
    for (verb, does) in VERBS {
        let cases = || CASES.iter().filter(|case| case.0 == verb);
        assert!(
            cases().any(|case| case.3 != 0),
            "{verb}: no exit code of a failure"
        );
        let succeeds = cases().any(|case| case.3 == 0);
        // `run` goes on, and protecting a key asks a terminal: their own tests have them.
        assert!(
            succeeds || ["run", "secrets key protect"].contains(&verb),
            "{verb}"
        );
        if does == Destroys {
            let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
            let help = String::from_utf8(node.output(&words)?.stdout)?;
            assert!(help.contains("--dry-run"), "{verb} cannot be tried");
        }
    }
    Ok(())
}

#[test]
fn every_verb_in_every_form_is_what_was_looked_at() -> TestResult {
    let bases = Bases::new()?;
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in CASES {
        match shown(&bases, case) {
            Ok(Some(text)) => tables
                .entry(case.0.replace(' ', "-"))
                .or_default()
                .push(text),
            Ok(None) => {}
            Err(error) => wrong.push(format!("{case:?}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (verb, lines) in tables {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(verb, lines.join("\n"));
        });
    }
    Ok(())
}

/// Runs a line in every form of output, and returns its table as it is compared.
fn shown(bases: &Bases, (verb, on, rest, exit, form): Case) -> Fallible<Option<String>> {
    let run = |more: &[&str]| {
        let node = bases.copied(on)?;
        let rest = rest.iter().map(|word| bases.word(&node, word));
        let words = verb.split(' ').map(str::to_owned).chain(rest);
        let words: Vec<String> = words
            .chain(more.iter().map(|word| (*word).to_owned()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = node.command(&words).output()?;
        let (out, err) = (
            String::from_utf8(output.stdout)?,
            String::from_utf8(output.stderr)?,
        );
        if output.status.code() != Some(exit) {
            return Err(format!("{more:?} {:?}: {out}{err}", output.status).into());
        }
        Ok::<_, Box<dyn std::error::Error>>((node, out, err))
    };
    let (node, out, err) = run(&[])?;
    if form == Plain {
        return Ok(None);
    }
    let json = checked(&run(&["-o", "json"])?.1, exit)?;
    let line = run(&["-o", "ndjson"])?.1;
    if line.lines().count() != 1 {
        return Err(format!("more than a line: {line}").into());
    }
    let line = checked(&line, exit)?;
    if fields(&json) != fields(&line) {
        return Err(format!("{json} and {line} differ").into());
    }
    if form == Varies {
        return Ok(None);
    }
    let mut text = out + &err;
    for (pattern, name) in masks(&node, bases) {
        let pattern = regex::Regex::new(&pattern)?;
        text = pattern.replace_all(&text, name).into_owned();
    }
    // The width of a column follows what is masked in it.
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = lines.collect::<Vec<_>>().join("\n");
    let rest = rest.join(" ");
    Ok(Some(format!(
        "$ nonos {verb} {rest} (on {on:?})\n{text}\n=> {exit}\n"
    )))
}

/// The names of all fields, however deep.
fn fields(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields_of) => {
            let below = fields_of.values().flat_map(fields);
            fields_of.keys().cloned().chain(below).collect()
        }
        Value::Array(values) => values.iter().flat_map(fields).collect(),
        _ => BTreeSet::new(),
    }
}

/// The JSON, if it is as its schema says, and says what the process did.
fn checked(stdout: &str, exit: i32) -> Fallible<Value> {
    let value: Value = serde_json::from_str(stdout).map_err(|e| format!("{e}: {stdout:?}"))?;
    let name = value["schema"].as_str().ok_or("it has no schema")?;
    let file = Path::new(SCHEMAS).join(format!("{}.json", name.replace('/', "-")));
    let schema: Value = serde_json::from_slice(&fs::read(file)?)?;
    let validator = jsonschema::draft202012::new(&schema)?;
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    if !errors.is_empty() {
        return Err(format!("{errors:?}").into());
    }
    if value["exit_code"] != exit || value["ok"] != (exit == 0) {
        return Err(format!("it says {} and {}", value["exit_code"], value["ok"]).into());
    }
    Ok(value)
}
