//! The JSON Schemas of what verbs print with `-o json`, made from the types that they print, and compared with those
//! that are committed in docs/schemas. `UPDATE_SCHEMAS=1` writes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::cmd;
use crate::output::Envelope;

type Make = fn() -> Schema;

/// The schemas by the names that the envelope has.
const ALL: [(&str, Make); 45] = [
    ("nonos.audit-export/1", of::<cmd::audit::Exported>),
    ("nonos.audit-tail/1", of::<cmd::audit::Entries>),
    ("nonos.audit-verify/1", of::<cmd::audit::Chain>),
    ("nonos.backup-create/1", of::<cmd::backup::Backups>),
    ("nonos.backup-drill/1", of::<cmd::backup::Drill>),
    ("nonos.backup-file/1", of::<cmd::backup::file::OfFile>),
    ("nonos.backup-list/1", of::<cmd::backup::Backups>),
    ("nonos.backup-prune/1", of::<cmd::backup::Backups>),
    ("nonos.backup-show/1", of::<cmd::backup::Shown>),
    ("nonos.backup-verify/1", of::<cmd::backup::Shown>),
    ("nonos.clone/1", of::<cmd::clone::Cloned>),
    ("nonos.compact/1", of::<cmd::compact::Compacted>),
    ("nonos.diff/1", of::<cmd::diff::Diff>),
    ("nonos.doctor/1", of::<cmd::doctor::Examined>),
    ("nonos.error/1", of::<()>),
    ("nonos.export/1", of::<cmd::export::Written>),
    ("nonos.hash/1", of::<cmd::hash::Hashes>),
    ("nonos.import/1", of::<cmd::import::Done>),
    ("nonos.init/1", of::<cmd::init::Made>),
    ("nonos.metrics-plot/1", of::<cmd::plot::Plot>),
    ("nonos.migrate-abort/1", of::<cmd::migrate::Aborted>),
    ("nonos.migrate/1", of::<cmd::migrate::Migrated>),
    ("nonos.migration-plan/1", of::<cmd::schema::Plan>),
    ("nonos.prune/1", of::<cmd::prune::Done>),
    ("nonos.record/1", of::<Record>),
    ("nonos.records/1", of::<cmd::records::Listed>),
    ("nonos.repair/1", of::<cmd::repair::Repaired>),
    ("nonos.restore/1", of::<cmd::restore::Restored>),
    ("nonos.schema-history/1", of::<Vec<cmd::schema::Migration>>),
    ("nonos.schema/1", of::<cmd::schema::Schema>),
    (
        "nonos.secrets-accept-rollback/1",
        of::<cmd::secrets::Status>,
    ),
    ("nonos.secrets-adopt/1", of::<cmd::secrets::Done>),
    ("nonos.secrets-get/1", of::<cmd::secrets::Written>),
    ("nonos.secrets-key/1", of::<cmd::secrets::key::Key>),
    ("nonos.secrets-list/1", of::<cmd::secrets::Names>),
    ("nonos.secrets-put/1", of::<cmd::secrets::Stored>),
    ("nonos.secrets-repair-keyring/1", of::<cmd::secrets::Status>),
    ("nonos.secrets-rm/1", of::<cmd::secrets::Done>),
    (
        "nonos.secrets-rotate/1",
        of::<cmd::secrets::rotate::Rotation>,
    ),
    ("nonos.secrets-status/1", of::<cmd::secrets::Status>),
    ("nonos.status/1", of::<cmd::status::Status>),
    ("nonos.trees/1", of::<cmd::records::Trees>),
    ("nonos.verify/1", of::<cmd::verify::Verified>),
    ("nonos.version/1", of::<cmd::version::Version>),
    ("nonos.wipe/1", of::<cmd::wipe::Wiped>),
];

/// `nonos_storage::Record`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(crate) struct Record {
    /// The name of its tree.
    tree: String,
    /// Text, or a number: an epoch, Unix seconds in `metrics`, Unix milliseconds in `audit_log`.
    key: serde_json::Value,
    /// Of its key and its value as they are stored.
    bytes: usize,
    /// Its fields; of a secret never the secret.
    value: serde_json::Value,
}

/// `nonos_storage::StoredMetrics`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its shape is what counts")]
pub(crate) struct Metrics {
    total_requests: u64,
    successful_requests: u64,
    error_count: u64,
    avg_latency_ms: u32,
    peer_count: usize,
    quality_score: f64,
    uptime_secs: u64,
    /// Percent.
    cpu_usage: Option<f32>,
    /// Percent.
    memory_usage: Option<f32>,
    network_bytes_sent: Option<u64>,
    network_bytes_received: Option<u64>,
}

fn of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings
        .into_generator()
        .into_root_schema_for::<Envelope<'_, T>>()
}

fn file_of(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
    directory.join(format!("{}.json", name.replace('/', "-")))
}

/// What `metrics plot` takes, and what is stored of a sample.
#[test]
fn the_fields_of_a_sample_are_known() -> Result<(), Box<dyn std::error::Error>> {
    let sample = serde_json::to_value(nonos_storage::StoredMetrics::default())?;
    let fields = sample.as_object().ok_or("no object")?;
    let known: BTreeSet<&str> = crate::args::SAMPLE_FIELDS.into_iter().collect();
    assert_eq!(
        fields.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    let schema = serde_json::to_value(schemars::schema_for!(Metrics))?;
    let mirrored = schema["properties"].as_object().ok_or("no properties")?;
    assert_eq!(
        mirrored.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    Ok(())
}

#[test]
fn the_committed_schemas_are_those_of_the_program() -> Result<(), Box<dyn std::error::Error>> {
    for (name, make) in ALL {
        let mut schema = make();
        schema.insert("title".to_owned(), name.into());
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(file_of(name), &text)?;
        }
        let committed = fs::read_to_string(file_of(name)).unwrap_or_default();
        let differ = |(line, (old, new)): (usize, (&str, &str))| {
            (old != new).then(|| format!("line {}: {old} is {new}", line + 1))
        };
        let mut lines = committed.lines().zip(text.lines()).enumerate();
        assert!(
            committed == text,
            "{name}: a field may be added, none removed or changed: {:?}",
            lines.find_map(differ)
        );
    }
    let committed = file_of("x/1")
        .parent()
        .map(fs::read_dir)
        .ok_or("no directory")??
        .count();
    assert_eq!(committed, ALL.len());
    Ok(())
}

/// Every name that a verb gives its result, as the sources spell them.
#[test]
fn every_result_has_a_schema() -> Result<(), Box<dyn std::error::Error>> {
    let mut found = BTreeSet::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cmd")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                left.push(entry?.path());
            }
            continue;
        }
        let source = fs::read_to_string(path)?;
        let words = source
            .split('"')
            .filter(|word| word.starts_with("nonos.") && word.ends_with("/1"));
        found.extend(words.map(str::to_owned));
    }
    let known: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known);
    Ok(())
}
