//! `nonos repair`: a new database of everything that is intact of one that does not open.

use std::path::PathBuf;

use comfy_table::Table;
use nonos_storage::{NodeStorage, RepairOptions, RepairReport, TreeSalvage};
use serde::Serialize;

use crate::args::{Args, Verb};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::cmd::restore::kept_path;
use crate::error::CliError;
use crate::output::{Report, push_line};
use crate::places::Places;
use crate::progress;

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the result"
)]
pub(crate) struct Repaired {
    database: PathBuf,
    into: PathBuf,
    /// Where the old one is, if the new one is in its place.
    kept: Option<PathBuf>,
    dry_run: bool,
    records: u64,
    trees: Vec<Tree>,
    lost_commits: Vec<Lost>,
    /// Whether more commits than these are, or may be, lost behind the last one that can be read.
    end_unknown: bool,
    damaged_pieces: u64,
    quarantined: u64,
    quarantine: Option<PathBuf>,
    schema_version: u32,
    schema_record_made: bool,
    original_locked: bool,
    verified: Option<Verified>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Tree {
    name: &'static str,
    records: u64,
    from_checkpoints: u64,
    from_commits: u64,
    from_index: u64,
    from_moved_aside: u64,
    /// How many of them were read, older versions too.
    found_in_checkpoints: u64,
    found_in_commits: u64,
    found_in_index: u64,
    found_in_moved_aside: u64,
    conflicts: u64,
    index_won: u64,
    quarantined: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Lost {
    first: u64,
    last: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Verified {
    errors: u64,
    warnings: u64,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Found {
    code: &'static str,
    tree: Option<&'static str>,
    key_hex: String,
    detail: String,
    fix: Option<&'static str>,
}

pub(crate) fn repair(args: &Args) -> Result<(), CliError> {
    let report = Report::start("nonos.repair/1", args.output);
    let Verb::Repair { look, .. } = args.verb else {
        return Ok(());
    };
    let judge = |done: &Repaired| look.judge(done.is_needed());
    report.judged(work(args), judge, table)
}

impl Repaired {
    /// Whether something is lost, or was found in one place only.
    fn is_needed(&self) -> bool {
        let is_saved = |tree: &Tree| tree.index_won > 0 || tree.from_moved_aside > 0;
        !self.lost_commits.is_empty()
            || self.end_unknown
            || self.schema_record_made
            || self.damaged_pieces + self.quarantined > 0
            || self.trees.iter().any(is_saved)
    }
}

fn work(args: &Args) -> Result<Repaired, CliError> {
    let mut how = RepairOptions::default();
    let mut commits = false;
    if let Verb::Repair { look, into, commit } = &args.verb {
        how.dry_run = look.dry_run;
        how.into.clone_from(into);
        commits = *commit;
    }
    let places = Places::of(args)?;
    let config = places.load()?.storage;
    if !how.dry_run {
        cmd::alone(args, &places.data_dir, &config.path)?;
    }
    if commits {
        let shown = config.path.display();
        confirm(args, &format!("putting a repaired database at {shown}"))?;
    }
    NodeStorage::finish_exchange(&config)?;
    let opening = progress::cancellable(args, config.clone())?;
    let mut done = told(NodeStorage::repair(&opening, &how)?);
    if commits {
        let kept = kept_path(&done.database)?;
        NodeStorage::exchange(&config, &done.into, &kept)?;
        done.into.clone_from(&done.database);
        done.kept = Some(kept);
    }
    Ok(done)
}

fn told(done: RepairReport) -> Repaired {
    let verified = done.integrity.map(|found| Verified {
        errors: found.errors,
        warnings: found.warnings,
        findings: found
            .findings
            .into_iter()
            .map(|found| Found {
                code: found.code.name(),
                tree: found.tree.map(nonos_storage::TreeId::name),
                key_hex: found.key_hex,
                detail: found.detail,
                fix: found.code.fix(),
            })
            .collect(),
    });
    let salvaged = done.salvaged;
    let lost = salvaged.lost_commits().iter();
    Repaired {
        database: done.from,
        into: done.into,
        kept: None,
        dry_run: done.dry_run,
        records: salvaged.records(),
        trees: salvaged.trees.iter().map(tree).collect(),
        lost_commits: lost
            .map(|range| Lost {
                first: *range.start(),
                last: *range.end(),
            })
            .collect(),
        end_unknown: salvaged.lost.is_open || salvaged.lost.is_unknown,
        damaged_pieces: salvaged.damaged_pieces,
        quarantined: salvaged.quarantined(),
        quarantine: done.quarantine,
        schema_version: done.schema_version,
        schema_record_made: done.schema_record_made,
        original_locked: salvaged.is_locked,
        verified,
        notes: salvaged.notes,
    }
}

fn tree(found: &TreeSalvage) -> Tree {
    let of = &found.sources;
    Tree {
        name: found.tree.name(),
        records: found.records,
        from_checkpoints: of.checkpoints.kept,
        from_commits: of.commits.kept,
        from_index: of.index.kept,
        from_moved_aside: of.moved_aside.kept,
        found_in_checkpoints: of.checkpoints.found,
        found_in_commits: of.commits.found,
        found_in_index: of.index.found,
        found_in_moved_aside: of.moved_aside.found,
        conflicts: found.conflicts,
        index_won: found.index_won,
        quarantined: found.quarantined,
    }
}

fn table(done: &Repaired) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "TREE",
        "RECORDS",
        "CHECKPOINTS",
        "COMMITS",
        "INDEX",
        "MOVED ASIDE",
        "CONFLICTS",
        "DAMAGED",
    ]);
    for tree in &done.trees {
        let numbers = [
            tree.records,
            tree.from_checkpoints,
            tree.from_commits,
            tree.from_index,
            tree.from_moved_aside,
            tree.conflicts,
            tree.quarantined,
        ];
        let numbers = numbers.iter().map(u64::to_string);
        table.add_row(std::iter::once(tree.name.to_owned()).chain(numbers));
    }
    let mut text = table.to_string();
    let line = &mut text;
    for note in &done.notes {
        push_line(line, format_args!("{note}"));
    }
    for Lost { first, last } in &done.lost_commits {
        push_line(line, format_args!("lost: commits {first} to {last}"));
    }
    if done.end_unknown {
        push_line(
            line,
            format_args!("lost: what followed the last commit, if anything did"),
        );
    }
    if let Some(kept) = &done.kept {
        push_line(
            line,
            format_args!("what was there before is in {}", kept.display()),
        );
    }
    if !done.original_locked {
        push_line(
            line,
            format_args!("there is no lock file: nothing kept others from the original"),
        );
    }
    if done.schema_record_made {
        push_line(
            line,
            format_args!("the record of the schema was lost and is made anew"),
        );
    }
    if let Some(verified) = &done.verified {
        for found in &verified.findings {
            let place = found.tree.unwrap_or("the database");
            push_line(
                line,
                format_args!("{} {place} {}: {}", found.code, found.key_hex, found.detail),
            );
        }
        push_line(
            line,
            format_args!(
                "verified: {} errors, {} warnings",
                verified.errors, verified.warnings
            ),
        );
    }
    let would = if done.dry_run { "would be" } else { "are" };
    if let Some(quarantine) = &done.quarantine {
        push_line(
            line,
            format_args!(
                "{} damaged records and {} pieces of files {would} listed in {}",
                done.quarantined,
                done.damaged_pieces,
                quarantine.display()
            ),
        );
    }
    push_line(
        line,
        format_args!(
            "{} records {would} in {}",
            done.records,
            done.into.display()
        ),
    );
    text
}
