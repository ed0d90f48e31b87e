//! A backup in a file of its own, which may be encrypted.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nonos_daemon::encryption::{self, BackupKeys};
use nonos_daemon::settings::Settings;
use nonos_storage::{BackupInfo, NodeStorage, NonosError, StorageError};
use serde::Serialize;

use super::{Of, refuse_plain_secrets, scratch};
use crate::cmd;
use crate::cmd::migrate::confirm;
use crate::error::CliError;
use crate::output::{mib, rfc3339};
use crate::targets;

/// Of the JSON of all verbs on one.
pub(super) const SCHEMA: &str = "nonos.backup-file/1";

/// What a backup file says of itself.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct OfFile {
    file: PathBuf,
    store_id: String,
    commit: u64,
    created_at: String,
    bytes: u64,
    entries: u64,
    schema_version: u32,
    program: String,
    /// Secrets and the node's identity were left out.
    redacted: bool,
}

/// Whether a name is that of a single backup file, not of a place for backups.
pub(crate) fn is_file(name: &str) -> bool {
    let ending = Path::new(name).extension();
    !name.contains("://") && ending.is_some_and(|ending| ending == "nonos" || ending == "age")
}

fn is_encrypted(file: &Path) -> bool {
    file.to_string_lossy().ends_with(encryption::ENDING)
}

/// Writes everything to a file; without secrets, if it is to be redacted.
pub(super) fn create(
    of: Of<'_>,
    file: &Path,
    recipients: &[String],
    is_redacted: bool,
) -> Result<OfFile, CliError> {
    let keys = if is_redacted && recipients.is_empty() && !is_encrypted(file) {
        // To be given away: not to who reads the node's own backups.
        BackupKeys::default()
    } else {
        targets::writing_keys(of.settings, recipients)?
    };
    if keys.encrypts() != is_encrypted(file) {
        return Err(CliError::Usage {
            what: if keys.encrypts() {
                "an encrypted backup file is named with .nonos.age at its end"
            } else {
                "a file that ends in .age is encrypted: name a --recipient"
            },
        });
    }
    let storage = cmd::long_view(of.args, of.settings)?;
    if !is_redacted {
        refuse_plain_secrets(&storage, &keys)?;
    }
    if file.exists() {
        confirm(of.args, &format!("replacing {}", file.display()))?;
    }
    let export = |to: &Path| {
        let exported = if is_redacted {
            storage.export_redacted(to)
        } else {
            storage.export_backup(to)
        };
        Ok::<_, CliError>(exported.map(drop)?)
    };
    if !keys.encrypts() {
        export(file)?;
        return of_file(file, file);
    }
    beside_database(of.settings, |directory| {
        let plain = directory.join("plain.nonos");
        export(&plain)?;
        let published = keys.publish(&plain, file);
        published.map_err(|source| CliError::Encrypted {
            path: file.to_owned(),
            source,
        })?;
        of_file(file, &plain)
    })
}

/// Reads a backup file whole, decrypted first if it is encrypted.
pub(super) fn verify(of: Of<'_>, file: &Path, identity: Option<&Path>) -> Result<OfFile, CliError> {
    decrypted(of, file, identity, |plain| of_file(file, plain))
}

/// Does something with a backup file as it was before it was encrypted, if it was.
pub(crate) fn decrypted<R>(
    of: Of<'_>,
    file: &Path,
    identity: Option<&Path>,
    f: impl FnOnce(&Path) -> Result<R, CliError>,
) -> Result<R, CliError> {
    if !is_encrypted(file) {
        return f(file);
    }
    let keys = targets::reading_keys(of.args, of.settings, identity)?;
    beside_database(of.settings, |directory| {
        let plain = directory.join("plain.nonos");
        let decrypted = keys.decrypt(file, &plain);
        decrypted.map_err(|source| CliError::Encrypted {
            path: file.to_owned(),
            source,
        })?;
        f(&plain)
    })
}

/// Does something in a directory beside the database, or with other temporary files where there is none yet; it is
/// removed.
fn beside_database<R>(
    settings: &Settings,
    f: impl FnOnce(&Path) -> Result<R, CliError>,
) -> Result<R, CliError> {
    let beside = Some(scratch(settings)).filter(|directory| directory.is_dir());
    let done = nonos_storage::in_scratch(&beside.unwrap_or_else(std::env::temp_dir), f);
    done.map_err(|error| NonosError::from(StorageError::from(error)))?
}

/// What a backup file says of itself: `plain` is what is in `file`.
fn of_file(file: &Path, plain: &Path) -> Result<OfFile, CliError> {
    let info: BackupInfo = NodeStorage::verify_backup(plain)?;
    Ok(OfFile {
        file: file.to_owned(),
        store_id: HEXLOWER.encode(&info.store_id),
        commit: info.commit,
        created_at: rfc3339(info.created_at),
        bytes: info.bytes,
        entries: info.entries,
        schema_version: info.schema_version,
        program: info.program_version,
        redacted: info.is_redacted,
    })
}

pub(super) fn told(found: &OfFile) -> String {
    let without = if found.redacted {
        "\nwithout secrets and the node's identity"
    } else {
        ""
    };
    format!(
        "{}\n{} records at commit {}, {}, made {} by {}\nstore {}, schema {}{without}",
        found.file.display(),
        found.entries,
        found.commit,
        mib(found.bytes),
        found.created_at,
        found.program,
        found.store_id,
        found.schema_version,
    )
}
