//! Keys that tests know, stores that are sealed to them, and what is done to these behind their back.

use std::ops::ControlFlow;

use nonos_storage::{
    AuditLogEntry, EncryptionKeys, NodeId, NodeStorage, NonosError, NonosResult, RekeyProgress,
    TreeId,
};
use storage_core::{Commit, CoreError, Db, Durability, Encoding, Read, View, open_frame};

use storage_testkit::logs::forbid;

use crate::on_disk::OnDisk;

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// Keys by number, the same in every run and process.
pub(crate) fn full(number: u8) -> EncryptionKeys {
    let secret: Vec<u8> = (0..32_u8).map(|at| number ^ at.wrapping_mul(37)).collect();
    forbid(&secret);
    EncryptionKeys::from_secret(&secret).unwrap_or_else(|error| unreachable!("{error}"))
}

pub(crate) fn writer(number: u8) -> EncryptionKeys {
    let keys = full(number).to_writer();
    keys.unwrap_or_else(|error| unreachable!("{error}"))
}

pub(crate) fn public(number: u8) -> EncryptionKeys {
    let keys = EncryptionKeys::public_only(&full(number).public_key());
    keys.unwrap_or_else(|error| unreachable!("{error}"))
}

/// `ok`, or the name of the error: its variant if it is about sealing, its code otherwise.
pub(crate) fn outcome<T>(result: &NonosResult<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(NonosError::Encryption(error)) => {
            let text = format!("{error:?}");
            let end = text.find(|c: char| !c.is_alphanumeric());
            text.split_at(end.unwrap_or(text.len())).0.to_owned()
        }
        Err(NonosError::Storage(error)) => error.code().name().to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Goes on.
pub(crate) fn on(_: RekeyProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Goes on through `batches` commits, and cancels after the next one.
pub(crate) fn cancel_after(batches: usize) -> impl FnMut(RekeyProgress) -> ControlFlow<()> {
    let mut left = batches;
    move |_| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        ControlFlow::Continue(())
    }
}

/// Keys of the tree `schema`.
pub(crate) const KEYRING: &[u8] = b"__keyring__";
pub(crate) const MANIFEST: &[u8] = b"__secrets_manifest__";
pub(crate) const HEAD: &[u8] = b"__audit_head__";

pub(crate) const NODE: NodeId = NodeId([7; 32]);

/// Changes a database that is closed, in one commit, below the facade.
pub(crate) fn edit<R>(
    disk: &OnDisk,
    f: impl FnOnce(&View<'_>, &mut Commit) -> Result<R, CoreError>,
) -> Result<R, CoreError> {
    let db = disk.directory.open_core()?;
    let (result, _) = db.update(Durability::Durable, f)?;
    db.shutdown()?;
    Ok(result)
}

/// The body of a stored value; empty where there is none.
pub(crate) fn body(from: &dyn Read, tree: TreeId, key: &[u8]) -> Result<Vec<u8>, CoreError> {
    let Some(frame) = from.get(tree, key)? else {
        return Ok(Vec::new());
    };
    let opened = open_frame(tree, key, &frame);
    Ok(opened.unwrap_or_else(|error| unreachable!("{error}")).body)
}

/// Puts a body under a key, in a frame that is sound.
pub(crate) fn put(
    commit: &mut Commit,
    tree: TreeId,
    key: &[u8],
    encoding: Encoding,
    body: &[u8],
) -> Result<(), CoreError> {
    let frame = storage_core::seal_frame(tree, key, encoding, 2, body, false)?;
    commit.put(tree, key.to_vec(), frame);
    Ok(())
}

/// Puts a sealed secret.
pub(crate) fn put_sealed(commit: &mut Commit, name: &str, record: &[u8]) -> Result<(), CoreError> {
    put(
        commit,
        TreeId::Secrets,
        name.as_bytes(),
        Encoding::Sealed,
        record,
    )
}

/// The sealed record of a secret, of a database that is closed.
pub(crate) fn record_of(disk: &OnDisk, name: &str) -> Result<Vec<u8>, CoreError> {
    let db = disk.directory.open_core()?;
    secret_record(&db, name)
}

pub(crate) fn secret_record(db: &Db, name: &str) -> Result<Vec<u8>, CoreError> {
    body(&db.view(), TreeId::Secrets, name.as_bytes())
}

/// Names and what is under them.
pub(crate) type Secrets = Vec<(String, Vec<u8>)>;

/// Every secret by name, with the node's key last; in the order of names.
pub(crate) fn all_secrets(storage: &NodeStorage) -> NonosResult<Secrets> {
    let mut secrets = Vec::new();
    for name in storage.list_secrets()? {
        let secret = storage.load_secret(&name)?;
        secrets.push((name, secret.unwrap_or_default()));
    }
    if let Some(key) = storage.load_encrypted_key()? {
        secrets.push(("(identity)".to_owned(), key));
    }
    Ok(secrets)
}

/// The newest entries of the audit log, oldest of them first: operation and details.
pub(crate) fn audited(storage: &NodeStorage, count: usize) -> NonosResult<Vec<(String, String)>> {
    let entries = storage.load_audit_log(count)?.into_iter().rev();
    let parts = |entry: AuditLogEntry| (entry.operation, entry.details.unwrap_or_default());
    Ok(entries.map(parts).collect())
}

pub(crate) fn entry(operation: &str, details: &str) -> (String, String) {
    (operation.to_owned(), details.to_owned())
}
