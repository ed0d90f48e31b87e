//! Records that do not convert, set aside in a file for a person to look at: one JSON object a line,
//! with tree, key, reason and bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::error::SchemaError;
use crate::step::Stored;

#[derive(Serialize)]
struct Line<'a> {
    tree: &'a str,
    key_hex: String,
    reason: &'a str,
    value_hex: String,
}

/// The file, whole and durable before the first record is taken out of its tree.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    new: PathBuf,
    file: BufWriter<File>,
}

/// The name of the file of a migration: the database's with `.quarantine-schema-<to>.ndjson`.
pub(crate) fn path_of(database: &Path, to: u32) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".quarantine-schema-{to}.ndjson"));
    PathBuf::from(name)
}

impl Quarantine {
    pub(crate) fn create(path: PathBuf) -> Result<Self, SchemaError> {
        let new = path.with_extension("ndjson.new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new);
        let file = file.map_err(|source| SchemaError::quarantine(&new, source))?;
        Ok(Self {
            path,
            new,
            file: BufWriter::new(file),
        })
    }

    pub(crate) fn add(&mut self, record: Stored<'_>, reason: &str) -> Result<(), SchemaError> {
        let line = Line {
            tree: record.tree.name(),
            key_hex: HEXLOWER.encode(record.key),
            reason,
            value_hex: HEXLOWER.encode(record.value),
        };
        let written = serde_json::to_writer(&mut self.file, &line).map_err(std::io::Error::from);
        written
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| SchemaError::quarantine(&self.new, source))
    }

    pub(crate) fn publish(self) -> Result<PathBuf, SchemaError> {
        let Self { path, new, file } = self;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let published = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all());
        published.map_err(|source| SchemaError::quarantine(&path, source))?;
        Ok(path)
    }
}
