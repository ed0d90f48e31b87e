//! `nonos schema`: the version of the records, the migrations that were, and the one that would be.

use std::path::PathBuf;

use comfy_table::Table;
use nonos_storage::{
    CURRENT_SCHEMA_VERSION, ErrorCode, NodeStorage, NonosError, Outlook, StorageConfig, Survey,
};
use serde::Serialize;

use crate::args::{Args, SchemaVerb};
use crate::error::CliError;
use crate::output::{Report, mib, rfc3339};
use crate::places::Places;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Schema {
    database: PathBuf,
    version: u32,
    supported: u32,
    /// What the record says, which the first implementation stamped 2 while its layout is 1.
    stamped: u32,
    created_at: String,
    last_migration: Option<String>,
    migration_interrupted: bool,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Migration {
    from_version: u32,
    to_version: u32,
    applied_at: String,
    duration_ms: u64,
    success: bool,
}

/// What a migration would do, or would still do.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Plan {
    database: PathBuf,
    pub(crate) from_version: u32,
    pub(crate) to_version: u32,
    resumes: bool,
    pub(crate) records: u64,
    quarantined: u64,
    bytes_before: u64,
    bytes_after: u64,
    trees: Vec<PlannedTree>,
    unconvertible: Vec<Unconvertible>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PlannedTree {
    name: &'static str,
    records: u64,
    changed: u64,
    deleted: u64,
    quarantined: u64,
    bytes_before: u64,
    bytes_after: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Unconvertible {
    tree: &'static str,
    key_hex: String,
    reason: String,
}

pub(crate) fn schema(args: &Args, what: SchemaVerb) -> Result<(), CliError> {
    match what {
        SchemaVerb::Show => Report::start("nonos.schema/1", args.output).finish(show(args), shown),
        SchemaVerb::History => {
            Report::start("nonos.schema-history/1", args.output).finish(history(args), listed)
        }
        SchemaVerb::Plan => {
            Report::start("nonos.migration-plan/1", args.output).finish(plan(args), planned)
        }
    }
}

pub(crate) fn outlook(args: &Args, survey: bool) -> Result<(PathBuf, Outlook), CliError> {
    let config = Places::of(args)?.load()?.storage;
    match NodeStorage::schema_outlook(&config, survey) {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::NotFound => {
            let path = config.path;
            Err(CliError::NoDatabase { path })
        }
        outlook => Ok((config.path, outlook?)),
    }
}

/// The version of the records at `config.path`, for a verb that is to change them: an exchange of the
/// database that was interrupted is finished. `None` if there is no database.
pub(crate) fn version(config: &StorageConfig) -> Result<Option<u32>, CliError> {
    NodeStorage::finish_exchange(config)?;
    match NodeStorage::schema_outlook(config, false) {
        Err(NonosError::Storage(error)) if error.code() == ErrorCode::NotFound => Ok(None),
        outlook => Ok(Some(outlook?.version)),
    }
}

fn show(args: &Args) -> Result<Schema, CliError> {
    let (database, outlook) = outlook(args, false)?;
    Ok(Schema {
        database,
        version: outlook.version,
        supported: CURRENT_SCHEMA_VERSION,
        stamped: outlook.info.version,
        created_at: rfc3339(outlook.info.created_at),
        last_migration: outlook.info.last_migration.map(rfc3339),
        migration_interrupted: outlook.is_interrupted,
    })
}

fn shown(schema: &Schema) -> String {
    let state = match (
        schema.migration_interrupted,
        schema.version < schema.supported,
    ) {
        (true, _) => "a migration was interrupted: `nonos migrate` goes on, `--abort` undoes it",
        (_, true) => "older: `nonos schema plan` shows what migrating would do",
        _ => "current",
    };
    format!(
        "database   {}\nschema     {} of {}, {state}\ncreated    {}\nmigrated   {}",
        schema.database.display(),
        schema.version,
        schema.supported,
        schema.created_at,
        schema.last_migration.as_deref().unwrap_or("never"),
    )
}

fn history(args: &Args) -> Result<Vec<Migration>, CliError> {
    let (_, outlook) = outlook(args, false)?;
    let applied = outlook.info.migrations_applied.into_iter();
    Ok(applied
        .map(|record| Migration {
            from_version: record.from_version,
            to_version: record.to_version,
            applied_at: rfc3339(record.applied_at),
            duration_ms: record.duration_ms,
            success: record.success,
        })
        .collect())
}

fn listed(history: &Vec<Migration>) -> String {
    if history.is_empty() {
        return "no migration was applied".to_owned();
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["FROM", "TO", "AT", "TOOK", "RESULT"]);
    for applied in history {
        table.add_row([
            applied.from_version.to_string(),
            applied.to_version.to_string(),
            applied.applied_at.clone(),
            format!("{} ms", applied.duration_ms),
            if applied.success {
                "done"
            } else {
                "interrupted"
            }
            .to_owned(),
        ]);
    }
    table.to_string()
}

/// What migrating would do; nothing is changed.
pub(crate) fn plan(args: &Args) -> Result<Option<Plan>, CliError> {
    let (database, outlook) = outlook(args, true)?;
    Ok(outlook
        .survey
        .map(|survey| plan_of(database, outlook.is_interrupted, survey)))
}

fn plan_of(database: PathBuf, resumes: bool, survey: Survey) -> Plan {
    let records = survey.records();
    let trees = survey.trees.into_iter().map(|tree| PlannedTree {
        name: tree.tree.name(),
        records: tree.records,
        changed: tree.changed,
        deleted: tree.deleted,
        quarantined: tree.quarantined,
        bytes_before: tree.bytes_before,
        bytes_after: tree.bytes_after,
    });
    let trees: Vec<_> = trees.collect();
    let unconvertible = survey
        .unconvertible
        .into_iter()
        .map(|record| Unconvertible {
            tree: record.tree.name(),
            key_hex: record.key_hex,
            reason: record.reason,
        });
    Plan {
        database,
        from_version: survey.from_version,
        to_version: survey.to_version,
        resumes,
        records,
        quarantined: survey.quarantined,
        bytes_before: trees.iter().map(|tree| tree.bytes_before).sum(),
        bytes_after: trees.iter().map(|tree| tree.bytes_after).sum(),
        trees,
        unconvertible: unconvertible.collect(),
    }
}

/// A plan as a table.
#[expect(
    clippy::ref_option,
    reason = "a report is given what it shows by reference"
)]
pub(crate) fn planned(plan: &Option<Plan>) -> String {
    let Some(plan) = plan else {
        return "nothing to do: the schema is current".to_owned();
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "TREE",
        "RECORDS",
        "CHANGED",
        "DELETED",
        "SET ASIDE",
        "BEFORE",
        "AFTER",
    ]);
    for tree in &plan.trees {
        table.add_row([
            tree.name.to_owned(),
            tree.records.to_string(),
            tree.changed.to_string(),
            tree.deleted.to_string(),
            tree.quarantined.to_string(),
            mib(tree.bytes_before),
            mib(tree.bytes_after),
        ]);
    }
    let mut text = format!(
        "database  {}\nschema    {} to {}{}\nrecords   {}, {} do not convert\n\n{table}",
        plan.database.display(),
        plan.from_version,
        plan.to_version,
        if plan.resumes {
            ", goes on with an interrupted one"
        } else {
            ""
        },
        plan.records,
        plan.quarantined,
    );
    for record in &plan.unconvertible {
        let Unconvertible {
            tree,
            key_hex,
            reason,
        } = record;
        text.extend([
            "
", tree, " ", key_hex, ": ", reason,
        ]);
    }
    text
}
