//! Backups without secrets, to be given away: to somebody who looks for a fault, for example.

use std::ops::Bound;
use std::path::Path;

use storage_core::history::{Checkpoint, RealDisk, Record, write_checkpoint};
use storage_core::trees::secrets::{self, Stored};
use storage_core::trees::{audit_log, identity};
use storage_core::{CoreError, Encoding, Order, Read, TreeId, seal_frame};

use crate::backup::{self, BackupError};
use crate::restore::with;

/// Its record tells that secrets were left out. Of the present schema.
pub(crate) const KEY: &[u8] = b"__redacted__";
const VERSION: u8 = 2;

/// Writes what is in a backup to another one, but for the secrets, the identity of the node, and what secrets
/// are sealed with; returns its length in bytes. What it is made of is not verified: it is taken from
/// [`export_backup`](crate::export_backup), which was read back.
///
/// The audit log keeps the names of secrets.
///
/// # Errors
///
/// [`BackupError::Invalid`], [`BackupError::Core`]: no new file appears.
pub fn redact(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let (checkpoint, _) = backup::open(from)?;
    let tree = TreeId::Schema;
    let frame = seal_frame(tree, KEY, Encoding::Raw, VERSION, b"secrets", false)?;
    let records = checkpoint
        .records()
        .map(|record| record.map_err(CoreError::from))
        .filter(|record| !matches!(record, Ok(record) if is_secret(record)))
        .map(|record| record.map(unsealed));
    let records = with((tree.number(), KEY.to_vec(), frame), records);
    Ok(write_checkpoint(
        &RealDisk,
        to,
        checkpoint.about(),
        records,
    )?)
}

/// Who has other keys cannot go on from a head that was vouched for with these.
fn unsealed((tree, key, frame): Record) -> Record {
    let is_head = (tree, &*key) == (TreeId::Schema.number(), audit_log::HEAD_KEY);
    // One that is damaged stays as it is.
    let frame = match is_head.then(|| audit_log::without_seal(&frame)) {
        Some(Ok(unsealed)) => unsealed,
        _ => frame,
    };
    (tree, key, frame)
}

fn is_secret((tree, key, _): &Record) -> bool {
    match TreeId::from_number(*tree) {
        Some(TreeId::Secrets | TreeId::Identity) => true,
        Some(TreeId::Schema) => {
            let sealing: [&[u8]; 3] =
                [b"__keyring__", b"__secrets_manifest__", b"__purge_needed__"];
            sealing.contains(&key.as_slice())
        }
        _ => false,
    }
}

/// Whether secrets were left out of a backup, and none came since: a database that was restored from such a one keeps
/// the note.
pub(crate) fn is_redacted(checkpoint: &Checkpoint) -> Result<bool, BackupError> {
    let digests = checkpoint.digests();
    let has = |tree: TreeId| digests.of(tree.number()).count() > 0;
    if has(TreeId::Secrets) || has(TreeId::Identity) {
        return Ok(false);
    }
    let found = checkpoint.get(TreeId::Schema.number(), KEY);
    Ok(found.map_err(backup::invalid)?.is_some())
}

/// Whether a record is a secret, or the node's key, as it was given.
pub(crate) fn is_plain(tree: TreeId, key: &[u8], frame: &[u8]) -> bool {
    let is_id = (tree, key) == (TreeId::Identity, identity::NODE_ID);
    matches!(tree, TreeId::Secrets | TreeId::Identity)
        && !is_id
        && matches!(secrets::open(tree, key, frame), Ok(Stored::Plain(_)))
}

/// Secrets that lie in the database as they were given, with the node's key: a backup holds them so. One that
/// is damaged is not counted.
///
/// # Errors
///
/// Errors of reading.
pub fn plain_secrets(from: &dyn Read) -> Result<u64, CoreError> {
    let mut count = 0;
    for tree in [TreeId::Secrets, TreeId::Identity] {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        from.scan(tree, &everything, Order::Ascending, &mut |key, frame| {
            count += u64::from(is_plain(tree, key, frame));
            Ok(true)
        })?;
    }
    Ok(count)
}
