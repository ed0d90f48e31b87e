//! Opening a small database of the first implementation on a simulated disk, and what is in it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use storage_core::history::{Disk, SimulatedDisk};
use storage_core::trees::audit_log;
use storage_core::{CoreError, Db, DbOptions, Order, Read, SimulatedHome, TreeId};
use storage_schema::{MigrateOptions, Opened, SchemaError, open_with};

pub(crate) type State = BTreeMap<(TreeId, Vec<u8>), Vec<u8>>;

pub(crate) fn options() -> DbOptions {
    let mut options = DbOptions::new(PathBuf::from("data.sled"), 2, || 1_770_000_000_000);
    options.flush_every_ms = None;
    options.mark_when_idle_ms = None;
    options
}

pub(crate) fn how() -> MigrateOptions {
    let mut how = MigrateOptions::default();
    how.batch_records = 10;
    how
}

pub(crate) fn open(
    disk: &SimulatedDisk,
    home: &SimulatedHome,
    migrate: Option<&MigrateOptions>,
) -> Result<Opened, SchemaError> {
    let mut options = options();
    if let Some(how) = migrate {
        options.schema_version = how.chain.target();
    }
    open_with(&options, migrate, |accept| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Db::open_simulated(disk, home, &options, accept)
    })
}

/// Everything, but for the schema tree, which tells of the attempts.
pub(crate) fn dump(view: &dyn Read) -> Result<State, CoreError> {
    let mut state = State::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    for tree in TreeId::ALL
        .into_iter()
        .filter(|tree| *tree != TreeId::Schema)
    {
        view.scan(tree, &everything, Order::Ascending, &mut |key, value| {
            // An entry's place in the chain depends on the store: `expect_chained` looks at it.
            let value = match audit_log::open(key, value) {
                Ok(entry) if tree == TreeId::AuditLog => format!("{entry:?}").into_bytes(),
                _ => value.to_vec(),
            };
            state.insert((tree, key.to_vec()), value);
            Ok(true)
        })?;
    }
    Ok(state)
}

/// Every audit entry is in its place of this store's chain.
pub(crate) fn expect_chained(db: &Db, case: &str) -> Result<(), CoreError> {
    let chain = audit_log::verify(&db.view(), &db.store_id(), None)?;
    assert_eq!(chain.findings, [], "{case}");
    assert!(
        chain.len > 0 && chain.entries == chain.len,
        "{case}: {chain:?}"
    );
    Ok(())
}
