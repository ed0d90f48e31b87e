//! `nonos import`: a database of what the first implementation wrote.

use std::path::{Path, PathBuf};

use nonos_storage::NodeStorage;
use serde::Serialize;

use crate::args::Args;
use crate::error::CliError;
use crate::output::Report;
use crate::progress;
use crate::settings::Places;

#[derive(Debug, Serialize)]
struct Done {
    source: PathBuf,
    database: PathBuf,
    entries: u64,
    schema_version: u32,
}

pub(crate) fn import(args: &Args, source: &Path) -> Result<(), CliError> {
    let report = Report::start("nonos.import/1", args.output);
    report.finish(make(args, source), |done| {
        let (source, database) = (done.source.display(), done.database.display());
        format!(
            "{} records of {source} are in {database}, schema {}",
            done.entries, done.schema_version
        )
    })
}

fn make(args: &Args, source: &Path) -> Result<Done, CliError> {
    std::fs::metadata(source).map_err(|error| CliError::Io {
        action: "read",
        path: source.to_owned(),
        source: error,
    })?;
    let places = Places::of(args)?;
    places.load()?;
    places.create()?;
    let config = places.load()?.storage;
    let imported = NodeStorage::import_first_implementation(source, &config)?;
    // Migrates what was imported.
    let storage = progress::cancellable(args, config)?.open()?;
    let done = Done {
        source: source.to_owned(),
        database: storage.data_path().to_owned(),
        entries: imported.entries,
        schema_version: storage.schema_version()?,
    };
    storage.close()?;
    Ok(done)
}
