//! `nonos init`: everything that `run` needs, without running.

use std::path::PathBuf;

use serde::Serialize;

use crate::args::Args;
use crate::error::CliError;
use crate::output::Report;
use crate::settings::Places;

#[derive(Debug, Serialize)]
struct Made {
    data_dir: PathBuf,
    config: PathBuf,
    config_written: bool,
    database: PathBuf,
    database_created: bool,
}

pub(crate) fn init(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.init/1", args.output);
    report.finish(make(args), |made| {
        let done = |done| {
            if done {
                "written"
            } else {
                "was there, unchanged"
            }
        };
        let (config, database) = (made.config.display(), made.database.display());
        format!(
            "configuration  {config} ({})\ndatabase       {database} ({})",
            done(made.config_written),
            done(made.database_created),
        )
    })
}

fn make(args: &Args) -> Result<Made, CliError> {
    let places = Places::of(args)?;
    // What is wrong with a file that exists is said before anything is made.
    places.load()?;
    let config_written = places.create()?;
    let storage = places.load()?.storage;
    let database_created = !storage.path.exists();
    // Only `run` and `migrate` migrate.
    let storage = crate::progress::opening(args, storage)
        .migrate(false)
        .open()?;
    let database = storage.data_path().to_owned();
    storage.close()?;
    Ok(Made {
        data_dir: places.data_dir,
        config: places.config,
        config_written,
        database,
        database_created,
    })
}
