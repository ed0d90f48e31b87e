//! A record of any bytes, written as the first implementation's backup, and imported again.

use storage_core::{CoreError, Db, DbOptions, Durability, TreeId};
use storage_schema::{export_old_backup, import};

use crate::disk::{NOW_MS, options};
use crate::frame::placed;
use crate::input::Input;
use crate::record;

pub(crate) fn run(data: &[u8]) {
    let Some((tree, key, frame)) = Input::of(data).and_then(|mut input| placed(&mut input)) else {
        return;
    };
    let db = with(tree, key, &frame).expect("a database in memory");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("backup.nonos");
    let exported = export_old_backup(&db, &path, &|_, _, sealed| Ok(sealed.to_vec()));
    let Ok(exported) = exported else {
        assert!(!path.exists(), "refused, and written all the same");
        return;
    };
    let database = directory.path().join("data.sled");
    let imported = import(&path, &DbOptions::new(database, 2, || NOW_MS));
    let imported = imported.expect("what was written is read");
    assert_eq!(imported.entries, exported.entries);
    let len = std::fs::metadata(&path).map(|file| file.len());
    assert_eq!(len.ok(), Some(exported.bytes));
}

/// A database with something in each tree, and this record.
fn with(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<Db, CoreError> {
    let db = Db::in_memory(&options())?;
    record::fill(&db)?;
    db.update(Durability::Buffered, |_, commit| {
        commit.put(tree, key.to_vec(), frame.to_vec());
        Ok::<_, CoreError>(())
    })?;
    Ok(db)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    record::seeds()
}
