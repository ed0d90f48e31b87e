//! Backups as text.

use comfy_table::Table;
use data_encoding::HEXLOWER;
use nonos_storage::{Backup, BackupKind};
use serde::Serialize;

use super::Backups;
use crate::output::{mib, push_line, rfc3339, rfc3339_ms};

/// A backup, as all verbs show it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Shown {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) store_id: String,
    pub(super) history: String,
    pub(super) commit: u64,
    /// When the last commit in it was made.
    pub(super) state_at: String,
    pub(super) created_at: String,
    pub(super) bytes: u64,
    /// Records in a full one.
    pub(super) entries: Option<u64>,
    pub(super) schema_version: u32,
    pub(super) blake2b_256: String,
    pub(super) program: String,
    pub(super) verified_at: Option<String>,
}

pub(super) fn shown(backup: Backup) -> Shown {
    Shown {
        name: backup.name(),
        kind: match backup.kind {
            BackupKind::Full => "full",
            _ => "increment",
        },
        store_id: HEXLOWER.encode(&backup.store_id),
        history: HEXLOWER.encode(&backup.history),
        commit: backup.commit,
        state_at: rfc3339_ms(backup.last_at_ms),
        created_at: rfc3339(backup.created_at),
        bytes: backup.bytes,
        entries: (backup.kind == BackupKind::Full).then_some(backup.entries),
        schema_version: backup.schema_version,
        blake2b_256: HEXLOWER.encode(&backup.hash),
        program: backup.program,
        verified_at: backup.verified_at.map(rfc3339),
    }
}

pub(super) fn table(found: &Backups) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["STATE OF", "COMMIT", "KIND", "SIZE", "VERIFIED", "NAME"]);
    for backup in &found.backups {
        table.add_row([
            backup.state_at.clone(),
            backup.commit.to_string(),
            backup.kind.to_owned(),
            mib(backup.bytes),
            backup.verified_at.clone().unwrap_or_else(|| "-".to_owned()),
            backup.name.clone(),
        ]);
    }
    let mut text = table.to_string();
    for name in &found.unreadable {
        push_line(
            &mut text,
            format_args!("warning: the note {name} cannot be read"),
        );
    }
    text
}

pub(super) fn detailed(found: &Shown) -> String {
    let mut text = format!(
        "{} of store {}, history {}\nstate of {}, commit {}\n{}, made {} by {}\nBLAKE2b-256 {}",
        found.kind,
        found.store_id,
        found.history,
        found.state_at,
        found.commit,
        mib(found.bytes),
        found.created_at,
        found.program,
        found.blake2b_256,
    );
    if let Some(at) = &found.verified_at {
        push_line(&mut text, format_args!("verified {at}"));
    }
    text
}
