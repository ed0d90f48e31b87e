//! `nonos migrate`: a database of an older schema to the current one, looked at, done, or undone.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use nonos_storage::{CURRENT_SCHEMA_VERSION, NodeStorage};
use serde::Serialize;

use crate::args::{Args, Verb};
use crate::cmd::schema;
use crate::error::CliError;
use crate::output::Report;
use crate::progress;
use crate::settings::Places;

#[derive(Debug, Serialize)]
struct Migrated {
    database: PathBuf,
    schema_version: u32,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    from_version: u32,
    to_version: u32,
    converted: u64,
    quarantined: u64,
    duration_ms: u64,
    resumed: bool,
}

#[derive(Debug, Serialize)]
struct Aborted {
    database: PathBuf,
}

pub(crate) fn migrate(args: &Args) -> Result<(), CliError> {
    let Verb::Migrate {
        dry_run,
        exit_code,
        abort,
        allow_quarantine,
    } = args.verb
    else {
        return Ok(());
    };
    if dry_run {
        let report = Report::start("nonos.migration-plan/1", args.output);
        let judge = |plan: &Option<_>| {
            let is_work = exit_code && plan.is_some();
            (is_work.then_some(CliError::WorkToDo), Vec::new())
        };
        return report.judged(schema::plan(args), judge, schema::planned);
    }
    if abort {
        let report = Report::start("nonos.migrate-abort/1", args.output);
        return report.finish(undo(args), |aborted| {
            format!(
                "{}: every record is again what it was",
                aborted.database.display()
            )
        });
    }
    let report = Report::start("nonos.migrate/1", args.output);
    report.finish(climb(args, allow_quarantine), table)
}

fn existing(args: &Args) -> Result<nonos_storage::StorageConfig, CliError> {
    let config = Places::of(args)?.load()?.storage;
    // Migrating creates nothing; a database that is not there is said before one is made.
    match schema::version(&config)? {
        Some(_) => Ok(config),
        None => Err(CliError::NoDatabase { path: config.path }),
    }
}

fn climb(args: &Args, allow_quarantine: bool) -> Result<Migrated, CliError> {
    let config = existing(args)?;
    let opening = progress::cancellable(args, config)?;
    let storage = opening.allow_quarantine(allow_quarantine).open()?;
    let steps = storage.migrations_taken().iter().map(|step| Step {
        from_version: step.from_version,
        to_version: step.to_version,
        converted: step.converted,
        quarantined: step.quarantined,
        duration_ms: step.duration_ms,
        resumed: step.resumed,
    });
    let migrated = Migrated {
        database: storage.data_path().to_owned(),
        schema_version: CURRENT_SCHEMA_VERSION,
        steps: steps.collect(),
    };
    storage.close()?;
    Ok(migrated)
}

fn table(migrated: &Migrated) -> String {
    if migrated.steps.is_empty() {
        return "nothing to do: the schema is current".to_owned();
    }
    let lines = migrated.steps.iter().map(|step| {
        format!(
            "schema {} to {}: {} records in {} ms, {} set aside",
            step.from_version, step.to_version, step.converted, step.duration_ms, step.quarantined
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn undo(args: &Args) -> Result<Aborted, CliError> {
    let config = existing(args)?;
    let database = config.path.clone();
    confirm(args, "undoing the migration")?;
    NodeStorage::abort_migration(&progress::cancellable(args, config)?)?;
    Ok(Aborted { database })
}

/// Asks on a terminal; elsewhere only `--yes` is a yes.
pub(crate) fn confirm(args: &Args, what: &str) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    let refused = || CliError::NotConfirmed {
        what: what.to_owned(),
    };
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    let mut answer = String::new();
    // Where standard error does not take the question, there is no answer either.
    let _ = write!(io::stderr(), "{what}: go on? [y/N] ");
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(refused()),
    }
}
