//! Records as text for other programs: a JSON object a line, or a table.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nonos_storage::{NodeStorage, Record, Selection, TreeId};
use serde_json::Value;

use super::Written;
use crate::args::Args;
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::places::Places;

#[derive(Debug)]
pub(super) enum Form {
    Ndjson,
    Csv,
}

/// Writes the records of a tree, or of all trees that hold no secrets, to a file that appears whole; or to standard
/// output, which is `-`.
pub(super) fn write(
    args: &Args,
    form: &Form,
    tree: Option<TreeId>,
    file: &Path,
) -> Result<Written, CliError> {
    let storage = cmd::view(&Places::of(args)?.load()?)?;
    if matches!(tree, Some(TreeId::Secrets | TreeId::Identity)) {
        return Err(CliError::Usage {
            what: "secrets are not exported: `nonos secrets get` writes one to a file",
        });
    }
    let io = |source| CliError::Io {
        action: "write",
        path: file.to_owned(),
        source,
    };
    let is_open = |tree: &TreeId| !matches!(tree, TreeId::Secrets | TreeId::Identity);
    let trees: Vec<TreeId> = if let Some(tree) = tree {
        vec![tree]
    } else {
        TreeId::ALL.into_iter().filter(is_open).collect()
    };
    if file == Path::new("-") {
        let mut out = Out::new(io::stdout().lock(), form);
        return match out.trees(&storage, &trees) {
            // The reader has seen enough.
            Err(CliError::Output { source }) if source.kind() == io::ErrorKind::BrokenPipe => {
                Ok(out.written(file))
            }
            done => done.map(|()| out.written(file)),
        };
    }
    if file.exists() {
        confirm(args, &format!("replacing {}", file.display()))?;
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let created = options.open(&part).map_err(io)?;
    let mut out = Out::new(created, form);
    let done = out.trees(&storage, &trees).and_then(|()| {
        out.to.get_ref().sync_all().map_err(io)?;
        fs::rename(&part, file).map_err(io)?;
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = File::open(parent.unwrap_or(Path::new("."))).map_err(io)?;
        directory.sync_all().map_err(io)
    });
    if done.is_err() {
        // The error is what must be told.
        let _removed = fs::remove_file(&part);
    }
    done.map(|()| out.written(file))
}

struct Out<'f, W: Write> {
    to: BufWriter<W>,
    form: &'f Form,
    /// The columns of a table.
    columns: Option<Vec<String>>,
    entries: u64,
    bytes: u64,
}

impl<'f, W: Write> Out<'f, W> {
    fn new(to: W, form: &'f Form) -> Self {
        Self {
            to: BufWriter::new(to),
            form,
            columns: None,
            entries: 0,
            bytes: 0,
        }
    }

    fn trees(&mut self, storage: &NodeStorage, trees: &[TreeId]) -> Result<(), CliError> {
        for tree in trees {
            storage.visit_records(*tree, &Selection::default(), &mut |record| {
                self.record(&record?)?;
                Ok::<_, CliError>(true)
            })?;
        }
        self.to
            .flush()
            .map_err(|source| CliError::Output { source })
    }

    fn record(&mut self, record: &Record) -> Result<(), CliError> {
        self.entries += 1;
        let line = match self.form {
            Form::Ndjson => {
                let line = serde_json::json!({
                    "tree": record.tree, "key": record.key, "value": record.value,
                });
                line.to_string()
            }
            Form::Csv => self.row(record),
        };
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> Result<(), CliError> {
        self.bytes += u64::try_from(line.len() + 1).unwrap_or(0);
        let written = writeln!(self.to, "{line}");
        written.map_err(|source| CliError::Output { source })
    }

    /// A row of a table as RFC 4180 has it, below the header of the first one.
    fn row(&mut self, record: &Record) -> String {
        let fields = record.value.as_object();
        let columns = self.columns.get_or_insert_default();
        let mut text = String::new();
        if columns.is_empty() {
            columns.push("key".to_owned());
            match fields {
                Some(fields) if record.tree != "config" => columns.extend(fields.keys().cloned()),
                _ => columns.push("value".to_owned()),
            }
            text = columns
                .iter()
                .map(|name| cell(name))
                .collect::<Vec<_>>()
                .join(",");
            text.push('\n');
        }
        let mut cells = vec![shown(&record.key)];
        for name in columns.iter().skip(1) {
            let value = match fields {
                Some(fields) if record.tree != "config" => fields.get(name),
                _ => Some(&record.value),
            };
            cells.push(value.map(shown).unwrap_or_default());
        }
        text.push_str(&cells.join(","));
        text
    }

    fn written(&self, file: &Path) -> Written {
        Written {
            file: file.to_owned(),
            entries: self.entries,
            bytes: self.bytes,
            widened: Vec::new(),
        }
    }
}

/// Nothing for null, text as it is, all else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => cell(text),
        value => cell(&value.to_string()),
    }
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
