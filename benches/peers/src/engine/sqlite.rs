//! `SQLite` by rusqlite: a write-ahead log, prepared statements, a connection for each thread that is at it.
//!
//! What is buffered is committed with `synchronous=NORMAL`, and survives a kill: it was written to the log.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nonos_storage::StoredPeerInfo;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{CACHE, Engine, done};
use crate::codec::{self, encode};
use crate::error::Result;
use crate::records::{Peer, Sample};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS peers (id TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS metrics (at INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;";
const PUT_PEER: &str = "INSERT INTO peers VALUES (?1, ?2) ON CONFLICT DO UPDATE SET record = ?2";
const PUT_SAMPLE: &str =
    "INSERT INTO metrics VALUES (?1, ?2) ON CONFLICT DO UPDATE SET record = ?2";

struct Sqlite {
    path: PathBuf,
    /// At rest, of commits that are buffered and of such that are durable.
    connections: [Mutex<Vec<Connection>>; 2],
}

pub(super) fn open(directory: &Path) -> Result<Box<dyn Engine>> {
    let engine = Sqlite {
        path: directory.join("data.sqlite"),
        connections: Default::default(),
    };
    engine.with(false, |connection| {
        connection.execute_batch(TABLES)?;
        Ok(())
    })?;
    Ok(Box::new(engine))
}

fn connect(path: &Path, durable: bool) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_mins(1))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let kib = i64::try_from(CACHE / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib)?;
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

impl Sqlite {
    fn flush(&self) -> Result<()> {
        self.with(false, |connection| {
            connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
            Ok(())
        })
    }

    fn with<R>(&self, durable: bool, work: impl FnOnce(&mut Connection) -> Result<R>) -> Result<R> {
        let [buffered, synced] = &self.connections;
        let resting = if durable { synced } else { buffered };
        let lock = || resting.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = lock().pop();
        let mut connection = match rested {
            Some(connection) => connection,
            None => connect(&self.path, durable)?,
        };
        let result = work(&mut connection);
        lock().push(connection);
        result
    }

    fn samples(&self, query: &str, bounds: impl rusqlite::Params) -> Result<Vec<Sample>> {
        self.with(false, |connection| {
            let mut statement = connection.prepare_cached(query)?;
            let mut rows = statement.query(bounds)?;
            let mut samples = Vec::new();
            while let Some(row) = rows.next()? {
                samples.push((row.get(0)?, codec::metrics(record(row, 1)?)?));
            }
            Ok(samples)
        })
    }
}

/// A record where `SQLite` has it, without a copy.
fn record<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8]> {
    let value = row.get_ref(column)?;
    Ok(value.as_blob().map_err(rusqlite::Error::from)?)
}

impl Engine for Sqlite {
    fn store_peers(&self, peers: &[Peer], durable: bool) -> Result<()> {
        self.with(durable, |connection| {
            let all = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut put = all.prepare_cached(PUT_PEER)?;
                for (id, peer) in peers {
                    put.execute(params![id, encode(peer)?])?;
                }
            }
            Ok(all.commit()?)
        })
    }

    fn store_peer(&self, (id, peer): &Peer, durable: bool) -> Result<()> {
        self.with(durable, |connection| {
            let mut put = connection.prepare_cached(PUT_PEER)?;
            put.execute(params![id, encode(peer)?])?;
            Ok(())
        })
    }

    fn store_sample(&self, (at, metrics): &Sample) -> Result<()> {
        self.with(false, |connection| {
            let mut put = connection.prepare_cached(PUT_SAMPLE)?;
            put.execute(params![at, encode(metrics)?])?;
            Ok(())
        })
    }

    fn load_peer(&self, id: &str) -> Result<Option<StoredPeerInfo>> {
        self.with(false, |connection| {
            let mut get = connection.prepare_cached("SELECT record FROM peers WHERE id = ?1")?;
            let mut rows = get.query([id])?;
            let found = rows.next()?;
            found.map(|row| codec::peer(record(row, 0)?)).transpose()
        })
    }

    fn load_range(&self, start: i64, end: i64) -> Result<Vec<Sample>> {
        let query = "SELECT at, record FROM metrics WHERE at BETWEEN ?1 AND ?2 ORDER BY at";
        self.samples(query, [start, end])
    }

    fn load_newest(&self, count: usize) -> Result<Vec<Sample>> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let query = "SELECT at, record FROM metrics ORDER BY at DESC LIMIT ?1";
        let mut samples = self.samples(query, [count])?;
        samples.reverse();
        Ok(samples)
    }

    fn list_peers(&self) -> Result<Vec<Peer>> {
        self.with(false, |connection| {
            let mut all = connection.prepare_cached("SELECT id, record FROM peers ORDER BY id")?;
            let mut rows = all.query([])?;
            let mut peers = Vec::new();
            while let Some(row) = rows.next()? {
                peers.push((row.get(0)?, codec::peer(record(row, 1)?)?));
            }
            Ok(peers)
        })
    }

    /// The last connection empties the log, synced.
    fn close(self: Box<Self>) -> Result<()> {
        for resting in self.connections {
            let resting = resting.into_inner().unwrap_or_else(PoisonError::into_inner);
            for connection in resting {
                connection.close().map_err(|(_, error)| error)?;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, begins: &dyn Fn()) -> Result<bool> {
        begins();
        self.flush()?;
        Ok(true)
    }

    /// Many pages at a time, so that a writer in between, which starts it anew, is not there for ever.
    fn back_up(&self, to: &Path) -> Result<bool> {
        self.with(false, |connection| {
            let mut copy = Connection::open(to)?;
            let backup = Backup::new(connection, &mut copy)?;
            backup.run_to_completion(i32::MAX, Duration::from_millis(1), None)?;
            Ok(true)
        })
    }

    fn compact_beside(&self) -> Result<bool> {
        self.with(false, |connection| {
            connection.execute_batch("VACUUM")?;
            Ok(true)
        })
    }

    fn verify(&mut self) -> Result<bool> {
        self.with(false, |connection| {
            let query = "PRAGMA integrity_check";
            let said = connection.query_row(query, [], |row| row.get::<_, String>(0));
            done(said.optional()?.as_deref() == Some("ok"), "integrity_check")
        })
    }
}
