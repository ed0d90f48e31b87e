//! What somebody who helps from afar wants to see, in one file: nothing in it is secret.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use crate::args::Args;
use crate::cmd;
use crate::error::CliError;
use crate::output::{Finding, write_new_file};
use crate::places::Places;

/// Longer files are listed, not copied.
const MAX_CONFIG: u64 = 64 * 1024;

/// A tar archive of `doctor.json`, `files.txt`, `config.toml`, and of what the database says of itself.
pub(super) fn write(
    args: &Args,
    file: &Path,
    places: &Places,
    examined: &impl Serialize,
    findings: &[Finding],
) -> Result<(), CliError> {
    let mut archive = tar::Builder::new(Vec::new());
    let doctor = json!({ "data": examined, "findings": findings });
    let mut add = |name: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap_or(0));
        header.set_mode(0o600);
        header.set_cksum();
        let added = archive.append_data(&mut header, format!("nonos/{name}"), content.as_bytes());
        added.map_err(|source| CliError::Io {
            action: "write",
            path: file.to_owned(),
            source,
        })
    };
    let pretty =
        |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    add("doctor.json", &pretty(&doctor))?;
    add(
        "version.json",
        &pretty(&json!({ "version": env!("CARGO_PKG_VERSION") })),
    )?;
    add("files.txt", &listing(&places.data_dir))?;
    if fs::metadata(&places.config).is_ok_and(|found| found.len() <= MAX_CONFIG)
        && let Ok(config) = fs::read_to_string(&places.config)
    {
        add("config.toml", &without_credentials(&config))?;
    }
    if let Ok(settings) = places.load()
        && let Ok(storage) = cmd::view(&settings)
    {
        if let Ok(schema) = storage.schema_info() {
            add("schema.json", &pretty(&json!(schema)))?;
        }
        if let Ok(sizes) = storage.tree_sizes() {
            let trees = sizes.by_tree().into_iter();
            let trees: serde_json::Map<_, _> = trees
                .map(|(tree, entries)| (tree.name().to_owned(), json!(entries)))
                .collect();
            add("trees.json", &pretty(&json!(trees)))?;
        }
    }
    let bytes = archive.into_inner().map_err(|source| CliError::Io {
        action: "write",
        path: file.to_owned(),
        source,
    })?;
    write_new_file(args, file, &bytes)
}

/// Names, lengths and modes, down to the files of the database.
fn listing(directory: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let mut text = String::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            let (mode, len) = (found.mode() & 0o7777, found.len());
            let path = entry.path();
            // A string takes everything.
            let _written = writeln!(text, "{mode:04o} {len:>12} {}", path.display());
            if found.is_dir() {
                waiting.push(path);
            }
        }
    }
    text
}

/// A place for backups may be named with a password in it, though that is refused.
fn without_credentials(config: &str) -> String {
    let shown = |line: &str| match line.split_once("://") {
        Some((before, behind)) if behind.contains('@') => {
            let (_, host) = behind.rsplit_once('@').unwrap_or_default();
            format!("{before}://…@{host}")
        }
        _ => line.to_owned(),
    };
    config.lines().map(shown).collect::<Vec<_>>().join("\n")
}
