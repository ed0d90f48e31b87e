//! `nonos import`: a database of what the first implementation wrote.

use std::path::{Path, PathBuf};

use nonos_storage::NodeStorage;
use serde::Serialize;

use crate::args::Args;
#[cfg(feature = "encrypted-storage")]
use crate::args::Verb;
use crate::cmd;
use crate::cmd::init::LOSING_IT;
use crate::error::CliError;
#[cfg(feature = "encrypted-storage")]
use crate::keys;
use crate::output::{Report, push_line};
use crate::places::Places;
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done {
    source: PathBuf,
    database: PathBuf,
    entries: u64,
    schema_version: u32,
    key_file: Option<PathBuf>,
    /// With the old key.
    secrets_opened: Vec<String>,
    secrets_left_out: Vec<String>,
}

pub(crate) fn import(args: &Args, source: &Path) -> Result<(), CliError> {
    let report = Report::start("nonos.import/1", args.output);
    report.finish(make(args, source), |done| {
        let (source, database) = (done.source.display(), done.database.display());
        let mut text = format!(
            "{} records of {source} are in {database}, schema {}",
            done.entries, done.schema_version
        );
        if !done.secrets_left_out.is_empty() {
            let names = done.secrets_left_out.join(", ");
            push_line(
                &mut text,
                format_args!("secrets that the old key does not open were left out: {names}"),
            );
        }
        if let Some(key_file) = &done.key_file {
            let key_file = key_file.display();
            push_line(
                &mut text,
                format_args!("secrets are sealed to the key in {key_file}\n{LOSING_IT}"),
            );
        }
        text
    })
}

fn make(args: &Args, source: &Path) -> Result<Done, CliError> {
    std::fs::metadata(source).map_err(|error| CliError::Io {
        action: "read",
        path: source.to_owned(),
        source: error,
    })?;
    let places = Places::of(args)?;
    let database = places.load()?.storage.path;
    cmd::alone(args, &places.data_dir, &database)?;
    places.create(cfg!(feature = "encrypted-storage"))?;
    let settings = places.load()?;
    // What is wrong with the old key is said before anything is imported.
    #[cfg(feature = "encrypted-storage")]
    let old = match &args.verb {
        Verb::Import {
            old_key: Some(file),
            ..
        } => Some(keys::load_file(args, &settings, file)?),
        _ => None,
    };
    let config = settings.storage.clone();
    let imported = NodeStorage::import_first_implementation(source, &config)?;
    // Migrates what was imported.
    let opening = progress::cancellable(args, config)?;
    #[cfg(feature = "encrypted-storage")]
    let opening = keys::guarded(opening, &settings);
    let storage = opening.open()?;
    #[cfg_attr(
        not(feature = "encrypted-storage"),
        expect(unused_mut, reason = "nothing is opened without it")
    )]
    let (mut secrets_opened, mut secrets_left_out) = (Vec::new(), Vec::new());
    #[cfg(feature = "encrypted-storage")]
    {
        keys::ensure(args, &settings, &storage, None)?;
        if let Some(old) = old {
            let (opened, others) = storage.convert_first_form_secrets(&old.keys)?;
            // What is not opened is no secret; the source has it.
            for name in &others {
                storage.delete_secret(name)?;
            }
            (secrets_opened, secrets_left_out) = (opened, others);
        }
        // Its secrets were not sealed, and are in what was imported.
        if storage.secrets_status()?.purge_needed {
            storage.purge()?;
        }
    }
    let done = Done {
        source: source.to_owned(),
        database: storage.data_path().to_owned(),
        entries: imported.entries,
        schema_version: storage.schema_version()?,
        secrets_opened,
        secrets_left_out,
        #[cfg(feature = "encrypted-storage")]
        key_file: Some(settings.secrets.key_file),
        #[cfg(not(feature = "encrypted-storage"))]
        key_file: None,
    };
    storage.close()?;
    Ok(done)
}
