//! Files on a simulated disk, and databases on it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::{CoreError, Db, DbOptions, Layout, Order, Read, SimulatedHome, TreeId};

pub(crate) type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

pub(crate) const NOW_MS: i64 = 1_770_000_000_000;

pub(crate) const LAYOUT: Layout = Layout {
    schema_version: 2,
    is_framed: true,
};

/// The directory of the journal of a database with [`options`].
pub(crate) const JOURNAL: &str = "data.sled.journal";

pub(crate) fn options() -> DbOptions {
    let mut options = DbOptions::new(PathBuf::from("data.sled"), 2, || NOW_MS);
    options.cache_capacity_bytes = 1 << 20;
    // The background would write on a schedule of its own.
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    options
}

/// A disk with these files in the directory of the journal.
pub(crate) fn disk_with(files: &[(&str, &[u8])]) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let directory = Path::new(JOURNAL);
    disk.create_directory(directory)
        .expect("no fault was asked for");
    for (name, bytes) in files {
        let file = disk.create(&directory.join(name)).expect("a new name");
        file.write_at(0, bytes).expect("no fault was asked for");
    }
    disk
}

pub(crate) fn open(disk: &SimulatedDisk, home: &SimulatedHome) -> Result<Db, CoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Db::open_simulated(disk, home, &options(), &|_| Ok(LAYOUT))
}

/// All that a database holds. Its counts are compared on the way.
pub(crate) fn dump(db: &Db) -> Result<State, CoreError> {
    let mut state = State::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let view = db.view();
    for tree in TreeId::ALL {
        let mut len = 0;
        view.scan(tree, &everything, Order::Ascending, &mut |key, value| {
            state.insert((tree, key.to_vec()), value.to_vec());
            len += 1;
            Ok(true)
        })?;
        assert_eq!(db.len(tree)?, len, "the count of {}", tree.name());
    }
    Ok(state)
}
