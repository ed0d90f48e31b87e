//! `nonos export`: everything, in a file of another program.

#[cfg(feature = "encrypted-storage")]
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use nonos_storage::TreeId;

use crate::args::{Args, Form};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{Report, mib};
use crate::places::Places;

mod text;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Written {
    file: PathBuf,
    entries: u64,
    bytes: u64,
    /// Config values whose numbers were written with 64 bits, whatever type stored them.
    widened: Vec<String>,
}

pub(crate) fn export(
    args: &Args,
    form: Form,
    tree: Option<TreeId>,
    file: &Path,
) -> Result<(), CliError> {
    let written = match form {
        Form::FirstImplementation if tree.is_some() || file == Path::new("-") => {
            Err(CliError::Usage {
                what: "a backup of the first implementation is a file of all trees",
            })
        }
        Form::FirstImplementation => write(args, file),
        Form::Ndjson => text::write(args, &text::Form::Ndjson, tree, file),
        Form::Csv => match tree {
            Some(tree) => text::write(args, &text::Form::Csv, Some(tree), file),
            None => Err(CliError::Usage {
                what: "CSV has the columns of one tree: name it with --tree",
            }),
        },
    };
    if file == Path::new("-") {
        // The records are what is on standard output.
        return written.map(drop);
    }
    let report = Report::start("nonos.export/1", args.output);
    report.finish(written, |written| {
        let mut text = format!(
            "{} records, {}, in {}",
            written.entries,
            mib(written.bytes),
            written.file.display()
        );
        if !written.widened.is_empty() {
            let names = written.widened.join(", ");
            text.push_str("\nnumbers of 64 bits, whatever type stored them: ");
            text.push_str(&names);
        }
        text
    })
}

fn write(args: &Args, file: &Path) -> Result<Written, CliError> {
    let settings = Places::of(args)?.load()?;
    let storage = cmd::view(&settings)?;
    if file.exists() {
        confirm(args, &format!("replacing {}", file.display()))?;
    }
    #[cfg(feature = "encrypted-storage")]
    if storage.secrets_status()?.active.is_some() {
        crate::keys::unlock(args, &settings, &storage)?;
        // There is nobody to tell that standard error does not take it.
        let _ = writeln!(
            std::io::stderr(),
            "warning: {} has the secrets as they were given, not sealed",
            file.display()
        );
    }
    let exported = storage.export_first_implementation(file)?;
    Ok(Written {
        file: file.to_owned(),
        entries: exported.entries,
        bytes: exported.bytes,
        widened: exported.widened,
    })
}
