//! Looking at records of any tree, decoded: each method is one delegation.

use storage_core::{CoreError, Read, TreeId};
use storage_ops::{Record, Selection};

use super::NodeStorage;
use crate::error::{NonosError, NonosResult};

/// # Looking at records
impl NodeStorage {
    /// Visits the records of a tree that are selected, decoded, until `visit` returns `false`; it is also shown each
    /// that is damaged, as `CORRUPT`. A page at a time is read, each as of one commit; no writer waits for `visit`.
    /// Secrets are not shown.
    ///
    /// ```
    /// # use nonos_storage::{NodeStorage, NonosError, NonosResult, Selection, TreeId};
    /// # fn main() -> NonosResult<()> {
    /// # let storage = NodeStorage::in_memory()?;
    /// storage.store_config("name", &"node-1")?;
    /// storage.visit_records::<NonosError>(TreeId::Config, &Selection::default(), &mut |record| {
    ///     println!("{}", record?.key);
    ///     Ok(true)
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `POISONED`, `IO`; and those of `visit`.
    pub fn visit_records<E: From<NonosError>>(
        &self,
        tree: TreeId,
        which: &Selection,
        visit: &mut dyn FnMut(NonosResult<Record>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut failed = None;
        let browsed = storage_ops::browse(&self.db.view(), tree, which, &mut |key, frame| {
            let shown = visit(self.done(storage_ops::record(tree, key, frame)));
            Ok::<_, CoreError>(shown.unwrap_or_else(|error| {
                failed = Some(error);
                false
            }))
        });
        self.done(browsed)?;
        failed.map_or(Ok(()), Err)
    }

    /// The record under a key, decoded: a name, or a number: an epoch, Unix seconds in `metrics`, Unix milliseconds
    /// in `audit_log`.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a key that the tree cannot have, `CORRUPT`, `POISONED`, `IO`.
    pub fn load_record(&self, tree: TreeId, key: &str) -> NonosResult<Option<Record>> {
        let found = || {
            let key = storage_ops::encode_key(tree, key)?;
            let frame = self.db.view().get(tree, &key)?;
            frame
                .map(|frame| storage_ops::record(tree, &key, &frame))
                .transpose()
        };
        self.done(found())
    }

    /// The BLAKE2b-256 of the content of trees, in the order in which they are named: the same for the same records, whether they are compressed or not.
    ///
    /// # Errors
    ///
    /// `CORRUPT`, `POISONED`, `IO`.
    pub fn content_hash(&self, trees: &[TreeId]) -> NonosResult<[u8; 32]> {
        self.done(storage_ops::content_hash(&self.db.view(), trees))
    }
}
