//! The history that is damaged, and its states.

use std::path::Path;

use storage_core::trees::audit_log;
use storage_core::trees::claims::{self, StoredClaim};
use storage_core::trees::config;
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::{CoreError, Db, DbOptions, Durability, EpochNumber, TreeId};

use super::{HEAD_KEY, State};
use crate::{LAYOUT, dump};

/// How the process ended that wrote the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Ended {
    /// It closed it.
    Cleanly,
    /// It was killed after a flush: both copies hold everything.
    Flushed,
    /// It was killed with commits behind the last flush, which the index may not hold.
    Ahead,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cleanly, Self::Flushed, Self::Ahead];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cleanly => "cleanly",
            Self::Flushed => "flushed",
            Self::Ahead => "ahead",
        }
    }
}

const NOW_MS: i64 = 1_770_000_000_000;

pub(super) fn options(path: &Path) -> DbOptions {
    let mut options = DbOptions::new(path.to_owned(), 2, || NOW_MS);
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    options
}

/// Writes the database at `path`. For [`Ended::Cleanly`] it is closed on return; for the others the
/// handle is given back, and the process must end without dropping it.
///
/// # Errors
///
/// Errors of the database.
pub fn write(path: &Path, ended: Ended) -> Result<Option<Db>, CoreError> {
    let db = Db::open(&options(path), &|_| Ok(LAYOUT))?;
    write_marked(&db)?;
    db.flush()?;
    match ended {
        Ended::Cleanly => db.shutdown().map(|()| None),
        Ended::Flushed => Ok(Some(db)),
        Ended::Ahead => {
            for number in 0..LATER {
                write_later(&db, number)?;
            }
            Ok(Some(db))
        }
    }
}

/// Commits behind the last flush.
const LATER: u32 = 30;

fn peer(number: u32, connection_count: u32) -> StoredPeerInfo {
    StoredPeerInfo {
        peer_id: format!("peer-{number}"),
        addresses: vec![format!("192.0.2.{}:9000", number % 250)],
        connection_count,
        ..Default::default()
    }
}

fn write_marked(db: &Db) -> Result<(), CoreError> {
    for part in 0..3_u32 {
        for number in 0..120 {
            let number = part * 120 + number;
            db.update(Durability::Buffered, |_, commit| {
                let peer = peer(number, 1);
                peers::store(commit, &peer.peer_id, &peer)?;
                let sample = StoredMetrics {
                    total_requests: number.into(),
                    ..Default::default()
                };
                metrics::store(commit, number.into(), &sample)
            })?;
        }
        for epoch in 0..20 {
            let epoch = u64::from(part * 20 + epoch);
            let claim = StoredClaim {
                epoch,
                ..Default::default()
            };
            db.update(Durability::Buffered, |view, commit| {
                claims::store(view, commit, NOW_MS, EpochNumber(epoch), &claim)
            })?;
        }
        let large: Vec<u8> = (0..20_000_u32)
            .map(|n| n.wrapping_mul(n).to_le_bytes()[1])
            .collect();
        db.update(Durability::Durable, |_, commit| {
            config::store(commit, &format!("large-{part}"), &large)
        })?;
        // Two checkpoints, and segments behind the newer one.
        if part < 2 {
            db.checkpoint()?;
        }
    }
    Ok(())
}

fn write_later(db: &Db, number: u32) -> Result<(), CoreError> {
    let durability = if number.is_multiple_of(3) {
        Durability::Durable
    } else {
        Durability::Buffered
    };
    db.update(durability, |view, commit| {
        let changed = peer(number, 2);
        peers::store(commit, &changed.peer_id, &changed)?;
        peers::remove(view, commit, &format!("peer-{}", 100 + number)).map(drop)
    })
    .map(drop)
}

/// What was written, by the same steps in memory: the state at the flush, then after each later commit.
pub(super) fn states() -> Result<Vec<State>, CoreError> {
    let db = Db::in_memory(&options(Path::new("memory")))?;
    write_marked(&db)?;
    let mut states = vec![state(&db)?];
    for number in 0..LATER {
        write_later(&db, number)?;
        states.push(state(&db)?);
    }
    Ok(states)
}

pub(super) fn state(db: &Db) -> Result<State, CoreError> {
    let mut state = State::new();
    for (tree, key, value) in dump(db)? {
        // The chain is each store's own: it is checked as a whole.
        let value = match tree {
            TreeId::Schema if key == HEAD_KEY => continue,
            TreeId::AuditLog => format!("{:?}", audit_log::open(&key, &value)?).into_bytes(),
            _ => value,
        };
        state.insert((tree, key), value);
    }
    Ok(state)
}
