//! `nonos migrate`: a database of an older schema to the current one, looked at, done, or undone.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use nonos_storage::{CURRENT_SCHEMA_VERSION, NodeStorage};
use serde::Serialize;

use crate::args::{Args, Verb};
use crate::cmd;
use crate::cmd::schema;
use crate::error::CliError;
use crate::output::Report;
use crate::places::Places;
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Migrated {
    database: PathBuf,
    schema_version: u32,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Step {
    from_version: u32,
    to_version: u32,
    converted: u64,
    quarantined: u64,
    duration_ms: u64,
    resumed: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Aborted {
    database: PathBuf,
    dry_run: bool,
    /// Whether there is a migration to undo now.
    is_interrupted: bool,
}

pub(crate) fn migrate(args: &Args) -> Result<(), CliError> {
    let Verb::Migrate {
        look,
        abort,
        allow_quarantine,
    } = args.verb
    else {
        return Ok(());
    };
    if abort {
        let report = Report::start("nonos.migrate-abort/1", args.output);
        let judge = |aborted: &Aborted| look.judge(aborted.dry_run && aborted.is_interrupted);
        return report.judged(undo(args, look.dry_run), judge, undone);
    }
    if look.dry_run {
        let report = Report::start("nonos.migration-plan/1", args.output);
        let judge = |plan: &Option<_>| look.judge(plan.is_some());
        return report.judged(schema::plan(args), judge, schema::planned);
    }
    let report = Report::start("nonos.migrate/1", args.output);
    report.finish(climb(args, allow_quarantine), table)
}

fn existing(args: &Args) -> Result<nonos_storage::StorageConfig, CliError> {
    let places = Places::of(args)?;
    let config = places.load()?.storage;
    cmd::alone(args, &places.data_dir, &config.path)?;
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

fn undo(args: &Args, dry_run: bool) -> Result<Aborted, CliError> {
    if dry_run {
        let (database, outlook) = schema::outlook(args, false)?;
        let is_interrupted = outlook.is_interrupted;
        return Ok(Aborted {
            database,
            dry_run,
            is_interrupted,
        });
    }
    let config = existing(args)?;
    let database = config.path.clone();
    confirm(args, "undoing the migration")?;
    NodeStorage::abort_migration(&progress::cancellable(args, config)?)?;
    Ok(Aborted {
        database,
        dry_run,
        is_interrupted: false,
    })
}

fn undone(aborted: &Aborted) -> String {
    let what = match (aborted.dry_run, aborted.is_interrupted) {
        (false, _) => "every record is again what it was",
        (true, true) => "a migration was interrupted, and would be undone",
        (true, false) => "no migration was interrupted: there is nothing to undo",
    };
    format!("{}: {what}", aborted.database.display())
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
