//! The first implementation's own files: its backup, read and written, and its directory, imported.
//!
//! ```text
//! file  u64 trees, then for each: u64 length, blob
//! blob  bytes "tree", bytes name, u64 n, then n times: u64 2, bytes key, bytes value
//! bytes u64 length, that many bytes                        all numbers little-endian
//! ```
//!
//! No magic, no checksum, the trees in no order; the records of a tree in key order.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Serialize;
use storage_core::history::About;
use storage_core::trees::audit_log;
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::{CoreError, Db, DbOptions, Encoding, Layout, Order, Read, TreeId};
use storage_core::{begin, begin_from_index, bincode, open_frame};

use crate::error::SchemaError;
use crate::info::{self, SchemaInfo, VERSION_KEY};
use crate::migrate::EVERYTHING;

mod backup;
mod value;

use backup::OldBackup;

/// A tree of the engine's own, always there and empty.
const DEFAULT_TREE: &str = "__sled__default";
const TREE: &[u8] = b"tree";

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Records.
    pub entries: u64,
}

/// Whether a file is a whole backup of the first implementation.
pub fn is_old_backup(path: &Path) -> bool {
    path.is_file() && OldBackup::open(path).is_ok()
}

/// Makes the database at `options.path` of a directory or a backup file of the first implementation,
/// in its layout: opening it migrates. Nothing of the source is changed.
///
/// # Errors
///
/// [`SchemaError::NoOldBackup`], [`SchemaError::Core`] where a database is, or another program has the
/// source open: no database is there.
pub fn import(source: &Path, options: &DbOptions) -> Result<Imported, SchemaError> {
    if source.is_dir() {
        let mut entries = 0;
        let counted = std::cell::Cell::new(0_u64);
        let accept = |records: &dyn Read| {
            let recorded = info::recorded(records).map_err(|error| match error {
                SchemaError::Core(error) => error,
                _ => CoreError::NotAccepted,
            })?;
            let info::Recorded::FirstImplementation(_) = recorded else {
                return Err(CoreError::NotAccepted);
            };
            for tree in TreeId::ALL {
                records.scan(tree, &EVERYTHING, Order::Ascending, &mut |_, _| {
                    counted.set(counted.get() + 1);
                    Ok(true)
                })?;
            }
            Ok(OLD)
        };
        begin_from_index(source, &accept, options)?;
        entries += counted.get();
        return Ok(Imported { entries });
    }
    let mut backup = OldBackup::open(source)?;
    let about = About {
        store_id: storage_core::new_store_id()?,
        term: 0,
        schema_version: 1,
        commit: 1,
        created_at: (options.clock)().div_euclid(1000),
        program: concat!("nonos ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let mut entries = 0;
    let mut failed = None;
    let records = backup.records().map(|record| {
        entries += 1;
        record.map_err(|error| {
            failed = Some(error);
            CoreError::NotAccepted
        })
    });
    let begun = begin(&about, records, options);
    if let Some(error) = failed {
        return Err(error);
    }
    begun?;
    Ok(Imported { entries })
}

const OLD: Layout = Layout {
    schema_version: 1,
    is_framed: false,
};

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Records.
    pub entries: u64,
    /// The file's length in bytes.
    pub bytes: u64,
    /// Config values whose numbers were written with 64 bits, as the type that stored them is not
    /// known: the first implementation reads them as `i64`, `u64` or `f64`.
    pub widened: Vec<String>,
}

/// Writes what a database holds to a file as the first implementation's backup: the way back. The file
/// appears whole and durable; one that has the name is replaced then.
///
/// # Errors
///
/// [`SchemaError::NoOldForm`] for a record that has no form there, [`SchemaError::Core`]: no new file
/// is there.
pub fn export_old_backup(
    db: &Db,
    path: &Path,
    unseal: Unseal<'_>,
) -> Result<Exported, SchemaError> {
    let io = |source| SchemaError::Core(core_io("write", path, source));
    let new = path.with_added_extension("new");
    // Secrets are in it as they were given.
    let mut private = OpenOptions::new();
    private.write(true).create(true).truncate(true).mode(0o600);
    let mut file = BufWriter::new(private.open(&new).map_err(io)?);
    let written = write_old(db, &mut file, unseal).and_then(|exported| {
        let file = file.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)?;
        // Read back, as everything that somebody will rely on.
        let read: u64 = OldBackup::open(&new)?
            .records()
            .try_fold(0, |count, record| record.map(|_| count + 1))?;
        if read != exported.entries {
            let path = path.to_owned();
            let source = format!("{read} records were read back of {}", exported.entries).into();
            return Err(SchemaError::NoOldBackup { path, source });
        }
        fs::rename(&new, path).map_err(io)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new("."))).map_err(io)?;
        parent.sync_all().map_err(io)?;
        Ok(exported)
    });
    if written.is_err() {
        // The error is what the caller must know.
        let _removed = fs::remove_file(&new);
    }
    written
}

fn write_old(
    db: &Db,
    file: &mut (impl Write + Seek),
    unseal: Unseal<'_>,
) -> Result<Exported, SchemaError> {
    let io = |source| SchemaError::Core(core_io("write", Path::new("the backup"), source));
    let view = db.view();
    let info = info::load(&view)?;
    let mut exported = Exported {
        entries: 0,
        bytes: 0,
        widened: Vec::new(),
    };
    let trees = TreeId::ALL.len() + 1;
    file.write_all(&number(trees)).map_err(io)?;
    for tree in TreeId::ALL.map(Some).into_iter().chain([None]) {
        let start = file.stream_position().map_err(io)?;
        let name = tree.map_or(DEFAULT_TREE, TreeId::name);
        let mut blob = vec![0; 8];
        put(&mut blob, TREE);
        put(&mut blob, name.as_bytes());
        let count_at = start + number_of(blob.len());
        blob.extend([0; 8]);
        file.write_all(&blob).map_err(io)?;
        let mut count: u64 = 0;
        if let Some(tree) = tree {
            let mut failed = None;
            view.scan(tree, &EVERYTHING, Order::Ascending, &mut |key, value| {
                // It knows no cursor, no keyring and no chain.
                if tree == TreeId::Schema && key != VERSION_KEY.as_bytes() {
                    return Ok(true);
                }
                let written = old_form(tree, key, value, &info, (&mut exported.widened, unseal))
                    .map_err(|source| SchemaError::NoOldForm {
                        tree,
                        key_hex: HEXLOWER.encode(key),
                        source,
                    })
                    .and_then(|value| {
                        let mut record = number(2).to_vec();
                        put(&mut record, key);
                        put(&mut record, &value);
                        file.write_all(&record).map_err(io)
                    });
                count += 1;
                failed = written.err();
                Ok(failed.is_none())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        let end = file.stream_position().map_err(io)?;
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        file.write_all(&(end - start - 8).to_le_bytes())
            .map_err(io)?;
        file.seek(SeekFrom::Start(count_at)).map_err(io)?;
        file.write_all(&count.to_le_bytes()).map_err(io)?;
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        exported.entries += count;
        exported.bytes = end;
    }
    Ok(exported)
}

/// Opens what is sealed, which the first implementation cannot: shown a tree, a key and the sealed bytes.
pub type Unseal<'a> = &'a dyn Fn(TreeId, &[u8], &[u8]) -> Result<Vec<u8>, Wrong>;

type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// A record as the first implementation stores it.
fn old_form(
    tree: TreeId,
    key: &[u8],
    value: &[u8],
    info: &SchemaInfo,
    (widened, unseal): (&mut Vec<String>, Unseal<'_>),
) -> Result<Vec<u8>, Wrong> {
    if tree == TreeId::Schema {
        return Ok(bincode::encode(info)?);
    }
    let frame = open_frame(tree, key, value)?;
    let body = &frame.body;
    match (tree, frame.encoding) {
        (_, Encoding::Raw | Encoding::Bincode) => Ok(frame.body),
        (TreeId::Peers, _) => transcode::<StoredPeerInfo>(body),
        (TreeId::Metrics, _) => transcode::<StoredMetrics>(body),
        (TreeId::Epochs, _) => transcode::<StoredEpochSummary>(body),
        (TreeId::Claims, _) => transcode::<StoredClaim>(body),
        (TreeId::AuditLog, _) => Ok(bincode::encode(&audit_log::open(key, value)?)?),
        (TreeId::Config, Encoding::Cbor) => {
            let (value, has_numbers) = value::from_cbor(body)?;
            if has_numbers {
                widened.push(String::from_utf8_lossy(key).into_owned());
            }
            Ok(value)
        }
        (_, Encoding::Sealed) => unseal(tree, key, body),
        (_, found) => Err(format!("it is encoded as {found:?}").into()),
    }
}

fn transcode<T: Serialize + serde::de::DeserializeOwned>(body: &[u8]) -> Result<Vec<u8>, Wrong> {
    let record: T = postcard::from_bytes(body)?;
    Ok(bincode::encode(&record)?)
}

fn number(len: usize) -> [u8; 8] {
    number_of(len).to_le_bytes()
}

fn number_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(number(bytes.len()));
    to.extend(bytes);
}

fn core_io(action: &'static str, path: &Path, source: io::Error) -> CoreError {
    CoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
