//! `nonos verify`: whether everything is as it was written.

use std::path::PathBuf;

use comfy_table::Table;
use nonos_storage::{Finding, NodeStorage, NonosError, TreeId, holder};
use serde::Serialize;

use crate::admin::{self, Comparison, Done};
use crate::args::Args;
use crate::cmd;
use crate::error::CliError;
use crate::output::{self, Report, push_line};
use crate::places::Places;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The journal is read, and its counts and digests.
    Quick,
    /// Every record by itself.
    Records,
    /// The chain of the audit log, sealed records and their tags as well.
    Deep,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Verified {
    database: PathBuf,
    depth: &'static str,
    /// Of all trees but the schema's.
    entries: usize,
    corrupted: usize,
    errors: u64,
    warnings: u64,
    /// Whether the index was compared with the journal, which only the daemon that has it can.
    index_compared: bool,
    /// Whether the keys were there, so that sealed records were opened and their tags checked.
    secrets_checked: bool,
    trees: Vec<Tree>,
    #[serde(skip)]
    findings: Vec<output::Finding>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Tree {
    name: &'static str,
    entries: usize,
    corrupted: usize,
}

pub(crate) fn verify(
    args: &Args,
    depth: Depth,
    tree: Option<&str>,
    max_errors: usize,
) -> Result<(), CliError> {
    let report = Report::start("nonos.verify/1", args.output);
    let judge = |verified: &Verified| {
        let what = "records are not as they were written";
        let error = (verified.errors > 0).then_some(CliError::Findings { what });
        (error, verified.findings.clone())
    };
    report.judged(read(args, depth, tree, max_errors), judge, table)
}

fn read(
    args: &Args,
    depth: Depth,
    tree: Option<&str>,
    max_errors: usize,
) -> Result<Verified, CliError> {
    let tree = tree.map(admin::named).transpose()?;
    let places = Places::of(args)?;
    let settings = places.load()?;
    // Before it is read: what a writer is writing then is no damage.
    let is_held = holder(&settings.storage.path)
        .map_err(NonosError::from)?
        .is_some();
    let storage = cmd::long_view(args, &settings)?;
    let mut verified = Verified {
        database: storage.data_path().to_owned(),
        depth: match depth {
            Depth::Quick => "quick",
            Depth::Records => "records",
            Depth::Deep => "deep",
        },
        entries: 0,
        corrupted: 0,
        errors: 0,
        warnings: 0,
        index_compared: false,
        secrets_checked: false,
        trees: Vec::new(),
        findings: Vec::new(),
    };
    journal(&storage, is_held, &mut verified);
    if depth == Depth::Quick {
        verified.entries = storage.tree_sizes()?.total();
        return Ok(verified);
    }
    #[cfg(feature = "encrypted-storage")]
    if depth == Depth::Deep && storage.secrets_status()?.active.is_some() {
        // Root does not read what another user's node trusts.
        let is_known = !crate::keys::is_of_node(args, &settings)
            && match crate::keys::unlock_if_there(args, &settings, &storage) {
                Err(error) if error.is_rollback() => {
                    // Whether its records are sound is asked before it is taken as it is.
                    verified.warnings += 1;
                    verified.findings.push(output::Finding::warning(
                        "ROLLED_BACK",
                        output::chain(&error),
                        "nonos secrets accept-rollback, if it was put back on purpose",
                    ));
                    false
                }
                unlocked => unlocked?,
            };
        // Keys that only seal open nothing.
        let access = storage.secrets_status()?.access;
        verified.secrets_checked = is_known && access == Some(nonos_storage::Access::Full);
        if !verified.secrets_checked {
            verified.warnings += 1;
            verified.findings.push(output::Finding::warning(
                "SECRETS_NOT_CHECKED",
                "there is no key here that opens them: sealed records were not opened".to_owned(),
                "nonos verify --deep as the node's user, or with --key-file FILE or --key-fd N",
            ));
        }
    }
    let found = storage.verify_integrity_with(tree, max_errors, depth == Depth::Deep)?;
    let of = |found: &nonos_storage::TreeIntegrity| Tree {
        name: found.tree.name(),
        entries: found.entries,
        corrupted: found.corrupted,
    };
    verified.trees = found.trees.iter().map(of).collect();
    let counted = found.trees.iter();
    let counted = counted.filter(|of| of.tree != TreeId::Schema);
    verified.entries = counted.map(|of| of.entries).sum();
    verified.corrupted = verified.trees.iter().map(|tree| tree.corrupted).sum();
    verified.errors = found.errors;
    verified.warnings += found.warnings;
    verified
        .findings
        .extend(found.findings.into_iter().map(told));
    // A database that nobody holds is not the daemon's.
    if depth == Depth::Deep && !args.offline && is_held {
        let room = max_errors.saturating_sub(verified.findings.len());
        match admin::compare_index(&places.data_dir, tree)? {
            Comparison::Nobody => {}
            Comparison::Done(differences, found) => {
                verified.index_compared = true;
                verified.errors += differences;
                let found = found.into_iter().take(room).map(compared);
                verified.findings.extend(found);
            }
            Comparison::Failed(error) => {
                verified.warnings += 1;
                let found = std::iter::once(not_compared(&error)).take(room);
                verified.findings.extend(found);
            }
        }
    }
    #[cfg(feature = "encrypted-storage")]
    let are_secrets_known = verified.secrets_checked || storage.secrets_status()?.active.is_none();
    #[cfg(not(feature = "encrypted-storage"))]
    let are_secrets_known = true;
    // What looks at less takes back nothing of what a scrub found.
    if tree.is_none() && verified.index_compared && are_secrets_known {
        let done = Done::Verified {
            store_id: storage.store_id().0,
            errors: verified.errors,
        };
        admin::tell(args, &places.data_dir, done);
    }
    Ok(verified)
}

/// What was damaged in the journal and could be read all the same.
fn journal(storage: &NodeStorage, is_held: bool, verified: &mut Verified) {
    let report = storage.opening_report();
    let mut found: Vec<String> = report.damage.clone();
    if report.cut_bytes > 0 && !is_held {
        let bytes = report.cut_bytes;
        found.push(format!(
            "the last {bytes} bytes of the journal are no whole commit: a crash left them, or they are damaged"
        ));
    }
    // Opening it for writing heals it, and closing it forgets what was told.
    let fix = if is_held {
        "restart the daemon"
    } else {
        "nonos compact"
    };
    verified.warnings = u64::try_from(found.len()).unwrap_or(u64::MAX);
    verified.findings = found
        .into_iter()
        .map(|detail| output::Finding::warning("JOURNAL", detail, fix))
        .collect();
}

fn not_compared(error: &CliError) -> output::Finding {
    let detail = format!("the index was not compared: {}", output::chain(error));
    let fix = error.remedy();
    output::Finding::warning("INDEX_NOT_COMPARED", detail, fix)
}

fn compared(of: admin::Difference) -> output::Finding {
    let tree = TreeId::from_name(&of.tree);
    output::Finding {
        code: of.code,
        severity: "error",
        tree: tree.map(TreeId::name),
        key_hex: Some(of.key_hex),
        detail: of.detail,
        fix: of.fix,
    }
}

pub(crate) fn told(found: Finding) -> output::Finding {
    output::Finding {
        code: found.code.name().to_owned(),
        severity: found.code.severity().name(),
        tree: found.tree.map(TreeId::name),
        key_hex: Some(found.key_hex),
        detail: found.detail,
        fix: found.code.fix().map(str::to_owned),
    }
}

fn findings(verified: &Verified, text: &mut String) {
    for found in &verified.findings {
        let place = found.tree.unwrap_or("the database");
        let (severity, code) = (found.severity, &found.code);
        let key = found.key_hex.as_deref().unwrap_or_default();
        push_line(
            text,
            format_args!("{severity}: {code} {place} {key}: {}", found.detail),
        );
        if let Some(fix) = &found.fix {
            push_line(text, format_args!("  help: `{fix}`"));
        }
    }
}

fn table(verified: &Verified) -> String {
    if verified.depth == "quick" {
        let entries = verified.entries;
        let journal = if verified.findings.is_empty() {
            "the journal is whole"
        } else {
            "the journal can be read"
        };
        let mut text = format!("{entries} records: {journal}; their contents were not looked at");
        findings(verified, &mut text);
        return text;
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["TREE", "ENTRIES", "CORRUPTED"]);
    for tree in &verified.trees {
        table.add_row([
            tree.name.to_owned(),
            tree.entries.to_string(),
            tree.corrupted.to_string(),
        ]);
    }
    let mut text = table.to_string();
    findings(verified, &mut text);
    if verified.depth == "deep" && !verified.index_compared {
        let what = "the index was not compared with the journal: the daemon does that while it runs, and \
                    what it opens it heals";
        push_line(&mut text, format_args!("{what}"));
    }
    let (errors, warnings) = (verified.errors, verified.warnings);
    push_line(
        &mut text,
        format_args!("{errors} errors, {warnings} warnings"),
    );
    text
}
