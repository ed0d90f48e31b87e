//! What a verb asks of the daemon that has the database: a request and an answer, a line of JSON each, over a socket
//! in the data directory that only the node's user can use.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "encrypted-storage")]
use base64::prelude::{BASE64_STANDARD, Engine as _};
use nonos_storage::{CompactionReport, NodeStorage, Retention, TreeId};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::daemon::node::{LastBackup, Node, now};
use crate::error::CliError;
use crate::exit;
use crate::output::chain;

mod writer;

pub(crate) use writer::Writer;

/// Longer lines are none: a secret of 64 KiB fits.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// How long a verb that can do without an answer waits for one: a daemon that hangs holds up no reading.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many differences of the index fit into a line.
const COMPARED: usize = 100;

/// Where the socket is.
pub(crate) fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("nonos.sock")
}

/// What can be asked for.
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    Prune {
        tree: String,
        older_than: Option<i64>,
        keep_last: Option<u64>,
        max_bytes: Option<u64>,
    },
    Compact {
        purge: bool,
    },
    Wipe {
        trees: Vec<String>,
    },
    /// Changes nothing; but only who has the index can compare it.
    CompareIndex {
        tree: Option<String>,
    },
    /// How many commits a power cut would lose.
    Unsynced,
    /// A verb did what the daemon keeps account of.
    Note(Done),
    #[cfg(feature = "encrypted-storage")]
    StoreSecret {
        name: String,
        /// Base64.
        value: String,
    },
    #[cfg(feature = "encrypted-storage")]
    RemoveSecret {
        name: String,
    },
    #[cfg(feature = "encrypted-storage")]
    AdoptSecret {
        name: String,
    },
}

/// What a verb did by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Done {
    /// A backup of this database was made, or read whole.
    BackedUp {
        store_id: [u8; 16],
        backup: LastBackup,
    },
    /// The newest backup of this database was restored and verified.
    Drilled { store_id: [u8; 16] },
    /// Everything of this database was verified: every record, the index, what is sealed. Who did it tells what was found.
    Verified { store_id: [u8; 16], errors: u64 },
}

/// What the daemon says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Pruned {
        records: u64,
        bytes: u64,
    },
    Compacted {
        bytes_before: u64,
        bytes_after: u64,
        entries: u64,
        duration_ms: u64,
    },
    Compared {
        differences: u64,
        /// The first of them.
        findings: Vec<Difference>,
    },
    Wiped {
        /// The trees and how many records were removed from each.
        trees: Vec<(String, u64)>,
    },
    Changed {
        changed: bool,
    },
    Unsynced {
        commits: u64,
    },
    Failed(Failed),
}

/// A record in which index and journal differ.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) code: String,
    pub(crate) tree: String,
    pub(crate) key_hex: String,
    pub(crate) detail: String,
    pub(crate) fix: Option<String>,
}

/// Why the daemon did not do it, as it would say it itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) code: String,
    pub(crate) exit_code: u8,
    pub(crate) detail: String,
    pub(crate) fix: Option<String>,
}

impl Failed {
    fn of(error: &CliError) -> Self {
        Self {
            code: error.code().to_owned(),
            exit_code: exit::code(error),
            detail: chain(error),
            fix: Some(error.remedy().to_owned()),
        }
    }
}

/// Does what was asked for, in the daemon.
pub(crate) fn carry_out(storage: &NodeStorage, node: &Node, line: &[u8]) -> Answer {
    let done = serde_json::from_slice(line)
        .map_err(|_malformed| CliError::Usage {
            what: "the daemon does not know this request: is it of another release?",
        })
        .and_then(|request| work(storage, node, request));
    done.unwrap_or_else(|error| Answer::Failed(Failed::of(&error)))
}

/// A tree that a request or a command line names.
pub(crate) fn named(name: &str) -> Result<TreeId, CliError> {
    TreeId::from_name(name).ok_or_else(|| CliError::NoTree {
        name: name.to_owned(),
    })
}

/// Makes the index anew, and notes that.
fn compact(storage: &NodeStorage, purge: bool) -> Result<CompactionReport, CliError> {
    let done = if purge {
        storage.purge()?
    } else {
        storage.compact()?
    };
    storage.note_upkeep(|upkeep| upkeep.compacted_at = Some(now()))?;
    Ok(done)
}

fn note(storage: &NodeStorage, node: &Node, done: Done) -> Result<bool, CliError> {
    let own = storage.store_id().0;
    match done {
        Done::BackedUp { store_id, backup } if store_id == own => node.told_of(backup),
        Done::Drilled { store_id } if store_id == own => node.drilled(storage)?,
        Done::Verified { store_id, errors } if store_id == own => {
            node.verified(storage, errors, Vec::new())?;
        }
        // Of another database.
        Done::BackedUp { .. } | Done::Drilled { .. } | Done::Verified { .. } => return Ok(false),
    }
    Ok(true)
}

fn work(storage: &NodeStorage, node: &Node, request: Request) -> Result<Answer, CliError> {
    Ok(match request {
        Request::Prune {
            tree,
            older_than,
            keep_last,
            max_bytes,
        } => {
            let tree = named(&tree)?;
            let mut retention = Retention::default();
            (
                retention.older_than,
                retention.keep_last,
                retention.max_bytes,
            ) = (older_than, keep_last, max_bytes);
            let pruned = storage.prune(tree, &retention, false)?;
            Answer::Pruned {
                records: pruned.records,
                bytes: pruned.bytes,
            }
        }
        Request::Compact { purge } => {
            let done = compact(storage, purge)?;
            Answer::Compacted {
                bytes_before: done.bytes_before,
                bytes_after: done.bytes_after,
                entries: done.entries,
                duration_ms: done.duration_ms,
            }
        }
        Request::Wipe { trees } => {
            let trees: Result<Vec<_>, _> = trees.iter().map(|tree| named(tree)).collect();
            let removed = storage.wipe(&trees?)?;
            let trees = removed.into_iter();
            Answer::Wiped {
                trees: trees
                    .map(|(tree, gone)| (tree.name().to_owned(), gone))
                    .collect(),
            }
        }
        Request::CompareIndex { tree } => {
            let tree = tree.as_deref().map(named).transpose()?;
            let mut found = storage.compare_index()?;
            found.retain(|of| tree.is_none() || of.tree == tree);
            let differences = u64::try_from(found.len()).unwrap_or(u64::MAX);
            let told = found.into_iter().map(|of| Difference {
                code: of.code.name().to_owned(),
                tree: of.tree.map_or("", TreeId::name).to_owned(),
                key_hex: of.key_hex,
                detail: of.detail,
                fix: of.code.fix().map(str::to_owned),
            });
            Answer::Compared {
                differences,
                findings: told.take(COMPARED).collect(),
            }
        }
        Request::Unsynced => Answer::Unsynced {
            commits: storage.unsynced_commits(),
        },
        Request::Note(done) => Answer::Changed {
            changed: note(storage, node, done)?,
        },
        #[cfg(feature = "encrypted-storage")]
        Request::StoreSecret { name, value } => {
            let value = nonos_storage::Zeroizing::new(value);
            let value = BASE64_STANDARD.decode(value.as_bytes());
            let value = value.map_err(|_malformed| CliError::Usage {
                what: "the value is not base64",
            })?;
            storage.store_secret(&name, &nonos_storage::Zeroizing::new(value))?;
            Answer::Changed { changed: true }
        }
        #[cfg(feature = "encrypted-storage")]
        Request::RemoveSecret { name } => Answer::Changed {
            changed: storage.delete_secret(&name)?,
        },
        #[cfg(feature = "encrypted-storage")]
        Request::AdoptSecret { name } => {
            storage.adopt_secret(&name)?;
            Answer::Changed { changed: true }
        }
    })
}

/// What became of comparing the index.
pub(crate) enum Comparison {
    /// How many records differ, and the first of them.
    Done(u64, Vec<Difference>),
    /// No daemon has the database.
    Nobody,
    /// One has it, and ended or failed meanwhile.
    Failed(CliError),
}

/// Has the daemon compare its index with its journal.
pub(crate) fn compare_index(data_dir: &Path, tree: Option<TreeId>) -> Result<Comparison, CliError> {
    let socket = socket(data_dir);
    if UnixStream::connect(&socket).is_err() {
        return Ok(Comparison::Nobody);
    }
    let tree = tree.map(|tree| tree.name().to_owned());
    match ask(&socket, &Request::CompareIndex { tree }) {
        Ok(Answer::Compared {
            differences,
            findings,
        }) => Ok(Comparison::Done(differences, findings)),
        Ok(_) => Err(CliError::DaemonAnswer),
        Err(error) if matches!(exit::code(&error), exit::INTERRUPTED | exit::POISONED) => {
            Ok(Comparison::Failed(error))
        }
        Err(error) => Err(error),
    }
}

/// How many commits a power cut would lose, where a daemon has the database.
pub(crate) fn unsynced(args: &Args, data_dir: &Path) -> Option<u64> {
    match ask_if_there(args, data_dir, &Request::Unsynced) {
        Some(Answer::Unsynced { commits }) => Some(commits),
        _ => None,
    }
}

/// Tells the daemon, where one has the database, what was done.
pub(crate) fn tell(args: &Args, data_dir: &Path, done: Done) {
    ask_if_there(args, data_dir, &Request::Note(done));
}

fn ask_if_there(args: &Args, data_dir: &Path, request: &Request) -> Option<Answer> {
    let socket = socket(data_dir);
    if args.offline || !socket.exists() {
        return None;
    }
    let answer = ask_within(&socket, request, Some(PATIENCE));
    let failed = answer.inspect_err(|error| {
        let reason = chain(error);
        tracing::debug!(%reason, "no daemon was asked");
    });
    failed.ok()
}

/// Asks the daemon, and waits for as long as it takes.
fn ask(socket: &Path, request: &Request) -> Result<Answer, CliError> {
    ask_within(socket, request, None)
}

fn ask_within(
    socket: &Path,
    request: &Request,
    patience: Option<Duration>,
) -> Result<Answer, CliError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => CliError::DaemonEnded,
        _ => CliError::Io {
            action: "ask the daemon at",
            path: socket.to_owned(),
            source,
        },
    };
    let mut stream = UnixStream::connect(socket).map_err(io)?;
    stream.set_read_timeout(patience).map_err(io)?;
    stream.set_write_timeout(patience).map_err(io)?;
    // As long as it may be from the start: growing would leave copies of a secret.
    let mut line = Vec::with_capacity(MAX_LINE);
    let written = serde_json::to_writer(&mut line, request);
    #[cfg(feature = "encrypted-storage")]
    let line = nonos_storage::Zeroizing::new(line);
    written.map_err(|error| io(error.into()))?;
    stream.write_all(&line).map_err(io)?;
    stream.write_all(b"\n").map_err(io)?;
    let mut answer = String::new();
    let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let read = BufReader::new(stream).take(most).read_line(&mut answer);
    if read.map_err(io)? == 0 {
        return Err(CliError::DaemonEnded);
    }
    match serde_json::from_str(&answer) {
        Ok(Answer::Failed(failed)) => Err(CliError::Daemon { failed }),
        Ok(answer) => Ok(answer),
        Err(_) => Err(CliError::DaemonAnswer),
    }
}
