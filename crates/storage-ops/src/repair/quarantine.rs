//! What is damaged, set aside in a file for a person to look at: one JSON object a line, with tree, key,
//! reason and bytes, as migrations do, and where it was found.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Serialize;
use storage_core::{CoreError, Damaged};

#[derive(Serialize)]
struct Line<'a> {
    tree: Option<&'a str>,
    key_hex: String,
    reason: &'a str,
    value_hex: String,
    found_in: &'a str,
}

/// The file, made with its first line.
#[derive(Debug)]
pub(super) struct Quarantine {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Quarantine {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    pub(super) fn add(&mut self, damaged: &Damaged<'_>) -> Result<(), CoreError> {
        let Self { path, file } = self;
        let line = Line {
            tree: damaged.tree.map(storage_core::TreeId::name),
            key_hex: HEXLOWER.encode(damaged.key),
            reason: &damaged.reason,
            value_hex: HEXLOWER.encode(damaged.bytes),
            found_in: &damaged.found_in,
        };
        add(path, file, &line).map_err(|e| CoreError::io("write", path, e))
    }

    /// Makes it durable; the file, if anything is in it.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, CoreError> {
        let Self { path, file } = self;
        let Some(file) = file else {
            return Ok(None);
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        match file.and_then(|file| file.sync_all()) {
            Ok(()) => Ok(Some(path)),
            Err(e) => Err(CoreError::io("write", &path, e)),
        }
    }
}

fn add(path: &Path, file: &mut Option<BufWriter<File>>, line: &Line<'_>) -> io::Result<()> {
    if file.is_none() {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        *file = Some(BufWriter::new(options.open(path)?));
    }
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.as_mut().map_or(Ok(()), |file| file.write_all(&text))
}
