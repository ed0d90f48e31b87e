//! `nonos audit`: what was done to sensitive records, and whether the log of it is whole.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use comfy_table::Table;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
#[cfg(feature = "encrypted-storage")]
use nonos_daemon::settings::Settings;
#[cfg(feature = "encrypted-storage")]
use nonos_storage::{Access, CryptoError, NonosError};
use nonos_storage::{AuditLogEntry, ChainReport, NodeStorage};
use serde::Serialize;

use crate::args::{Args, AuditVerb};
use crate::cmd;
use crate::error::CliError;
use crate::output::{self, Report, push_line, rfc3339_ms, write_new_file};
use crate::places::Places;

const NOTE: &str = "
note it elsewhere: `nonos audit verify --since NUMBER --head HASH` finds out later whether this
log goes on from it";

const FIX: &str = "nonos audit verify as the node's user, or with --key-file FILE or --key-fd N";

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Entries {
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Entry {
    time: String,
    timestamp_ms: i64,
    tree: String,
    operation: String,
    details: Option<String>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Chain {
    entries: u64,
    first: u64,
    next: u64,
    head: String,
    unsealed: u64,
    faults: u64,
    findings: Vec<Finding>,
    /// Why the tag of the head was not checked, if it should be.
    #[serde(skip)]
    unchecked: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Finding {
    time: Option<String>,
    detail: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Exported {
    file: PathBuf,
    entries: usize,
}

pub(crate) fn audit(args: &Args, what: &AuditVerb) -> Result<(), CliError> {
    match what {
        AuditVerb::Tail { count } => {
            let report = Report::start("nonos.audit-tail/1", args.output);
            report.finish(tail(args, *count), table)
        }
        AuditVerb::Verify { since, head } => {
            let report = Report::start("nonos.audit-verify/1", args.output);
            let refused = RefCell::new(None);
            let judge = |chain: &Chain| {
                let what = "the audit log is not the one that was written";
                let error = (chain.faults > 0).then_some(CliError::Findings { what });
                let error = error.or_else(|| refused.take());
                let unchecked = chain.unchecked.iter();
                let findings = unchecked.map(|why| {
                    let detail = format!("tag not checked: {why}");
                    output::Finding::warning("TAG_NOT_CHECKED", detail, FIX)
                });
                (error, findings.collect())
            };
            let checked = verify(args, *since, head.as_deref(), &refused);
            report.judged(checked, judge, verified)
        }
        AuditVerb::Export { file } => {
            let report = Report::start("nonos.audit-export/1", args.output);
            report.finish(export(args, file), |done| {
                format!("{} entries are in {}", done.entries, done.file.display())
            })
        }
    }
}

/// Sets the keys, if there are any; otherwise says why nobody can tell whose head it is. Keys that are refused, as they
/// are where the head is not theirs, are an error of the verb's: the chain is looked at all the same.
#[cfg(feature = "encrypted-storage")]
fn unlock(
    args: &Args,
    settings: &Settings,
    storage: &NodeStorage,
    refused: &RefCell<Option<CliError>>,
) -> Result<Option<&'static str>, CliError> {
    if storage.secrets_status()?.active.is_none() {
        return Ok(None);
    }
    let none = "there is no key here that proves it";
    // Root does not read what another user's node trusts.
    if crate::keys::is_of_node(args, settings) {
        return Ok(Some(none));
    }
    match crate::keys::unlock_if_there(args, settings, storage) {
        // They are neither right nor wrong.
        Err(
            CliError::KeyFile(_)
            | CliError::Storage(NonosError::Encryption(
                CryptoError::PassphraseRequired | CryptoError::RekeyInProgress { .. },
            )),
        ) => Ok(Some("the key here cannot be used now")),
        Err(error @ CliError::Storage(NonosError::Encryption(_))) => {
            refused.replace(Some(error));
            Ok(Some("the key here is refused"))
        }
        // Keys that only seal prove nothing.
        there => {
            let proves = there? && storage.secrets_status()?.access != Some(Access::Public);
            Ok((!proves).then_some(none))
        }
    }
}

fn view(args: &Args) -> Result<NodeStorage, CliError> {
    cmd::view(&Places::of(args)?.load()?)
}

fn entry(entry: AuditLogEntry) -> Entry {
    Entry {
        time: rfc3339_ms(entry.timestamp),
        timestamp_ms: entry.timestamp,
        tree: entry.tree,
        operation: entry.operation,
        details: entry.details,
    }
}

/// The newest entries, oldest first, as a log is read.
fn tail(args: &Args, count: usize) -> Result<Entries, CliError> {
    let entries = view(args)?.load_audit_log(count)?;
    Ok(Entries {
        entries: entries.into_iter().rev().map(entry).collect(),
    })
}

fn table(entries: &Entries) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["TIME", "TREE", "OPERATION", "DETAILS"]);
    for entry in &entries.entries {
        table.add_row([
            &entry.time,
            &entry.tree,
            &entry.operation,
            entry.details.as_deref().unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn verify(
    args: &Args,
    since: Option<u64>,
    head: Option<&str>,
    refused: &RefCell<Option<CliError>>,
) -> Result<Chain, CliError> {
    let known = match (since, head) {
        (Some(number), Some(head)) => {
            let hash = unhex(head).ok_or(CliError::Head)?;
            Some((number, hash))
        }
        _ => None,
    };
    let settings = Places::of(args)?.load()?;
    let storage = cmd::view(&settings)?;
    #[cfg(feature = "encrypted-storage")]
    let unchecked = unlock(args, &settings, &storage, refused)?;
    #[cfg(not(feature = "encrypted-storage"))]
    let (unchecked, _) = (None, refused);
    let report: ChainReport = storage.verify_audit_log(known)?;
    Ok(Chain {
        unchecked,
        entries: report.entries,
        first: report.first_seq,
        next: report.len,
        head: HEXLOWER.encode(&report.hash),
        unsealed: report.unsealed,
        faults: report.faults,
        findings: report
            .findings
            .iter()
            .map(|finding| Finding {
                time: finding.timestamp.map(rfc3339_ms),
                detail: finding.fault.to_string(),
            })
            .collect(),
    })
}

fn verified(chain: &Chain) -> String {
    let mut text = format!("entries  {}, from number {}", chain.entries, chain.first);
    if let Some(newest) = chain.next.checked_sub(1) {
        let head = &chain.head;
        push_line(&mut text, format_args!("head     {newest} {head}"));
        text.push_str(NOTE);
    }
    if chain.unsealed > 0 {
        let unsealed = chain.unsealed;
        push_line(
            &mut text,
            format_args!(
                "the newest {unsealed} entries were written without keys: nobody vouches for them"
            ),
        );
    }
    if let Some(why) = &chain.unchecked {
        push_line(&mut text, format_args!("tag not checked: {why}"));
    }
    for finding in &chain.findings {
        let time = finding.time.as_deref().unwrap_or("the whole");
        push_line(
            &mut text,
            format_args!("FAULT    {time}: {}", finding.detail),
        );
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

fn export(args: &Args, file: &Path) -> Result<Exported, CliError> {
    let entries = view(args)?.load_audit_log(usize::MAX)?;
    let mut text = String::new();
    for found in entries.into_iter().rev() {
        let line = serde_json::to_string(&entry(found)).map_err(|source| CliError::Output {
            source: source.into(),
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    write_new_file(args, file, text.as_bytes())?;
    Ok(Exported {
        file: file.to_owned(),
        entries: text.lines().count(),
    })
}
