//! The climb from schema 1, which the other engines have none of.

use nonos_storage::{NodeStorage, TreeId};
use storage_core::history::About;
use storage_core::{DbOptions, bincode};

use super::{Task, number, tell};
use crate::engine::config;
use crate::error::{Result, failed};
use crate::records::{Peer, peer};

/// Seconds, when the database was made.
const CREATED: i64 = 1_770_000_000;

pub(super) fn run(task: &Task) -> Result<()> {
    if task.engine != "nonos" {
        return Ok(());
    }
    let config = config(&task.database());
    let options = DbOptions::new(config.path.clone(), 2, || CREATED * 1000);
    let about = About {
        store_id: [7; 16],
        term: 0,
        schema_version: 1,
        commit: 1,
        created_at: CREATED,
        program: "peers".to_owned(),
    };
    let schema = bincode::encode(&(2_u32, CREATED, None::<i64>, Vec::<u8>::new()));
    let schema = schema.map_err(|error| failed(error.to_string()))?;
    let version = b"__schema_version__".to_vec();
    let first = (TreeId::Schema.number(), version, schema);
    let mut peers: Vec<_> = (0..task.scale.peers)
        .map(|number| {
            let (id, value) = old_form(&peer(number, 0));
            (TreeId::Peers.number(), id, value)
        })
        .collect();
    peers.sort();
    storage_core::begin(
        &about,
        std::iter::once(first).chain(peers).map(Ok),
        &options,
    )?;
    let storage = NodeStorage::open(config)?;
    let millis: u64 = storage
        .migrations_taken()
        .iter()
        .map(|step| step.duration_ms)
        .sum();
    let converted: u64 = storage
        .migrations_taken()
        .iter()
        .map(|step| step.converted)
        .sum();
    storage.close()?;
    if converted < u64::try_from(task.scale.peers).unwrap_or(u64::MAX) {
        return Err(failed(format!("{converted} records were migrated")));
    }
    let millis = usize::try_from(millis.max(1)).unwrap_or(usize::MAX);
    tell("migration", number(task.scale.peers) * 1e3 / number(millis))
}

/// A peer as the first implementation wrote it.
fn old_form((id, peer): &Peer) -> (Vec<u8>, Vec<u8>) {
    let head = (
        id,
        &peer.addresses,
        peer.last_seen,
        peer.avg_latency_ms,
        peer.connection_count,
        peer.is_bootstrap,
        peer.reputation,
    );
    let rest = (
        None::<String>,
        &peer.capabilities,
        None::<u64>,
        None::<u64>,
        peer.failure_count,
    );
    let mut value = bincode::encode(&head).unwrap_or_default();
    value.extend(bincode::encode(&rest).unwrap_or_default());
    (id.clone().into_bytes(), value)
}
