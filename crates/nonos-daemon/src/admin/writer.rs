//! A verb's way to write: by the daemon that runs, or by opening the database itself.

#[cfg(feature = "encrypted-storage")]
use std::path::Path;
use std::path::PathBuf;

#[cfg(feature = "encrypted-storage")]
use base64::prelude::{BASE64_STANDARD, Engine as _};
use nonos_storage::{CompactionReport, NodeStorage, Pruned, Retention, TreeId};

use super::{Answer, Request, ask, compact, named};
use crate::error::CliError;

/// A database that a verb changes: its own, or the daemon's.
pub(crate) enum Writer {
    Own(Box<NodeStorage>),
    Daemon(PathBuf),
}

impl Writer {
    pub(crate) fn prune(&self, tree: TreeId, retention: &Retention) -> Result<Pruned, CliError> {
        match self {
            Self::Own(storage) => Ok(storage.prune(tree, retention, false)?),
            Self::Daemon(socket) => {
                let request = Request::Prune {
                    tree: tree.name().to_owned(),
                    older_than: retention.older_than,
                    keep_last: retention.keep_last,
                    max_bytes: retention.max_bytes,
                };
                match ask(socket, &request)? {
                    Answer::Pruned { records, bytes } => {
                        let mut pruned = Pruned::default();
                        (pruned.records, pruned.bytes) = (records, bytes);
                        Ok(pruned)
                    }
                    _ => Err(CliError::DaemonAnswer),
                }
            }
        }
    }

    pub(crate) fn compact(&self, purge: bool) -> Result<CompactionReport, CliError> {
        match self {
            Self::Own(storage) => compact(storage, purge),
            Self::Daemon(socket) => match ask(socket, &Request::Compact { purge })? {
                Answer::Compacted {
                    bytes_before,
                    bytes_after,
                    entries,
                    duration_ms,
                } => Ok(CompactionReport {
                    bytes_before,
                    bytes_after,
                    entries,
                    duration_ms,
                }),
                _ => Err(CliError::DaemonAnswer),
            },
        }
    }

    pub(crate) fn wipe(&self, trees: &[TreeId]) -> Result<Vec<(TreeId, u64)>, CliError> {
        match self {
            Self::Own(storage) => Ok(storage.wipe(trees)?),
            Self::Daemon(socket) => {
                let trees = trees.iter().map(|tree| tree.name().to_owned()).collect();
                match ask(socket, &Request::Wipe { trees })? {
                    Answer::Wiped { trees } => {
                        let of = |(tree, gone): &(String, u64)| Ok((named(tree)?, *gone));
                        trees.iter().map(of).collect()
                    }
                    _ => Err(CliError::DaemonAnswer),
                }
            }
        }
    }

    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn store_secret(&self, name: &str, value: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Own(storage) => Ok(storage.store_secret(name, value)?),
            Self::Daemon(socket) => {
                let value = BASE64_STANDARD.encode(value);
                let name = name.to_owned();
                let request = Request::StoreSecret { name, value };
                let stored = changed(socket, &request).map(drop);
                if let Request::StoreSecret { value, .. } = request {
                    drop(nonos_storage::Zeroizing::new(value));
                }
                stored
            }
        }
    }

    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn delete_secret(&self, name: &str) -> Result<bool, CliError> {
        match self {
            Self::Own(storage) => Ok(storage.delete_secret(name)?),
            Self::Daemon(socket) => {
                let name = name.to_owned();
                changed(socket, &Request::RemoveSecret { name })
            }
        }
    }

    #[cfg(feature = "encrypted-storage")]
    pub(crate) fn adopt_secret(&self, name: &str) -> Result<(), CliError> {
        match self {
            Self::Own(storage) => Ok(storage.adopt_secret(name)?),
            Self::Daemon(socket) => {
                let name = name.to_owned();
                changed(socket, &Request::AdoptSecret { name }).map(drop)
            }
        }
    }

    pub(crate) fn close(self) -> Result<(), CliError> {
        match self {
            Self::Own(storage) => Ok(storage.close()?),
            Self::Daemon(_) => Ok(()),
        }
    }
}

#[cfg(feature = "encrypted-storage")]
pub(super) fn changed(socket: &Path, request: &Request) -> Result<bool, CliError> {
    match ask(socket, request)? {
        Answer::Changed { changed } => Ok(changed),
        _ => Err(CliError::DaemonAnswer),
    }
}
