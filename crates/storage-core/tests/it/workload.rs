//! Mixed commits over several trees, and the states they make.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::claims::{self, StoredClaim};
use storage_core::trees::metrics::{self, StoredMetrics};
use storage_core::trees::peers::{self, StoredPeerInfo};
use storage_core::{
    CoreError, Db, DbOptions, Durability, EpochNumber, Layout, Order, Read, SimulatedHome, TreeId,
};

pub(crate) use storage_testkit::Random;

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;
pub(crate) type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

pub(crate) const LAYOUT: Layout = Layout {
    schema_version: 2,
    is_framed: true,
};

pub(crate) fn options() -> DbOptions {
    let mut options = DbOptions::new(PathBuf::from("data.sled"), 2, || 1_770_000_000_000);
    options.cache_capacity_bytes = 1 << 20;
    // The background would write on a schedule of its own.
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    options
}

pub(crate) fn open(disk: &SimulatedDisk, home: &SimulatedHome) -> Result<Db, CoreError> {
    open_holding(disk, home, None)
}

/// With so many bytes held back from the index.
pub(crate) fn open_holding(
    disk: &SimulatedDisk,
    home: &SimulatedHome,
    held_back_bytes: Option<u64>,
) -> Result<Db, CoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut options = options();
    options.held_back_bytes = held_back_bytes;
    Db::open_simulated(disk, home, &options, &|_| Ok(LAYOUT))
}

pub(crate) fn dump(db: &Db) -> Result<State, CoreError> {
    let mut state = State::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    for tree in TreeId::ALL {
        let mut entries = 0;
        db.view()
            .scan(tree, &everything, Order::Ascending, &mut |key, value| {
                state.insert((tree, key.to_vec()), value.to_vec());
                entries += 1;
                Ok(true)
            })?;
        assert_eq!(db.len(tree)?, entries, "the count of {}", tree.name());
    }
    Ok(state)
}

/// One update over several trees.
pub(crate) fn step(db: &Db, random: &mut Random) -> Result<(Durability, u64), CoreError> {
    let durability = if random.below(3) == 0 {
        Durability::Durable
    } else {
        Durability::Buffered
    };
    let ((), number) = db.update(durability, |view, commit| {
        let peer_id = format!("peer-{}", random.below(6));
        if random.below(4) == 0 {
            peers::remove(view, commit, &peer_id)?;
        } else {
            let connection_count = u32::try_from(random.below(1000)).expect("a small number");
            let info = StoredPeerInfo {
                peer_id: peer_id.clone(),
                connection_count,
                ..Default::default()
            };
            peers::store(commit, &peer_id, &info)?;
        }
        let time = i64::try_from(random.below(8)).expect("a small number");
        let sample = StoredMetrics {
            total_requests: random.below(1000),
            ..Default::default()
        };
        metrics::store(commit, time, &sample)?;
        if random.below(2) == 0 {
            let epoch = random.below(5);
            let claim = StoredClaim {
                epoch,
                amount: random.below(1000).into(),
                ..Default::default()
            };
            claims::store(view, commit, 1_770_000_000_000, EpochNumber(epoch), &claim)?;
        }
        Ok::<_, CoreError>(())
    })?;
    Ok((durability, number))
}
